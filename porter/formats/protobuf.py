"""The protobuf wire format, as much of it as a .ckpt needs: keys, varints, and byte ranges that are not read.

Source: protobuf.dev/programming-guides/encoding. A field is a key (number << 3 | kind) and a value; nothing else says
where a message ends than the length in front of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import overload

from porter.errors import Malformed

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED_SIZES = {FIXED64: 8, FIXED32: 4}
WINDOW_BYTES = 4096
_ONE_BYTE = [bytes([number]) for number in range(0x80)]


class FileWindow:
    """A file's bytes by position, read 4 KiB at a time: for what a `bytes` window is too short for."""

    def __init__(self, descriptor: int, base: int) -> None:
        self._descriptor = descriptor
        self._base = base
        self._start = 0
        self._window = b""

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> bytes: ...
    def __getitem__(self, at: int | slice) -> int | bytes:
        if isinstance(at, slice):
            return os.pread(self._descriptor, at.stop - at.start, self._base + at.start)
        if not 0 <= at - self._start < len(self._window):
            self._start = at
            self._window = os.pread(self._descriptor, WINDOW_BYTES, self._base + at)
        return self._window[at - self._start]


Window = bytes | FileWindow


def read_varint(window: Window, at: int) -> tuple[int, int]:
    """The unsigned number at `at`, and the position after it.

    Raises:
        IndexError: the window ends first.
        Malformed: more than the 10 bytes that 64 bits need.
    """
    value = window[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = window[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise Malformed("a number runs over 10 bytes")


def read_text(window: Window, start: int, end: int) -> str:
    """The UTF-8 text from `start` to `end`.

    Raises:
        IndexError: the window ends first.
        Malformed: it is not UTF-8.
    """
    raw = window[start:end]
    if len(raw) < end - start:
        raise IndexError(end)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a name is not UTF-8", found=raw[:40]) from error


def fields(window: Window, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message from `at` to `end`: (number, kind, value, position after it).

    The value of a VARINT is the number; of every other kind it is the position at which the bytes start.

    Raises:
        IndexError: the window ends before the last field's length.
        Malformed: a field reaches over the end of the message, or is of a kind that proto2 gave up (groups).
    """
    while at < end:
        key, at = read_varint(window, at)
        number, kind = key >> 3, key & 7
        if kind == BYTES:
            length, value = read_varint(window, at)
            at = value + length
        elif kind == VARINT:
            value, at = read_varint(window, at)
        elif kind in FIXED_SIZES:
            value, at = at, at + FIXED_SIZES[kind]
        else:
            raise Malformed("a field is of no known kind", found=f"key {key}")
        if at > end:
            raise Malformed("a field reaches over the end of its message", expected=end, found=at)
        yield number, kind, value, at


def write_varint(number: int) -> bytes:
    """`number`, not negative, in as few bytes as it takes."""
    if number < 0x80:
        return _ONE_BYTE[number]
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def write_bytes_head(number: int, length: int) -> bytes:
    """Key and length of a field of `length` bytes, which are to follow."""
    return write_varint(number << 3 | BYTES) + write_varint(length)
