"""A whole pickled network is read as its own state_dict() would be, with the facts of its modules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.networks import nets
from torch_files import assert_same, read, save

from porter.errors import LimitExceeded, Unsupported


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm3d(2, eps=1e-3, momentum=0.03)
        self.cumulative = torch.nn.BatchNorm3d(2, momentum=None, affine=False)
        self.none = None
        self.scale = torch.nn.Parameter(torch.rand(2))
        self.register_parameter("absent", None)
        self.register_buffer("kept", torch.rand(3))
        self.register_buffer("lost", torch.rand(3), persistent=False)
        self.kernel = (1, 2, 3)
        self.note = {"no": "plain setting"}


class Shared(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Block()
        self.second = self.first
        self.third = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": Block()})


NETWORKS = {
    "shared": Shared,
    "root": lambda: torch.nn.BatchNorm3d(3),
    "resnet": lambda: nets.resnet10(spatial_dims=3, n_input_channels=1, num_classes=2),
    "unet": lambda: nets.UNet(3, 1, 2, (2, 4), (2,), norm="batch"),
    "parallel": lambda: torch.nn.DataParallel(Block()),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("format", ["zip", "legacy"])
@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_tensors_are_those_of_state_dict(tmp_path: Path, name: str, format: str) -> None:
    network = NETWORKS[name]()
    checkpoint = read(save(network, tmp_path / "net.pt", format), format)
    assert_same(checkpoint, network.state_dict())
    assert checkpoint.container is None
    modules = {facts.name: facts.class_name for facts in checkpoint.modules}
    assert modules == {
        path: f"{type(module).__module__}.{type(module).__qualname__}"
        for path, module in network.named_modules(remove_duplicate=False)
    }


@pytest.mark.parametrize("protocol", range(1, 6))
def test_settings(tmp_path: Path, protocol: int) -> None:
    checkpoint = read(save({"model": Block(), "epoch": 3}, tmp_path / "net.pt", pickle_protocol=protocol))
    assert checkpoint.container == "model"
    settings = {facts.name: facts.attributes for facts in checkpoint.modules}
    assert settings["norm"] == {
        "training": True,
        "num_features": 2,
        "eps": 1e-3,
        "momentum": 0.03,
        "affine": True,
        "track_running_stats": True,
    }
    assert settings["cumulative"]["momentum"] is None
    assert settings["cumulative"]["affine"] is False
    assert settings[""] == {"training": True, "none": None, "kernel": (1, 2, 3)}
    classes = {facts.class_name for facts in checkpoint.modules}
    assert classes == {f"{__name__}.Block", "torch.nn.modules.batchnorm.BatchNorm3d"}


def test_a_network_outweighs_loose_tensors(tmp_path: Path) -> None:
    assert read(save({"best": torch.zeros(1), "anything": Block()}, tmp_path / "net.pt")).container == "anything"


def test_averaged_network_comes_second(tmp_path: Path) -> None:
    checkpoint = read(save({"ema": Block(), "model": Block()}, tmp_path / "net.pt"))
    assert (checkpoint.container, checkpoint.other_containers) == ("model", ("ema",))


def test_a_module_that_contains_itself(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(1, 1))
    network._modules["again"] = network
    with pytest.raises(LimitExceeded, match="too long"):
        read(save(network, tmp_path / "net.pt"))


def test_two_to_the_40_modules(tmp_path: Path) -> None:
    network: torch.nn.Module = torch.nn.Linear(1, 1)
    for _ in range(40):
        network = torch.nn.Sequential(network, network)
    with pytest.raises(LimitExceeded, match="too many parts"):
        read(save(network, tmp_path / "net.pt"))


def test_a_part_that_is_no_module(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(1, 1))
    network._modules["odd"] = {"some": "dictionary"}  # type: ignore[assignment]
    with pytest.raises(Unsupported, match=r"odd: a part of the pickled network is no torch\.nn\.Module"):
        read(save(network, tmp_path / "net.pt"))
