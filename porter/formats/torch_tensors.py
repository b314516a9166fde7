"""From the inert records of a torch pickle to tensors and where their bytes lie.

PyTorch pickles a tensor as a call of `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)`; which
calls there are is read off torch/_utils.py and torch/_tensor.py (2.13). Sizes, offsets and strides count elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from porter.errors import InputError, LimitExceeded, Malformed, Unsupported
from porter.formats.dtypes import BY_NAME, BY_STORAGE, TEXT, DType
from porter.formats.model import Extent, StoredTensor, StridedView, TensorSpec
from porter.formats.pickle_records import Global, PersistentId, Record, TensorCall, TensorKind

# torch itself stops at 64.
MAX_DIMENSIONS = 64
# How many times the file's size all its tensors together may hold, those that share bytes counted each.
MAX_EXPANSION = 100
_INT64 = 1 << 63

_new = tuple.__new__

# Calls that rebuild a dense tensor: the argument that names the dtype (None: the storage's class does), and the one
# that holds the conj and neg bits.
_DENSE: Mapping[str, tuple[int | None, int]] = {
    "torch._utils._rebuild_tensor": (None, 4),
    "torch._utils._rebuild_tensor_v2": (None, 6),
    "torch._utils._rebuild_tensor_v3": (6, 7),
}

# Calls that dress up a tensor, their first argument.
_DRESSED = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
    "torch.Tensor",
)

# Calls func(*args) and then changes the class, (func, type, args, state).
_FROM_TYPE = ("torch._tensor._rebuild_from_type_v2", "torch._tensor._rebuild_from_type")

_BY_STORAGE_PATH = {f"{module}.{cls}": BY_STORAGE[cls] for module in ("torch", "torch.cuda") for cls in BY_STORAGE}

_REFUSED: Mapping[str, str] = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantized tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a meta tensor, which has a shape but no numbers",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor of a device that torch stores as a numpy array",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "a tensor of a device without storages of its own",
    "torch._utils._rebuild_xla_tensor": "an XLA tensor",
    "torch._utils._rebuild_wrapper_subclass": "a tensor subclass that wraps other tensors (a DTensor, for one)",
}
_SAVE_INSTEAD: Mapping[str, str] = {
    "torch._utils._rebuild_sparse_tensor": "Save tensor.to_dense() instead.",
    "torch._utils._rebuild_sparse_csr_tensor": "Save tensor.to_dense() instead.",
    "torch._utils._rebuild_qtensor": "Save tensor.dequantize() instead.",
    "torch._utils._rebuild_wrapper_subclass": "Save its full_tensor() instead, where it has one.",
}


class StorageRef(NamedTuple):
    """A storage as the pickle refers to it: its key in the file, its length in bytes, the type of its elements."""

    key: str
    nbytes: int
    dtype: DType


class Geometry(NamedTuple):
    """Where a tensor's elements lie in its storage: every one inside of it. Many tensors have the same.

    Attributes:
        offset: of the first element, in elements, as are the `strides`.
        nbytes: of the tensor in C order.
        storage_nbytes: of the whole storage.
        is_contiguous: the elements lie in C order, without a gap.
        is_whole: they are all that is in the storage, as of most tensors.
    """

    dtype: DType
    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...]
    nbytes: int
    storage_nbytes: int
    is_contiguous: bool
    is_whole: bool


class PickledTensor(NamedTuple):
    """A tensor as pickled; `storage` is the key of its storage in the file."""

    spec: TensorSpec
    storage: str
    geometry: Geometry


def is_tensor(value: Any) -> bool:
    """Whether `value` is a tensor, be it one that cannot be carried."""
    return type(value) is TensorCall or _undressed(value) is not None


def pickled_tensor(name: str, value: Any) -> PickledTensor | None:
    """The tensor that `value` describes, its geometry checked; None where it is no tensor.

    Raises:
        Malformed: arguments that no tensor has, or a view that reaches outside of its storage.
        Unsupported: a kind of tensor or an element type that cannot be carried.
        LimitExceeded: too many dimensions.
        (each with `name` as the entry; the file is for the caller to add)
    """
    call = value if type(value) is TensorCall else _undressed(value)
    if call is None:
        return None
    try:
        if type(call) is TensorCall:
            key, geometry = call.key, _geometry_of_kind(call.kind)
        else:
            key, geometry = _rebuilt(call)
    except InputError as error:
        error.entry = name
        raise
    return _new(PickledTensor, (_new(TensorSpec, (name, geometry.dtype, geometry.shape)), key, geometry))


@lru_cache(maxsize=1024)
def _geometry_of_kind(kind: TensorKind) -> Geometry:
    dtype = _storage_dtype(kind.storage_class, kind.location)
    return _geometry(dtype, kind.shape, kind.offset, kind.strides, kind.numel * dtype.itemsize)


def _rebuilt(call: Record) -> tuple[str, Geometry]:
    """The storage's key and the geometry of the tensor that `call` rebuilds."""
    if call.path not in _DENSE:
        raise Unsupported(
            "it cannot be carried", found=_REFUSED.get(call.path, call.path), hint=_SAVE_INSTEAD.get(call.path)
        )
    dtype_index, bits_index = _DENSE[call.path]
    args = call.args
    if not isinstance(args, tuple) or len(args) < (dtype_index or 3) + 1:
        raise Malformed("a tensor that is rebuilt from too few arguments")
    if len(args) > bits_index and isinstance(args[bits_index], Record) and args[bits_index].entries:
        raise Unsupported(
            "it is stored conjugated or negated",
            hint="Save tensor.resolve_conj().resolve_neg() instead.",
        )
    storage = storage_of(args[0])
    dtype = storage.dtype if dtype_index is None else _named_dtype(args[dtype_index])
    shape, strides = _counts("size", args[2]), _counts("stride", args[3])
    (offset,) = _counts("storage offset", (args[1],))
    return storage.key, _geometry(dtype, shape, offset, strides, storage.nbytes)


def storage_of(value: Any) -> StorageRef:
    """The storage that a persistent id names, ("storage", class, key, location, numel[, view]).

    Raises:
        Malformed: `value` is no such persistent id.
        Unsupported: a view, a meta storage, or an element type that cannot be carried.
    """
    fields = value.value if isinstance(value, PersistentId) else None
    if not isinstance(fields, tuple) or len(fields) < 5 or fields[0] != "storage":
        raise Malformed("a tensor without a storage")
    cls, key, location, numel = fields[1:5]
    if not (isinstance(cls, Global) and isinstance(key, str) and type(numel) is int and 0 <= numel < _INT64):
        raise Malformed("a reference to a storage that no torch writes")
    if len(fields) > 5 and fields[5] is not None:
        raise Unsupported("its storage is a view of another one", hint="Save it with a newer PyTorch.")
    dtype = _storage_dtype(cls.path, location)
    return StorageRef(key, numel * dtype.itemsize, dtype)


def _storage_dtype(cls: str, location: object) -> DType:
    """The type of the elements of a storage of class `cls`."""
    if location == "meta":
        raise Unsupported("it cannot be carried", found="a meta tensor, which has a shape but no numbers")
    # An untyped storage counts bytes; the dtype stands beside it.
    dtype = BY_NAME["uint8"] if cls.endswith(".UntypedStorage") else _BY_STORAGE_PATH.get(cls)
    if dtype is None:
        raise Unsupported("its element type cannot be carried", found=cls)
    return dtype


def place_all(
    tensors: Iterable[PickledTensor], locate: Callable[[str], Extent], *, file_size: int
) -> dict[str, StoredTensor]:
    """Every tensor with the place of its bytes, by name.

    Args:
        locate: the place in the file of the storage with this key.
        file_size: bytes in the file. What the tensors hold in C order must be in proportion to it: a stride of 0
            lets a file of 1 KB describe a petabyte.

    Raises:
        LimitExceeded: out of proportion.
        Malformed: a storage in the file is not as long as the pickle says.
    """
    placed, total, most = {}, 0, MAX_EXPANSION * file_size
    for spec, key, geometry in tensors:
        total += geometry.nbytes
        if geometry.nbytes > file_size or total > most:
            raise LimitExceeded(
                "expanded to its full size it is out of proportion to the file",
                entry=spec.name,
                expected=f"a file of {file_size} bytes",
                found=f"{total} bytes",
            )
        storage = locate(key)
        if storage.length != geometry.storage_nbytes:
            raise Malformed(
                "the storage is not as long as the pickle says",
                entry=spec.name,
                expected=f"{geometry.storage_nbytes} bytes",
                found=f"{storage.length} bytes",
            )
        if geometry.is_whole:
            placed[spec.name] = _new(StoredTensor, (spec, (storage,), None))
        else:
            placed[spec.name] = _part(spec, geometry, storage)
    return placed


def _part(spec: TensorSpec, geometry: Geometry, storage: Extent) -> StoredTensor:
    """A tensor that is not the whole of `storage`, as it lies there."""
    if not geometry.nbytes:
        return StoredTensor(spec, ())
    if not geometry.is_contiguous:
        return StoredTensor(spec, (storage,), StridedView(geometry.offset, geometry.strides))
    start = storage.offset + geometry.offset * geometry.dtype.itemsize
    return StoredTensor(spec, (Extent(storage.file, start, geometry.nbytes),))


def _undressed(value: Any) -> Record | TensorCall | None:
    """The innermost call that rebuilds a tensor, None where `value` is no tensor."""
    # Parameter over subclass over tensor is three deep; a stranger's pickle must not send us round in circles.
    for _ in range(8):
        if isinstance(value, TensorCall):
            return value
        if not isinstance(value, Record):
            return None
        path, args = value.path, value.args
        if path in _DENSE or (path.startswith("torch._utils._rebuild_") and path not in _DRESSED):
            return value
        if not isinstance(args, tuple):
            return None
        if path in _DRESSED and args:
            value = args[0]
        elif path in _FROM_TYPE and len(args) >= 3:
            value = Record(args[0], args[2])
        else:
            return None
    return None


def _named_dtype(value: Any) -> DType:
    module, _, dtype = value.path.rpartition(".") if isinstance(value, Global) else ("", "", "")
    if module != "torch" or dtype not in BY_NAME or dtype == TEXT.name:
        raise Unsupported("its element type cannot be carried", found=getattr(value, "path", "no dtype"))
    return BY_NAME[dtype]


def _counts(what: str, value: Any) -> tuple[int, ...]:
    """`value` as a tuple of whole numbers from 0 to 2^63 - 1."""
    if isinstance(value, tuple) and len(value) > MAX_DIMENSIONS:
        raise LimitExceeded("too many dimensions", expected=f"up to {MAX_DIMENSIONS}", found=len(value))
    if not isinstance(value, tuple):
        raise Malformed(f"a {what} that no tensor has", expected="a tuple", found=type(value).__name__)
    for n in value:
        if type(n) is not int or not 0 <= n < _INT64:
            raise Malformed(f"a {what} that no tensor has", expected="whole numbers from 0 to 2^63 - 1")
    return value


def _geometry(
    dtype: DType, shape: tuple[int, ...], offset: int, strides: tuple[int, ...], storage_nbytes: int
) -> Geometry:
    """The geometry of these numbers, if every element that the shape names lies inside of the storage."""
    if len(shape) != len(strides):
        raise Malformed("as many strides as sizes are needed", expected=len(shape), found=len(strides))
    if 0 not in shape:
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if (last + 1) * dtype.itemsize > storage_nbytes:
            raise Malformed(
                "the tensor reaches outside of its storage",
                expected=f"{(last + 1) * dtype.itemsize} bytes",
                found=f"{storage_nbytes} bytes",
            )
    nbytes = prod(shape) * dtype.itemsize
    contiguous = _is_contiguous(shape, strides)
    is_whole = contiguous and 0 < nbytes == storage_nbytes
    return Geometry(dtype, shape, offset, strides, nbytes, storage_nbytes, contiguous, is_whole)


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    step = 1
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and stride != step:
            return False
        step *= n
    return True
