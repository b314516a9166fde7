"""Writing PyTorch's zip format, as `torch.load(weights_only=True, mmap=True)` reads it; without PyTorch.

Every tensor gets a storage of its own. The checksums stand in the storages' local headers and in the directory, so
these are written last, when the bytes have passed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from zlib import crc32

from porter.errors import Unsupported
from porter.formats.dtypes import TEXT, DType
from porter.formats.model import Layout, Slot, SlotChecksums, TensorSpec
from porter.formats.zip_archive import Member, directory, local_header

_FOLDER = "archive/"


def layout(specs: Sequence[TensorSpec], *, versions: Mapping[str, int] | None = None) -> Layout:
    """A file that holds an OrderedDict of `specs`, in their order.

    Args:
        versions: module path -> version, to be written as the state dict's `_metadata`.

    Raises:
        Unsupported: PyTorch has no such element type.
    """
    pickle = _pickle(specs, versions)
    fixed = {
        "data.pkl": pickle,
        ".format_version": b"1",
        ".storage_alignment": b"64",
        "byteorder": b"little",
        "version": b"3\n",
        # Identifies the file to tools that look for copies; PyTorch makes it from names and checksums, 40 digits.
        ".data/serialization_id": b"%040d" % crc32(pickle),
    }
    literals: list[tuple[int, bytes]] = []
    members: list[Member] = []
    position = 0
    for name, content in fixed.items():
        member = Member(_FOLDER + name, position, len(content), crc32(content))
        literals.append((position, local_header(member) + content))
        position += len(literals[-1][1])
        members.append(member)
    slots: dict[str, tuple[Slot, ...]] = {}
    storages: dict[str, Member] = {}
    for i, spec in enumerate(specs):
        storages[spec.name] = member = Member(f"{_FOLDER}data/{i}", position, spec.nbytes, 0)
        start = position + len(local_header(member))
        slots[spec.name] = (Slot(start, spec.nbytes),)
        position = start + spec.nbytes

    def finish(checksums: SlotChecksums) -> Iterator[tuple[int, bytes]]:
        written = [member._replace(crc32=checksums[name][0]) for name, member in storages.items()]
        for member in written:
            yield member.header, local_header(member)
        yield position, directory([*members, *written], position)

    size = position + len(directory([*members, *storages.values()], position))
    return Layout(size, tuple(literals), slots, finish)


def _pickle(specs: Sequence[TensorSpec], versions: Mapping[str, int] | None) -> bytes:
    """The object tree, in the pickle opcodes torch itself writes: protocol 2."""
    tensors = b"".join(_text(spec.name) + _tensor(spec, str(i)) for i, spec in enumerate(specs))
    tree = b"\x80\x02" + _ORDERED_DICT + b"(" + tensors + b"u"
    if versions is not None:
        facts = b"".join(
            _text(path) + b"}" + _text("version") + _integer(version) + b"s" for path, version in versions.items()
        )
        tree += b"}" + _text("_metadata") + _ORDERED_DICT + b"(" + facts + b"us" + b"b"
    return tree + b"."


def _tensor(spec: TensorSpec, key: str) -> bytes:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)."""
    dtype = spec.dtype
    if dtype is TEXT:
        raise Unsupported("text is no tensor in PyTorch", entry=spec.name, hint="Leave this entry out.")
    strides, step = [], 1
    for n in reversed(spec.shape):
        strides.append(step)
        step *= max(n, 1)
    view = _integer(0) + _integers(spec.shape) + _integers(strides[::-1])
    if dtype.storage:
        function, named = "_rebuild_tensor_v2", b""
    else:
        # A type newer than the typed storages: bytes, and the type's name beside them.
        function, named = "_rebuild_tensor_v3", _global("torch", dtype.name)
    no_gradient, no_hooks = b"\x89", _ORDERED_DICT
    arguments = _storage(dtype, key, spec.nbytes) + view + no_gradient + no_hooks + named
    return _global("torch._utils", function) + b"(" + arguments + b"tR"


def _storage(dtype: DType, key: str, nbytes: int) -> bytes:
    """The persistent id ("storage", class, key, location, numel)."""
    cls = _global("torch", dtype.storage) if dtype.storage else _global("torch.storage", "UntypedStorage")
    numel = nbytes // dtype.itemsize if dtype.storage else nbytes
    return b"(" + _text("storage") + cls + _text(key) + _text("cpu") + _integer(numel) + b"tQ"


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
