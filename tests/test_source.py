"""What is understood of a whole file: wrappers, numbers beside the layers, and what is said of inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore
import pytest
import torch
from mindspore import nn as ms
from torch import nn

import porter
from porter import SourceOptions
from porter.errors import Undecided


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def notes(path: Path, options: SourceOptions | None = None, suffix: str = ".ckpt") -> list[str]:
    output = path.with_name(f"out{suffix}")
    done = porter.convert(path, output, source_options=options, verify=False, dry_run=True)
    return list(done.warnings)


def owns_a_model() -> nn.Module:
    return nn.ModuleDict({"model": nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4))})


LIGHTNING = {"pytorch-lightning_version": "2.4.0", "epoch": 3}


@pytest.mark.parametrize(
    ("beside", "options", "wrapper"),
    [
        ({}, None, ""),
        ({"epoch": 3}, None, ""),
        (LIGHTNING, None, "model."),
        ({}, SourceOptions(model=f"{__file__}:owns_a_model"), "model."),
    ],
)
def test_a_lightning_module_is_told_by_what_lies_beside(
    beside: dict[str, Any], options: SourceOptions | None, wrapper: str, tmp_path: Path
) -> None:
    """`model.` is stripped once, whatever the network inside is called."""
    state = {f"model.{name}": tensor for name, tensor in owns_a_model().state_dict().items()}
    path = saved(tmp_path / "net.pth", {"state_dict": state, **beside})
    assert porter.inspect(path, options).source.wrapper == wrapper


def test_a_network_that_owns_a_model_is_not_wrapped(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pth", {"state_dict": owns_a_model().state_dict()})
    for options in (None, SourceOptions(model=f"{__file__}:owns_a_model")):
        assert porter.inspect(path, options).source.wrapper == ""


class WithScale(ms.Cell):
    """With a scalar of its own, as CLIP's logit scale."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = ms.BatchNorm3d(4)
        self.logit_scale = mindspore.Parameter(mindspore.Tensor(2.5))


def test_appended_numbers_are_left_out_and_parameters_are_not(tmp_path: Path) -> None:
    path = tmp_path / "net.ckpt"
    mindspore.save_checkpoint(WithScale(), str(path), append_dict={"epoch": 3, "lr": 0.1, "flag": True})
    for options in (None, SourceOptions(net=f"{__file__}:WithScale")):
        done = porter.convert(path, tmp_path / "o.pth", source_options=options, verify=False, dry_run=True)
        names = {target.name for target in done.plan.targets if not target.name.startswith("bn.")}
        assert names == {"logit_scale"}
        assert any("epoch" in note and "left out" in note for note in done.warnings)


class Mirrored(ms.Cell):
    """With a branch and a number called as an optimizer calls its state, and with an optimizer's step beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm, self.bn = ms.Dense(4, 4), ms.LayerNorm((4,)), ms.BatchNorm3d(4)
        branch = ms.Cell()
        branch.fc, branch.norm, branch.bn = ms.Dense(4, 4), ms.LayerNorm((4,)), ms.BatchNorm3d(4)
        self.linear = branch
        self.momentum = mindspore.Parameter(mindspore.Tensor(1.0), name="momentum")


def mirrored_in_torch() -> nn.Module:
    def part() -> dict[str, nn.Module]:
        return {"fc": nn.Linear(4, 4), "norm": nn.LayerNorm(4), "bn": nn.BatchNorm3d(4)}

    network = nn.ModuleDict({**part(), "linear": nn.ModuleDict(part())})
    network.register_parameter("momentum", nn.Parameter(torch.tensor(1.0)))
    return network


@pytest.mark.parametrize(
    "options", [SourceOptions(net=f"{__file__}:Mirrored"), SourceOptions(model=f"{__file__}:mirrored_in_torch")]
)
def test_what_the_network_given_owns_is_no_optimizer_state(options: SourceOptions, tmp_path: Path) -> None:
    network = Mirrored()
    # Without the statistics nothing but the network tells the branch from the moments of what it mirrors.
    saved = [{"name": p.name, "data": p} for p in network.get_parameters() if "linear.bn.bn2d.moving" not in p.name]
    saved.append({"name": "global_step", "data": mindspore.Tensor([3])})
    saved.append({"name": "linear.momentum", "data": mindspore.Tensor(1.0)})
    mindspore.save_checkpoint(saved, str(tmp_path / "net.ckpt"))
    without = porter.inspect(tmp_path / "net.ckpt").source.left_out
    assert {"linear.fc.weight", "linear.norm.gamma", "linear.bn.bn2d.gamma", "momentum"} <= without.keys()
    found = porter.inspect(tmp_path / "net.ckpt", options).source.left_out
    assert found.keys() == {"global_step", "linear.momentum"}


def test_numbers_of_a_converted_file_come_back(tmp_path: Path) -> None:
    state = {**nn.Sequential(nn.Linear(2, 3)).state_dict(), "logit_scale": torch.tensor(2.5)}
    porter.convert(saved(tmp_path / "net.pth", state), tmp_path / "net.ckpt", verify=False)
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth", verify=False)
    assert torch.load(tmp_path / "back.pth", weights_only=True)["logit_scale"] == 2.5


def test_optimizer_state_is_named(tmp_path: Path) -> None:
    network = ms.SequentialCell(ms.Dense(2, 3))
    cell = ms.TrainOneStepCell(ms.WithLossCell(network, ms.MSELoss()), ms.Adam(network.trainable_params()))
    mindspore.save_checkpoint(cell, str(tmp_path / "net.ckpt"))
    found = [note for note in notes(tmp_path / "net.ckpt", suffix=".pth") if "optimizer" in note]
    assert len(found) == 1
    assert "moment1.0.weight" in found[0] or "beta1_power" in found[0]


@pytest.mark.parametrize(
    ("extra", "kind"),
    [(nn.Embedding(7, 4), "Linear"), (nn.Bilinear(3, 5, 4), "Conv1d"), (nn.Conv1d(3, 4, 5), "Conv1d")],
)
def test_readings_that_shape_the_output_are_noted(extra: nn.Module, kind: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pth", nn.ModuleDict({"conv": nn.Conv3d(1, 4, 3), "extra": extra}).state_dict())
    assert any(f"1 {kind}" in note and "inferred" in note for note in notes(path))


def test_a_layer_that_reads_alike_in_any_case_is_not_noted(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pth", nn.Sequential(nn.Conv3d(1, 4, 3), nn.Linear(4, 2)).state_dict())
    assert notes(path) == []


def shortcut_norms() -> nn.Module:
    """Two convolutions before the norms, which own no tensor: the file does not tell their channels."""
    parts = {"a": nn.Conv3d(1, 8, 3), "b": nn.Conv3d(8, 6, 3), "norm": nn.InstanceNorm3d(6)}
    return nn.ModuleDict(parts)


def test_the_network_is_asked_for_where_channels_are_unknown(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pth", shortcut_norms().state_dict())
    for options in (None, SourceOptions(layers=[("norm", "InstanceNorm3d")])):
        with pytest.raises(Undecided) as caught:
            notes(path, options)
        assert "--layer" not in str(caught.value.hint)
        assert "--model FILE.py:FACTORY: nothing else says how many channels norm has" in str(caught.value.hint)
    assert notes(path, SourceOptions(model=f"{__file__}:shortcut_norms")) == []


def test_a_norm_without_tensors_is_likelier_an_instance_norm(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pth", nn.Sequential(nn.Conv3d(1, 4, 3), nn.InstanceNorm3d(4)).state_dict())
    with pytest.raises(Undecided, match="cannot be told") as caught:
        notes(path)
    assert "--layer '1=InstanceNorm3d'" in str(caught.value.hint)
