"""Optimizer state against MindSpore's own optimizers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore
import pytest
from mindspore import mint, nn
from mindspore.experimental import optim as experimental

from porter.formats import open_checkpoint
from porter.formats.dtypes import FLOAT32
from porter.formats.model import TensorSpec
from porter.layers.training_state import training_state


class Net(nn.Cell):
    """A network whose layers are called as optimizers call their state."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, 2, 3)
        self.bn1 = nn.BatchNorm3d(2)
        self.linear = nn.Dense(2, 3)
        self.stat = nn.SequentialCell(nn.Dense(3, 3), nn.BatchNorm1d(3))


Optimizer = Callable[[Any], nn.Cell]
OPTIMIZERS: dict[str, Optimizer] = {
    "Adam": lambda p: nn.Adam(p, use_amsgrad=True),
    "Adam in groups": lambda p: nn.Adam([{"params": p[:2], "lr": 0.1}, {"params": p[2:], "lr": 0.2}]),
    "AdamWeightDecay": nn.AdamWeightDecay,
    "AdaMax": nn.AdaMax,
    "LazyAdam": nn.LazyAdam,
    "Lamb": lambda p: nn.Lamb(p, learning_rate=0.1),
    "SGD": lambda p: nn.SGD(p, momentum=0.9),
    "Momentum": lambda p: nn.Momentum(p, 0.1, 0.9),
    "LARS": lambda p: nn.LARS(nn.Momentum(p, 0.1, 0.9)),
    "RMSProp": lambda p: nn.RMSProp(p, centered=True),
    "Adagrad": nn.Adagrad,
    "Adadelta": nn.Adadelta,
    "FTRL": nn.FTRL,
    "ASGD": nn.ASGD,
    "Rprop": nn.Rprop,
    "ProximalAdagrad": nn.ProximalAdagrad,
    "mint Adam": lambda p: mint.optim.Adam(p, lr=0.1),
    "mint AdamW": lambda p: mint.optim.AdamW(p, lr=0.1),
    "mint SGD": lambda p: mint.optim.SGD(p, lr=0.1),
} | {
    f"experimental {name}": lambda p, name=name: getattr(experimental, name)(p, lr=0.1)  # type: ignore[misc]
    for name in (
        "Adadelta",
        "Adagrad",
        "Adam",
        "AdamW",
        "Adamax",
        "ASGD",
        "NAdam",
        "RAdam",
        "RMSprop",
        "Rprop",
        "SGD",
    )
}


def specs_of(parameters: Any, path: Path) -> dict[str, TensorSpec]:
    mindspore.save_checkpoint([{"name": p.name, "data": p} for p in parameters], str(path))
    return {spec.name: spec for spec in open_checkpoint(path).specs}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MindSpore's own, about some of these optimizers
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_that_an_optimizer_adds_is_recognised_and_nothing_of_the_network(name: str, tmp_path: Path) -> None:
    net = Net()
    own = {parameter.name for parameter in net.get_parameters()}
    optimizer = OPTIMIZERS[name](net.trainable_params())
    added = {parameter.name: parameter for parameter in optimizer.get_parameters() if parameter.name not in own}
    specs = specs_of([*net.get_parameters(), *added.values()], tmp_path / "a.ckpt")
    assert set(training_state(specs)) == set(added)
    assert len(own) == 13


def test_loss_scaling(tmp_path: Path) -> None:
    net = Net()
    scale = nn.DynamicLossScaleUpdateCell(1024, 2, 10)
    cell = nn.TrainOneStepWithLossScaleCell(
        nn.WithLossCell(net, nn.MSELoss()), nn.Adam(net.trainable_params()), scale
    )
    own = {parameter.name for parameter in net.get_parameters()}
    specs = specs_of(cell.get_parameters(), tmp_path / "a.ckpt")
    assert set(training_state(specs)) == set(specs) - own
    assert training_state(specs)["moment1.conv1.weight"] == "Adam first moment of conv1.weight"
    assert training_state(specs)["scale_sense"] == "loss scale"


def specs(**shapes: tuple[int, ...]) -> dict[str, TensorSpec]:
    return {
        name.replace("__", "."): TensorSpec(name.replace("__", "."), FLOAT32, shape) for name, shape in shapes.items()
    }


def test_a_branch_of_the_network_is_no_optimizer_state() -> None:
    # A two-branch network: `stat.conv.weight` has a namesake of its own shape, but so have statistics behind it.
    branches = specs(
        conv__weight=(4, 4),
        conv_bn__moving_mean=(4,),
        stat__conv__weight=(4, 4),
        stat__conv_bn__moving_mean=(4,),
    )
    assert training_state(branches) == {}
    assert training_state(specs(head__weight=(4,), stat__head__weight=(5,))) == {}
    assert training_state(specs(stat__head__weight=(4,))) == {}
    assert training_state(specs(mu_head__weight=(4,), head__weight=(4,))) == {}


def test_a_large_tensor_is_no_counter() -> None:
    assert training_state(specs(momentum=(64,), global_step=(1,), learning_rate=())) == {
        "global_step": "step counter",
        "learning_rate": "learning rate",
    }


class Branches(nn.Cell):
    """A trunk and three branches that bear the names of optimizers' state, each with the trunk's convolution."""

    def __init__(self, *, counted: bool) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
        for name in ("linear", "prev", "moment"):
            setattr(self, name, nn.SequentialCell(OrderedDict(conv=nn.Conv3d(1, 4, 3), act=nn.PReLU(4))))
        if counted:
            self.global_step = mindspore.Parameter(mindspore.Tensor([3]))


@pytest.mark.parametrize("counted", [False, True])
def test_branches_are_told_by_a_name_that_has_no_namesake(counted: bool, tmp_path: Path) -> None:
    found = specs_of(Branches(counted=counted).get_parameters(), tmp_path / "a.ckpt")
    assert "prev.conv.weight" in found
    assert set(training_state(found)) == ({"global_step"} if counted else set())


def test_without_a_counter_every_parameter_has_a_moment() -> None:
    some = specs(conv__weight=(4, 4), head__weight=(4,), moment__conv__weight=(4, 4))
    assert training_state(some) == {}
    assert set(training_state(some | specs(global_step=(1,)))) == {"moment.conv.weight", "global_step"}


@pytest.mark.parametrize("prefix", ["linear", "prev", "stat", "moments", "exp_avg"])
@pytest.mark.parametrize("beside", [(), ("epoch_num", "step_num")])
def test_a_branch_that_mirrors_the_trunk_is_the_networks_where_no_counter_shows_an_optimizer(
    prefix: str, beside: tuple[str, ...]
) -> None:
    numbers = specs(**dict.fromkeys(beside, ()))
    two = specs(fc__weight=(4, 4), fc__bias=(4,)) | specs(
        **{f"{prefix}__fc__weight": (4, 4), f"{prefix}__fc__bias": (4,)}
    )
    assert set(training_state(two | numbers)) == set(beside)


@pytest.mark.parametrize("counter", ["global_step", "learning_rate", "learning_rate_group_0", "state_step", "step_t"])
def test_a_counter_of_an_optimizer_shows_that_it_is_one(counter: str) -> None:
    some = specs(fc__weight=(4, 4), linear__fc__weight=(4, 4), momentum=())
    assert training_state(some) == {}
    assert set(training_state(some | specs(**{counter: ()}))) == {"linear.fc.weight", "momentum", counter}


def test_an_optimizer_without_a_counter_is_told_by_its_moments_beside_a_loss_scale() -> None:
    own = specs(conv__weight=(4, 4), scale_sense=())
    some = own | specs(stat__conv__weight=(4, 4), accum__conv__weight=(4, 4))
    assert set(training_state(some)) == {"scale_sense", "stat.conv.weight", "accum.conv.weight"}
    assert set(training_state(own | specs(stat__conv__weight=(4, 4)))) == {"scale_sense"}
