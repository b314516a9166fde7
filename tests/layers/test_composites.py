"""Layers made of layers: who settles that modules are one, and what it says about its parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from nets import assert_same
from torch import nn

import porter
from porter import SourceOptions
from porter.errors import UsageError
from porter.record import read_beside

SAY = SourceOptions(layers=[("block", "TransformerEncoderLayer")])


class Own(nn.Module):
    """A block of the user's own with the parts of PyTorch's, as detection networks have it."""

    def __init__(self, linear: str = "linear", **more: nn.Module) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(8, 2)
        for i in (1, 2):
            self.add_module(f"{linear}{i}", nn.Linear(8, 8))
            self.add_module(f"norm{i}", nn.LayerNorm(8))
        for name, module in more.items():
            self.add_module(name, module)


class Net(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block


def converted(saved: object, folder: Path, options: SourceOptions | None = None) -> porter.Conversion:
    torch.save(saved, folder / "net.pth")
    return porter.convert(folder / "net.pth", folder / "net.ckpt", source_options=options)


def parts(done: porter.Conversion) -> set[str]:
    return {spec.name.split(".")[1] for spec in done.plan.targets}


def test_the_names_of_all_parts_show_one(tmp_path: Path) -> None:
    done = converted(Net(Own()).state_dict(), tmp_path)
    assert parts(done) == {"self_attn", "dense1", "dense2", "norm1", "norm2"}
    block = next(layer for layer in done.source.layers if layer.name == "block")
    assert (block.kind_name, block.certainty, block.tensors) == ("TransformerEncoderLayer", "inferred", {})
    assert any(note.startswith("1 TransformerEncoderLayer, inferred from names") for note in done.warnings)
    step = next(step for step in done.plan.steps if step.source and step.source.name == "block.linear1.weight")
    assert "PyTorch's linear1.weight is MindSpore's dense1.weight" in step.reason


def test_a_class_of_the_users_own_is_none(tmp_path: Path) -> None:
    done = converted(Net(Own()), tmp_path)
    assert parts(done) == {"self_attn", "linear1", "linear2", "norm1", "norm2"}


def test_the_users_word_outweighs_the_class(tmp_path: Path) -> None:
    assert "dense1" in parts(converted(Net(Own()), tmp_path, SAY))


def test_a_part_more_is_another_layer(tmp_path: Path) -> None:
    own = Net(Own(linear3=nn.Linear(8, 8)))
    assert "linear1" in parts(
        converted(own.state_dict(), tmp_path, SourceOptions(layers=[("**.norm*", "LayerNorm")]))
    )


def test_the_users_word_needs_the_parts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="matches no layer that could be a TransformerEncoderLayer"):
        converted(Net(Own("dense")), tmp_path, SAY)


def test_the_record_outweighs_the_names(tmp_path: Path) -> None:
    """Parts that PyTorch's class calls linear and this one dense: MindSpore's names look like its class's."""
    net = Net(Own("dense"))
    assert "dense1" in parts(converted(net, tmp_path))
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth")
    assert_same(net.state_dict(), torch.load(tmp_path / "back.pth", weights_only=True))


def test_parts_are_told_by_their_place(tmp_path: Path) -> None:
    """Without `_metadata` a norm of weight and bias alone may be many things."""
    state = Net(nn.TransformerEncoderLayer(8, 2, 16)).state_dict()
    safetensors.torch.save_file(state, tmp_path / "net.safetensors")
    options = SourceOptions(from_="torch")
    done = porter.convert(tmp_path / "net.safetensors", tmp_path / "net.ckpt", source_options=options)
    norm = next(layer for layer in done.source.layers if layer.name == "block.norm1")
    assert (norm.kind_name, norm.certainty) == ("LayerNorm", "inferred")
    assert norm.evidence[0].text == "norm1 of the TransformerEncoderLayer block"


def test_it_is_settled_by_its_class(tmp_path: Path) -> None:
    done = converted(Net(nn.TransformerEncoderLayer(8, 2, 16)), tmp_path)
    layer = next(layer for layer in done.source.layers if layer.name == "block")
    assert (layer.kind_name, layer.certainty) == ("TransformerEncoderLayer", "certain")
    assert not any("TransformerEncoderLayer" in note for note in done.warnings)
    projection = next(layer for layer in done.source.layers if layer.name == "block.self_attn.out_proj")
    assert (projection.kind_name, projection.certainty) == ("Linear", "certain")


def test_the_record_names_layers_as_the_output_does(tmp_path: Path) -> None:
    converted(Net(nn.TransformerEncoderLayer(8, 2, 16)), tmp_path)
    found = read_beside(tmp_path / "net.ckpt")
    assert found is not None
    assert found.kinds["block.dense1"] == "Linear"
    assert {step.layer for step in found.plan.steps if step.target and "dense1" in step.target.name} == {
        "block.dense1"
    }
