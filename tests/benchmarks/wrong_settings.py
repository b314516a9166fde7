"""The sample's networks with one layer configured wrongly, as a port by hand leaves it; `verify` is given them."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import mindspore

sys.path.append(str(Path(__file__).parents[2] / "samples" / "video_resnet"))

import mindspore_net

# The layer that is wrong, eight channels; rightly it has eps 1e-3 and momentum 0.95 (0.05 in PyTorch).
LAYER = "stage1.0.bn1"


def _twin(**settings: Any) -> mindspore.nn.Cell:
    network = mindspore_net.build()
    network.stage1[0].bn1 = mindspore.nn.BatchNorm3d(8, **{"eps": 1e-3, "momentum": 0.95, **settings})
    return network


# Factory -> what the diagnosis of the layer must say.
WORDS = {
    "eps_left_out": "eps is 1e-05 where 0.001 was expected",
    "momentum_not_inverted": "momentum is 0.05 where 0.95 was expected .* it was not inverted",
    "momentum_off": "momentum is 0.949 where 0.95 was expected",
    "momentum_left_out": "momentum is 0.9 where 0.95 was expected",
    "affine_left_out": "affine is False where True was expected",
    "batch_statistics": "batch statistics always .* where running statistics tracked was expected",
    "frozen_statistics": "running statistics frozen where running statistics tracked was expected",
}

right = _twin
eps_left_out = partial(_twin, eps=1e-5)
momentum_not_inverted = partial(_twin, momentum=0.05)
momentum_off = partial(_twin, momentum=0.949)
momentum_left_out = partial(_twin, momentum=0.9)
affine_left_out = partial(_twin, affine=False)
batch_statistics = partial(_twin, use_batch_statistics=True)
frozen_statistics = partial(_twin, use_batch_statistics=False)
