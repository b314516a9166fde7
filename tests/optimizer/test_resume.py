"""Training goes on after the port: three steps here and three there are six steps here.

Both frameworks take the same batches. What may differ is rounding: a float32 step of either framework is right to
about 1e-6 of its size, and mindspore.nn.Adam computes 1 - beta2^t in float32, which at the first steps is right to
6e-8 / 1e-3, so that a step of at most `lr` is off by up to 3e-5 of it. Six steps of at most 0.05 leave less than 2e-5
in parameters of size 1. Without the optimizer's state the parameters come out 100 times as far apart, which is
checked, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
import torch
from mindspore import Tensor
from mindspore import nn as cells
from mindspore.experimental import optim as experimental
from torch import nn

import porter
from porter import WriteOptions
from porter.layers.training_state import training_state

TOLERANCE = 2e-5
STEPS = 6


def torch_net() -> nn.Module:
    torch.manual_seed(1)
    # No bias before a normalisation: its gradient is 0 but for rounding, which Adam scales up to whole steps.
    return nn.Sequential(
        nn.Conv3d(2, 4, 2, bias=False), nn.BatchNorm3d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8, 3)
    )


def mindspore_net() -> cells.Cell:
    return cells.SequentialCell(
        cells.Conv3d(2, 4, 2, pad_mode="valid", has_bias=False),
        cells.BatchNorm3d(4),
        cells.ReLU(),
        cells.Flatten(),
        cells.Dense(4 * 8, 3),
    ).set_train()


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(0)
    return [
        (generator.normal(size=(4, 2, 3, 3, 3)).astype("f4"), generator.normal(size=(4, 3)).astype("f4"))
        for _ in range(STEPS)
    ]


def train_torch(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for x, y in [batches()[i] for i in steps]:
        optimizer.zero_grad()
        nn.functional.mse_loss(net(torch.tensor(x)), torch.tensor(y)).backward()
        optimizer.step()


def train_mindspore(net: cells.Cell, optimizer: cells.Cell, steps: range) -> None:
    loss = cells.MSELoss()
    gradients = mindspore.value_and_grad(lambda x, y: loss(net(x), y), None, optimizer.parameters)
    for x, y in [batches()[i] for i in steps]:
        _, found = gradients(Tensor(x), Tensor(y))
        optimizer(found)


def parameters_of(net: cells.Cell, optimizer: cells.Cell) -> dict[str, mindspore.Parameter]:
    return {p.name: p for p in [*net.get_parameters(), *optimizer.get_parameters()]}


def save_mindspore(net: cells.Cell, optimizer: cells.Cell, path: Path) -> None:
    found = parameters_of(net, optimizer)
    mindspore.save_checkpoint([{"name": name, "data": p} for name, p in found.items()], str(path))


def load_mindspore(net: cells.Cell, optimizer: cells.Cell, path: Path) -> None:
    """Every parameter of the network and its optimizer is in the file, with its type and shape, and no other."""
    loaded, wanted = mindspore.load_checkpoint(str(path)), parameters_of(net, optimizer)
    types = [{name: (p.dtype, p.shape) for name, p in those.items()} for those in (loaded, wanted)]
    assert types[0] == types[1]
    for name, parameter in wanted.items():
        parameter.set_data(loaded[name])


def distance(torch_side: nn.Module, mindspore_side: cells.Cell) -> float:
    theirs = {p.name.replace("bn2d.", ""): p.asnumpy() for p in mindspore_side.get_parameters()}
    names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    found = {
        ".".join([*n.split(".")[:-1], names.get(n.split(".")[-1], n.split(".")[-1])]): v for n, v in theirs.items()
    }
    ours = {n: t.numpy() for n, t in torch_side.state_dict().items() if not n.endswith("num_batches_tracked")}
    assert set(found) == set(ours)
    return float(max(abs(found[name] - ours[name]).max() for name in ours))


Make = Callable[[Any], Any]
# The class typed, PyTorch's optimizer and MindSpore's.
TWINS: dict[str, tuple[str, Make, Make]] = {
    "SGD": (
        "SGD",
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, dampening=0.2, weight_decay=0.01),
        lambda p: cells.SGD([{"params": p, "weight_decay": 0.01}], 0.05, momentum=0.9, dampening=0.2),
    ),
    "SGD with Nesterov's momentum": (
        "SGD",
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
        lambda p: cells.SGD(p, 0.05, momentum=0.9, nesterov=True),
    ),
    "Momentum": (
        "Momentum",
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
        lambda p: cells.Momentum(p, 0.05, 0.9),
    ),
    "Adam": (
        "Adam",
        lambda p: torch.optim.Adam(p, 0.02, betas=(0.8, 0.99), weight_decay=0.01),
        lambda p: cells.Adam([{"params": p, "weight_decay": 0.01}], 0.02, beta1=0.8, beta2=0.99),
    ),
    "AMSGrad": (
        "Adam",
        lambda p: torch.optim.Adam(p, 0.02, amsgrad=True),
        lambda p: cells.Adam(p, 0.02, use_amsgrad=True),
    ),
    "experimental Adam": (
        "experimental.Adam",
        lambda p: torch.optim.Adam(p, 0.02),
        lambda p: experimental.Adam(p, 0.02),
    ),
    "experimental AdamW": (
        "experimental.AdamW",
        lambda p: torch.optim.AdamW(p, 0.02),
        lambda p: experimental.AdamW(p, 0.02),
    ),
    "experimental AMSGrad": (
        "experimental.AdamW",
        lambda p: torch.optim.AdamW(p, 0.02, amsgrad=True),
        lambda p: experimental.AdamW(p, 0.02, amsgrad=True),
    ),
}
ROWS = pytest.mark.parametrize("row", TWINS)


@ROWS
def test_from_pytorch_to_mindspore(row: str, tmp_path: Path) -> None:
    name, ours, theirs = TWINS[row]
    net = torch_net()
    optimizer = ours(net.parameters())
    train_torch(net, optimizer, range(3))
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pth")
    porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt", write_options=WriteOptions(optimizer=name))
    train_torch(net, optimizer, range(3, 6))
    twin = mindspore_net()
    load_mindspore(twin, theirs(twin.trainable_params()), tmp_path / "a.ckpt")
    forgetful = theirs(twin.trainable_params())
    train_mindspore(twin, forgetful, range(3, 6))
    assert distance(net, twin) > 100 * TOLERANCE
    twin = mindspore_net()
    going_on = theirs(twin.trainable_params())
    load_mindspore(twin, going_on, tmp_path / "a.ckpt")
    train_mindspore(twin, going_on, range(3, 6))
    assert distance(net, twin) < TOLERANCE


@ROWS
def test_from_mindspore_to_pytorch(row: str, tmp_path: Path) -> None:
    name, ours, theirs = TWINS[row]
    twin = mindspore_net()
    optimizer = theirs(twin.trainable_params())
    train_mindspore(twin, optimizer, range(3))
    save_mindspore(twin, optimizer, tmp_path / "a.ckpt")
    wanted = type(ours(torch_net().parameters())).__name__
    porter.convert(tmp_path / "a.ckpt", tmp_path / "a.pth", write_options=WriteOptions(optimizer=wanted))
    train_mindspore(twin, optimizer, range(3, 6))
    saved = torch.load(tmp_path / "a.pth", weights_only=True, mmap=True)
    net = torch_net()
    net.load_state_dict(saved["state_dict"])
    train_torch(net, ours(net.parameters()), range(3, 6))
    assert distance(net, twin) > 100 * TOLERANCE
    net.load_state_dict(torch.load(tmp_path / "a.pth", weights_only=True)["state_dict"])
    going_on = ours(net.parameters())
    settings = [dict(group, params=None) for group in going_on.param_groups]
    going_on.load_state_dict(saved["optimizer"])
    known = {"lr", "momentum", "betas", "amsgrad"} if "experimental" not in name else {"amsgrad"}
    for group, mine in zip(going_on.param_groups, settings, strict=True):
        assert {n: group[n] for n in known & set(group)} == {n: mine[n] for n in known & set(mine)}
        group.update({n: value for n, value in mine.items() if n != "params"})
    train_torch(net, going_on, range(3, 6))
    assert distance(net, twin) < TOLERANCE


def test_adam_weight_decay_goes_on_in_adamw_as_it_would_itself(tmp_path: Path) -> None:
    twin = mindspore_net()
    groups = [{"params": twin.trainable_params(), "weight_decay": 0.1}]
    optimizer = cells.AdamWeightDecay(groups, 0.002, eps=1e-6)
    train_mindspore(twin, optimizer, range(3))
    save_mindspore(twin, optimizer, tmp_path / "a.ckpt")
    done = porter.convert(tmp_path / "a.ckpt", tmp_path / "a.pth", write_options=WriteOptions(optimizer="auto"))
    assert any("corrects no bias: `step` is 1000000" in warning for warning in done.warnings)
    train_mindspore(twin, optimizer, range(3, 6))
    saved, net = torch.load(tmp_path / "a.pth", weights_only=True), torch_net()
    net.load_state_dict(saved["state_dict"])
    going_on = torch.optim.AdamW(net.parameters())
    going_on.load_state_dict(saved["optimizer"])
    assert going_on.param_groups[0]["lr"] == 0.002
    going_on.param_groups[0].update(eps=1e-6, weight_decay=0.1)
    train_torch(net, going_on, range(3, 6))
    assert distance(net, twin) < TOLERANCE


def test_adamw_for_adam_weight_decay_is_warned_of(tmp_path: Path) -> None:
    net = torch_net()
    optimizer = torch.optim.AdamW(net.parameters(), 0.002)
    train_torch(net, optimizer, range(3))
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pth")
    options = WriteOptions(optimizer="AdamWeightDecay")
    done = porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt", write_options=options)
    # (1 - 0.9^3) / sqrt(1 - 0.999^3) = 4.95: what the bias correction would have made of the moments.
    assert any("after 3 steps its next one is about 5 times PyTorch's" in warning for warning in done.warnings)
    twin = mindspore_net()
    load_mindspore(twin, cells.AdamWeightDecay(twin.trainable_params(), 0.002), tmp_path / "a.ckpt")


def test_a_training_cell_of_mindspore_itself(tmp_path: Path) -> None:
    """What ModelCheckpoint saves: the trained parameters first, then statistics, then the optimizer's."""
    twin = mindspore_net()
    cell = cells.TrainOneStepCell(
        cells.WithLossCell(twin, cells.MSELoss()), cells.Adam(twin.trainable_params(), 0.02)
    ).set_train()
    for x, y in batches()[:3]:
        cell(Tensor(x), Tensor(y))
    mindspore.save_checkpoint(cell, str(tmp_path / "a.ckpt"))
    porter.convert(tmp_path / "a.ckpt", tmp_path / "a.pth", write_options=WriteOptions(optimizer="auto"))
    for x, y in batches()[3:]:
        cell(Tensor(x), Tensor(y))
    saved, net = torch.load(tmp_path / "a.pth", weights_only=True), torch_net()
    net.load_state_dict(saved["state_dict"])
    going_on = torch.optim.Adam(net.parameters())
    going_on.load_state_dict(saved["optimizer"])
    train_torch(net, going_on, range(3, 6))
    assert distance(net, twin) < TOLERANCE
    assert training_state({}) == {}
