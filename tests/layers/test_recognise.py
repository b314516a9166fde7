"""How kinds are known: each source of evidence, its rank, and what happens when evidence conflicts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore
import pytest
import torch
from nets import randomised, two_norms
from torch import nn

import porter
from porter import SourceOptions
from porter.errors import Undecided, UsageError
from porter.layers.model import Layer


def layers_of(folder: Path, saved: Any, **options: Any) -> dict[str, Layer]:
    path = folder / "net.pth"
    torch.save(saved, path)
    return {layer.name: layer for layer in porter.inspect(path, SourceOptions(**options)).source.layers}


def plain(module: nn.Module) -> dict[str, torch.Tensor]:
    """A state dict without `_metadata`, as safetensors and many scripts leave it."""
    return dict(module.state_dict())


def kinds(layers: dict[str, Layer]) -> dict[str, str]:
    return {name: layer.kind_name for name, layer in layers.items() if "Norm" in layer.kind_name}


class Bottleneck(nn.Module):
    """Convolutions declared before their norms, and a channel count that only some of them have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv3d(8, 4, 1), nn.Conv3d(4, 6, 3), nn.Conv3d(6, 16, 1)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm3d(4), nn.BatchNorm3d(6), nn.BatchNorm3d(16)


class PreActivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm3d(8), nn.Conv3d(8, 12, 3)
        self.norm2, self.conv2 = nn.BatchNorm3d(12), nn.Conv3d(12, 8, 3)


class Mixed(nn.Module):
    """2-D and 3-D halves, and a head of linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.video = nn.Sequential(nn.Conv3d(3, 16, 3), nn.BatchNorm3d(16))
        self.image = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16))
        self.audio = nn.Sequential(nn.Conv1d(3, 16, 3), nn.BatchNorm1d(16))
        self.head = nn.Sequential(nn.Linear(48, 16), nn.BatchNorm1d(16), nn.Linear(16, 2))


@pytest.mark.parametrize("module", [Bottleneck, PreActivation, Mixed])
@pytest.mark.parametrize("metadata", [True, False], ids=["metadata", "plain"])
def test_neighbours_tell_the_rank(module: type[nn.Module], metadata: bool, tmp_path: Path) -> None:
    network = randomised(module())
    layers = layers_of(tmp_path, network.state_dict() if metadata else plain(network))
    expected = {name: type(m).__name__ for name, m in network.named_modules() if "Norm" in type(m).__name__}
    assert kinds(layers) == expected
    assert {layers[name].certainty for name in expected} == {"inferred"}


def test_a_norm_behind_a_norm_before_a_linear_layer_is_not_guessed(tmp_path: Path) -> None:
    """conv, bn3d, pool, bn1d, linear: shapes alone would make the second a BatchNorm3d."""
    network = nn.ModuleDict(
        {"conv": nn.Conv3d(3, 8, 3), "bn": nn.BatchNorm3d(8), "neck": nn.BatchNorm1d(8), "fc": nn.Linear(8, 2)}
    )
    layers = layers_of(tmp_path, network.state_dict())
    assert layers["bn"].kind_name == "BatchNorm3d"
    assert layers["neck"].certainty == "undecided"


def test_a_norm_between_convolutions_of_different_rank_is_not_guessed(tmp_path: Path) -> None:
    network = nn.ModuleDict(
        {
            "a": nn.ModuleDict({"conv": nn.Conv2d(3, 8, 3)}),
            "b": nn.ModuleDict({"norm": nn.BatchNorm3d(8), "conv": nn.Conv3d(8, 4, 3)}),
        }
    )
    layer = layers_of(tmp_path, network.state_dict())["b.norm"]
    assert layer.certainty == "undecided"
    assert {kind.name for kind in layer.kinds} == {"BatchNorm2d", "BatchNorm3d"}


def test_concatenated_channels_are_known_from_the_whole_network(tmp_path: Path) -> None:
    """As in a DenseNet, no convolution has the last norm's 20 channels."""
    network = nn.ModuleDict(
        {"a": nn.Conv3d(1, 8, 3), "b": nn.Conv3d(8, 12, 3), "norm": nn.BatchNorm3d(20), "fc": nn.Linear(20, 2)}
    )
    layer = layers_of(tmp_path, network.state_dict())["norm"]
    assert (layer.kind_name, layer.certainty) == ("BatchNorm3d", "inferred")
    assert "every convolution" in " ".join(evidence.text for evidence in layer.evidence)


def test_a_pickled_module_is_certain_and_knows_its_settings(tmp_path: Path) -> None:
    network = two_norms(eps=1e-3, momentum=0.01)
    layer = layers_of(tmp_path, network)["1"]
    assert (layer.kind_name, layer.certainty, layer.evidence[0].source) == (
        "BatchNorm3d",
        "certain",
        "pickled module",
    )
    assert layer.settings is not None
    assert (layer.settings.eps, layer.settings.momentum) == (1e-3, 0.01)


def test_metadata_tells_a_norm_without_statistics_from_a_layer_norm(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv3d(1, 8, 3), nn.GroupNorm(2, 8))
    layer = layers_of(tmp_path, network.state_dict())["1"]
    assert (layer.kind_name, layer.certainty) == ("LayerNorm|GroupNorm", "inferred")
    assert layers_of(tmp_path, plain(network))["1"].certainty == "undecided"


@pytest.mark.parametrize("options", [{"affine": False, "track_running_stats": False}, {"track_running_stats": False}])
def test_what_may_be_an_instance_norm_is_undecided(options: dict[str, bool], tmp_path: Path) -> None:
    layers = layers_of(tmp_path, two_norms(**options).state_dict())
    for name, channels in (("1", 6), ("4", 4)):
        assert layers[name].certainty == "undecided"
        assert layers[name].kind_name == "BatchNorm3d|InstanceNorm3d"
        assert layers[name].channels == channels


def test_the_users_word_beats_all(tmp_path: Path) -> None:
    layers = layers_of(tmp_path, two_norms(), layers=[("*", "BatchNorm2d"), ("4", "BatchNorm1d")])
    assert kinds(layers) == {"1": "BatchNorm2d", "4": "BatchNorm1d"}
    assert {layers[name].certainty for name in ("1", "4")} == {"certain"}
    assert layers["0"].kind_name == "Conv3d", "a wildcard leaves what cannot be of its kind alone"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (("0", "BatchNorm3d"), "its tensors cannot be those of a BatchNorm3d"),
        (("nowhere", "BatchNorm3d"), "matches no layer"),
        (("1", "BatchNorm4d"), "is no kind of layer"),
    ],
)
def test_a_word_that_cannot_be_true_is_refused(word: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        layers_of(tmp_path, two_norms().state_dict(), layers=[word])


class Custom(nn.BatchNorm3d):
    """A subclass, as real networks have them."""


def custom_network() -> nn.Module:
    return nn.Sequential(nn.Conv3d(2, 6, 3), Custom(6, eps=1e-3, momentum=0.02))


def sync_network() -> nn.Module:
    return nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.Conv3d(2, 6, 3), nn.BatchNorm3d(6)))


def parameterless_network() -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.BatchNorm3d(6, affine=False, track_running_stats=False))


def test_the_users_network_is_certain_subclasses_included(tmp_path: Path) -> None:
    layers = layers_of(tmp_path, plain(custom_network()), model=f"{__file__}:custom_network")
    layer = layers["1"]
    assert (layer.kind_name, layer.certainty, layer.evidence[0].source) == ("BatchNorm3d", "certain", "network")
    assert layer.settings is not None
    assert (layer.settings.eps, layer.settings.momentum) == (1e-3, 0.02)


def test_the_network_is_found_below_a_wrappers_prefix(tmp_path: Path) -> None:
    wrapped = {f"module.{name}": tensor for name, tensor in custom_network().state_dict().items()}
    layer = layers_of(tmp_path, wrapped, model=f"{__file__}:custom_network")["module.1"]
    assert (layer.kind_name, layer.certainty) == ("BatchNorm3d", "certain")


def test_the_network_knows_layers_without_any_tensor(tmp_path: Path) -> None:
    layers = layers_of(tmp_path, {"other": torch.ones(3)}, model=f"{__file__}:parameterless_network")
    assert (layers["1"].kind_name, layers["1"].channels, layers["1"].certainty) == ("BatchNorm3d", 6, "certain")


def test_a_sync_batch_norm_takes_its_rank_from_the_neighbours(tmp_path: Path) -> None:
    layers = layers_of(tmp_path, plain(sync_network()), model=f"{__file__}:sync_network")
    assert (layers["1"].kind_name, layers["1"].certainty) == ("BatchNorm3d", "inferred")


def mindspore_layers(folder: Path, cell: mindspore.nn.Cell) -> dict[str, Layer]:
    mindspore.save_checkpoint(cell, str(folder / "net.ckpt"))
    return {layer.name: layer for layer in porter.inspect(folder / "net.ckpt").source.layers}


class Holder(mindspore.nn.Cell):
    """Cells under given attribute names."""

    def __init__(self, **cells: mindspore.nn.Cell) -> None:
        super().__init__()
        for name, cell in cells.items():
            setattr(self, name, cell)


def test_mindspores_nested_names_are_certain(tmp_path: Path) -> None:
    layers = mindspore_layers(tmp_path, Holder(conv=mindspore.nn.Conv3d(2, 4, 3), bn=mindspore.nn.BatchNorm3d(4)))
    assert (layers["bn"].kind_name, layers["bn"].certainty) == ("BatchNorm3d", "certain")
    assert layers["bn"].tensors["gamma"] == "bn.bn2d.gamma"


WITHOUT_A_CONVOLUTION: dict[str, Callable[[], mindspore.nn.Cell]] = {
    "a wrapper before a linear layer": lambda: Holder(
        norm=Holder(bn2d=mindspore.nn.BatchNorm2d(8)), head=mindspore.nn.Dense(8, 2)
    ),
    "two wrappers": lambda: Holder(
        a=Holder(bn2d=mindspore.nn.BatchNorm2d(8)), norm=Holder(bn2d=mindspore.nn.BatchNorm2d(8))
    ),
    "far from the convolution": lambda: Holder(
        stem=mindspore.nn.Conv3d(1, 6, 3),
        block=Holder(fc=mindspore.nn.Dense(6, 4), bn=Holder(norm=Holder(bn2d=mindspore.nn.BatchNorm2d(8)))),
    ),
    "a BatchNorm3d": lambda: Holder(norm=mindspore.nn.BatchNorm3d(8), head=mindspore.nn.Dense(8, 2)),
}


@pytest.mark.parametrize("name", WITHOUT_A_CONVOLUTION)
def test_a_lone_bn2d_without_a_convolution_is_inferred(name: str, tmp_path: Path) -> None:
    """A BatchNorm3d and a cell that only holds a BatchNorm2d called bn2d have the same names."""
    layers = mindspore_layers(tmp_path, WITHOUT_A_CONVOLUTION[name]())
    norm = next(layer for path, layer in layers.items() if path.endswith("norm"))
    assert (norm.kind_name, norm.certainty) == ("BatchNorm3d", "inferred")


def test_what_a_lone_bn2d_is_taken_for_is_noted(tmp_path: Path) -> None:
    mindspore_layers(tmp_path, WITHOUT_A_CONVOLUTION["a wrapper before a linear layer"]())
    done = porter.convert(tmp_path / "net.ckpt", tmp_path / "out.pth", verify=False, dry_run=True)
    assert [note for note in done.warnings if "1 BatchNorm3d, inferred from names" in note]


def test_a_norm_that_no_convolution_feeds_is_certain_among_3d_ones(tmp_path: Path) -> None:
    """Behind a linear layer, and behind a norm before one: what stands around them is 3-D."""
    cell = mindspore.nn
    block = Holder(conv=cell.Conv3d(1, 4, 3), fc=cell.Dense(4, 6), bn=cell.BatchNorm3d(4))
    tail = Holder(conv=cell.Conv3d(4, 6, 3), one=cell.BatchNorm3d(6), two=cell.BatchNorm3d(6), fc=cell.Dense(6, 2))
    layers = mindspore_layers(tmp_path, Holder(block=block, tail=tail, plane=cell.Conv2d(3, 5, 3)))
    assert [layers[name].certainty for name in ("block.bn", "tail.one", "tail.two")] == ["certain"] * 3
    assert "every convolution of tail has 3 spatial axes" in [e.text for e in layers["tail.two"].evidence]


def test_a_cell_named_bn2d_keeps_its_name_beside_others(tmp_path: Path) -> None:
    layers = mindspore_layers(tmp_path, Holder(conv=mindspore.nn.Conv2d(2, 4, 3), bn2d=mindspore.nn.BatchNorm2d(4)))
    assert layers["bn2d"].kind_name == "BatchNorm2d"
    assert layers["bn2d"].tensors["gamma"] == "bn2d.gamma"


def test_a_batch_norm_3d_named_bn2d_keeps_its_name(tmp_path: Path) -> None:
    layers = mindspore_layers(tmp_path, Holder(conv=mindspore.nn.Conv3d(2, 4, 3), bn2d=mindspore.nn.BatchNorm3d(4)))
    assert layers["bn2d"].kind_name == "BatchNorm3d"
    assert layers["bn2d"].tensors["gamma"] == "bn2d.bn2d.gamma"


def test_a_lone_bn2d_behind_a_2d_convolution_is_undecided(tmp_path: Path) -> None:
    """Its names are a BatchNorm3d's, its neighbour says otherwise: evidence in conflict."""
    lone = Holder(bn2d=mindspore.nn.BatchNorm2d(4))
    layers = mindspore_layers(tmp_path, Holder(conv=mindspore.nn.Conv2d(2, 4, 3), block=lone))
    assert layers["block"].certainty == "undecided"


def test_a_root_level_batch_norm_3d(tmp_path: Path) -> None:
    layers = mindspore_layers(tmp_path, mindspore.nn.BatchNorm3d(4))
    assert (layers[""].kind_name, layers[""].certainty) == ("BatchNorm3d", "inferred")
    torch_layers = layers_of(tmp_path, nn.BatchNorm3d(4).state_dict(), layers=[("(root)", "BatchNorm3d")])
    assert torch_layers[""].tensors["gamma"] == "weight"


def test_mint_is_told_from_mindspore_nn_by_its_names(tmp_path: Path) -> None:
    mindspore.save_checkpoint(Holder(bn=mindspore.mint.nn.BatchNorm3d(4)), str(tmp_path / "mint.ckpt"))
    assert porter.inspect(tmp_path / "mint.ckpt").source.dialect == "mint"
    mindspore.save_checkpoint(Holder(bn=mindspore.nn.BatchNorm3d(4)), str(tmp_path / "classic.ckpt"))
    assert porter.inspect(tmp_path / "classic.ckpt").source.dialect == "mindspore"


def test_names_of_both_frameworks_are_undecided(tmp_path: Path) -> None:
    torch.save({"a.running_mean": torch.ones(2), "b.moving_mean": torch.ones(2)}, tmp_path / "both.pth")
    with pytest.raises(Undecided, match="--from"):
        porter.inspect(tmp_path / "both.pth")
