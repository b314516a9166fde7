"""No plan is carried out that loses, doubles, renames or reshapes a tensor against the rules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from nets import randomised
from torch import nn

from porter import SourceOptions, WriteOptions
from porter.destination import plan_for
from porter.errors import UsageError
from porter.plan import Plan, Step
from porter.plan_proof import prove
from porter.planning import make_plan
from porter.source import Source, open_source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A Conv1d, whose weight gains an axis, a BatchNorm3d in its own module, and a parameter outside of any layer."""
    network = nn.ModuleDict({"a": nn.Conv1d(2, 4, 3), "b": nn.Sequential(nn.Conv3d(2, 4, 1), nn.BatchNorm3d(4))})
    network.register_parameter("c", nn.Parameter(torch.ones(4)))
    torch.save(randomised(network).state_dict(), tmp_path / "net.pth")
    return open_source(tmp_path / "net.pth", SourceOptions())


def at(name: str, change: Callable[[Step], Step]) -> Callable[[Plan], Plan]:
    """What changes the step of one source tensor."""
    return lambda plan: plan._replace(
        steps=tuple(change(s) if s.source and s.source.name == name else s for s in plan.steps)
    )


def named(name: str) -> Callable[[Step], Step]:
    return lambda step: step._replace(target=step.target and step.target._replace(name=name))


def shaped(*shape: int) -> Callable[[Step], Step]:
    return lambda step: step._replace(target=step.target and step.target._replace(shape=shape))


FAULTS = {
    "a tensor is lost": (lambda plan: plan._replace(steps=plan.steps[1:]), "unaccounted for"),
    "a tensor is planned twice": (lambda plan: plan._replace(steps=(*plan.steps, plan.steps[0])), "same name"),
    "a source is doubled": (
        lambda plan: plan._replace(steps=(*plan.steps, plan.steps[0]._replace(target=None, fate="dropped"))),
        "unaccounted for",
    ),
    "a name is taken": (at("c", named("a.weight")), "same name"),
    "gamma and beta change places": (
        lambda plan: at("b.1.weight", named("b.1.bn2d.beta"))(at("b.1.bias", named("b.1.bn2d.gamma"))(plan)),
        "the rules do not give",
    ),
    "a layer moves": (at("b.1.weight", named("b.2.bn2d.gamma")), "the rules do not give"),
    "the inner cell is left out": (at("b.1.weight", named("b.1.gamma")), "the rules do not give"),
    "what has no name in MindSpore gets one": (
        at("b.1.num_batches_tracked", lambda step: step._replace(target=step.source)),
        "the rules do not give",
    ),
    "a name outside of layers changes": (at("c", named("d")), "the rules do not give"),
    "a shape outside of layers changes": (at("c", shaped(2, 2)), "no way back"),
    "a shape changes": (at("a.weight", shaped(4, 1, 2, 3)), "no way back"),
    "an axis is longer": (at("a.weight", shaped(4, 2, 5, 3)), "changes its size"),
    "a tensor is cut": (at("b.1.weight", shaped(3)), "changes its size"),
    "nobody keeps what is shared": (
        at("c", lambda step: step._replace(target=None, fate="shared", same_as="b.1.num_batches_tracked")),
        "nothing keeps",
    ),
}


@pytest.mark.parametrize(("change", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_wrong_plan_is_refused(change: Callable[[Plan], Plan], fault: str, source: Source) -> None:
    plan = plan_for(source, "mindspore", WriteOptions())
    prove(plan, source.checkpoint.specs, source.layers)
    with pytest.raises((AssertionError, UsageError), match=fault):
        prove(change(plan), source.checkpoint.specs, source.layers)


def test_the_order_of_steps_is_free(source: Source) -> None:
    plan = plan_for(source, "mindspore", WriteOptions())
    prove(plan._replace(steps=plan.steps[::-1]), source.checkpoint.specs, source.layers)


@pytest.mark.parametrize(("name", "right"), [("1.bn2d.gamma", True), ("b.1.bn2d.gamma", False)])
def test_a_prefix_that_is_removed_is_removed_wherever_it_stands(name: str, right: bool, source: Source) -> None:
    plan = at("b.1.weight", named(name))(plan_for(source, "mindspore", WriteOptions(strip_prefix="b.")))
    with nullcontext() if right else pytest.raises(AssertionError, match="the rules do not give"):
        prove(plan, source.checkpoint.specs, source.layers, removed="b.")


def test_slots_that_are_exchanged_have_no_way_back(source: Source) -> None:
    norm = next(layer for layer in source.layers if layer.kind.name == "BatchNorm3d")
    tensors = {**norm.tensors, "gamma": norm.tensors["beta"], "beta": norm.tensors["gamma"]}
    layers = [layer._replace(tensors=tensors) if layer is norm else layer for layer in source.layers]
    plan = make_plan(source.checkpoint.specs, layers, "torch", "mindspore", {})
    with pytest.raises(AssertionError, match="no way back"):
        prove(plan, source.checkpoint.specs, layers)
