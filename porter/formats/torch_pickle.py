"""Writing a torch pickle: the opcodes that torch.save itself writes, protocol 2, without PyTorch.

What can be written is what `torch.load(weights_only=True)` takes: state dicts, tensors, dictionaries, lists, tuples,
text, numbers, booleans and None.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any, NamedTuple

from porter.errors import Unsupported
from porter.formats.dtypes import TEXT, DType
from porter.formats.model import TensorSpec


class StateDictTree(NamedTuple):
    """An OrderedDict of tensors under their own names; `versions` (module path -> version) is its `_metadata`."""

    specs: Sequence[TensorSpec]
    versions: Mapping[str, int] | None = None


def tensors_in(tree: Any) -> Iterator[TensorSpec]:
    """The tensors of a tree, in the order in which `pickled` numbers their storages."""
    if isinstance(tree, TensorSpec):
        yield tree
    elif isinstance(tree, StateDictTree):
        yield from tree.specs
    elif isinstance(tree, (Mapping, list, tuple)):
        for part in tree.values() if isinstance(tree, Mapping) else tree:
            yield from tensors_in(part)


def pickled(tree: Any, shared: Mapping[str, str]) -> bytes:
    """The pickle of `tree`: StateDictTree, TensorSpec, dict (keys text or numbers), list, tuple, text, number, None.

    Every tensor gets a storage of its own, whose key is its place in `tensors_in(tree)`; those of `shared` that of
    another one (name -> name).

    Raises:
        Unsupported: a text entry among the tensors.
    """
    keys = {}
    if shared:
        keys = {spec.name: i for i, spec in enumerate(tensors_in(tree))}
        keys = {name: keys[keeper] for name, keeper in shared.items()}
    parts = [b"\x80\x02"]
    _Pickler(parts, keys).value(tree)
    return b"".join([*parts, b"."])


class _Pickler:
    """Appends the opcodes of values to `parts`.

    Args:
        parts: what has been written so far.
        shared: name of a tensor -> key of its storage, where that is another one's.
    """

    def __init__(self, parts: list[bytes], shared: Mapping[str, int]) -> None:
        self._write = parts.append
        self._shared = shared
        self._tensors = 0
        self._memo: dict[bytes, bytes] = {}
        self._around_keys: dict[tuple[DType, tuple[int, ...]], tuple[bytes, bytes]] = {}

    def value(self, value: Any) -> None:
        if isinstance(value, TensorSpec):
            self._tensor(value)
        elif isinstance(value, StateDictTree):
            self._state_dict(value)
        elif isinstance(value, Mapping):
            self._write(b"}(")
            for item in chain.from_iterable(value.items()):
                self.value(item)
            self._write(b"u")
        elif isinstance(value, (list, tuple)):
            opening, closing = (b"](", b"e") if isinstance(value, list) else (b"(", b"t")
            self._write(opening)
            for item in value:
                self.value(item)
            self._write(closing)
        else:
            self._write(_plain(value))

    def _state_dict(self, state_dict: StateDictTree) -> None:
        self._write(self._once(_ORDERED_DICT) + b")R(")
        for spec in state_dict.specs:
            self._write(_text(spec.name))
            self._tensor(spec)
        self._write(b"u")
        if state_dict.versions is not None:
            self._write(b"}" + _text("_metadata") + self._once(_ORDERED_DICT) + b")R(")
            for path, version in state_dict.versions.items():
                self._write(_text(path) + b"}" + _text("version") + _integer(version) + b"s")
            self._write(b"usb")

    def _tensor(self, spec: TensorSpec) -> None:
        if spec.dtype is TEXT:
            raise Unsupported("text is no tensor in PyTorch", entry=spec.name, hint="Leave this entry out.")
        around = self._around_keys.get((spec.dtype, spec.shape)) or self._around_key(spec.dtype, spec.shape)
        key = self._shared.get(spec.name, self._tensors) if self._shared else self._tensors
        self._tensors += 1
        digits = b"%d" % key
        self._write(b"%bX%c\0\0\0%b%b" % (around[0], len(digits), digits, around[1]))

    def _around_key(self, dtype: DType, shape: tuple[int, ...]) -> tuple[bytes, bytes]:
        """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks), cut at a key.

        It is that of the storage, which is the persistent id ("storage", class, key, location, numel).
        """
        known = len(self._memo)
        nbytes = prod(shape) * dtype.itemsize
        if dtype.storage:
            cls, numel = _global("torch", dtype.storage), nbytes // dtype.itemsize
            function, name = "_rebuild_tensor_v2", b""
        else:
            cls, numel = _global("torch.storage", "UntypedStorage"), nbytes
            # A type newer than the typed storages: bytes, and the type's name beside them.
            function, name = "_rebuild_tensor_v3", _global("torch", dtype.name)
        before = self._once(_global("torch._utils", function)) + b"(("
        before += self._once(_text("storage")) + self._once(cls)
        after = self._once(_text("cpu")) + _integer(numel) + b"tQ"
        after += _integer(0) + _integers(shape) + _integers(_contiguous(shape))
        # No gradient, no hooks.
        after += b"\x89" + self._once(_ORDERED_DICT) + b")R" + (self._once(name) if name else b"") + b"tR"
        if len(self._memo) == known:
            self._around_keys[dtype, shape] = before, after
        return before, after

    def _once(self, opcodes: bytes) -> bytes:
        """`opcodes`, which push something, the first time; from then on, what recalls it."""
        recalled = self._memo.get(opcodes)
        if recalled is not None:
            return recalled
        number = bytes([len(self._memo)])
        self._memo[opcodes] = b"h" + number
        return opcodes + b"q" + number


def _contiguous(shape: tuple[int, ...]) -> list[int]:
    """The strides of C order."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return strides[::-1]


def _plain(value: str | float | None) -> bytes:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    return b"G" + struct.pack(">d", value) if isinstance(value, float) else _integer(value)


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + _U32.pack(len(data)) + data


def _integer(number: int) -> bytes:
    if -(1 << 31) <= number < 1 << 31:
        return b"J" + struct.pack("<i", number)
    return b"\x8a\x08" + struct.pack("<q", number)


def _integers(numbers: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(_integer, numbers)) + b"t"


_U32 = struct.Struct("<I")
_ORDERED_DICT = _global("collections", "OrderedDict")
