"""Layers that stand in several places of one network and are several layers of the other."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import mindspore.nn as ms
import pytest
import torch
from nets import randomised
from torch import nn

import porter
from porter import SourceOptions, WriteOptions
from porter.destination import plan_for
from porter.edits import Rename, rename
from porter.source import open_source
from porter.verification.network_results import NetworkResult
from porter.verification.options import NetworkInput
from porter.verification.pairing import pairs_of


class TorchChain(nn.Module):
    """Two matrices and two normalisations in turn, each pair `shared` (one layer), `tied` (one weight) or neither."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.a, self.norm, self.relu = nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU()
        self.b = self.a if how == "shared" else nn.Linear(4, 4, bias=False)
        self.last = self.norm if how == "shared" else nn.BatchNorm1d(4)
        self.end = self.relu if how == "shared" else nn.ReLU()
        if how == "tied":
            self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.last(self.b(self.relu(self.norm(self.a(x))))))


class MindSporeChain(ms.Cell):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.a, self.norm, self.relu = ms.Dense(4, 4, has_bias=False), ms.BatchNorm1d(4), ms.ReLU()
        self.b = self.a if how == "shared" else ms.Dense(4, 4, has_bias=False)
        self.last = self.norm if how == "shared" else ms.BatchNorm1d(4)
        self.end = self.relu if how == "shared" else ms.ReLU()
        if how == "tied":
            self.b.weight = self.a.weight

    def construct(self, x):
        return self.end(self.last(self.b(self.relu(self.norm(self.a(x))))))


def torch_shared() -> nn.Module:
    return TorchChain("shared")


def torch_tied() -> nn.Module:
    return TorchChain("tied")


def mindspore_shared() -> ms.Cell:
    return MindSporeChain("shared")


def mindspore_tied() -> ms.Cell:
    return MindSporeChain("tied")


def mindspore_neither() -> ms.Cell:
    return MindSporeChain("neither")


def mindspore_uses_twice() -> ms.Cell:
    net = MindSporeChain("tied")
    net.b, net.end = net.a, net.relu
    return net


def mindspore_one_norm() -> ms.Cell:
    """Nothing but the normalisation is one layer."""
    net = MindSporeChain("neither")
    net.last = net.norm
    return net


def mindspore_wrong() -> ms.Cell:
    """The second normalisation of another eps."""
    net = MindSporeChain("neither")
    net.last = ms.BatchNorm1d(4, eps=0.3)
    return net


LAYERS = ["a", "norm", "relu", "b", "last", "end", "the network"]
# In the shared network the second ones are second calls of the first ones.
SHARED = ["a", "norm", "relu", "a (call 2)", "norm (call 2)", "relu (call 2)", "the network"]


def checked(folder: Path, model: str, net: str) -> NetworkResult:
    torch.save(randomised(globals()[model]()).state_dict(), folder / "net.pth")
    options = SourceOptions(model=f"{__file__}:{model}", net=f"{__file__}:{net}")
    porter.convert(folder / "net.pth", folder / "net.ckpt", source_options=options, verify=False)
    inputs = [NetworkInput((8, 4))]
    found = porter.verify(folder / "net.pth", folder / "net.ckpt", source_options=options, inputs=inputs).network
    assert found
    return found


@pytest.mark.parametrize(
    ("model", "net", "labels"),
    [
        ("torch_shared", "mindspore_shared", SHARED),
        ("torch_shared", "mindspore_one_norm", SHARED),
        ("torch_tied", "mindspore_tied", LAYERS),
        ("torch_tied", "mindspore_neither", LAYERS),
    ],
)
def test_every_call_is_compared(model: str, net: str, labels: list[str], tmp_path: Path) -> None:
    """Whatever the sharing, six calls and the outputs; nothing is said to be called too rarely or to be missing."""
    found = checked(tmp_path, model, net)
    assert found.ok is True
    assert [row.label for row in found.modes[0].activations] == labels
    assert found.notes == ()
    assert found.only_in == {"PyTorch": (), "MindSpore": ()}


def test_the_statistics_of_a_shared_layer_are_compared(tmp_path: Path) -> None:
    """PyTorch lists them under the first name, MindSpore keeps the last."""
    rows = checked(tmp_path, "torch_shared", "mindspore_shared").modes[1].activations
    assert {"norm.running_mean", "norm.running_var"} <= {row.label for row in rows}


def test_what_mindspore_alone_uses_twice(tmp_path: Path) -> None:
    """Tied matrices that are one cell there, and one activation: each call is held against the one it is."""
    found = checked(tmp_path, "torch_tied", "mindspore_uses_twice")
    assert found.ok is True
    expected = ["a", "norm", "relu", "a (call 2)", "last", "relu (call 2)", "the network"]
    assert [row.label for row in found.modes[0].activations] == expected


def test_a_second_call_that_differs_is_found(tmp_path: Path) -> None:
    """PyTorch's one normalisation is two in MindSpore, of which the second has another eps."""
    found = checked(tmp_path, "torch_shared", "mindspore_wrong")
    first = found.modes[0].first_divergence
    assert first
    assert first.label == "norm (call 2)"


def test_two_normalisations_for_one_move_their_statistics_differently(tmp_path: Path) -> None:
    """PyTorch's moves its own twice in a step."""
    found = checked(tmp_path, "torch_shared", "mindspore_neither")
    assert [mode.ok for mode in found.modes] == [True, False]
    first = found.modes[1].first_divergence
    assert first
    assert first.what in ("running_mean", "running_var")


def test_alias_paths_stand_for_themselves_where_a_rename_moves_the_others(tmp_path: Path) -> None:
    torch.save(torch_tied().state_dict(), tmp_path / "net.pth")
    source = open_source(tmp_path / "net.pth", SourceOptions(model=f"{__file__}:torch_tied"))
    pairs = pairs_of(source, rename(plan_for(source, "mindspore", WriteOptions()), [Rename("a", "entry.a")]))
    assert pairs.places_of("a") == ("entry.a",)
    assert "b" in pairs.places_of("b")
    assert (pairs.tensors["a.weight"], pairs.tensors["b.weight"]) == ("entry.a.weight", "entry.a.weight")


def torch_with_relus() -> nn.Module:
    relu = nn.ReLU()
    return nn.Sequential(
        OrderedDict(a=nn.Linear(4, 4), first=relu, b=nn.Linear(4, 4), second=relu, c=nn.Linear(4, 2))
    )


def torch_without_the_second() -> nn.Module:
    return nn.Sequential(OrderedDict(a=nn.Linear(4, 4), first=nn.ReLU(), b=nn.Linear(4, 4), c=nn.Linear(4, 2)))


def dense_with_relus() -> ms.Cell:
    dense = {"a": ms.Dense(4, 4, activation="relu"), "b": ms.Dense(4, 4, activation="relu"), "c": ms.Dense(4, 2)}
    return ms.SequentialCell(OrderedDict(dense))


def test_an_activation_inside_a_layer_is_compared_after_it(tmp_path: Path) -> None:
    found = checked(tmp_path, "torch_with_relus", "dense_with_relus")
    assert found.ok is True
    assert [row.label for row in found.modes[0].by_layer] == ["c", "the network"]
    assert found.notes == (
        "a, b: MindSpore's layer ends with ReLU, PyTorch's does not; what follows is compared instead of its output",
    )


def test_an_activation_too_many_inside_a_layer_is_found_after_it(tmp_path: Path) -> None:
    found = checked(tmp_path, "torch_without_the_second", "dense_with_relus")
    assert found.ok is False
    first = found.modes[0].first_divergence
    assert first
    assert first.label == "c"
    assert "look between the input and c for an activation" in (found.modes[0].cause or "")
