"""What recognition reads off the surroundings of a layer: kernels, side branches, children, siblings, names."""

from __future__ import annotations

import mindspore
import pytest
import torch
from mindspore import nn as ms
from torch import nn

import porter
from porter import SourceOptions
from porter.formats.dtypes import FLOAT32
from porter.formats.model import TensorSpec
from porter.layers.groups import group_tensors
from porter.layers.weights import weights_of


def layers_of(path, saved, **options):
    if isinstance(saved, ms.Cell):
        mindspore.save_checkpoint(saved, str(path))
    else:
        torch.save(saved, path)
    return {layer.name: layer for layer in porter.inspect(path, SourceOptions(**options)).source.layers}


def plain(network):
    return dict(network.state_dict())


def axes(shapes, dialect="torch"):
    """Number of spatial axes that each of a network's weights may have."""
    specs = [TensorSpec(f"{i}.weight", FLOAT32, shape) for i, shape in enumerate(shapes)]
    return [set(weight.axes) for weight in weights_of(group_tensors(specs, dialect), dialect).values()]


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(64, 3, 3, 7, 7), (64, 64, 3, 3, 3)], [{3}, {3}]),  # a video stem
        ([(32, 1, 3, 3, 3), (32, 32, 3, 3, 3)], [{3}, {3}]),  # a volume of one channel
        ([(16, 3, 3, 3, 4), (32, 3, 3, 3, 16)], [{1}, {1}]),  # spconv 2, the first over 4 features
        ([(3, 3, 3, 4, 16), (3, 3, 3, 16, 32)], [{1}, {1}]),  # spconv 1
        ([(768, 1, 16, 16, 16), (2, 768, 1, 1, 1)], [{3}, {3}]),  # patches of 16: a long last axis, but not alone
        ([(16, 3, 3, 3, 4), (32, 3, 3, 3, 16), (8, 64, 3, 3, 3)], [{1, 3}, {1}, {3}]),  # both in one network
        ([(8, 4), (8, 4, 3), (8, 4, 3, 3)], [{0}, {1}, {2}]),
    ],
)
def test_which_axes_are_the_kernels(shapes, expected):
    assert axes(shapes) == expected


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [
        ([(1, 3), (1, 1)], [{1}, {1}]),
        ([(3, 3), (1, 1)], [{2}, {2}]),
        ([(1, 3), (3, 1), (1, 1)], [{2}, {2}, {2}]),  # a separated square
        ([(3, 3), (1, 5), (1, 1)], [{2}, {1, 2}, {1, 2}]),
        ([(1, 3), (3, 1), (1, 5)], [{2}, {2}, {1, 2}]),
        ([(1, 1)], [{1, 2}]),
        ([(1, 3)], [{1, 2}]),  # alone: nothing speaks for either
        ([(1, 3), (1, 3)], [{1}, {1}]),
    ],
)
def test_flat_kernels_in_mindspore(kernels, expected):
    """Its Conv1d is (O, I, 1, K)."""
    assert axes([(8, 4, *kernel) for kernel in kernels], "mindspore") == expected


@pytest.mark.parametrize(
    ("kernels", "evidence"),
    [
        ([(1, 3), (1, 1)], "all 2 kernels of the network have a height of 1"),
        ([(3, 3), (1, 1)], "the network has kernels that are taller, and none that is only wide"),
        ([(5, 1), (1, 5)], "the network has a kernel of 5 x 1, too"),
    ],
)
def test_the_evidence_for_flat_kernels_is_true(kernels, evidence, tmp_path):
    cells = [ms.Conv2d(4, 4, kernel) for kernel in kernels]
    layers = layers_of(tmp_path / "net.ckpt", ms.SequentialCell(*cells))
    flat = layers[str(kernels.index(next(kernel for kernel in reversed(kernels) if kernel[0] == 1)))]
    assert flat.certainty == "inferred"
    assert evidence in flat.evidence[0].text


def test_a_lone_flat_kernel_is_undecided(tmp_path):
    layers = layers_of(tmp_path / "net.ckpt", ms.SequentialCell(ms.Conv1d(4, 4, 3), ms.Conv3d(4, 4, 3)))
    assert (layers["0"].certainty, {kind.name for kind in layers["0"].kinds}) == (
        "undecided",
        {"Conv1d", "ConvTranspose1d", "Conv2d", "ConvTranspose2d"},
    )


def test_layers_of_one_sequential_are_no_siblings(tmp_path):
    """conv, bn3d, conv, bn3d, pool, flatten, bn1d, linear: the last norm stands at another place than the others."""
    network = nn.Sequential(
        nn.Conv3d(1, 8, 3),
        nn.BatchNorm3d(8),
        nn.Conv3d(8, 6, 3),
        nn.BatchNorm3d(6),
        nn.BatchNorm1d(6),
        nn.Linear(6, 2),
    )
    layers = layers_of(tmp_path / "net.pth", network.state_dict())
    assert [layers[name].certainty for name in ("1", "3", "4")] == ["inferred", "inferred", "undecided"]


def block(norm, channels=8):
    return nn.ModuleDict({"conv": nn.Conv3d(channels, 8, 3), "norm": norm})


def test_siblings_must_have_the_same_tensors_and_agree(tmp_path):
    """Without statistics it may be an InstanceNorm3d, whatever stands in the other blocks."""
    norms = [nn.BatchNorm3d(8), nn.BatchNorm3d(8), nn.InstanceNorm3d(8, affine=True)]
    network = nn.ModuleDict({"blocks": nn.ModuleList(block(norm) for norm in norms)})
    layers = layers_of(tmp_path / "net.pth", network.state_dict())
    assert [layers[f"blocks.{i}.norm"].certainty for i in range(3)] == ["inferred", "inferred", "undecided"]


def test_one_word_decides_the_siblings(tmp_path):
    norms = [nn.BatchNorm3d(8, track_running_stats=False) for _ in range(3)]
    network = nn.ModuleDict({"blocks": nn.ModuleList(block(norm) for norm in norms)})
    said = [("blocks.0.norm", "BatchNorm3d")]
    layers = layers_of(tmp_path / "net.pth", network.state_dict(), layers=said)
    assert [layers[f"blocks.{i}.norm"].certainty for i in range(3)] == ["certain", "inferred", "inferred"]
    assert layers["blocks.2.norm"].kind_name == "BatchNorm3d"
    assert "blocks.0.norm" in layers["blocks.2.norm"].evidence[0].text


def test_a_tracking_instance_norm_in_a_pickled_module_is_certain(tmp_path):
    norm = nn.InstanceNorm3d(8, affine=True, track_running_stats=True)
    layers = layers_of(tmp_path / "net.pth", nn.Sequential(nn.Conv3d(1, 8, 3), norm))
    assert (layers["1"].kind_name, layers["1"].certainty) == ("InstanceNorm3d", "certain")


class Split(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
        self.bn = nn.BatchNorm3d(8, affine=False)


def test_a_scale_around_statistics_keeps_its_names(tmp_path):
    """The user can still say that it is a layer of its own."""
    network = nn.Sequential(nn.Conv3d(1, 8, 3), Split())
    layers = layers_of(tmp_path / "net.pth", plain(network))
    assert "1" not in layers
    assert layers["1.bn"].kind_name == "BatchNorm3d"
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    assert {step.target.name for step in done.plan.steps if step.target} == {
        *("0.weight", "0.bias", "1.weight", "1.bias"),
        *(f"1.bn.bn2d.{leaf}" for leaf in ("gamma", "beta", "moving_mean", "moving_variance")),
    }
    layers = layers_of(tmp_path / "net.pth", plain(network), layers=[("1", "LayerNorm")])
    assert (layers["1"].kind_name, layers["1"].certainty) == ("LayerNorm", "certain")


def test_mindspores_instance_norm_behind_a_5d_convolution(tmp_path):
    """Its names are BatchNorm2d's, which cannot stand there."""
    layers = layers_of(tmp_path / "net.ckpt", ms.SequentialCell(ms.Conv3d(1, 8, 3), ms.InstanceNorm3d(8)))
    assert (layers["1"].kind_name, layers["1"].certainty) == ("InstanceNorm3d", "inferred")


def test_names_of_several_kinds_are_not_certain(tmp_path):
    layers = layers_of(tmp_path / "net.ckpt", ms.SequentialCell(ms.Conv2d(1, 8, 3), ms.BatchNorm2d(8)))
    assert (layers["1"].kind_name, layers["1"].certainty) == ("BatchNorm2d", "inferred")


class Own(ms.Cell):
    """A cell with a parameter called as PReLU's."""

    def __init__(self):
        super().__init__()
        self.w = mindspore.Parameter(mindspore.ops.zeros(8))
        self.table = ms.Embedding(4, 2)


def test_names_that_any_cell_may_use_are_not_certain(tmp_path):
    layers = layers_of(tmp_path / "net.ckpt", ms.SequentialCell(Own()))
    assert layers["0"].certainty == "inferred"
    assert layers["0.table"].certainty == "certain"
