"""Safetensors files against the safetensors library, PyTorch and MindSpore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from checkpoint_files import contents, damaged, patterned, same_in_order, specs, write
from hypothesis import given, settings

from porter.errors import BnportError, InputError, LimitExceeded, Malformed, Truncated, Unsupported
from porter.formats import open_checkpoint
from porter.formats.dtypes import BY_NAME, FLOAT32, INT64, UINT8
from porter.formats.model import Checkpoint, TensorSpec
from porter.formats.safetensors import layout, recognises

TORCH_DTYPES = [
    name
    for name, dtype in BY_NAME.items()
    if dtype.safetensors and isinstance(getattr(torch, name, None), torch.dtype)
]
MINDSPORE_DTYPES = [name for name, dtype in BY_NAME.items() if dtype.safetensors and dtype.mindspore]
SHAPES: list[tuple[int, ...]] = [(), (3,), (2, 0), (0,), (2, 1, 3, 1, 2)]


def file_of(header: object, data: bytes, path: Path, *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(
    dtype: object = "F32", shape: Any = (1,), begin: Any = 0, end: Any = 4, **more: object
) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def torch_tensors(dtype: str) -> dict[str, torch.Tensor]:
    def tensor(shape: tuple[int, ...]) -> torch.Tensor:
        size = BY_NAME[dtype].itemsize
        raw = torch.randint(0, 2 if dtype == "bool" else 256, (*shape, size), dtype=torch.uint8)
        return raw.reshape(-1).view(getattr(torch, dtype)).reshape(shape)

    return {f"t{i}.Größe": tensor(shape) for i, shape in enumerate(SHAPES)}


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
def test_reads_what_the_library_writes(dtype: str, tmp_path: Path) -> None:
    tensors = torch_tensors(dtype)
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    checkpoint = open_checkpoint(path)
    assert (checkpoint.format, checkpoint.framework, checkpoint.metadata) == (
        "safetensors",
        "torch",
        {"format": "pt"},
    )
    assert contents(checkpoint) == {n: (dtype, tuple(t.shape), raw(t)) for n, t in tensors.items()}


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
def test_the_library_reads_what_we_write(dtype: str, tmp_path: Path) -> None:
    tensors = torch_tensors(dtype)
    ours = [TensorSpec(name, BY_NAME[dtype], tuple(tensor.shape)) for name, tensor in tensors.items()]
    path = write(
        tmp_path / "a.safetensors", layout(ours, metadata={"format": "pt"}), {n: raw(t) for n, t in tensors.items()}
    )
    found = safetensors.torch.load_file(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert raw(found[name]) == raw(tensor)


def mindspore_tensors() -> dict[str, mindspore.Tensor]:
    shapes = [(), (2, 3), (0, 3)]
    return {
        f"{dtype}.{i}": mindspore.Tensor(np.ones(shape), getattr(mindspore, dtype))
        for dtype in MINDSPORE_DTYPES
        for i, shape in enumerate(shapes)
    }


@pytest.mark.parametrize("crc_check", [False, True])
def test_reads_what_mindspore_writes(crc_check: bool, tmp_path: Path) -> None:
    tensors = mindspore_tensors()
    if crc_check:  # MindSpore cannot take the CRC of a bfloat16 array
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("bfloat16")}
    path = tmp_path / "a.safetensors"
    mindspore.save_checkpoint(
        [{"name": n, "data": t} for n, t in tensors.items()], str(path), format="safetensors", crc_check=crc_check
    )
    checkpoint = open_checkpoint(path)
    assert checkpoint.framework == "mindspore"
    assert {n: (d, s) for n, (d, s, _) in contents(checkpoint).items()} == {
        n: (str(t.dtype).lower(), tuple(t.shape)) for n, t in tensors.items()
    }
    assert contents(checkpoint)["float32.1"][2] == np.ones((2, 3), "<f4").tobytes()
    assert any("crc_num was not checked" in note for note in checkpoint.notes) == crc_check


def test_mindspore_reads_what_we_write(tmp_path: Path) -> None:
    ours = [
        TensorSpec(f"{d}.{i}", BY_NAME[d], s) for d in MINDSPORE_DTYPES for i, s in enumerate([(), (2, 3), (0, 3)])
    ]
    data = {spec.name: bytes(spec.nbytes) for spec in ours} | {"float32.1": np.arange(6, dtype="<f4").tobytes()}
    path = write(tmp_path / "a.safetensors", layout(ours, metadata={"format": "ms"}), data)
    found = mindspore.load_checkpoint(str(path), format="safetensors")
    assert {n: (str(p.dtype).lower(), tuple(p.shape)) for n, p in found.items()} == {
        spec.name: (spec.dtype.name, spec.shape) for spec in ours
    }
    assert found["float32.1"].asnumpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_file_that_leaves_out_other_ranks_parameters_says_so(tmp_path: Path) -> None:
    path = file_of({"__metadata__": {"format": "ms", "remove_redundancy": "True"}}, b"", tmp_path / "a")
    assert "other ranks" in open_checkpoint(path).notes[0]


def test_order_survives_although_it_leaves_tensors_unaligned(tmp_path: Path) -> None:
    ours = [TensorSpec("flag", UINT8, (3,)), TensorSpec("weight", FLOAT32, (5,)), TensorSpec("a.count", INT64, ())]
    data = patterned(ours) | {"weight": np.arange(5, dtype="<f4").tobytes(), "a.count": (7).to_bytes(8, "little")}
    path = write(tmp_path / "a.safetensors", layout(ours, metadata={}), data)
    assert [spec.name for spec in open_checkpoint(path).specs] == ["flag", "weight", "a.count"]
    found = safetensors.torch.load_file(path)
    assert (found["weight"] * 2).tolist() == [0, 2, 4, 6, 8]
    assert found["a.count"].add_(1).item() == 8
    loaded = mindspore.load_checkpoint(str(path), format="safetensors")
    assert (loaded["weight"] * 2).asnumpy().tolist() == [0, 2, 4, 6, 8]
    assert loaded["a.count"].asnumpy().item() == 7


@settings(deadline=None)
@given(specs("safetensors"))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, ours: list[TensorSpec]) -> None:
    data = patterned(ours)
    path = write(tmp_path_factory.mktemp("round") / "a", layout(ours, metadata={"format": "pt"}), data)
    same_in_order(contents(open_checkpoint(path)), {s.name: (s.dtype.name, s.shape, data[s.name]) for s in ours})
    assert set(safetensors.safe_open(path, "numpy").keys()) == data.keys()
    assert path.read_bytes()[0] % 8 == 0  # the header's length, so that the data begins at a multiple of 8


HOSTILE: dict[str, tuple[Any, bytes, type[InputError], str]] = {
    "not JSON": (b'{"a": ', b"", Malformed, "not JSON"),
    "not UTF-8": (b'{"a\xff": 1}', b"", Malformed, "not UTF-8"),
    "nested without end": (b'{"a":' + b"[" * 200_000, b"", Malformed, "not JSON"),
    "an integer of 5,000 digits": (b'{"a": ' + b"9" * 5000 + b"}", b"", Malformed, "not JSON"),
    "the same tensor twice": (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"x",
        Malformed,
        "same key twice",
    ),
    "the same field twice": (
        b'{"a":{"dtype":"F32","dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"x",
        Malformed,
        "same key twice",
    ),
    "overlap": ({"a": entry(), "b": entry(begin=2, end=6)}, bytes(6), Malformed, "overlap"),
    "the same bytes for two": ({"a": entry(), "b": entry()}, bytes(4), Malformed, "overlap"),
    "hole": ({"a": entry(), "b": entry(begin=8, end=12)}, bytes(12), Malformed, "hole"),
    "hole before the first": ({"a": entry(begin=4, end=8)}, bytes(8), Malformed, "hole"),
    "trailing bytes": ({"a": entry()}, bytes(5), Malformed, "follow the last tensor"),
    "trailing bytes, no tensors": ({}, bytes(5), Malformed, "follow the last tensor"),
    "tensors end after the file": ({"a": entry()}, bytes(3), Truncated, "ends before its tensors"),
    "offsets backwards": ({"a": entry(begin=4, end=0)}, bytes(4), Malformed, "a begin and an end"),
    "negative offset": ({"a": entry(begin=-4, end=0)}, bytes(4), Malformed, "a begin and an end"),
    "three offsets": (
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]}},
        bytes(4),
        Malformed,
        "a begin",
    ),
    "negative axis": ({"a": entry(shape=[-1, -1])}, bytes(4), Malformed, "negative"),
    "product overflows": ({"a": entry(shape=[2**40, 2**40])}, bytes(4), LimitExceeded, "overflow"),
    "axis overflows beside a 0": ({"a": entry(shape=[0, 2**70], end=0)}, b"", LimitExceeded, "overflow"),
    "offset overflows": ({"a": entry(begin=2**70, end=2**70 + 4)}, bytes(4), Malformed, "hole"),
    "too many axes": ({"a": entry(shape=[1] * 1000)}, bytes(4), LimitExceeded, "too many axes"),
    "size is not product(shape) * itemsize": ({"a": entry(shape=[2])}, bytes(4), Malformed, "do not fit"),
    "size is larger than product(shape) * itemsize": ({"a": entry(end=8)}, bytes(8), Malformed, "do not fit"),
    "axis is true": ({"a": entry(shape=[True])}, bytes(4), Malformed, "lists of integers"),
    "axis is 1.0": ({"a": entry(shape=[1.0])}, bytes(4), Malformed, "lists of integers"),
    "axis is NaN": ({"a": entry(shape=[float("nan")])}, bytes(4), Malformed, "lists of integers"),
    "shape is text": ({"a": entry(shape="1")}, bytes(4), Malformed, "lists of integers"),
    "unknown dtype": ({"a": entry(dtype="F31")}, bytes(4), Malformed, "unknown"),
    "dtype is a list": ({"a": entry(dtype=[])}, bytes(4), Malformed, "unknown"),
    "4-bit floats": ({"a": entry(dtype="F4", shape=[8])}, bytes(4), Unsupported, "cannot carry"),
    "MindSpore's 4-bit integers": (
        {"__metadata__": {"a": "Int4"}, "a": entry(dtype="I8", shape=[4])},
        bytes(4),
        Unsupported,
        "4-bit",
    ),
    "entry is a number": ({"a": 7}, b"", Malformed, "not a tensor"),
    "entry lacks its dtype": ({"a": {"shape": [], "data_offsets": [0, 4]}}, bytes(4), Malformed, "not a tensor"),
    "entry has more": ({"a": entry(strides=[1])}, bytes(4), Malformed, "not a tensor"),
    "metadata is a list": ({"__metadata__": []}, b"", Malformed, "text to text"),
    "metadata holds a number": ({"__metadata__": {"n": 1}}, b"", Malformed, "text to text"),
    "half a surrogate pair": (
        b'{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"x",
        Malformed,
        "valid Unicode",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(case: str, tmp_path: Path) -> None:
    header, data, error, message = HOSTILE[case]
    path = file_of(header, data, tmp_path / "a.safetensors")
    with pytest.raises(error) as caught:
        open_checkpoint(path)
    assert message in caught.value.message  # str(error) has the path, and that has the case's name
    assert caught.value.file == str(path)


@pytest.mark.parametrize(
    ("length", "error", "message"),
    [(10**6, Truncated, "longer than the file"), (2**40, LimitExceeded, "over the format's limit")],
)
def test_header_length(length: int, error: type[InputError], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        open_checkpoint(file_of({"a": entry()}, bytes(4), tmp_path / "a", length=length))


def test_every_damage_is_an_input_error_or_reads_as_other_facts(tmp_path: Path) -> None:
    ours = [TensorSpec("a.weight", FLOAT32, (2,)), TensorSpec("a.n", INT64, ())]
    whole = write(tmp_path / "whole", layout(ours, metadata={"format": "pt"}), patterned(ours)).read_bytes()
    header_bytes = whole.index(b"{") + int.from_bytes(whole[:8], "little")
    path = tmp_path / "damaged"
    for variant in damaged(whole):
        path.write_bytes(variant)
        try:
            opened: Checkpoint | None = open_checkpoint(path)
        except InputError:
            opened = None
        # What damage to the header leaves readable must still be sound; tensor bytes have no checksum.
        if opened is not None:
            assert len(variant) == len(whole)
            assert sum(spec.nbytes for spec in opened.specs) == len(whole) - header_bytes


def test_names_that_cannot_be_written() -> None:
    def one(name: str, dtype: str = "float32") -> list[TensorSpec]:
        return [TensorSpec(name, BY_NAME[dtype], (1,))]

    refused: list[tuple[list[TensorSpec], dict[str, str], type[BnportError], str]] = [
        (one("a", "complex128"), {}, Unsupported, "no such element type"),
        (one("a", "str"), {}, Unsupported, "no such element type"),
        (one("__metadata__"), {}, Unsupported, "reserves"),
        (one("format"), {"format": "pt"}, Unsupported, "metadata key"),
        (one("\ud800"), {}, Malformed, "valid Unicode"),
    ]
    for ours, metadata, error, message in refused:
        with pytest.raises(error, match=message):
            layout(ours, metadata=metadata)


def test_a_zip_or_a_ckpt_is_not_taken_for_safetensors() -> None:
    assert not recognises(b"PK\x03\x04" + bytes(100), 104)
    assert not recognises(b"\x0a\x20\x0a\x09conv1.weight", 34)


@pytest.mark.slow
def test_a_million_tensors_are_within_the_limits(tmp_path: Path) -> None:
    ours = [TensorSpec(f"layer.{i}.weight", UINT8, (1,)) for i in range(1_000_000)]
    whole = layout(ours, metadata={})
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write(whole.literals[0][1])
        file.truncate(whole.size)
    assert len(open_checkpoint(path).tensors) == 1_000_000
