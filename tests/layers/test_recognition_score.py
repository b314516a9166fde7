"""The score of recognition on the misleading networks and on a few real ones, pinned.

tests/benchmarks/recognition.py scores all of them, and says what a score counts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

from misleading_networks import misleading_networks
from recognition import FORMS, Finding, findings, run, totals, truth_of, verdict

from porter.layers.kinds import KINDS
from porter.layers.model import Layer

# Layers that are right with metadata, plain, pickled, in MindSpore's names; then those that are not.
Score = tuple[tuple[int, int, int, int], set[str]]

MISLEADING: dict[str, Score] = {
    "sparse convolutions, 2.x layout": ((10, 10, 10, 10), set()),
    "sparse convolutions, 1.x layout": ((10, 10, 10, 10), set()),
    "sparse convolutions, points layout": ((10, 10, 10, 10), set()),
    "convolutions declared before their norms": ((9, 9, 9, 9), set()),
    "norms declared before their convolutions": ((7, 7, 7, 7), set()),
    "pre-activation": ((14, 14, 14, 14), set()),
    "mixed 3-D, 2-D, 1-D": ((13, 13, 13, 12), {"mindspore: audio.0: undecided"}),
    "heads with BatchNorm1d": ((7, 7, 8, 8), {"metadata: neck.0: undecided", "plain: neck.0: undecided"}),
    "linear layers": ((5, 5, 5, 5), set()),
    "LayerNorm beside GroupNorm": (
        (12, 10, 12, 12),
        {"plain: a.convolution.1: undecided", "plain: b.convolution.1: undecided"},
    ),
    "tracking InstanceNorm3d": ((3, 3, 4, 4), {"metadata: norm: wrong", "plain: norm: wrong"}),
    "BatchNorm3d behind 4-D weights": (
        (2, 2, 4, 2),
        {
            *(f"{form}: {layer}: wrong" for form in ("metadata", "plain") for layer in ("norm", "norm2")),
            *(f"mindspore: {layer}: undecided" for layer in ("norm", "norm2")),
        },
    ),
    "lone weights": (
        (7, 7, 9, 9),
        {f"{form}: {layer}: undecided" for form in ("metadata", "plain") for layer in ("norm", "rms")},
    ),
    "every setting of BatchNorm3d": (
        (8, 8, 10, 10),
        {
            *(f"metadata: {layer}: undecided" for layer in ("norm2", "norm3")),
            "plain: norm2: undecided",
            "plain: norm3: wrong",
        },
    ),
    "statistics in .bn and .split_bn": ((19, 19, 19, 19), set()),
    "norms wrapped as .bn": ((4, 4, 4, 4), set()),
    "transposed convolutions": ((5, 5, 5, 4), {"mindspore: image: undecided"}),
    "asymmetric kernels": ((9, 9, 9, 9), set()),
    "squeeze and excitation": ((13, 13, 13, 13), set()),
    "repeated modules": ((22, 22, 22, 22), set()),
}

_MERGES = ("model.1.merge.adn.N", "model.1.submodule.1.merge.adn.N")
REAL: dict[str, Score] = {
    "resnet10 3-D": ((25, 25, 25, 25), set()),
    "DenseNet121 3-D": ((242, 242, 242, 242), set()),
    "SEResNet50 3-D": ((75, 75, 75, 75), set()),
    "UNet residual AN 3-D": ((31, 31, 31, 31), set()),
    # Its upper half is named twice, and MindSpore writes a shared layer once.
    "DynUNet 3-D": ((47, 47, 47, 24), set()),
    # A Conv1d is a Conv2d over a height of 1 in MindSpore; here all of them are, there none.
    "UNet residual NDA 1-D": ((31, 31, 31, 31), set()),
    "AHNet transpose 2-D": ((179, 179, 179, 179), set()),
    "AttentionUnet 3-D": (
        (33, 33, 35, 35),
        {*(f"metadata: {name}: undecided" for name in _MERGES), *(f"plain: {name}: wrong" for name in _MERGES)},
    ),
    "SwinUNETR 3-D": (
        (123, 119, 123, 123),
        {f"plain: swinViT.layers{i}.0.downsample.norm: undecided" for i in (1, 2, 3, 4)},
    ),
}


def score(found: list[Finding]) -> Score:
    counts = totals(found)
    right = [counts[form]["right"] for form in FORMS]
    others = {f"{f.form}: {f.layer}: {f.verdict}" for f in found if f.verdict != "right"}
    return (right[0], right[1], right[2], right[3]), others


@pytest.mark.parametrize("case", list(misleading_networks()), ids=lambda case: case.name)
def test_networks_made_to_mislead(case, tmp_path):
    found = list(findings(case.name, case.build(), case.why, tmp_path))
    assert score(found) == MISLEADING[case.name]
    assert not [f for f in found if f.is_fault], "certain but wrong, or wrong without a reason"


@pytest.mark.parametrize("name", list(REAL))
def test_real_networks(name):
    results = dict(run(name))
    assert score(results[name]) == REAL[name]
    assert not [f for f in results[name] if f.is_fault]


class Norm(nn.BatchNorm3d):
    """A class of the user's own."""


def test_the_truth_is_read_off_the_network():
    network = nn.ModuleDict({"a": Norm(2), "b": nn.Sequential(nn.ReLU(), nn.Conv3d(1, 2, 3)), "c": nn.RMSNorm(2)})
    network["d"] = nn.InstanceNorm3d(2)
    assert truth_of(network) == {"a": "BatchNorm3d", "b.1": "Conv3d", "c": None, "d": "InstanceNorm3d"}


def layer(certainty, *kinds):
    return Layer("x", tuple(KINDS[kind] for kind in kinds), certainty, (), {})


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        (layer("certain", "BatchNorm3d"), "BatchNorm3d", "right"),
        (layer("inferred", "Conv3d", "ConvTranspose3d"), "ConvTranspose3d", "right"),
        (layer("inferred", "BatchNorm2d"), "BatchNorm3d", "wrong"),
        (layer("certain", "BatchNorm2d"), "BatchNorm3d", "certain"),
        (layer("undecided", "BatchNorm2d", "BatchNorm3d"), "BatchNorm3d", "undecided"),
        (layer("inferred", "Linear"), None, "right"),  # keeps its names, as a module of the user's own should
        (layer("inferred", "LayerNorm"), None, "wrong"),
        (None, None, "right"),
        (None, "Conv3d", "right"),
        (None, "BatchNorm3d", "wrong"),
        (None, "Conv1d", "wrong"),
    ],
)
def test_what_a_verdict_counts(found, truth, expected):
    assert verdict(found, truth) == expected
