"""What torch saves is what we read, and what we write is what torch loads: every dtype, layout and container."""

from __future__ import annotations

import collections
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_files import assert_same, convert, facts, read, save

from porter.errors import Unsupported
from porter.formats import torch_zip
from porter.formats.dtypes import BY_NAME, TEXT, DType
from porter.formats.model import Layout, TensorSpec

TORCH_DTYPES = [getattr(torch, name) for name in BY_NAME if hasattr(torch, name)]
BASE = torch.arange(24.0).reshape(2, 3, 4)

LAYOUTS = {
    "scalar": torch.tensor(3.5),
    "empty": torch.zeros(0, 3),
    "empty_in_the_middle": torch.zeros(2, 0, 3),
    "transposed": BASE.transpose(0, 2),
    "sliced": BASE[:, 1:, ::2],
    "row_of_a_larger_one": BASE[1],
    "one_element_of_many": BASE[1, 2, 3],
    "expanded": torch.ones(3, 1).expand(3, 5),
    "length_one_axes": BASE.as_strided((1, 24, 1), (7, 1, 99)),
    "overlapping": torch.arange(8.0).unfold(0, 3, 1),
    "channels_last": torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
    "channels_last_3d": torch.rand(2, 3, 2, 4, 4).contiguous(memory_format=torch.channels_last_3d),
    "parameter": torch.nn.Parameter(torch.rand(3)),
    "seven_axes": torch.rand(1, 2, 1, 2, 1, 2, 1),
}


def of_dtype(dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.bool:
        return torch.tensor([True, False, True])
    # Every byte pattern of a 16-byte element, NaNs of all kinds among them.
    return torch.randint(0, 256, (48,), dtype=torch.uint8).view(dtype)


def write(checkpoint_path: Path, format: str, path: Path) -> dict[str, torch.Tensor]:
    convert(read(checkpoint_path, format), path)
    assert zipfile.ZipFile(path).testzip() is None
    return torch.load(path, weights_only=True, mmap=True)


def test_every_dtype_of_the_table_but_text_is_one_of_torchs() -> None:
    assert {str(dtype)[6:] for dtype in TORCH_DTYPES} == set(BY_NAME) - {TEXT.name}


@pytest.mark.parametrize("format", ["zip", "legacy"])
@pytest.mark.parametrize("dtype", TORCH_DTYPES, ids=str)
def test_dtype(tmp_path: Path, dtype: torch.dtype, format: str) -> None:
    state_dict = {"some": of_dtype(dtype), "scalar": of_dtype(dtype)[0], "empty": torch.empty(0, dtype=dtype)}
    path = save(state_dict, tmp_path / "in.pt", format)
    assert_same(read(path, format), state_dict)
    assert facts(write(path, format, tmp_path / "out.pt")) == facts(state_dict)


@pytest.mark.parametrize("format", ["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(tmp_path: Path, layout: str, format: str) -> None:
    state_dict = {"it": LAYOUTS[layout]}
    path = save(state_dict, tmp_path / "in.pt", format)
    assert_same(read(path, format), state_dict)
    assert facts(write(path, format, tmp_path / "out.pt")) == facts(state_dict)


@pytest.mark.parametrize("format", ["zip", "legacy"])
def test_tensors_that_share_a_storage(tmp_path: Path, format: str) -> None:
    state_dict = {"whole": BASE, "again": BASE, "part": BASE[1], "view": BASE.transpose(0, 1)}
    checkpoint = read(save(state_dict, tmp_path / "in.pt", format), format)
    assert_same(checkpoint, state_dict)
    assert len(checkpoint.checksums) == (1 if format == "zip" else 0)


def test_writer_refuses_text() -> None:
    with pytest.raises(Unsupported, match="note: text is no tensor"):
        torch_zip.layout([TensorSpec("note", TEXT, (3,))])


@pytest.mark.parametrize("size_of_one", [1, 1 << 33])
def test_writer_aligns_every_storage(size_of_one: int) -> None:
    layout = torch_zip.layout([TensorSpec(f"t{i}", BY_NAME["uint8"], (size_of_one,)) for i in range(5)])
    assert all(slot.offset % 64 == 0 for slots in layout.slots.values() for slot in slots)


def sparse_file(path: Path, layout: Layout) -> Path:
    """What `write_layout` would write, all tensors zero, without the zeros."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(descriptor, layout.size)
    assert layout.finish
    for offset, data in (*layout.literals, *layout.finish(dict.fromkeys(layout.slots, (0,)))):
        os.pwrite(descriptor, data, offset)
    os.close(descriptor)
    return path


def test_zip64_a_storage_above_4_gib_and_one_behind_it(tmp_path: Path) -> None:
    uint8: DType = BY_NAME["uint8"]
    specs = [TensorSpec("large", uint8, ((1 << 32) + 5,)), TensorSpec("behind", uint8, (7,))]
    path = sparse_file(tmp_path / "large.pt", torch_zip.layout(specs))
    loaded = torch.load(path, weights_only=True, mmap=True)
    assert [tuple(t.shape) for t in loaded.values()] == [((1 << 32) + 5,), (7,)]
    checkpoint = torch_zip.read(path)
    assert checkpoint.specs == specs
    assert checkpoint.tensors["behind"].extents[0].offset > 1 << 32


def test_zip64_more_members_than_16_bits_count(tmp_path: Path) -> None:
    specs = [TensorSpec(f"t{i}", BY_NAME["uint8"], (1,)) for i in range(65_540)]
    path = sparse_file(tmp_path / "many.pt", torch_zip.layout(specs))
    assert torch_zip.read(path).specs == specs
    assert len(zipfile.ZipFile(path).namelist()) == 65_546


def test_torchs_own_file_above_4_gib(tmp_path: Path) -> None:
    # Torch writes zip64 in its own way: sizes in the data descriptor and in the directory.
    with torch.serialization.skip_data():
        state_dict = {"large": torch.empty((1 << 32) + 5, dtype=torch.uint8), "behind": torch.zeros(7)}
        path = save(state_dict, tmp_path / "large.pt")
    checkpoint = torch_zip.read(path)
    assert [spec.shape for spec in checkpoint.specs] == [((1 << 32) + 5,), (7,)]
    assert checkpoint.tensors["behind"].extents[0].offset > 1 << 32


@pytest.mark.parametrize("format", ["zip", "legacy"])
def test_metadata_and_order_of_a_modules_state_dict(tmp_path: Path, format: str) -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv3d(1, 2, 3), torch.nn.BatchNorm3d(2), torch.nn.BatchNorm3d(2, affine=False)
    )
    state_dict = net.state_dict()
    checkpoint = read(save(state_dict, tmp_path / "in.pt", format), format)
    assert checkpoint.versions == {"": 1, "0": 1, "1": 2, "2": 2}
    assert checkpoint.framework == "torch"
    assert_same(checkpoint, state_dict)
    loaded = torch.load(convert(checkpoint, tmp_path / "out.pt"), weights_only=True, mmap=True)
    assert type(loaded) is collections.OrderedDict
    assert loaded._metadata == dict(state_dict._metadata)
    net.load_state_dict(loaded, strict=True)


def test_without_metadata_none_is_written(tmp_path: Path) -> None:
    loaded = torch.load(convert(read(save({"a": BASE}, tmp_path / "in.pt")), tmp_path / "out.pt"), weights_only=True)
    assert not hasattr(loaded, "_metadata")


def test_a_name_with_everything_in_it(tmp_path: Path) -> None:
    names = ["", " ", "a/b", "../x", "\0", "\x1b[31m", "名前", "🦆", "x" * 100_000, "\ud800"]
    state_dict = {name: torch.tensor([float(i)]) for i, name in enumerate(names)}
    path = save(state_dict, tmp_path / "in.pt")
    assert_same(read(path), state_dict)
    assert facts(write(path, "zip", tmp_path / "out.pt")) == facts(state_dict)


# At protocol 0 pickle writes persistent ids as text, and torch cannot read its own file.
@pytest.mark.parametrize("protocol", range(1, 6))
@pytest.mark.parametrize("format", ["zip", "legacy"])
def test_pickle_protocol(tmp_path: Path, protocol: int, format: str) -> None:
    state_dict = torch.nn.BatchNorm3d(2).state_dict()
    checkpoint = read(save(state_dict, tmp_path / "in.pt", format, pickle_protocol=protocol), format)
    assert checkpoint.versions == {"": 2}
    assert_same(checkpoint, state_dict)


@st.composite
def state_dicts(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    names = draw(st.lists(st.text(max_size=20), min_size=1, max_size=8, unique=True))
    return {name: draw(tensors()) for name in names}


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    dtype = draw(st.sampled_from(TORCH_DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    count = int(np.prod(shape, dtype=int)) * dtype.itemsize
    data = torch.tensor([i % (2 if dtype == torch.bool else 251) for i in range(count)], dtype=torch.uint8)
    tensor = (data.view(dtype) if count else torch.empty(0, dtype=dtype)).reshape(shape)
    for axis, n in enumerate(tensor.shape):
        start = draw(st.integers(0, n))
        tensor = tensor.narrow(axis, start, draw(st.integers(0, n - start)))
    return tensor.permute(draw(st.permutations(range(tensor.ndim))))


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state_dict=state_dicts(), format=st.sampled_from(["zip", "legacy"]))
def test_any_state_dict_survives(tmp_path: Path, state_dict: dict[str, torch.Tensor], format: str) -> None:
    path = save(state_dict, tmp_path / "in.pt", format)
    assert_same(read(path, format), state_dict)
    loaded = write(path, format, tmp_path / "out.pt")
    assert list(loaded) == list(state_dict)
    assert facts(loaded) == facts(state_dict)
