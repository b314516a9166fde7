"""What is asked of the user where a layer's kind cannot be told."""

from __future__ import annotations

from pathlib import Path

import mindspore
import pytest
import torch
from nets import randomised, two_norms
from torch import nn

import porter
from porter.errors import Undecided


def refused(source: Path) -> Undecided:
    with pytest.raises(Undecided) as caught:
        porter.convert(source, source.with_name("out.ckpt" if source.suffix == ".pth" else "out.pth"), verify=False)
    return caught.value


def test_the_error_names_the_file_and_every_layer(tmp_path: Path) -> None:
    torch.save(two_norms(track_running_stats=False).state_dict(), tmp_path / "net.pth")
    error = refused(tmp_path / "net.pth")
    assert error.file == str(tmp_path / "net.pth")
    assert error.message == "the kind of 2 layers cannot be told from the file"
    assert [line.split(" (")[0] for line in error.details] == [
        "1: BatchNorm3d or InstanceNorm3d",
        "4: BatchNorm3d or InstanceNorm3d",
    ]
    assert error.hint is not None
    assert "--layer '1=BatchNorm3d'" in error.hint
    assert "--model FILE.py:FACTORY" in error.hint


def test_the_example_is_a_layer_that_may_be_a_batch_norm_3d(tmp_path: Path) -> None:
    """The first undecided layer may be none, and BatchNorm3d is not the first of the second's candidates."""
    network = nn.ModuleDict(
        {
            "conv": nn.Conv3d(3, 8, 3),
            "fc0": nn.Linear(8, 8),
            "norm": nn.RMSNorm(8),
            "conv2": nn.Conv3d(9, 8, 3),
            "bn": nn.BatchNorm3d(8),
            "neck": nn.BatchNorm1d(8),
            "fc": nn.Linear(8, 2),
        }
    )
    torch.save(randomised(network).state_dict(), tmp_path / "net.pth")
    error = refused(tmp_path / "net.pth")
    assert [line.split(":")[0] for line in error.details] == ["norm", "neck"]
    assert "BatchNorm3d" not in error.details[0].split(" (")[0]
    assert error.hint is not None
    assert "--layer 'neck=BatchNorm3d'" in error.hint
    assert error.entry == "neck"


def test_a_mindspore_file_is_asked_for_the_mindspore_network(tmp_path: Path) -> None:
    """Conv1d of one tap and Conv2d of one by one: the same names and shapes."""
    mindspore.save_checkpoint(mindspore.nn.SequentialCell(mindspore.nn.Conv1d(2, 4, 1)), str(tmp_path / "net.ckpt"))
    error = refused(tmp_path / "net.ckpt")
    assert error.hint is not None
    assert "--layer '0=Conv1d'" in error.hint
    assert "--net FILE.py:FACTORY" in error.hint
