"""`bnport verify --model --net`: each layer as its own network has it, whatever the tensors would fit as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

# The same network in both frameworks, around one or two layers.
NETWORK = """
{imports}
class Net(nn.{module}):
    def __init__(self):
        super().__init__()
        self.layer = {layer}

    def {forward}(self, x):
        return self.layer(x)
"""
TORCH = {"imports": "from torch import nn", "module": "Module", "forward": "forward"}
MINDSPORE = {"imports": "from mindspore import nn", "module": "Cell", "forward": "construct"}


@pytest.fixture
def verify(bnport: Any, tmp_path: Path) -> Any:
    """The layers' verdicts, of a right conversion of `torch_layer` beside a network that has `mindspore_layer`."""

    def run(torch_layer: str, mindspore_layer: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
        (tmp_path / "t.py").write_text(NETWORK.format(**TORCH, layer=torch_layer))
        (tmp_path / "m.py").write_text(NETWORK.format(**MINDSPORE, layer=mindspore_layer))
        torch.manual_seed(0)
        torch.save({f"layer.{k}": v for k, v in eval(torch_layer, {"nn": nn}).state_dict().items()}, "a.pth")
        assert bnport("convert", "a.pth", "-o", "a.ckpt", "--force", "--model", "t.py:Net", "--no-verify").code == 0
        shown = bnport("verify", "a.pth", "a.ckpt", "--model", "t.py:Net", "--net", "m.py:Net", "--json", *options)
        return shown.code, json.loads(shown.out)["layers"]

    return run


OTHER_KINDS = {
    "BatchNorm2d": ("nn.BatchNorm2d(8)", "nn.InstanceNorm2d(8)", "InstanceNorm2d"),
    "GroupNorm": ("nn.GroupNorm(4, 8)", "nn.LayerNorm((8,), epsilon=1e-5)", "LayerNorm"),
    "Conv3d": ("nn.Conv3d(8, 8, 2, 2)", "nn.Conv3dTranspose(8, 8, 2, 2, 'valid', has_bias=True)", "Conv3dTranspose"),
    "ConvTranspose2d": ("nn.ConvTranspose2d(8, 8, 2, 2)", "nn.Conv2d(8, 8, 2, 2, 'valid', has_bias=True)", "Conv2d"),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_a_layer_of_another_kind_fails_and_both_are_named(verify, kind):
    ours, theirs, other = OTHER_KINDS[kind]
    code, (layer,) = verify(ours, theirs)
    assert (code, layer["ok"], layer["cause"]) == (1, False, "settings")
    assert layer["diagnosis"] == f"is {other} in MindSpore, {kind} in PyTorch"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("nn.BatchNorm1d(8)", "nn.BatchNorm2d(8)"),
        ("nn.Linear(4, 8)", "type('Own', (nn.Dense,), {})(4, 8)"),
        ("nn.ConvTranspose2d(8, 8, 2, 2)", "type('Own', (nn.Conv2d,), {})(8, 8, 2, 2, 'valid', has_bias=True)"),
    ],
    ids=["another rank", "a subclass", "a subclass of anything"],
)
def test_what_may_compute_the_same_is_run(verify, ours, theirs):
    code, (layer,) = verify(ours, theirs)
    assert (code, layer["ok"]) == (0, True)


WITHOUT_PARAMETERS = {
    "eps is 1e-05 in PyTorch and 1e-07 in MindSpore": (
        "nn.LayerNorm(8, elementwise_affine=False)",
        "nn.LayerNorm((8,))",
    ),
    "number of groups is 4 in PyTorch and 2 in MindSpore": (
        "nn.GroupNorm(4, 8, affine=False)",
        "nn.GroupNorm(2, 8, affine=False)",
    ),
    "eps is 0.001 in PyTorch and 1e-05 in MindSpore": (
        "nn.InstanceNorm2d(8, eps=1e-3)",
        "nn.InstanceNorm2d(8, affine=False)",
    ),
}


@pytest.mark.parametrize("told", WITHOUT_PARAMETERS)
def test_normalisations_without_parameters_are_held_against_each_other(verify, told):
    ours, theirs = (layer for layer in WITHOUT_PARAMETERS[told])
    code, (_, layer) = verify(
        f"nn.Sequential(nn.Linear(8, 8), {ours})", f"nn.SequentialCell(nn.Dense(8, 8), {theirs})"
    )
    assert (code, layer["ok"], layer["diagnosis"]) == (1, False, told)


def test_a_normalisation_without_parameters_is_run(verify):
    ours, theirs = "nn.GroupNorm(4, 8, affine=False)", "nn.GroupNorm(4, 8, affine=False)"
    code, (_, layer) = verify(
        f"nn.Sequential(nn.Linear(8, 8), {ours})", f"nn.SequentialCell(nn.Dense(8, 8), {theirs})"
    )
    assert (code, layer["kind"]) == (0, "GroupNorm")
    assert [check["ok"] for check in layer["checks"]] == [True, True, True]


def test_the_statistics_of_an_instance_norm_do_not_keep_it_from_being_run(verify):
    code, (layer,) = verify("nn.InstanceNorm3d(8, affine=True, track_running_stats=True)", "nn.InstanceNorm3d(8)")
    assert code == 5
    assert "Unsupported op [InstanceNorm] on CPU" in layer["checks"][1]["note"]


def test_an_activation_that_a_dense_has_and_a_linear_has_not_is_named(verify):
    """It may stand beside the Linear: --input-shape tells."""
    _, (layer,) = verify("nn.Linear(8, 4)", "nn.Dense(8, 4, activation='relu')")
    told = "activation is ReLU in MindSpore; PyTorch's layer has no such setting, and both were run without"
    assert told in layer["notes"]


def test_a_setting_that_mindspore_has_not_is_named(verify):
    code, (layer,) = verify("nn.Embedding(10, 4, max_norm=1.0)", "nn.Embedding(10, 4)")
    assert code == 0
    told = "max norm is 1.0 in PyTorch; MindSpore's layer has no such setting, and both were run without"
    assert told in layer["notes"]
