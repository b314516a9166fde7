"""Safetensors to safetensors: what lies in both files at the same place of a block is shared, where that can be."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from unittest import mock

import mindspore
import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors.torch import load_file, save_file

import porter
from porter.formats import open_checkpoint
from porter.formats.transfer import BLOCK_BYTES
from porter.formats.writing import REGION_BYTES


def shared(descriptor: int, request: int, wanted: bytes) -> None:
    """FICLONERANGE as btrfs and XFS carry it out."""
    source, source_offset, length, offset = struct.unpack("=qQQQ", wanted)
    if source_offset % BLOCK_BYTES or length % BLOCK_BYTES or offset % BLOCK_BYTES:
        raise OSError(22, "Invalid argument")
    assert os.pwrite(descriptor, os.pread(source, length, source_offset), offset) == length


STATISTICS = ("running_mean", "running_var")
SAY_3D = porter.SourceOptions(layers=[("**", "BatchNorm3d")])


def state_of(sizes: list[int]) -> dict[str, torch.Tensor]:
    """Convolutions of so many float32, and a normalisation, whose names are longer in MindSpore."""
    convolutions = {f"conv{i}.weight": torch.randn(size).reshape(-1, 1, 1, 1, 1) for i, size in enumerate(sizes)}
    return {**convolutions, **{f"norm.{leaf}": torch.rand(3) for leaf in ("weight", "bias", *STATISTICS)}}


@pytest.mark.parametrize("sizes", [[1, 3 * REGION_BYTES // 4 + 1, 5, REGION_BYTES // 4], [REGION_BYTES // 2]])
def test_new_names_for_the_same_blocks(sizes: list[int], tmp_path: Path) -> None:
    state = state_of(sizes)
    source, there, back = (tmp_path / f"{name}.safetensors" for name in ("net", "there", "back"))
    save_file(state, source, {"format": "pt"})
    with mock.patch.object(fcntl, "ioctl", side_effect=shared) as share:
        to_mindspore = porter.WriteOptions(to="mindspore")
        porter.convert(source, there, verify=False, source_options=SAY_3D, write_options=to_mindspore)
        porter.convert(there, back, verify=False)
    # All but the regions that the file begins and ends in, both ways.
    assert share.call_count == 2 * (sum(sizes) * 4 // REGION_BYTES - 1)
    loaded = mindspore.load_checkpoint(str(there), format="safetensors")
    assert all(
        np.array_equal(loaded[f"conv{i}.weight"].asnumpy(), state[f"conv{i}.weight"]) for i in range(len(sizes))
    )
    assert np.array_equal(loaded["norm.bn2d.moving_mean"].asnumpy(), state["norm.running_mean"])
    returned = load_file(back)
    assert returned.keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in returned.items())


def test_only_the_place_in_a_block_is_the_same(tmp_path: Path) -> None:
    """However long the names are; and the format's own library reads the padded header."""
    source, output = tmp_path / "net.safetensors", tmp_path / "out.safetensors"
    for count in (1, 40, 400):
        tensors = {f"norm{i}.{leaf}": np.ones(3) for i in range(count) for leaf in ("weight", "bias", *STATISTICS)}
        safetensors.numpy.save_file(tensors, source, {"format": "pt"})
        options = porter.WriteOptions(to="mindspore", force=True)
        porter.convert(source, output, verify=False, source_options=SAY_3D, write_options=options)
        starts = [
            min(tensor.extents[0].offset for tensor in open_checkpoint(path).tensors.values())
            for path in (source, output)
        ]
        assert (starts[0] - starts[1]) % BLOCK_BYTES == 0
        assert len(safetensors.numpy.load_file(output)) == 4 * count
