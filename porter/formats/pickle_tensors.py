"""The pickle of a state dict read a tensor at a time: tens of thousands of them differ in little but their names.

PyTorch pickles every tensor with the same thirty opcodes. One regular expression takes them here, where the pickle
machine would take each by itself and keep all that any of them might recall. What comes out is the same: before
anything that could make a difference this reader gives up, and the machine reads the whole pickle by itself.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any

from porter.errors import InputError
from porter.formats.pickle_records import Global, TensorCall, TensorKind
from porter.formats.pickle_stack import Handler, Machine

_PROTO_2 = b"\x80\x02"
_TEXT, _PUT, _LONG_PUT, _GET = b"Xqrh"
_GETS = b"hj"
# MEMOIZE counts what is in the memo, which is not all kept here. PUT is of protocol 0, and spells its number in text.
_UNFORESEEN = b"\x94p"
_SIGNED = ord("J")
# How many numbers TUPLE1, TUPLE2 and TUPLE3 take.
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}

_U32 = struct.Struct("<I")
# A number below this is kept, whoever recalls it: where BINGET stands is not to be seen without reading opcodes.
_RECALLED_BY_ONE_BYTE = 256


def _pattern(opcodes: bytes) -> re.Pattern[bytes]:
    for word, meaning in (
        (b"SIZES", rb"(K.\x85|\(INT{0,64}t|INT{1,3}[\x85-\x87]|\))PUT"),
        (b"INT", rb"(?:K.|M..|J....)"),
        (b"GET", rb"(?:h.|j....)"),
        (b"PUT", rb"(r....|)"),
    ):
        opcodes = opcodes.replace(word, meaning)
    return re.compile(opcodes, re.DOTALL)


# torch._utils._rebuild_tensor_v2(("storage", class, key, location, numel), offset, size, stride, requires_grad,
# OrderedDict()), with all that is the same for every tensor recalled from the memo.
_TENSOR = _pattern(
    rb"(GET\(\(GETGET)X(.)\0\0\0([0-9]+)PUT(GET)(INT)tPUTQ(INT)SIZESSIZES[\x88\x89](GET)\)RPUTtPUTRPUT"
)
# Of its groups, those that alike tensors have in common; the others are key and puts.
_KIND = itemgetter(0, 4, 5, 7, 8, 10, 12)
_RECALLS = _pattern(rb"GET")
_INTEGERS = _pattern(rb"INT")


class _GivesUp(Exception):
    """Something that only the machine itself reads aright."""


def load_tensors(data: bytes, start: int, handlers: Sequence[Handler]) -> tuple[Any, int] | None:
    """What `porter.formats.pickle_machine.load` returns, tensors as TensorCalls; None where it must do it itself.

    Args:
        handlers: what all other opcodes do.
    """
    if data[start : start + 2] == _PROTO_2:
        with suppress(_GivesUp, InputError, struct.error, LookupError, ValueError):
            return _Reader(data, start).read(start, handlers)
    return None


class _Reader(Machine):
    """A machine that remembers only what may be recalled."""

    def __init__(self, data: bytes, start: int) -> None:
        super().__init__(data)
        self.kept = _recalled_puts(data, start)
        self.kinds: dict[tuple[bytes, ...], TensorKind | None] = {}

    def read(self, at: int, handlers: Sequence[Handler]) -> tuple[Any, int]:
        """The value and the position behind it.

        Raises:
            _GivesUp, InputError, struct.error, LookupError, ValueError: only the machine can tell what is here.
        """
        data, match = self.data, _TENSOR.match
        while True:
            code = data[at]
            if code == _TEXT:
                start = at + 5
                at = start + _U32.unpack_from(data, at + 1)[0]
                self.stack.append(str(data[start:at], "utf-8", "surrogatepass"))
                if data[at] == _LONG_PUT and data[at : at + 5] not in self.kept:
                    at += 5
            elif code == _LONG_PUT:
                put = data[at : at + 5]
                if put in self.kept:
                    self.remember(_U32.unpack_from(put, 1)[0])
                at += 5
            elif code == _PUT:
                self.remember(data[at + 1])
                at += 2
            elif code in _GETS and (found := match(data, at)) and self.take_tensor(found):
                at = found.end()
            elif code in _UNFORESEEN:
                raise _GivesUp
            else:
                position = handlers[code](self, at + 1)
                if position < 0:
                    return self.stack.pop(), -position
                at = position

    def remember(self, number: int) -> None:
        """Put what is on top of the stack into the memo."""
        if number in self.memo:
            self.kinds.clear()
        self.memo[number] = self.stack[-1]

    def take_tensor(self, found: re.Match[bytes]) -> bool:
        """Put the tensor on the stack, unless it is none or a part of it may be recalled elsewhere."""
        parts = found.groups()
        alike = _KIND(parts)
        if alike not in self.kinds:
            self.kinds[alike] = self.kind(*alike)
        kind = self.kinds[alike]
        if kind is None or not self.kept.isdisjoint(parts):
            return False
        length, key = parts[1:3]
        if length[0] != len(key):
            raise _GivesUp
        self.stack.append(TensorCall(key.decode(), kind))
        return True

    def kind(
        self, storage: bytes, location: bytes, numel: bytes, offset: bytes, shape: bytes, strides: bytes, hooks: bytes
    ) -> TensorKind | None:
        """What these opcodes say of a tensor; None where they make something else."""
        function, word, cls = map(self.recalled, _RECALLS.findall(storage))
        place, hooks_class = self.recalled(location), self.recalled(hooks)
        globals_fit = (_path(function), _path(hooks_class)) == (TensorCall.path, "collections.OrderedDict")
        if not globals_fit or word != "storage" or not isinstance(cls, Global) or type(place) is not str:
            return None
        return TensorKind(cls.path, place, _number(numel), _number(offset), _numbers(shape), _numbers(strides))

    def recalled(self, get: bytes) -> Any:
        return self.memo[get[1] if get[0] == _GET else _U32.unpack_from(get, 1)[0]]


def _recalled_puts(data: bytes, start: int) -> set[bytes]:
    """The opcodes LONG_BINPUT of all numbers that may be recalled: more than are, for text may look like a recall."""
    numbers = set(range(_RECALLED_BY_ONE_BYTE))
    at = data.find(b"j", start)
    while at >= 0:
        numbers.add(int.from_bytes(data[at + 1 : at + 5], "little"))
        at = data.find(b"j", at + 1)
    # A pickle numbers what it holds from 0 on; where one is recalled all the same that is not kept, it is missed.
    return {b"r" + _U32.pack(number) for number in numbers if number < len(data)}


def _path(value: Any) -> str:
    return value.path if isinstance(value, Global) else ""


def _number(opcodes: bytes) -> int:
    number = int.from_bytes(opcodes[1:], "little", signed=opcodes[0] == _SIGNED)
    if number < 0:
        raise _GivesUp
    return number


def _numbers(opcodes: bytes) -> tuple[int, ...]:
    """The numbers of which `opcodes` make a tuple."""
    numbers = tuple(map(_number, _INTEGERS.findall(opcodes.removeprefix(b"("))))
    if _TUPLES.get(opcodes[-1], len(numbers)) != len(numbers):
        raise _GivesUp
    return numbers
