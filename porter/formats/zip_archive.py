"""The zip container, as far as PyTorch uses it: members stored as they are, nothing that two readers see differently.

Layouts of the structures: PKWARE's APPNOTE.TXT, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14-16 (end of
the directory, with zip64). All numbers are little-endian.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from porter.errors import Malformed, Truncated, Unsupported
from porter.formats.model import Extent

# PyTorch maps the bytes of a storage where they lie, and aligns them to this.
ALIGNMENT = 64

_LOCAL, _LOCAL_SIGNATURE = struct.Struct("<4s5H3I2H"), b"PK\x03\x04"
_DIRECTORY, _DIRECTORY_SIGNATURE = struct.Struct("<4s6H3I5H2I"), b"PK\x01\x02"
_END, _END_SIGNATURE = struct.Struct("<4s4H2IH"), b"PK\x05\x06"
_END64, _END64_SIGNATURE = struct.Struct("<4sQ2H2I4Q"), b"PK\x06\x06"
_LOCATOR, _LOCATOR_SIGNATURE = struct.Struct("<4sIQI"), b"PK\x06\x07"
_EXTRA = struct.Struct("<2sH")
# Where the CRC-32 stands in a local header.
CRC_AT = 14
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF

_ZIP64 = 1
_ENCRYPTED = 1
_VERSION = 45
# 1 January 1980, where zip's calendar begins: the same tensors give the same file.
_EPOCH = 1 << 5 | 1


class Member(NamedTuple):
    """A file in the archive.

    Attributes:
        name: with its folders, `archive/data/0`.
        header: where its local header stands.
        length: bytes it takes in the archive.
        crc32: of its content.
        packing: "" where these bytes are the content; else "compressed" or "encrypted".
    """

    name: str
    header: int
    length: int
    crc32: int
    packing: str = ""


def read_directory(descriptor: int, size: int) -> dict[str, Member]:
    """The members of the archive in `descriptor` (`size` bytes long), by name, in the directory's order.

    Raises:
        Truncated: the file does not end with a zip directory.
        Malformed: names twice, members that overlap, a directory that contradicts itself.
        Unsupported: an archive in several volumes.
    """
    count, start, length = _find_directory(descriptor, size)
    data = os.pread(descriptor, length, start)
    members: dict[str, Member] = {}
    at = 0
    for _ in range(count):
        member, at = _member(data, at)
        if member.name in members:
            raise Malformed("the archive has this member twice", entry=member.name)
        members[member.name] = member
    if at != len(data):
        raise Malformed("the zip directory is not as long as it says", expected=f"{at} bytes", found=len(data))
    _check_places(members, start)
    return members


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


def _member(data: bytes, at: int) -> tuple[Member, int]:
    """The directory entry at `at`, and the position after it."""
    if len(data) - at < _DIRECTORY.size:
        raise Malformed("the zip directory ends in the middle of a member")
    fields = _DIRECTORY.unpack_from(data, at)
    signature, _, _, flags, method, _, _, crc, packed, length, name_length, extra_length, comment, *_, header = fields
    name_end = at + _DIRECTORY.size + name_length
    end = name_end + extra_length + comment
    if signature != _DIRECTORY_SIGNATURE or end > len(data):
        raise Malformed("the zip directory is damaged")
    name = _decoded(data[at + _DIRECTORY.size : name_end])
    if _FULL32 in (packed, length, header):
        length, packed, header = _widened(data[name_end : name_end + extra_length], length, packed, header, name)
    packing = "encrypted" if flags & _ENCRYPTED else "compressed" if method else ""
    if packed != length and not packing:
        raise Malformed("a stored member whose two lengths differ", entry=name, expected=length, found=packed)
    return Member(name, header, packed, crc, packing), end


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


def _check_places(members: Mapping[str, Member], directory: int) -> None:
    """Members lie one after the other, before the directory."""
    end = directory
    for member in sorted(members.values(), key=lambda m: m.header, reverse=True):
        if member.header + _LOCAL.size + len(member.name.encode()) + member.length > end:
            raise Malformed("a member of the archive reaches into the next", entry=member.name)
        end = member.header


def locate(descriptor: int, member: Member, size: int) -> Extent:
    """Where the content of `member`, one without packing, lies in the file of `size` bytes.

    The local header says so, and has to agree with the directory.

    Raises:
        Malformed: it does not agree.
        Truncated: the bytes reach beyond the end of the file.
    """
    name = member.name.encode()
    found = os.pread(descriptor, _LOCAL.size + len(name), member.header)
    if len(found) < _LOCAL.size + len(name):
        raise Truncated("the archive ends in the middle of a member", entry=member.name)
    signature, _, flags, method, _, _, crc, packed, length, name_length, extra = _LOCAL.unpack_from(found)
    # Written before the data, the header may leave these to the directory (0, with flag 8) or to zip64 (all ones).
    numbers_agree = crc in (0, member.crc32) and {packed, length} <= {0, _FULL32, member.length}
    names_agree = found[_LOCAL.size :] == name and name_length == len(name)
    if signature != _LOCAL_SIGNATURE or method != 0 or flags & _ENCRYPTED or not (numbers_agree and names_agree):
        raise Malformed("the member and the zip directory contradict each other", entry=member.name)
    start = member.header + _LOCAL.size + name_length + extra
    if start + member.length > size:
        raise Truncated("the archive ends in the middle of a member", entry=member.name)
    return Extent(0, start, member.length)


def local_header(member: Member) -> bytes:
    """The bytes before those of `member`, which are made to begin at a multiple of ALIGNMENT."""
    name = member.name.encode("ascii")
    length, zip64 = member.length, b""
    if length >= _FULL32:
        length, zip64 = _FULL32, struct.pack("<2H2Q", _ZIP64, 16, member.length, member.length)
    # Readers skip an extra field of a kind they do not know; this one, PyTorch's own, is only there for its size.
    unpadded = member.header + _LOCAL.size + len(name) + len(zip64) + _EXTRA.size
    padding = -unpadded % ALIGNMENT
    extra = zip64 + _EXTRA.pack(b"FB", padding) + bytes(padding)
    fields = (_VERSION, 0, 0, 0, _EPOCH, member.crc32, length, length, len(name), len(extra))
    return _LOCAL.pack(_LOCAL_SIGNATURE, *fields) + name + extra


def directory(members: Sequence[Member], start: int) -> bytes:
    """The end of an archive: its directory, to stand at `start`, and what closes it."""
    entries = b"".join(_directory_entry(member) for member in members)
    count, length, end = len(members), len(entries), start + len(entries)
    closing = b""
    if count >= _FULL16 or start >= _FULL32 or length >= _FULL32:
        fields = (_VERSION, _VERSION, 0, 0, count, count, length, start)
        closing = _END64.pack(_END64_SIGNATURE, _END64.size - 12, *fields)
        closing += _LOCATOR.pack(_LOCATOR_SIGNATURE, 0, end, 1)
    count, length, start = min(count, _FULL16), min(length, _FULL32), min(start, _FULL32)
    return entries + closing + _END.pack(_END_SIGNATURE, 0, 0, count, count, length, start, 0)


def _directory_entry(member: Member) -> bytes:
    name = member.name.encode("ascii")
    wide = [member.length] * 2 * (member.length >= _FULL32) + [member.header] * (member.header >= _FULL32)
    zip64 = struct.pack(f"<2H{len(wide)}Q", _ZIP64, 8 * len(wide), *wide) if wide else b""
    length, header = min(member.length, _FULL32), min(member.header, _FULL32)
    fields = (_VERSION, _VERSION, 0, 0, 0, _EPOCH, member.crc32, length, length)
    return _DIRECTORY.pack(_DIRECTORY_SIGNATURE, *fields, len(name), len(zip64), 0, 0, 0, 0, header) + name + zip64
