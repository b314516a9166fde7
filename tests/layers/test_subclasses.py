"""Layers that are nearly one of the kinds: subclasses with more tensors, reparameterised weights, own classes."""

from __future__ import annotations

from pathlib import Path

import mindspore
import pytest
import torch
from mindspore import nn as ms
from nets import assert_same, randomised, there_and_back
from torch import nn

import porter
from porter import SourceOptions, WriteOptions
from porter.errors import Undecided, UsageError
from porter.layers.model import Layer
from porter.target import DoesNotFit


class Scaled(nn.BatchNorm3d):
    """With a buffer of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("scale", torch.ones(1))


class ScaledLayerNorm(nn.LayerNorm):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.scale = nn.Parameter(torch.ones(1))


class OwnNorm(nn.Module):
    """A class that descends from no layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))


def beside(extra: nn.Module) -> nn.Module:
    """`extra` behind a convolution and its norm, over 4 channels."""
    parts = {"conv": nn.Conv3d(1, 4, 3), "bn": nn.BatchNorm3d(4), "extra": extra}
    return randomised(nn.ModuleDict(parts))


def scaled() -> nn.Module:
    return beside(Scaled(4))


def scaled_layer_norm() -> nn.Module:
    return beside(ScaledLayerNorm(4))


def own_norm() -> nn.Module:
    return beside(OwnNorm(4))


def rms_norm() -> nn.Module:
    return beside(nn.RMSNorm(4))


def weight_norm() -> nn.Module:
    return beside(nn.utils.parametrizations.weight_norm(nn.Conv3d(4, 4, 3)))


def spectral_norm() -> nn.Module:
    return beside(nn.utils.spectral_norm(nn.Conv3d(4, 4, 3)))


def statistics_only() -> nn.Module:
    extra = nn.Module()
    extra.register_buffer("running_mean", torch.ones(4))
    return beside(extra)


def layers_of(path: Path, saved: nn.Module, options: SourceOptions | None = None) -> dict[str, Layer]:
    torch.save(saved.state_dict(), path)
    return {layer.name: layer for layer in porter.inspect(path, options).source.layers}


def targets(path: Path, options: SourceOptions | None = None) -> list[str]:
    """Names that `extra`'s tensors get in MindSpore."""
    done = porter.convert(path, path.with_suffix(".ckpt"), source_options=options, verify=False, dry_run=True)
    return [target.name for target in done.plan.targets if target.name.startswith("extra")]


def model(factory: str) -> SourceOptions:
    return SourceOptions(model=f"{__file__}:{factory}")


@pytest.mark.parametrize("options", [None, model("scaled"), SourceOptions(layers=[("extra", "BatchNorm3d")])])
def test_a_subclass_with_a_buffer_is_a_batch_norm(options: SourceOptions | None, tmp_path: Path) -> None:
    layer = layers_of(tmp_path / "net.pth", scaled(), options)["extra"]
    assert (layer.kind_name, layer.certainty) == ("BatchNorm3d", "certain" if options else "inferred")
    leaves = [f"bn2d.{leaf}" for leaf in ("gamma", "beta", "moving_mean", "moving_variance")]
    assert targets(tmp_path / "net.pth", options) == [f"extra.{leaf}" for leaf in (*leaves, "scale")]


def test_a_subclass_with_a_buffer_comes_back(tmp_path: Path) -> None:
    """The file in between bears names of both frameworks; the record knows whose they are."""
    saved = scaled().state_dict()
    saved["running_mean"] = torch.ones(2)
    options = SourceOptions(layers=[("(root)", "keep")])
    _, back = there_and_back(tmp_path, saved, options, verify=False)
    assert_same(saved, back)


def test_a_subclass_with_a_buffer_comes_back_without_a_record(tmp_path: Path) -> None:
    saved = scaled().state_dict()
    there_and_back(tmp_path, saved, verify=False)
    (tmp_path / "net.ckpt.bnport.json").unlink()
    porter.convert(tmp_path / "net.ckpt", tmp_path / "alone.pth", verify=False)
    back = torch.load(tmp_path / "alone.pth", weights_only=True)
    assert set(back) == set(saved)
    assert all(torch.equal(back[name], saved[name]) for name in saved if not name.endswith("num_batches_tracked"))


def test_another_subclass_is_told_by_the_network_alone(tmp_path: Path) -> None:
    assert "extra" not in layers_of(tmp_path / "net.pth", scaled_layer_norm())
    layer = layers_of(tmp_path / "net.pth", scaled_layer_norm(), model("scaled_layer_norm"))["extra"]
    assert (layer.kind_name, layer.certainty) == ("LayerNorm", "certain")
    expected = ["extra.gamma", "extra.beta", "extra.scale"]
    assert sorted(targets(tmp_path / "net.pth", model("scaled_layer_norm"))) == sorted(expected)


@pytest.mark.parametrize("factory", ["own_norm", "rms_norm"])
def test_a_class_without_a_rule_keeps_its_names(factory: str, tmp_path: Path) -> None:
    layer = layers_of(tmp_path / "net.pth", globals()[factory](), model(factory))["extra"]
    assert (layer.kind_name, layer.certainty) == ("keep", "certain")
    assert targets(tmp_path / "net.pth", model(factory)) == ["extra.weight"]


def test_a_pickled_layer_of_pytorchs_own_without_a_rule_keeps_its_names(tmp_path: Path) -> None:
    torch.save(rms_norm(), tmp_path / "net.pth")
    found = {layer.name: layer for layer in porter.inspect(tmp_path / "net.pth").source.layers}
    assert (found["extra"].kind_name, found["extra"].certainty) == ("keep", "certain")


class Mixing(ms.Cell):
    """An own weight that is no gain, and a BatchNorm2d that its author called bn2d."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = mindspore.Parameter(mindspore.ops.ones((8, 3, 3, 3), mindspore.float32))
        self.bn2d = ms.BatchNorm2d(8)


def test_a_bn2d_beside_an_own_weight_is_no_inner_cell(tmp_path: Path) -> None:
    mindspore.save_checkpoint(ms.SequentialCell(Mixing(), Mixing()), str(tmp_path / "net.ckpt"))
    options = SourceOptions(layers=[("*.bn2d", "BatchNorm2d")])
    done = porter.convert(tmp_path / "net.ckpt", tmp_path / "net.pth", source_options=options)
    assert {"0.weight", "0.bn2d.weight", "1.bn2d.running_mean"} <= {spec.name for spec in done.plan.targets}
    # Without the user's word it is a question or an answer, but no clash of names.
    found = {layer.name for layer in porter.inspect(tmp_path / "net.ckpt").source.layers}
    assert {"0.bn2d", "1.bn2d"} <= found


def idle_norms() -> nn.Module:
    """Normalisations without gain or shift, which MindSpore's always have."""
    norms = [nn.InstanceNorm3d(4), nn.GroupNorm(2, 4, affine=False), nn.LayerNorm(4, bias=False)]
    return randomised(nn.Sequential(nn.Conv3d(2, 4, 3), *norms, nn.LayerNorm(4, elementwise_affine=False)))


def test_gains_that_the_target_network_has_not_are_left_out_where_they_do_nothing(tmp_path: Path) -> None:
    """Without the record of the conversion, which knows what it had created."""
    state = idle_norms().state_dict()
    torch.save(state, tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=model("idle_norms"), verify=False)
    (tmp_path / "net.ckpt.bnport.json").unlink()
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth", source_options=model("idle_norms"), verify=False)
    assert_same(state, torch.load(tmp_path / "back.pth", weights_only=True))


def test_a_trained_gain_that_the_target_network_has_not_is_a_difference(tmp_path: Path) -> None:
    torch.save(idle_norms().state_dict(), tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=model("idle_norms"), verify=False)
    (tmp_path / "net.ckpt.bnport.json").unlink()
    trained = mindspore.load_checkpoint(str(tmp_path / "net.ckpt"))
    trained["1.gamma"] = mindspore.Parameter(trained["1.gamma"] * 2)
    mindspore.save_checkpoint([{"name": n, "data": p} for n, p in trained.items()], str(tmp_path / "trained.ckpt"))
    with pytest.raises(DoesNotFit):
        porter.convert(
            tmp_path / "trained.ckpt", tmp_path / "b.pth", source_options=model("idle_norms"), verify=False
        )


def tracking() -> nn.Module:
    return nn.Sequential(nn.Conv3d(2, 4, 3), nn.InstanceNorm3d(4, affine=True, track_running_stats=True))


def test_statistics_of_an_instance_norm_stay_in_mint(tmp_path: Path) -> None:
    """mint keeps PyTorch's names, so nothing need be left out."""
    torch.save(randomised(tracking()).state_dict(), tmp_path / "net.pth")
    there = porter.convert(
        tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=model("tracking"),
        write_options=WriteOptions(to="mint"),
    )  # fmt: skip
    assert {step.fate for step in there.plan.steps} == {"copied"}


def test_the_user_may_say_that_names_are_kept(tmp_path: Path) -> None:
    options = SourceOptions(layers=[("**.extra", "keep")])
    layer = layers_of(tmp_path / "net.pth", scaled(), options)["extra"]
    assert (layer.kind_name, layer.certainty) == ("keep", "certain")
    assert "extra.running_mean" in targets(tmp_path / "net.pth", options)
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=options, verify=False)
    back = porter.inspect(tmp_path / "net.ckpt").source
    assert back.dialect == "mindspore"
    assert {layer.name: layer.kind_name for layer in back.layers}["extra"] == "keep"


@pytest.mark.parametrize("factory", ["weight_norm", "spectral_norm"])
@pytest.mark.parametrize("named", [True, False])
def test_reparameterised_weights_keep_their_names(factory: str, named: bool, tmp_path: Path) -> None:
    network = globals()[factory]()
    assert "extra" not in layers_of(tmp_path / "net.pth", network, model(factory) if named else None)
    own = [name for name in network.state_dict() if name.startswith("extra")]
    assert targets(tmp_path / "net.pth", model(factory) if named else None) == own


def test_statistics_of_no_kind_are_undecided(tmp_path: Path) -> None:
    layer = layers_of(tmp_path / "net.pth", statistics_only())["extra"]
    assert (layer.kind_name, layer.certainty) == ("keep", "undecided")
    with pytest.raises(Undecided) as caught:
        targets(tmp_path / "net.pth")
    assert "--layer 'extra=keep'" in str(caught.value.hint)
    torch.save(statistics_only().state_dict(), tmp_path / "net.pth")
    done = porter.convert(
        tmp_path / "net.pth",
        tmp_path / "mint.ckpt",
        write_options=porter.WriteOptions(to="mint"),
        verify=False,
        dry_run=True,
    )
    assert "extra.running_mean" in {target.name for target in done.plan.targets}


def test_a_shift_alone_is_no_layer(tmp_path: Path) -> None:
    shift = nn.Module()
    shift.bias = nn.Parameter(torch.ones(4))
    assert "extra" not in layers_of(tmp_path / "net.pth", beside(shift))


def test_a_wildcard_before_the_last_level_may_name_an_unlikely_kind(tmp_path: Path) -> None:
    """A weight [7, 4] is a linear layer unless somebody says otherwise."""
    network = beside(nn.Embedding(7, 4))
    assert layers_of(tmp_path / "net.pth", network)["extra"].kind_name == "Linear"
    for pattern, kind in (("**.extra", "Embedding"), ("extra", "Embedding")):
        options = SourceOptions(layers=[(pattern, kind)])
        assert layers_of(tmp_path / "net.pth", network, options)["extra"].kind_name == "Embedding"


class Holder(ms.Cell):
    """A cell with one child, called bn2d."""

    def __init__(self) -> None:
        super().__init__()
        self.bn2d = ms.BatchNorm2d(4)


class InnerCell(ms.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.conv = ms.Conv3d(1, 4, 3)
        self.bn = ms.BatchNorm3d(4)
        self.w = Holder()


@pytest.mark.parametrize(
    "options", [SourceOptions(net=f"{__file__}:InnerCell"), SourceOptions(layers=[("w.bn2d", "BatchNorm2d")])]
)
def test_a_cell_called_bn2d_keeps_its_name_where_somebody_speaks_of_it(
    options: SourceOptions, tmp_path: Path
) -> None:
    mindspore.save_checkpoint(InnerCell(), str(tmp_path / "net.ckpt"))
    layers = {layer.name: layer for layer in porter.inspect(tmp_path / "net.ckpt", options).source.layers}
    assert (layers["w.bn2d"].kind_name, layers["w.bn2d"].certainty) == ("BatchNorm2d", "certain")
    assert layers["w.bn2d"].tensors["gamma"] == "w.bn2d.gamma"
    assert layers["bn"].kind_name == "BatchNorm3d"


def test_a_network_that_lacks_a_prefix_does_not_fit(tmp_path: Path) -> None:
    network = scaled().state_dict()
    torch.save({f"backbone.{name}": tensor for name, tensor in network.items()}, tmp_path / "net.pth")
    with pytest.raises(UsageError, match="does not fit") as caught:
        porter.inspect(tmp_path / "net.pth", model("scaled"))
    assert caught.value.expected == "tensors of bn, extra"
    assert "Below backbone." in str(caught.value.hint)


def wrapped() -> nn.Module:
    return nn.ModuleDict({"backbone": scaled()})


def test_a_network_with_a_prefix_more_does_not_fit(tmp_path: Path) -> None:
    torch.save(scaled().state_dict(), tmp_path / "net.pth")
    with pytest.raises(UsageError, match="does not fit") as caught:
        porter.inspect(tmp_path / "net.pth", model("wrapped"))
    assert "Below the network's backbone" in str(caught.value.hint)


def parameterless() -> nn.Module:
    norms = (nn.BatchNorm3d(4, affine=False, track_running_stats=False), nn.LayerNorm(4, elementwise_affine=False))
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.InstanceNorm3d(4), *norms, nn.GroupNorm(2, 4, affine=False))


def test_normalisations_that_own_nothing_fit(tmp_path: Path) -> None:
    layers = layers_of(tmp_path / "net.pth", parameterless(), model("parameterless"))
    assert [layers[str(i)].kind_name for i in range(1, 5)] == [
        "InstanceNorm3d",
        "BatchNorm3d",
        "LayerNorm",
        "GroupNorm",
    ]
