"""The way back of files that have been trained, moved or tampered with since the conversion that wrote them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
import torch
from nets import assert_same, two_norms
from torch import nn

import porter
from porter import SourceOptions, WriteOptions
from porter.errors import Malformed


def converted(folder: Path, network: nn.Module, **options: Any) -> Path:
    torch.save(network.state_dict(), folder / "net.pth")
    says = SourceOptions(layers=[("**", "BatchNorm3d")])
    porter.convert(
        folder / "net.pth",
        folder / "net.ckpt",
        source_options=says,
        write_options=WriteOptions(**options),
        verify=False,
    )
    return folder / "net.ckpt"


def trained(path: Path, change: Callable[[dict[str, np.ndarray[Any, Any]]], None]) -> None:
    """The file as MindSpore saves it after `change` of its parameters."""
    arrays = {name: p.asnumpy().copy() for name, p in mindspore.load_checkpoint(str(path)).items()}
    change(arrays)
    path.unlink()
    mindspore.save_checkpoint([{"name": n, "data": mindspore.Tensor(a)} for n, a in arrays.items()], str(path))


def back(path: Path, **options: Any) -> tuple[porter.Conversion, dict[str, torch.Tensor]]:
    done = porter.convert(path, path.with_name("back.pth"), write_options=WriteOptions(force=True), **options)
    return done, torch.load(path.with_name("back.pth"), weights_only=True)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_what_was_created_is_carried_once_it_is_trained(prefix: str, tmp_path: Path) -> None:
    network: nn.Module = two_norms(affine=False)
    if prefix:
        network = nn.ModuleDict({"module": network})
    path = converted(tmp_path, network, strip_prefix=prefix)
    trained(path, lambda a: a["1.bn2d.gamma"].fill(0.72))
    done, state = back(path)
    assert done.verified is True
    assert set(state) - set(network.state_dict()) == {f"{prefix}1.weight", f"{prefix}1.bias"}
    assert (state[f"{prefix}1.weight"] == np.float32(0.72)).all()
    assert (state[f"{prefix}1.bias"] == 0).all()
    assert any("2 tensors (1.bn2d.gamma, ...)" in note and "affine=True" in note for note in done.warnings)


def test_what_was_created_is_dropped_where_it_is_as_it_was(tmp_path: Path) -> None:
    network = two_norms(affine=False)
    done, state = back(converted(tmp_path, network))
    assert_same(network.state_dict(), state)
    assert not any("trained" in note for note in done.warnings)


@pytest.mark.parametrize(
    "names", [("a",), ("norm.gamma", "norm.beta"), ("mean", "variance", "gamma", "beta"), ("x.w",)]
)
def test_parameters_of_ones_own_called_as_layers_are(names: tuple[str, ...], tmp_path: Path) -> None:
    """A PReLU, a LayerNorm, a BatchNorm and a PReLU, if the record did not know better."""
    state = {name: torch.full((3,), float(place)) for place, name in enumerate(names)}
    torch.save(state, tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=SourceOptions(from_="torch"))
    assert_same(state, back(tmp_path / "net.ckpt")[1])


def tampered(path: Path, change: Callable[[Any], None]) -> None:
    record = path.with_name(path.name + ".bnport.json")
    document = json.loads(record.read_text())
    change(document)
    record.write_text(json.dumps(document))


def swap_outside_of_layers(document: Any) -> None:
    first, second = (step for step in document["tensors"] if step[0] in ("a", "bc.a"))
    first[0], second[0] = second[0], first[0]


def test_a_record_cannot_exchange_tensors_outside_of_layers(tmp_path: Path) -> None:
    network = two_norms()
    network.a = nn.Parameter(torch.zeros(3, 3, 3))
    network.bc = nn.Module()
    network.bc.a = nn.Parameter(torch.ones(3, 3, 3))
    path = converted(tmp_path, network)
    tampered(path, swap_outside_of_layers)
    with pytest.raises(Malformed, match="contradicts the layer rules"):
        back(path)
