"""`--optimizer`: the optimizer's state added to a network's plan, and put into the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from porter.errors import UsageError
from porter.formats.model import Checkpoint, TensorSpec
from porter.optimizer.to_mindspore import to_mindspore
from porter.optimizer.to_torch import KEY, to_torch
from porter.plan import Plan
from porter.source import Source


def carry_optimizer(plan: Plan, source: Source, wanted: str, declared: Sequence[str]) -> Plan:
    """`plan` with the optimizer's tensors travelling too, and `Plan.optimizer` saying what else does.

    Args:
        plan: of the network, with the names and shapes its parameters will have.
        source: opened with its optimizer.
        wanted: one of `porter.optimizer.classes.CHOICES`.
        declared: the names in the PyTorch network's order; empty where it is not given.

    Raises:
        UsageError: there is no such state, it would stay in its framework, or `wanted` is no class for it.
        Unsupported, Undecided, Malformed: see `to_mindspore` and `to_torch`.
    """
    if (plan.from_ == "torch") == (plan.to == "torch"):
        raise UsageError(
            "the state of optimizers is carried between PyTorch and MindSpore only",
            entry="--optimizer",
            found=f"{plan.from_} to {plan.to}",
        )
    if plan.from_ == "torch" and source.checkpoint.optimizer is None:
        raise UsageError(
            "holds no optimizer state", file=source.checkpoint.path, entry="--optimizer", hint="Leave it out."
        )
    recorded = source.record.optimizer if source.record and source.record.plan.from_ == plan.to else None
    return (to_mindspore if plan.from_ == "torch" else to_torch)(plan, source, wanted, recorded, declared)


def optimizer_tree(plan: Plan) -> dict[str, Any] | None:
    """What PyTorch's `optimizer.state_dict()` is to be, its tensors as their specs; None where there is none."""
    if plan.optimizer is None or plan.to != "torch":
        return None
    return {KEY: {"state": _state(s.target for s in plan.steps if s.optimizer and s.target), "param_groups": [
        dict(group) for group in plan.optimizer.param_groups
    ]}}  # fmt: skip


def wrong_settings(plan: Plan, output: Checkpoint) -> str | None:
    """What is wrong with the `param_groups` of a PyTorch output, in words; None where nothing is."""
    if plan.optimizer is None or plan.to != "torch":
        return None
    found = output.optimizer.param_groups if output.optimizer else ()
    if len(found) != len(plan.optimizer.param_groups):
        return f"{len(found)} groups, expected {len(plan.optimizer.param_groups)}"
    for i, (wanted, group) in enumerate(zip(plan.optimizer.param_groups, found, strict=True)):
        for name in sorted({*wanted, *group}):
            if name not in wanted or name not in group or wanted[name] != group[name]:
                return f"{i}.{name} is {group.get(name)}, expected {wanted.get(name)}"
    return None


def _state(specs: Iterable[TensorSpec]) -> dict[int, dict[str, TensorSpec]]:
    """From names such as `optimizer.state.0.exp_avg`."""
    state: dict[int, dict[str, TensorSpec]] = {}
    for spec in specs:
        number, slot = spec.name.removeprefix(f"{KEY}.state.").split(".")
        state.setdefault(int(number), {})[slot] = spec
    return state
