"""`bnport verify --net`: the network is held against the file, whatever kinds of layers it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

_TORCH = """
from torch import nn

def build():
    return nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.Linear(4, 5))
"""
_MINDSPORE = """
from mindspore import nn

def right():
    return nn.SequentialCell(nn.Conv3d(3, 4, 3, pad_mode="valid", has_bias=True), nn.BatchNorm3d(4), nn.Dense(4, 5))

def extra():
    return nn.SequentialCell(*right(), nn.Dense(7, 7))

def wide():
    return nn.SequentialCell(*list(right())[:2], nn.Dense(9, 5))

def renamed():
    from collections import OrderedDict
    return nn.SequentialCell(OrderedDict(zip(["0", "1", "head"], right())))
"""


@pytest.fixture
def pair(bnport: Any, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(_TORCH)
    (tmp_path / "ours.py").write_text(_MINDSPORE)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 3), torch.nn.BatchNorm3d(4), torch.nn.Linear(4, 5))
    torch.save(net.state_dict(), "net.pth")
    assert bnport("convert", "net.pth", "-o", "net.ckpt", "--no-verify", "--model", "theirs.py:build").code == 0


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize(
    ("network", "told"),
    [
        ("extra", "3.weight: missing, float32 [7, 7]"),
        ("wide", "2.weight: [5, 4], the network has [5, 9]"),
        ("renamed", "head.weight: missing, float32 [5, 4]"),
    ],
)
def test_a_network_that_does_not_fit_fails_as_it_does_for_convert(bnport: Any, network: str, told: str) -> None:
    networks = ("--model", "theirs.py:build", "--net", f"ours.py:{network}")
    refused = bnport("convert", "net.pth", "-o", "other.ckpt", "--no-verify", *networks)
    assert (refused.code, told in refused.err) == (1, True)
    failed = bnport("verify", "net.pth", "net.ckpt", *networks, "--html", "page.html")
    assert (failed.code, f"MindSpore's network: {told}" in failed.out) == (1, True)
    assert "MindSpore's network does not fit it" in failed.out
    assert "The target network</h2>" in Path("page.html").read_text("utf-8")


@pytest.mark.usefixtures("pair")
def test_a_network_that_fits_passes_and_two_samples_are_proposed(bnport: Any) -> None:
    found = bnport("verify", "net.pth", "net.ckpt", "--model", "theirs.py:build", "--net", "ours.py:right")
    assert found.code == 0
    # Batch normalisation of a single value per channel cannot be trained: a batch of 1 would often end with exit 5.
    assert "--input-shape 2x3x8x32x32" in found.err
