"""The pickle opcodes that push a value which stands in the pickle itself: numbers, text, bytes, new containers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, cast

from porter.errors import LimitExceeded, Malformed
from porter.formats.pickle_records import DICT, SET, Record
from porter.formats.pickle_stack import Machine, Opcodes

# Far above any number a checkpoint means, and below where Python's own conversions to text turn quadratic.
MAX_INTEGER_BYTES = 1024

LITERALS = Opcodes()

_U8, _U16, _I32, _U32, _U64, _F64 = (struct.Struct(code) for code in ("<B", "<H", "<i", "<I", "<Q", ">d"))


def _pushes(code: bytes, make: Callable[[], Any]) -> None:
    """An opcode without argument that pushes what `make` returns."""

    def handler(m: Machine, at: int) -> int:
        m.stack.append(make())
        return at

    LITERALS[code[0]] = handler


_pushes(b"N", lambda: None)
_pushes(b"\x88", lambda: True)
_pushes(b"\x89", lambda: False)
_pushes(b")", tuple)
_pushes(b"]", list)
_pushes(b"}", lambda: Record(DICT))
_pushes(b"\x8f", lambda: Record(SET))


@LITERALS.handles(b"K")
def _binint1(m: Machine, at: int) -> int:
    m.stack.append(m.data[at])
    return at + 1


def _pushes_number(code: bytes, size: struct.Struct) -> None:
    """An opcode whose argument is a number of type `size`."""

    def handler(m: Machine, at: int) -> int:
        m.stack.append(size.unpack_from(m.data, at)[0])
        return at + size.size

    LITERALS[code[0]] = handler


_pushes_number(b"M", _U16)
_pushes_number(b"J", _I32)
_pushes_number(b"G", _F64)


@LITERALS.handles(b"I", b"L")
def _int(m: Machine, at: int) -> int:
    text, end = m.line(at)
    spelled_bool = m.data[at - 1] == ord("I") and text in (b"00", b"01")
    m.stack.append(text == b"01" if spelled_bool else decimal(text.removesuffix(b"L")))
    return end


@LITERALS.handles(b"F")
def _float(m: Machine, at: int) -> int:
    text, end = m.line(at)
    m.stack.append(float(text))
    return end


def decimal(text: bytes) -> int:
    if len(text) > MAX_INTEGER_BYTES:
        raise LimitExceeded("a whole number out of proportion", found=f"{len(text)} digits")
    return int(text)


def _pushes_sized(code: bytes, size: struct.Struct, decode: Callable[[bytes], Any]) -> None:
    """An opcode whose argument is a length of type `size` and that many bytes."""

    def handler(m: Machine, at: int) -> int:
        (length,) = size.unpack_from(m.data, at)
        start = at + size.size
        m.stack.append(decode(m.take(start, length)))
        return start + cast(int, length)

    LITERALS[code[0]] = handler


def _text(data: bytes) -> str:
    # Python writes a lone surrogate of a str as if it were a character.
    return data.decode("utf-8", "surrogatepass")


def _python2_text(data: bytes) -> str | bytes:
    """Python 2's str was either text or bytes; what is no UTF-8 was bytes."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _integer(data: bytes) -> int:
    if len(data) > MAX_INTEGER_BYTES:
        raise LimitExceeded("a whole number out of proportion", found=f"{len(data)} bytes")
    return int.from_bytes(data, "little", signed=True)


_pushes_sized(b"X", _U32, _text)
_pushes_sized(b"\x8c", _U8, _text)
_pushes_sized(b"\x8d", _U64, _text)
_pushes_sized(b"T", _U32, _python2_text)
_pushes_sized(b"U", _U8, _python2_text)
_pushes_sized(b"B", _U32, bytes)
_pushes_sized(b"C", _U8, bytes)
_pushes_sized(b"\x8e", _U64, bytes)
_pushes_sized(b"\x96", _U64, bytes)
_pushes_sized(b"\x8a", _U8, _integer)
_pushes_sized(b"\x8b", _U32, _integer)


@LITERALS.handles(b"S")
def _string(m: Machine, at: int) -> int:
    text, end = m.line(at)
    if len(text) < 2 or text[:1] not in (b"'", b'"') or text[-1:] != text[:1]:
        raise Malformed("a string without its quotes")
    m.stack.append(_python2_text(text[1:-1].decode("unicode_escape").encode("latin-1")))
    return end


@LITERALS.handles(b"V")
def _unicode(m: Machine, at: int) -> int:
    text, end = m.line(at)
    m.stack.append(text.decode("raw_unicode_escape"))
    return end
