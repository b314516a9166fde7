"""Makes torch files, sound and hostile ones, and compares what is read with what torch holds."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from porter.formats import torch_legacy, torch_zip
from porter.formats.model import Checkpoint
from porter.formats.transfer import TensorReader
from porter.formats.writing import write_layout

READERS = {"zip": torch_zip, "legacy": torch_legacy}


def save(value: Any, path: Path, format: str = "zip", **options: Any) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=format == "zip", **options)
    return path


def read(path: Path, format: str = "zip", key: str | None = None) -> Checkpoint:
    assert READERS[format].recognises(path.read_bytes()[:4096], path.stat().st_size)
    return READERS[format].read(path, key=key)


def convert(checkpoint: Checkpoint, path: Path) -> Path:
    """Write `checkpoint` as a zip .pth."""
    layout = torch_zip.layout(checkpoint.specs, versions=checkpoint.versions)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        with TensorReader(checkpoint) as reader:
            write_layout(descriptor, layout, reader.chunks)
    finally:
        os.close(descriptor)
    assert path.stat().st_size == layout.size
    return path


def raw(tensor: torch.Tensor) -> bytes:
    """The C-order bytes of a tensor, of any dtype."""
    storage = tensor.detach().clone(memory_format=torch.contiguous_format).untyped_storage()
    return torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes()


def contents(checkpoint: Checkpoint) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    with TensorReader(checkpoint) as reader:
        data = {name: b"".join(bytes(chunk) for chunk in reader.chunks(name)) for name in checkpoint.tensors}
        reader.check_unread()
    specs = {name: tensor.spec for name, tensor in checkpoint.tensors.items()}
    return {name: (spec.dtype.name, spec.shape, data[name]) for name, spec in specs.items()}


def facts(state_dict: Mapping[str, torch.Tensor]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (str(t.dtype)[6:], tuple(t.shape), raw(t)) for name, t in state_dict.items()}


def assert_same(checkpoint: Checkpoint, state_dict: Mapping[str, torch.Tensor]) -> None:
    """Names, order, dtypes, shapes and bytes."""
    assert list(checkpoint.tensors) == list(state_dict)
    assert contents(checkpoint) == facts(state_dict)


def archive(path: Path, members: Mapping[str, bytes] | list[tuple[str, bytes]], **options: Any) -> Path:
    """A zip archive written by Python's zipfile."""
    pairs = members.items() if isinstance(members, Mapping) else members
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, data in pairs:
            file.writestr(name, data)
    return path


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


# Pickles by hand: a float32 tensor over storage "0", with whatever geometry.


def integer(n: int) -> bytes:
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def integers(numbers: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(integer, numbers)) + b"t"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def tensor_pickle(numel: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], key: str = "0") -> bytes:
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + integer(numel) + b"tQ"
    view = integer(offset) + integers(shape) + integers(strides) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"tR"


def dictionary(**entries: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def by_hand(path: Path, tree: bytes, storages: Mapping[str, bytes]) -> Path:
    """A zip checkpoint of the pickled `tree` (no PROTO, no STOP) and `storages`."""
    members = {"archive/data.pkl": b"\x80\x02" + tree + b"."}
    members |= {f"archive/data/{key}": data for key, data in storages.items()}
    return archive(path, members)
