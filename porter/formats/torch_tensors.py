"""From the inert records of a torch pickle to tensors and where their bytes lie.

PyTorch pickles a tensor as a call of `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)`; which
calls there are is read off torch/_utils.py and torch/_tensor.py (2.13). Sizes, offsets and strides count elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from porter.errors import LimitExceeded, Malformed, Unsupported
from porter.formats.dtypes import BY_NAME, BY_STORAGE, TEXT, DType
from porter.formats.model import Extent, StoredTensor, StridedView, TensorSpec
from porter.formats.pickle_records import Global, PersistentId, Record

# torch itself stops at 64.
MAX_DIMENSIONS = 64
# How many times the file's size all its tensors together may hold, those that share bytes counted each.
MAX_EXPANSION = 100
_INT64 = 1 << 63

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


class StorageRef(NamedTuple):
    """A storage as the pickle refers to it: its key in the file and its length in bytes."""

    key: str
    nbytes: int


class PickledTensor(NamedTuple):
    """A tensor as pickled: offset and strides count elements of `spec.dtype` in `storage`."""

    spec: TensorSpec
    storage: StorageRef
    offset: int
    strides: tuple[int, ...]


def is_tensor(value: Any) -> bool:
    """Whether `value` is a tensor, be it one that cannot be carried."""
    return _undressed(value) is not None


def pickled_tensor(name: str, value: Any) -> PickledTensor | None:
    """The tensor that `value` describes, its geometry checked; None where it is no tensor.

    Raises:
        Malformed: arguments that no tensor has, or a view that reaches outside of its storage.
        Unsupported: a kind of tensor or an element type that cannot be carried.
        LimitExceeded: too many dimensions.
        (each with `name` as the entry; the file is for the caller to add)
    """
    call = _undressed(value)
    if call is None:
        return None
    if call.path not in _DENSE:
        raise Unsupported("it cannot be carried", entry=name, found=_REFUSED.get(call.path, call.path))
    dtype_index, bits_index = _DENSE[call.path]
    args = call.args
    if not isinstance(args, tuple) or len(args) < (dtype_index or 3) + 1:
        raise Malformed("a tensor that is rebuilt from too few arguments", entry=name)
    if len(args) > bits_index and isinstance(args[bits_index], Record) and args[bits_index].entries:
        raise Unsupported(
            "it is stored conjugated or negated",
            entry=name,
            hint="Save tensor.resolve_conj().resolve_neg() instead.",
        )
    storage, stored_as = storage_of(name, args[0])
    dtype = stored_as if dtype_index is None else _named_dtype(name, args[dtype_index])
    shape, strides = _counts(name, "size", args[2]), _counts(name, "stride", args[3])
    (offset,) = _counts(name, "storage offset", (args[1],))
    tensor = PickledTensor(TensorSpec(name, dtype, shape), storage, offset, strides)
    _check_geometry(tensor)
    return tensor


def storage_of(name: str, value: Any) -> tuple[StorageRef, DType]:
    """The storage a persistent id names, ("storage", class, key, location, numel[, view]), and its element type.

    Args:
        name: what to call the entry in messages.

    Raises:
        Malformed: `value` is no such persistent id.
        Unsupported: a view, a meta storage, or an element type that cannot be carried.
    """
    fields = value.value if isinstance(value, PersistentId) else None
    if not isinstance(fields, tuple) or len(fields) < 5 or fields[0] != "storage":
        raise Malformed("a tensor without a storage", entry=name)
    cls, key, location, numel = fields[1:5]
    if not (isinstance(cls, Global) and isinstance(key, str) and type(numel) is int and 0 <= numel < _INT64):
        raise Malformed("a reference to a storage that no torch writes", entry=name)
    if len(fields) > 5 and fields[5] is not None:
        raise Unsupported("its storage is a view of another one", entry=name, hint="Save it with a newer PyTorch.")
    if location == "meta":
        raise Unsupported("it cannot be carried", entry=name, found="a meta tensor, which has a shape but no numbers")
    dtype = _storage_dtype(name, cls)
    return StorageRef(key, numel * dtype.itemsize), dtype


def place_all(
    tensors: Iterable[PickledTensor], locate: Callable[[StorageRef], Extent], *, file_size: int
) -> dict[str, StoredTensor]:
    """Every tensor with the place of its bytes, by name.

    Args:
        locate: the place of a storage in the file.
        file_size: bytes in the file. What the tensors hold in C order must be in proportion to it: a stride of 0
            lets a file of 1 KB describe a petabyte.

    Raises:
        LimitExceeded: out of proportion.
        Malformed: a storage in the file is not as long as the pickle says.
    """
    placed, total = {}, 0
    for tensor in tensors:
        nbytes = tensor.spec.nbytes
        total += nbytes
        if nbytes > file_size or total > MAX_EXPANSION * file_size:
            raise LimitExceeded(
                "expanded to its full size it is out of proportion to the file",
                entry=tensor.spec.name,
                expected=f"a file of {file_size} bytes",
                found=f"{total} bytes",
            )
        placed[tensor.spec.name] = _place(tensor, locate(tensor.storage))
    return placed


def _place(tensor: PickledTensor, storage: Extent) -> StoredTensor:
    """`tensor` with the place of its bytes, given that of its whole storage.

    Raises:
        Malformed: the storage in the file is not as long as the pickle says.
    """
    spec, itemsize = tensor.spec, tensor.spec.dtype.itemsize
    if storage.length != tensor.storage.nbytes:
        raise Malformed(
            "the storage is not as long as the pickle says",
            entry=spec.name,
            expected=f"{tensor.storage.nbytes} bytes",
            found=f"{storage.length} bytes",
        )
    nbytes = spec.nbytes
    if not nbytes:
        return StoredTensor(spec, ())
    if not _is_contiguous(spec.shape, tensor.strides):
        return StoredTensor(spec, (storage,), StridedView(tensor.offset, tensor.strides))
    # Most tensors are the whole of their storage.
    whole = nbytes == storage.length
    place = storage if whole else Extent(storage.file, storage.offset + tensor.offset * itemsize, nbytes)
    return StoredTensor(spec, (place,))


def _undressed(value: Any) -> Record | None:
    """The innermost call that rebuilds a tensor, None where `value` is no tensor."""
    # Parameter over subclass over tensor is three deep; a stranger's pickle must not send us round in circles.
    for _ in range(8):
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


def _storage_dtype(name: str, cls: Global) -> DType:
    module, _, storage = cls.path.rpartition(".")
    # An untyped storage counts bytes; the dtype stands beside it.
    if storage == "UntypedStorage":
        return BY_NAME["uint8"]
    if module not in ("torch", "torch.cuda") or storage not in BY_STORAGE:
        raise Unsupported("its element type cannot be carried", entry=name, found=cls.path)
    return BY_STORAGE[storage]


def _named_dtype(name: str, value: Any) -> DType:
    module, _, dtype = value.path.rpartition(".") if isinstance(value, Global) else ("", "", "")
    if module != "torch" or dtype not in BY_NAME or dtype == TEXT.name:
        raise Unsupported("its element type cannot be carried", entry=name, found=getattr(value, "path", "no dtype"))
    return BY_NAME[dtype]


def _counts(name: str, what: str, value: Any) -> tuple[int, ...]:
    """`value` as a tuple of whole numbers from 0 to 2^63 - 1."""
    if isinstance(value, tuple) and len(value) > MAX_DIMENSIONS:
        raise LimitExceeded("too many dimensions", entry=name, expected=f"up to {MAX_DIMENSIONS}", found=len(value))
    if not isinstance(value, tuple):
        raise Malformed(f"a {what} that no tensor has", entry=name, expected="a tuple", found=type(value).__name__)
    for n in value:
        if type(n) is not int or not 0 <= n < _INT64:
            raise Malformed(f"a {what} that no tensor has", entry=name, expected="whole numbers from 0 to 2^63 - 1")
    return value


def _check_geometry(tensor: PickledTensor) -> None:
    """Every element that the shape names lies inside the storage, as the pickle gives its length."""
    spec = tensor.spec
    if len(spec.shape) != len(tensor.strides):
        raise Malformed(
            "as many strides as sizes are needed",
            entry=spec.name,
            expected=len(spec.shape),
            found=len(tensor.strides),
        )
    last = tensor.offset
    for n, stride in zip(spec.shape, tensor.strides, strict=True):
        if n == 0:
            return
        last += (n - 1) * stride
    if (last + 1) * spec.dtype.itemsize > tensor.storage.nbytes:
        raise Malformed(
            "the tensor reaches outside of its storage",
            entry=spec.name,
            expected=f"{(last + 1) * spec.dtype.itemsize} bytes",
            found=f"{tensor.storage.nbytes} bytes",
        )


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    step = 1
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and stride != step:
            return False
        step *= n
    return True
