"""The network on the other side as evidence: where it is given alone, and where others speak, too."""

from __future__ import annotations

from pathlib import Path

import mindspore
import pytest
import torch
from mindspore import nn as ms
from nets import randomised
from torch import nn

import porter
from porter import SourceOptions, WriteOptions
from porter.edits import Rename
from porter.errors import Undecided
from porter.layers.model import Layer


class Cells(ms.Cell):
    """Cells under given attribute names."""

    def __init__(self, **cells: ms.Cell) -> None:
        super().__init__()
        for name, cell in cells.items():
            setattr(self, name, cell)


def saved(network: ms.Cell | nn.Module, folder: Path) -> Path:
    """Without `_metadata`."""
    if isinstance(network, ms.Cell):
        mindspore.save_checkpoint(network, str(folder / "net.ckpt"))
        return folder / "net.ckpt"
    torch.save(dict(network.state_dict()), folder / "net.pth")
    return folder / "net.pth"


def layer_of(path: Path, name: str, **options: str) -> Layer:
    given = {key: f"{__file__}:{value}" for key, value in options.items()}
    return next(x for x in porter.inspect(path, SourceOptions(**given)).source.layers if x.name == name)


def lone_norm_in_torch() -> nn.Module:
    return nn.ModuleDict(
        {"conv": nn.Conv2d(2, 4, 3, bias=False), "block": nn.ModuleDict({"bn2d": nn.BatchNorm2d(4)})}
    )


def lone_norm_in_mindspore() -> ms.Cell:
    return Cells(conv=ms.Conv2d(2, 4, 3), block=Cells(bn2d=ms.BatchNorm2d(4)))


def test_a_lone_cell_called_bn2d_is_what_the_target_says(tmp_path: Path) -> None:
    path = saved(lone_norm_in_mindspore(), tmp_path)
    assert layer_of(path, "block").certainty == "undecided"
    layer = layer_of(path, "block.bn2d", model="lone_norm_in_torch")
    assert (layer.kind_name, layer.certainty, layer.evidence[0].source) == (
        "BatchNorm2d",
        "certain",
        "target network",
    )
    options = SourceOptions(model=f"{__file__}:lone_norm_in_torch")
    porter.convert(path, tmp_path / "out.pth", source_options=options)
    lone_norm_in_torch().load_state_dict(torch.load(tmp_path / "out.pth"))


def embedding_in_torch() -> nn.Module:
    return nn.ModuleDict({"words": nn.Embedding(7, 4), "head": nn.Linear(4, 7, bias=False)})


def embedding_in_mindspore() -> ms.Cell:
    return Cells(words=ms.Embedding(7, 4), head=ms.Dense(4, 7, has_bias=False))


def volumes_in_torch() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3, bias=False), nn.InstanceNorm3d(4, affine=True, track_running_stats=True))


def volumes_in_mindspore() -> ms.Cell:
    return ms.SequentialCell(ms.Conv3d(1, 4, 3), ms.InstanceNorm3d(4))


def points_in_torch() -> nn.Module:
    return nn.ModuleDict({"conv": nn.Conv1d(2, 4, 1, bias=False), "norm": nn.GroupNorm(2, 4)})


def points_in_mindspore() -> ms.Cell:
    return Cells(conv=ms.Conv1d(2, 4, 1), norm=ms.GroupNorm(2, 4))


NETWORKS = [
    ("embedding", "words", "Linear", "Embedding"),
    ("volumes", "1", "BatchNorm3d", "InstanceNorm3d"),
    ("points", "norm", None, "GroupNorm"),
]


@pytest.mark.parametrize(("network", "name", "alone", "kind"), NETWORKS)
def test_the_mindspore_target_settles_a_torch_layer(
    network: str, name: str, alone: str | None, kind: str, tmp_path: Path
) -> None:
    path = saved(randomised(globals()[f"{network}_in_torch"]()), tmp_path)
    without, layer = layer_of(path, name), layer_of(path, name, net=f"{network}_in_mindspore")
    assert without.certainty == ("inferred" if alone else "undecided")
    assert alone is None or without.kind_name == alone
    assert (layer.kind_name, layer.certainty) == (kind, "certain")
    options = SourceOptions(net=f"{__file__}:{network}_in_mindspore")
    assert porter.convert(path, tmp_path / "out.ckpt", source_options=options).verified is not False


def test_the_torch_target_settles_a_flat_kernel(tmp_path: Path) -> None:
    path = saved(points_in_mindspore(), tmp_path)
    assert layer_of(path, "conv").certainty == "undecided"
    assert layer_of(path, "conv", model="points_in_torch").kind_name == "Conv1d"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("volumes_in_torch", ("InstanceNorm3d", "certain", "network")),
        ("batch_norms_in_torch", ("BatchNorm3d", "certain", "network")),
        ("sync_in_torch", ("BatchNorm3d", "certain", "network")),
    ],
)
def test_the_sources_own_network_is_stronger(model: str, expected: tuple[str, str, str], tmp_path: Path) -> None:
    """A SyncBatchNorm leaves the rank open: there the target chooses."""
    path = saved(volumes_in_torch(), tmp_path)
    net = "batch_norms_in_mindspore" if model == "sync_in_torch" else "volumes_in_mindspore"
    layer = layer_of(path, "1", model=model, net=net)
    assert (layer.kind_name, layer.certainty, layer.evidence[0].source) == expected


def test_a_target_that_the_sources_own_network_contradicts_says_nothing(tmp_path: Path) -> None:
    """A batch normalisation of any rank, says the one; an InstanceNorm3d, the other."""
    layer = layer_of(saved(volumes_in_torch(), tmp_path), "1", model="sync_in_torch", net="volumes_in_mindspore")
    assert (layer.kind_name, layer.certainty) == ("BatchNorm3d", "inferred")


def sync_in_torch() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3, bias=False), nn.SyncBatchNorm(4))


def batch_norms_in_torch() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3, bias=False), nn.BatchNorm3d(4, eps=0.02, momentum=0.3))


def batch_norms_in_mindspore() -> ms.Cell:
    return ms.SequentialCell(ms.Conv3d(1, 4, 3), ms.BatchNorm3d(4, eps=0.02, momentum=0.7))


def test_a_target_that_cannot_be_meant_says_nothing(tmp_path: Path) -> None:
    """Other parameters, or another number of channels: `fit` tells what does not fit."""
    path = saved(nn.Sequential(nn.Conv3d(1, 6, 3), nn.BatchNorm3d(6)), tmp_path)
    for net in ("batch_norms_in_mindspore", "embedding_in_mindspore"):
        layer = layer_of(path, "1", net=net)
        assert (layer.kind_name, layer.certainty) == ("BatchNorm3d", "inferred")
        assert all(evidence.source != "target network" for evidence in layer.evidence)


@pytest.mark.parametrize("back", [False, True], ids=["to MindSpore", "to PyTorch"])
def test_settings_of_the_target_are_assumed_and_said(back: bool, tmp_path: Path) -> None:
    network = batch_norms_in_mindspore() if back else randomised(batch_norms_in_torch())
    path = saved(network, tmp_path)
    option = {"model": "batch_norms_in_torch"} if back else {"net": "batch_norms_in_mindspore"}
    settings = layer_of(path, "1", **option).settings
    assert settings is not None
    assert (settings.eps, settings.momentum) == (0.02, 0.3)
    assert settings.known_from["eps"] == settings.known_from["momentum"] == "target network"
    given = SourceOptions(**{key: f"{__file__}:{value}" for key, value in option.items()})
    output = tmp_path / ("out.pth" if back else "out.ckpt")
    done = porter.convert(path, output, source_options=given)
    assert done.verified
    assert done.verification is not None
    assert any("1 layers were run with the target network's settings" in w for w in done.verification.warnings)
    # To compare settings is what `verify` is for: there PyTorch's defaults stand for what nobody knows.
    failed = porter.verify(path, output, source_options=given)
    assert {layer.kind: layer.ok for layer in failed.layers} == {"Conv3d": True, "BatchNorm3d": False}
    assert any("PyTorch's default eps 1e-05 and momentum 0.1" in warning for warning in failed.warnings)


def test_an_option_outweighs_the_settings_of_the_target(tmp_path: Path) -> None:
    path = saved(batch_norms_in_torch(), tmp_path)
    given = SourceOptions(net=f"{__file__}:batch_norms_in_mindspore", eps=0.5)
    settings = porter.inspect(path, given).source.layers[1].settings
    assert settings is not None
    assert (settings.eps, settings.known_from["eps"]) == (0.5, "option")


def untracked_in_torch() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3, bias=False), nn.BatchNorm3d(4, affine=False, track_running_stats=False))


def test_what_the_torch_target_lacks_is_left_out(tmp_path: Path) -> None:
    """MindSpore's file has all four parameters whatever the settings."""
    path = saved(ms.SequentialCell(ms.Conv3d(1, 4, 3), ms.BatchNorm3d(4, use_batch_statistics=True)), tmp_path)
    options = SourceOptions(model=f"{__file__}:untracked_in_torch")
    porter.convert(path, tmp_path / "out.pth", source_options=options)
    untracked_in_torch().load_state_dict(torch.load(tmp_path / "out.pth"))


def test_a_torch_file_shows_itself_what_a_layer_has(tmp_path: Path) -> None:
    """The target trains gamma and tracks statistics, as every MindSpore cell does by default."""
    torch.save(untracked_in_torch().state_dict(), tmp_path / "net.pth")
    layer = layer_of(tmp_path / "net.pth", "1", net="batch_norms_in_mindspore")
    assert layer.settings is not None
    assert (layer.kind_name, layer.certainty, layer.channels) == ("BatchNorm3d", "certain", 4)
    assert (layer.settings.affine, layer.settings.statistics) == (False, "batch")


def renamed_in_mindspore() -> ms.Cell:
    return Cells(tokens=ms.Embedding(7, 4), head=ms.Dense(4, 7, has_bias=False))


@pytest.mark.parametrize(
    ("wrapper", "prefix"), [("", ""), ("module.", "auto"), ("module.", "module"), ("net.", "net.")]
)
def test_the_counterpart_is_found_after_renames_and_prefixes(wrapper: str, prefix: str, tmp_path: Path) -> None:
    state = {f"{wrapper}{name}": tensor for name, tensor in embedding_in_torch().state_dict().items()}
    torch.save(state, tmp_path / "net.pth")
    given = SourceOptions(net=f"{__file__}:renamed_in_mindspore")
    write = WriteOptions(strip_prefix=prefix, renames=(Rename("words", "tokens"),))
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=given, write_options=write)
    assert "tokens.embedding_table" in mindspore.load_checkpoint(str(tmp_path / "net.ckpt"))
    # The record says what was renamed.
    assert porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=given).ok


def encoder_in_torch() -> nn.Module:
    return nn.ModuleDict({"encoder": nn.TransformerEncoderLayer(8, 2, 16), "words": nn.Embedding(7, 8)})


def encoder_in_mindspore() -> ms.Cell:
    return Cells(encoder=ms.TransformerEncoderLayer(8, 2, 16), words=ms.Embedding(7, 8))


class OwnEncoder(ms.Cell):
    """A class of its own with the parts of PyTorch's, under PyTorch's names."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = ms.MultiheadAttention(8, 2)
        self.linear1, self.linear2 = ms.Dense(8, 16), ms.Dense(16, 8)
        self.norm1, self.norm2 = ms.LayerNorm((8,)), ms.LayerNorm((8,))


def own_encoder_in_mindspore() -> ms.Cell:
    return Cells(encoder=OwnEncoder(), words=ms.Embedding(7, 8))


@pytest.mark.parametrize("net", ["encoder_in_mindspore", "own_encoder_in_mindspore"])
def test_parts_that_the_target_calls_otherwise_or_alike(net: str, tmp_path: Path) -> None:
    path = saved(encoder_in_torch(), tmp_path)
    first = next(x for x in porter.inspect(path).source.layers if x.name == "encoder")
    assert first.certainty == "inferred"
    options = SourceOptions(net=f"{__file__}:{net}")
    porter.convert(path, tmp_path / "out.ckpt", source_options=options)
    part = layer_of(path, "encoder.linear1", net=net)
    assert (part.kind_name, part.certainty) == ("Linear", "certain")


def test_parts_under_mindspores_names_are_found(tmp_path: Path) -> None:
    path = saved(encoder_in_mindspore(), tmp_path)
    part = layer_of(path, "encoder.dense1", model="encoder_in_torch")
    assert (part.kind_name, part.certainty, part.evidence[0].source) == ("Linear", "certain", "target network")


def test_the_question_names_both_networks_and_the_inner_cell(tmp_path: Path) -> None:
    path = saved(lone_norm_in_mindspore(), tmp_path)
    with pytest.raises(Undecided) as caught:
        porter.convert(path, tmp_path / "out.pth", verify=False)
    hint = str(caught.value.hint)
    assert "--layer 'block=BatchNorm3d' or --layer 'block.bn2d=BatchNorm2d'" in hint
    assert "--net FILE.py:FACTORY, or the one it is converted for with --model" in hint
    word = SourceOptions(layers=[("block.bn2d", "BatchNorm2d")])
    porter.convert(path, tmp_path / "out.pth", source_options=word, verify=False)
    lone_norm_in_torch().load_state_dict(torch.load(tmp_path / "out.pth"))


def trained_in_torch() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3, bias=False), nn.BatchNorm3d(4))


def held_fast_in_torch() -> nn.Module:
    network = trained_in_torch()
    network[1].requires_grad_(False)
    return network


def untrained_in_mindspore() -> ms.Cell:
    return ms.SequentialCell(ms.Conv3d(1, 4, 3), ms.BatchNorm3d(4, affine=False))


@pytest.mark.parametrize(
    ("model", "failing"),
    [("trained_in_torch", {"settings"}), ("held_fast_in_torch", set()), (None, set())],
)
def test_a_gamma_that_the_target_does_not_train_fails_where_the_source_is_known_to(
    tmp_path: Path, model: str | None, failing: set[str]
) -> None:
    path = saved(randomised(trained_in_torch()), tmp_path)
    source = SourceOptions(model=f"{__file__}:trained_in_torch")
    porter.convert(path, tmp_path / "out.ckpt", source_options=source)
    asked = SourceOptions(model=f"{__file__}:{model}" if model else None, net=f"{__file__}:untrained_in_mindspore")
    found = porter.verify(path, tmp_path / "out.ckpt", source_options=asked)
    norm = next(layer for layer in found.layers if layer.name == "1")
    assert {check.check for check in norm.checks if check.ok is False} == failing
    assert ("affine is False where True was expected" in (norm.diagnosis or "")) is bool(failing)
