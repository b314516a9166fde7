"""The zip container, as far as PyTorch uses it: members stored as they are, nothing that two readers see differently.

Layouts of the structures: PKWARE's APPNOTE.TXT, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14-16 (end of
the directory, with zip64). All numbers are little-endian.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from porter.errors import Malformed, Truncated, Unsupported
from porter.formats.model import Extent
from porter.formats.nearby_reads import NearbyReads

# PyTorch maps the bytes of a storage where they lie, and aligns them to this.
ALIGNMENT = 64

_LOCAL, _LOCAL_SIGNATURE = struct.Struct("<4s5H3I2H"), b"PK\x03\x04"
_DIRECTORY, _DIRECTORY_SIGNATURE = struct.Struct("<4s6H3I5H2I"), b"PK\x01\x02"
_END, _END_SIGNATURE = struct.Struct("<4s4H2IH"), b"PK\x05\x06"
_END64, _END64_SIGNATURE = struct.Struct("<4sQ2H2I4Q"), b"PK\x06\x06"
_LOCATOR, _LOCATOR_SIGNATURE = struct.Struct("<4sIQI"), b"PK\x06\x07"
# What is read of a local header: signature, flags, method, CRC-32, both lengths, those of name and extra field;
_LOCAL_FACTS = struct.Struct("<4s2x2H4x3I2H")
# and of an entry of the directory: these, the length of the comment, and where the local header stands.
_DIRECTORY_FACTS = struct.Struct("<4s4x2H4x3I3H8xI")
_EXTRA = struct.Struct("<2sH")
# Where the CRC-32 stands in a local header.
CRC_AT = 14
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
# Extra fields by their length: of PyTorch's own kind, which readers skip, for they are only there for their size.
_PADDING = [_EXTRA.pack(b"FB", n) + bytes(n) for n in range(ALIGNMENT)]

_ZIP64 = 1
_ENCRYPTED = 1
_VERSION = 45
# 1 January 1980, where zip's calendar begins: the same tensors give the same file.
_EPOCH = 1 << 5 | 1


class Place(NamedTuple):
    """Where a member stands: its local header, and the bytes it takes in the archive; `crc32` is of its content."""

    header: int
    length: int
    crc32: int


@dataclass
class Directory:
    """What the archive's directory says.

    Attributes:
        places: by the members' names, with their folders (`archive/data/0`), in its order.
        packing: of the members whose bytes are not their content: "compressed" or "encrypted".
    """

    places: dict[str, Place] = field(default_factory=dict)
    packing: dict[str, str] = field(default_factory=dict)


def read_directory(descriptor: int, size: int) -> Directory:
    """The directory of the archive in `descriptor` (`size` bytes long).

    Raises:
        Truncated: the file does not end with a zip directory.
        Malformed: names twice, members that overlap, a directory that contradicts itself.
        Unsupported: an archive in several volumes.
    """
    count, start, length = _find_directory(descriptor, size)
    return _parsed(os.pread(descriptor, length, start), count, start)


def _find_directory(descriptor: int, size: int) -> tuple[int, int, int]:
    """Number of members, and where the directory starts and how long it is."""
    tail_start = max(0, size - _END.size - _LOCATOR.size - _END64.size)
    tail = os.pread(descriptor, size - tail_start, tail_start)
    if len(tail) < _END.size or tail[-_END.size :][:4] != _END_SIGNATURE:
        raise Truncated(
            "a zip archive that does not end with its directory",
            hint="The file is incomplete, or something was appended to it: get a fresh copy.",
        )
    _, disk, first_disk, here, count, length, start, comment = _END.unpack(tail[-_END.size :])
    end = size - _END.size
    locator = tail[-_END.size - _LOCATOR.size : -_END.size]
    if locator[:4] == _LOCATOR_SIGNATURE:
        _, _, end, _ = _LOCATOR.unpack(locator)
        if end != tail_start or tail[:4] != _END64_SIGNATURE:
            raise Malformed("the zip64 directory's end is not where it should be")
        _, _, _, _, disk, first_disk, here, count, length, start = _END64.unpack(tail[: _END64.size])
    if disk or first_disk or here != count or comment:
        raise Unsupported("an archive in several volumes, or with a comment")
    if start + length != end:
        raise Malformed("the zip directory is not where it should be", expected=end, found=start + length)
    return count, start, length


def _parsed(data: bytes, count: int, start: int) -> Directory:
    """What the bytes of a directory that stands at `start` say."""
    directory = Directory()
    places, facts = directory.places, _DIRECTORY_FACTS.unpack_from
    at, reached, in_order = 0, 0, True
    for _ in range(count):
        if len(data) - at < _DIRECTORY.size:
            raise Malformed("the zip directory ends in the middle of a member")
        signature, flags, method, crc, packed, length, name_length, extra, comment, header = facts(data, at)
        name_at = at + _DIRECTORY.size
        name_end = name_at + name_length
        at = name_end + extra + comment
        if signature != _DIRECTORY_SIGNATURE or at > len(data):
            raise Malformed("the zip directory is damaged")
        name = _decoded(data[name_at:name_end])
        if packed == _FULL32 or length == _FULL32 or header == _FULL32:
            length, packed, header = _widened(data[name_end : name_end + extra], length, packed, header, name)
        if method or flags & _ENCRYPTED:
            directory.packing[name] = "encrypted" if flags & _ENCRYPTED else "compressed"
        elif packed != length:
            raise Malformed("a stored member whose two lengths differ", entry=name, expected=length, found=packed)
        if name in places:
            raise Malformed("the archive has this member twice", entry=name)
        places[name] = tuple.__new__(Place, (header, packed, crc))
        in_order = in_order and header >= reached
        reached = header + _LOCAL.size + name_length + packed
    if at != len(data):
        raise Malformed("the zip directory is not as long as it says", expected=f"{at} bytes", found=len(data))
    if not in_order or reached > start:
        _check_places(places, start)
    return directory


def _widened(extra: bytes, length: int, packed: int, header: int, name: str) -> tuple[int, int, int]:
    """Length, packed length and header offset, with zip64's 8-byte values where the 4-byte ones are full."""
    numbers = [length, packed, header]
    full = [i for i, number in enumerate(numbers) if number == _FULL32]
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64 and 8 * len(full) <= size <= len(extra) - at - 4:
            for i, number in zip(full, struct.unpack_from(f"<{len(full)}Q", extra, at + 4), strict=True):
                numbers[i] = number
            return numbers[0], numbers[1], numbers[2]
        at += 4 + size
    raise Malformed("a zip64 member without its lengths", entry=name)


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise Malformed("a member whose name is no UTF-8", found=name[:100]) from None


def _check_places(places: Mapping[str, Place], directory: int) -> None:
    """Members lie one after the other, before the directory."""
    end = directory
    for name, (header, length, _) in sorted(places.items(), key=itemgetter(1), reverse=True):
        if header + _LOCAL.size + len(name.encode()) + length > end:
            raise Malformed("a member of the archive reaches into the next", entry=name)
        end = header


def locate(headers: NearbyReads, name: str, place: Place, size: int) -> Extent:
    """Where the content of the member `name`, one without packing, lies in the file of `size` bytes.

    The local header says so, and has to agree with the directory.

    Args:
        headers: reads the archive.

    Raises:
        Malformed: it does not agree.
        Truncated: the bytes reach beyond the end of the file.
    """
    header, length, crc32 = place
    encoded = name.encode()
    head_bytes = _LOCAL.size + len(encoded)
    found = headers.take(header, head_bytes)
    if len(found) < head_bytes:
        raise Truncated("the archive ends in the middle of a member", entry=name)
    signature, flags, method, crc, packed, unpacked, name_length, extra = _LOCAL_FACTS.unpack_from(found)
    # The directory counts. A header written before its data leaves these to it (0), or to its zip64 field (all ones);
    # the first comparison is the second one's usual case, in less time.
    lengths_agree = packed == length == unpacked or {packed, unpacked} <= {0, _FULL32, length}
    numbers_agree = lengths_agree and crc in (crc32, 0)
    names_agree = name_length == len(encoded) and found.endswith(encoded)
    if signature != _LOCAL_SIGNATURE or method or flags & _ENCRYPTED or not (numbers_agree and names_agree):
        raise Malformed("the member and the zip directory contradict each other", entry=name)
    start = header + head_bytes + extra
    if start + length > size:
        raise Truncated("the archive ends in the middle of a member", entry=name)
    return tuple.__new__(Extent, (0, start, length))


def local_header(name: bytes, start: int, length: int, crc32: int = 0) -> bytes:
    """What stands at `start`, before the `length` bytes of a member: those begin at a multiple of ALIGNMENT.

    Args:
        name: ASCII.
        crc32: of the content; 0 where it is to be filled in at CRC_AT.
    """
    zip64 = b""
    if length >= _FULL32:
        zip64 = struct.pack("<2H2Q", _ZIP64, 16, length, length)
        length = _FULL32
    padding = -(start + _LOCAL.size + len(name) + len(zip64) + _EXTRA.size) % ALIGNMENT
    extra = zip64 + _PADDING[padding]
    fields = (_VERSION, 0, 0, 0, _EPOCH, crc32, length, length, len(name), len(extra))
    return _LOCAL.pack(_LOCAL_SIGNATURE, *fields) + name + extra


def directory_entry(name: bytes, header: int, length: int, crc32: int) -> bytes:
    """What the directory says of a member; `header` is where its local header stands."""
    zip64 = _zip64_of_entry(header, length)
    header, length = min(header, _FULL32), min(length, _FULL32)
    fields = (_VERSION, _VERSION, 0, 0, 0, _EPOCH, crc32, length, length, len(name), len(zip64), 0, 0, 0, 0, header)
    return _DIRECTORY.pack(_DIRECTORY_SIGNATURE, *fields) + name + zip64


def directory_entry_bytes(name: bytes, header: int, length: int) -> int:
    """How long `directory_entry` is."""
    return _DIRECTORY.size + len(name) + len(_zip64_of_entry(header, length))


def _zip64_of_entry(header: int, length: int) -> bytes:
    if header < _FULL32 and length < _FULL32:
        return b""
    wide = [length] * 2 * (length >= _FULL32) + [header] * (header >= _FULL32)
    return struct.pack(f"<2H{len(wide)}Q", _ZIP64, 8 * len(wide), *wide)


def closing(count: int, start: int, length: int) -> bytes:
    """What ends an archive of `count` members whose directory, `length` bytes long, stands at `start`."""
    closing = b""
    if count >= _FULL16 or start >= _FULL32 or length >= _FULL32:
        fields = (_VERSION, _VERSION, 0, 0, count, count, length, start)
        closing = _END64.pack(_END64_SIGNATURE, _END64.size - 12, *fields)
        closing += _LOCATOR.pack(_LOCATOR_SIGNATURE, 0, start + length, 1)
    count, length, start = min(count, _FULL16), min(length, _FULL32), min(start, _FULL32)
    return closing + _END.pack(_END_SIGNATURE, 0, 0, count, count, length, start, 0)
