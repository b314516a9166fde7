"""What each pickle opcode does to the machine's stack. Python's pickletools documents them all.

Nothing here imports or calls what a pickle names. Time and memory are linear in the bytes read: lengths are compared
with what is left before anything is taken, and nothing is hashed that a stranger composed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from mmap import mmap
from typing import Any, cast

from porter.errors import LimitExceeded, Malformed, Truncated, Unsafe, Unsupported
from porter.formats.pickle_records import DICT, FROZENSET, SET, Global, PersistentId, Record

HIGHEST_PROTOCOL = 5
# Far above any number a checkpoint means, and below where Python's own conversions to text turn quadratic.
MAX_INTEGER_BYTES = 1024

_U8, _U16, _I32, _U32, _U64, _F64 = (struct.Struct(code) for code in ("<B", "<H", "<i", "<I", "<Q", ">d"))


class Machine:
    """The state of one run: the stack, the stacks set aside by MARK, and the memo."""

    __slots__ = ("data", "memo", "set_aside", "stack")

    def __init__(self, data: bytes | mmap) -> None:
        self.data = data
        self.stack: list[Any] = []
        self.set_aside: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        """Take everything above the last MARK."""
        items, self.stack = self.stack, self.set_aside.pop()
        return items

    def take(self, position: int, length: int) -> bytes:
        """`length` bytes at `position`."""
        if length > len(self.data) - position:
            raise Truncated("the pickle ends in the middle", expected=f"{length} bytes")
        return self.data[position : position + length]

    def line(self, position: int) -> tuple[bytes, int]:
        """The text up to the next newline, and the position behind that."""
        end = self.data.find(b"\n", position)
        if end < 0:
            raise Truncated("the pickle ends in the middle", expected="a newline")
        return self.data[position:end], end + 1


# Gets the position behind its opcode and returns that of the next opcode; STOP alone returns it negated.
Handler = Callable[[Machine, int], int]


def _unknown(m: Machine, at: int) -> int:
    raise Malformed("no pickle, or a damaged one: unknown opcode", found=f"byte {at - 1}: {m.data[at - 1]:#04x}")


HANDLERS: list[Handler] = [_unknown] * 256


def _opcode(*codes: bytes) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for code in codes:
            HANDLERS[code[0]] = handler
        return handler

    return register


def _pushes(code: bytes, make: Callable[[], Any]) -> None:
    """An opcode without argument that pushes what `make` returns."""

    def handler(m: Machine, at: int) -> int:
        m.stack.append(make())
        return at

    HANDLERS[code[0]] = handler


_pushes(b"N", lambda: None)
_pushes(b"\x88", lambda: True)
_pushes(b"\x89", lambda: False)
_pushes(b")", tuple)
_pushes(b"]", list)
_pushes(b"}", lambda: Record(DICT))
_pushes(b"\x8f", lambda: Record(SET))


@_opcode(b"q")
def _binput(m: Machine, at: int) -> int:
    m.memo[m.data[at]] = m.stack[-1]
    return at + 1


@_opcode(b"r")
def _long_binput(m: Machine, at: int) -> int:
    m.memo[_U32.unpack_from(m.data, at)[0]] = m.stack[-1]
    return at + 4


@_opcode(b"p")
def _put(m: Machine, at: int) -> int:
    index, end = m.line(at)
    m.memo[_decimal(index)] = m.stack[-1]
    return end


@_opcode(b"\x94")
def _memoize(m: Machine, at: int) -> int:
    m.memo[len(m.memo)] = m.stack[-1]
    return at


@_opcode(b"h")
def _binget(m: Machine, at: int) -> int:
    m.stack.append(m.memo[m.data[at]])
    return at + 1


@_opcode(b"j")
def _long_binget(m: Machine, at: int) -> int:
    m.stack.append(m.memo[_U32.unpack_from(m.data, at)[0]])
    return at + 4


@_opcode(b"g")
def _get(m: Machine, at: int) -> int:
    index, end = m.line(at)
    m.stack.append(m.memo[_decimal(index)])
    return end


@_opcode(b"K")
def _binint1(m: Machine, at: int) -> int:
    m.stack.append(m.data[at])
    return at + 1


def _pushes_number(code: bytes, size: struct.Struct) -> None:
    """An opcode whose argument is a number of type `size`."""

    def handler(m: Machine, at: int) -> int:
        m.stack.append(size.unpack_from(m.data, at)[0])
        return at + size.size

    HANDLERS[code[0]] = handler


_pushes_number(b"M", _U16)
_pushes_number(b"J", _I32)
_pushes_number(b"G", _F64)


@_opcode(b"I", b"L")
def _int(m: Machine, at: int) -> int:
    text, end = m.line(at)
    spelled_bool = m.data[at - 1] == ord("I") and text in (b"00", b"01")
    m.stack.append(text == b"01" if spelled_bool else _decimal(text.removesuffix(b"L")))
    return end


@_opcode(b"F")
def _float(m: Machine, at: int) -> int:
    text, end = m.line(at)
    m.stack.append(float(text))
    return end


def _decimal(text: bytes) -> int:
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

    HANDLERS[code[0]] = handler


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


@_opcode(b"S")
def _string(m: Machine, at: int) -> int:
    text, end = m.line(at)
    if len(text) < 2 or text[:1] not in (b"'", b'"') or text[-1:] != text[:1]:
        raise Malformed("a string without its quotes")
    m.stack.append(_python2_text(text[1:-1].decode("unicode_escape").encode("latin-1")))
    return end


@_opcode(b"V")
def _unicode(m: Machine, at: int) -> int:
    text, end = m.line(at)
    m.stack.append(text.decode("raw_unicode_escape"))
    return end


@_opcode(b"(")
def _mark(m: Machine, at: int) -> int:
    m.set_aside.append(m.stack)
    m.stack = []
    return at


@_opcode(b"t")
def _tuple(m: Machine, at: int) -> int:
    items = tuple(m.since_mark())
    m.stack.append(items)
    return at


@_opcode(b"\x85")
def _tuple1(m: Machine, at: int) -> int:
    m.stack[-1] = (m.stack[-1],)
    return at


@_opcode(b"\x86")
def _tuple2(m: Machine, at: int) -> int:
    last = m.stack.pop()
    m.stack[-1] = (m.stack[-1], last)
    return at


@_opcode(b"\x87")
def _tuple3(m: Machine, at: int) -> int:
    last, middle = m.stack.pop(), m.stack.pop()
    m.stack[-1] = (m.stack[-1], middle, last)
    return at


@_opcode(b"l")
def _list(m: Machine, at: int) -> int:
    items = m.since_mark()
    m.stack.append(items)
    return at


@_opcode(b"d")
def _dict(m: Machine, at: int) -> int:
    items = m.since_mark()
    m.stack.append(Record(DICT))
    _extend_entries(m, items)
    return at


@_opcode(b"\x91")
def _frozenset(m: Machine, at: int) -> int:
    record = Record(FROZENSET)
    record.items = m.since_mark()
    m.stack.append(record)
    return at


@_opcode(b"a")
def _append(m: Machine, at: int) -> int:
    _extend_items(m, [m.stack.pop()])
    return at


@_opcode(b"e", b"\x90")
def _appends(m: Machine, at: int) -> int:
    _extend_items(m, m.since_mark())
    return at


@_opcode(b"s")
def _setitem(m: Machine, at: int) -> int:
    value, key = m.stack.pop(), m.stack.pop()
    _extend_entries(m, [key, value])
    return at


@_opcode(b"u")
def _setitems(m: Machine, at: int) -> int:
    _extend_entries(m, m.since_mark())
    return at


def _extend_items(m: Machine, items: list[Any]) -> None:
    target = m.stack[-1]
    if isinstance(target, Record):
        target.items += items
    elif isinstance(target, list):
        target += items
    else:
        raise Malformed("appends to something that is no list")


def _extend_entries(m: Machine, items: list[Any]) -> None:
    target = m.stack[-1]
    if not isinstance(target, Record):
        raise Malformed("sets an item of something that is no dictionary")
    if len(items) % 2:
        raise Malformed("sets a key without a value")
    target.entries += zip(items[::2], items[1::2], strict=True)


@_opcode(b"c")
def _global(m: Machine, at: int) -> int:
    module, at = m.line(at)
    name, at = m.line(at)
    m.stack.append(Global(f"{module.decode()}.{name.decode()}"))
    return at


@_opcode(b"\x93")
def _stack_global(m: Machine, at: int) -> int:
    name, module = m.stack.pop(), m.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise Malformed("a global without a name")
    m.stack.append(Global(f"{module}.{name}"))
    return at


@_opcode(b"R", b"\x81")
def _call(m: Machine, at: int) -> int:
    args = m.stack.pop()
    m.stack[-1] = Record(m.stack[-1], args)
    return at


@_opcode(b"\x92")
def _call_with_keywords(m: Machine, at: int) -> int:
    kwargs, args = m.stack.pop(), m.stack.pop()
    m.stack[-1] = Record(m.stack[-1], args, kwargs)
    return at


@_opcode(b"i")
def _inst(m: Machine, at: int) -> int:
    at = _global(m, at)
    cls = m.stack.pop()
    args = tuple(m.since_mark())
    m.stack.append(Record(cls, args))
    return at


@_opcode(b"o")
def _obj(m: Machine, at: int) -> int:
    cls, *args = m.since_mark() or [None]
    m.stack.append(Record(cls, tuple(args)))
    return at


@_opcode(b"b")
def _build(m: Machine, at: int) -> int:
    state = m.stack.pop()
    if not isinstance(m.stack[-1], Record):
        raise Malformed("gives a state to something that has none")
    m.stack[-1].state = state
    return at


@_opcode(b"Q")
def _binpersid(m: Machine, at: int) -> int:
    m.stack[-1] = PersistentId(m.stack[-1])
    return at


@_opcode(b"P")
def _persid(m: Machine, at: int) -> int:
    text, end = m.line(at)
    m.stack.append(PersistentId(text.decode()))
    return end


@_opcode(b"\x82", b"\x83", b"\x84")
def _extension(m: Machine, at: int) -> int:
    raise Unsafe("the pickle uses an extension code, which only the program that wrote it can explain")


@_opcode(b"\x97", b"\x98")
def _buffer(m: Machine, at: int) -> int:
    raise Unsupported("the pickle refers to buffers outside of it, which are not in the file")


@_opcode(b"\x80")
def _proto(m: Machine, at: int) -> int:
    if m.data[at] > HIGHEST_PROTOCOL:
        raise Unsupported(
            "a pickle protocol that is not known", expected=f"0 to {HIGHEST_PROTOCOL}", found=m.data[at]
        )
    return at + 1


@_opcode(b"\x95")
def _frame(m: Machine, at: int) -> int:
    (length,) = _U64.unpack_from(m.data, at)
    if length > len(m.data) - at - 8:
        raise Truncated("the pickle ends in the middle", expected=f"a frame of {length} bytes")
    return at + 8


@_opcode(b"0")
def _pop(m: Machine, at: int) -> int:
    # POP may also take away a MARK.
    if m.stack:
        m.stack.pop()
    else:
        m.since_mark()
    return at


@_opcode(b"1")
def _pop_mark(m: Machine, at: int) -> int:
    m.since_mark()
    return at


@_opcode(b"2")
def _dup(m: Machine, at: int) -> int:
    m.stack.append(m.stack[-1])
    return at


@_opcode(b".")
def _stop(m: Machine, at: int) -> int:
    if len(m.stack) != 1 or m.set_aside:
        raise Malformed("the pickle ends with something other than one value")
    return -at
