"""Writing a torch pickle: the opcodes that torch.save itself writes, protocol 2, without PyTorch.

What can be written is what `torch.load(weights_only=True)` takes: state dicts, tensors, dictionaries, lists, tuples,
text, numbers, booleans and None.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

from porter.errors import Unsupported
from porter.formats.dtypes import TEXT, DType
from porter.formats.model import TensorSpec


@dataclass(frozen=True)
class StateDictTree:
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
    keys = {spec.name: str(i) for i, spec in enumerate(tensors_in(tree))}
    keys |= {name: keys[keeper] for name, keeper in shared.items()}
    return b"\x80\x02" + _value(tree, keys) + b"."


def _value(value: Any, keys: Mapping[str, str]) -> bytes:
    if isinstance(value, TensorSpec):
        return _tensor(value, keys[value.name])
    if isinstance(value, StateDictTree):
        return _state_dict(value, keys)
    if isinstance(value, Mapping):
        return b"}(" + b"".join(_value(k, keys) + _value(v, keys) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(_value(item, keys) for item in value) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(_value(item, keys) for item in value) + b"t"
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    return b"G" + struct.pack(">d", value) if isinstance(value, float) else _integer(value)


def _state_dict(state_dict: StateDictTree, keys: Mapping[str, str]) -> bytes:
    tensors = b"".join(_text(spec.name) + _tensor(spec, keys[spec.name]) for spec in state_dict.specs)
    pickle = _ORDERED_DICT + b"(" + tensors + b"u"
    if state_dict.versions is not None:
        facts = b"".join(
            _text(path) + b"}" + _text("version") + _integer(version) + b"s"
            for path, version in state_dict.versions.items()
        )
        pickle += b"}" + _text("_metadata") + _ORDERED_DICT + b"(" + facts + b"us" + b"b"
    return pickle


def _tensor(spec: TensorSpec, key: str) -> bytes:
    if spec.dtype is TEXT:
        raise Unsupported("text is no tensor in PyTorch", entry=spec.name, hint="Leave this entry out.")
    before, after = _around_key(spec.dtype, spec.shape)
    return before + _text(key) + after


@lru_cache(maxsize=1024)
def _around_key(dtype: DType, shape: tuple[int, ...]) -> tuple[bytes, bytes]:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks), cut at the storage's key.

    The storage is the persistent id ("storage", class, key, location, numel).
    """
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    view = _integer(0) + _integers(shape) + _integers(strides[::-1])
    nbytes = prod(shape) * dtype.itemsize
    if dtype.storage:
        cls, numel = _global("torch", dtype.storage), nbytes // dtype.itemsize
        function, named = "_rebuild_tensor_v2", b""
    else:
        cls, numel = _global("torch.storage", "UntypedStorage"), nbytes
        # A type newer than the typed storages: bytes, and the type's name beside them.
        function, named = "_rebuild_tensor_v3", _global("torch", dtype.name)
    no_gradient, no_hooks = b"\x89", _ORDERED_DICT
    before = _global("torch._utils", function) + b"(" + b"(" + _text("storage") + cls
    after = _text("cpu") + _integer(numel) + b"tQ" + view + no_gradient + no_hooks + named + b"tR"
    return before, after


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(number: int) -> bytes:
    if -(1 << 31) <= number < 1 << 31:
        return b"J" + struct.pack("<i", number)
    return b"\x8a\x08" + struct.pack("<q", number)


def _integers(numbers: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(_integer, numbers)) + b"t"


_ORDERED_DICT = _global("collections", "OrderedDict") + b")R"
