"""The pickle opcodes that work on what is on the stack: the memo, containers, calls, and the frame of it all.

Nothing here imports or calls what a pickle names.
"""

from __future__ import annotations

import struct
from typing import Any

from porter.errors import Malformed, Truncated, Unsafe, Unsupported
from porter.formats.pickle_literals import decimal
from porter.formats.pickle_records import DICT, FROZENSET, Global, PersistentId, Record
from porter.formats.pickle_stack import Machine, Opcodes

HIGHEST_PROTOCOL = 5

STRUCTURE = Opcodes()

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


@STRUCTURE.handles(b"q")
def _binput(m: Machine, at: int) -> int:
    m.memo[m.data[at]] = m.stack[-1]
    return at + 1


@STRUCTURE.handles(b"r")
def _long_binput(m: Machine, at: int) -> int:
    m.memo[_U32.unpack_from(m.data, at)[0]] = m.stack[-1]
    return at + 4


@STRUCTURE.handles(b"p")
def _put(m: Machine, at: int) -> int:
    index, end = m.line(at)
    m.memo[decimal(index)] = m.stack[-1]
    return end


@STRUCTURE.handles(b"\x94")
def _memoize(m: Machine, at: int) -> int:
    m.memo[len(m.memo)] = m.stack[-1]
    return at


@STRUCTURE.handles(b"h")
def _binget(m: Machine, at: int) -> int:
    m.stack.append(m.memo[m.data[at]])
    return at + 1


@STRUCTURE.handles(b"j")
def _long_binget(m: Machine, at: int) -> int:
    m.stack.append(m.memo[_U32.unpack_from(m.data, at)[0]])
    return at + 4


@STRUCTURE.handles(b"g")
def _get(m: Machine, at: int) -> int:
    index, end = m.line(at)
    m.stack.append(m.memo[decimal(index)])
    return end


@STRUCTURE.handles(b"(")
def _mark(m: Machine, at: int) -> int:
    m.set_aside.append(m.stack)
    m.stack = []
    return at


@STRUCTURE.handles(b"t")
def _tuple(m: Machine, at: int) -> int:
    items = tuple(m.since_mark())
    m.stack.append(items)
    return at


@STRUCTURE.handles(b"\x85")
def _tuple1(m: Machine, at: int) -> int:
    m.stack[-1] = (m.stack[-1],)
    return at


@STRUCTURE.handles(b"\x86")
def _tuple2(m: Machine, at: int) -> int:
    last = m.stack.pop()
    m.stack[-1] = (m.stack[-1], last)
    return at


@STRUCTURE.handles(b"\x87")
def _tuple3(m: Machine, at: int) -> int:
    last, middle = m.stack.pop(), m.stack.pop()
    m.stack[-1] = (m.stack[-1], middle, last)
    return at


@STRUCTURE.handles(b"l")
def _list(m: Machine, at: int) -> int:
    items = m.since_mark()
    m.stack.append(items)
    return at


@STRUCTURE.handles(b"d")
def _dict(m: Machine, at: int) -> int:
    items = m.since_mark()
    m.stack.append(Record(DICT))
    _extend_entries(m, items)
    return at


@STRUCTURE.handles(b"\x91")
def _frozenset(m: Machine, at: int) -> int:
    record = Record(FROZENSET)
    record.items = m.since_mark()
    m.stack.append(record)
    return at


@STRUCTURE.handles(b"a")
def _append(m: Machine, at: int) -> int:
    _extend_items(m, [m.stack.pop()])
    return at


@STRUCTURE.handles(b"e", b"\x90")
def _appends(m: Machine, at: int) -> int:
    _extend_items(m, m.since_mark())
    return at


@STRUCTURE.handles(b"s")
def _setitem(m: Machine, at: int) -> int:
    value, key = m.stack.pop(), m.stack.pop()
    _extend_entries(m, [key, value])
    return at


@STRUCTURE.handles(b"u")
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


@STRUCTURE.handles(b"c")
def _global(m: Machine, at: int) -> int:
    module, at = m.line(at)
    name, at = m.line(at)
    m.stack.append(Global(f"{module.decode()}.{name.decode()}"))
    return at


@STRUCTURE.handles(b"\x93")
def _stack_global(m: Machine, at: int) -> int:
    name, module = m.stack.pop(), m.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise Malformed("a global without a name")
    m.stack.append(Global(f"{module}.{name}"))
    return at


@STRUCTURE.handles(b"R", b"\x81")
def _call(m: Machine, at: int) -> int:
    args = m.stack.pop()
    m.stack[-1] = Record(m.stack[-1], args)
    return at


@STRUCTURE.handles(b"\x92")
def _call_with_keywords(m: Machine, at: int) -> int:
    kwargs, args = m.stack.pop(), m.stack.pop()
    m.stack[-1] = Record(m.stack[-1], args, kwargs)
    return at


@STRUCTURE.handles(b"i")
def _inst(m: Machine, at: int) -> int:
    at = _global(m, at)
    cls = m.stack.pop()
    args = tuple(m.since_mark())
    m.stack.append(Record(cls, args))
    return at


@STRUCTURE.handles(b"o")
def _obj(m: Machine, at: int) -> int:
    cls, *args = m.since_mark() or [None]
    m.stack.append(Record(cls, tuple(args)))
    return at


@STRUCTURE.handles(b"b")
def _build(m: Machine, at: int) -> int:
    state = m.stack.pop()
    if not isinstance(m.stack[-1], Record):
        raise Malformed("gives a state to something that has none")
    m.stack[-1].state = state
    return at


@STRUCTURE.handles(b"Q")
def _binpersid(m: Machine, at: int) -> int:
    m.stack[-1] = PersistentId(m.stack[-1])
    return at


@STRUCTURE.handles(b"P")
def _persid(m: Machine, at: int) -> int:
    text, end = m.line(at)
    m.stack.append(PersistentId(text.decode()))
    return end


@STRUCTURE.handles(b"\x82", b"\x83", b"\x84")
def _extension(m: Machine, at: int) -> int:
    raise Unsafe("the pickle uses an extension code, which only the program that wrote it can explain")


@STRUCTURE.handles(b"\x97", b"\x98")
def _buffer(m: Machine, at: int) -> int:
    raise Unsupported("the pickle refers to buffers outside of it, which are not in the file")


@STRUCTURE.handles(b"\x80")
def _proto(m: Machine, at: int) -> int:
    if m.data[at] > HIGHEST_PROTOCOL:
        raise Unsupported(
            "a pickle protocol that is not known", expected=f"0 to {HIGHEST_PROTOCOL}", found=m.data[at]
        )
    return at + 1


@STRUCTURE.handles(b"\x95")
def _frame(m: Machine, at: int) -> int:
    (length,) = _U64.unpack_from(m.data, at)
    if length > len(m.data) - at - 8:
        raise Truncated("the pickle ends in the middle", expected=f"a frame of {length} bytes")
    return at + 8


@STRUCTURE.handles(b"0")
def _pop(m: Machine, at: int) -> int:
    # POP may also take away a MARK.
    if m.stack:
        m.stack.pop()
    else:
        m.since_mark()
    return at


@STRUCTURE.handles(b"1")
def _pop_mark(m: Machine, at: int) -> int:
    m.since_mark()
    return at


@STRUCTURE.handles(b"2")
def _dup(m: Machine, at: int) -> int:
    m.stack.append(m.stack[-1])
    return at


@STRUCTURE.handles(b".")
def _stop(m: Machine, at: int) -> int:
    if len(m.stack) != 1 or m.set_aside:
        raise Malformed("the pickle ends with something other than one value")
    return -at
