"""PyTorch's optimizer state under MindSpore's names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from porter.errors import Malformed, Unsupported
from porter.formats.dtypes import FLOAT32
from porter.formats.model import OptimizerDict, TensorSpec
from porter.formats.transfer import TensorReader
from porter.layers.training_state import GROUP_RATE
from porter.optimizer.choice import class_for
from porter.optimizer.classes import AMSGRAD, MOMENTUM, OptimizerClass
from porter.optimizer.counters import TYPES, as_count, encoded, power, read_number, shortest
from porter.optimizer.model import Carried
from porter.optimizer.numbering import parameters_of
from porter.plan import Fate, Plan, Step
from porter.source import Source


@dataclass(frozen=True)
class _Translation:
    """What the steps are made from; `parameters` are the network's steps by number, `counts` PyTorch's `step`s."""

    found: OptimizerDict
    kind: OptimizerClass
    parameters: list[Step]
    counts: Mapping[int, float]
    global_step: int

    @property
    def groups(self) -> tuple[Mapping[str, Any], ...]:
        return self.found.param_groups


def to_mindspore(plan: Plan, source: Source, wanted: str, recorded: Carried | None, declared: Sequence[str]) -> Plan:
    """`plan` with the optimizer of its PyTorch source as one of MindSpore's.

    Args:
        plan: of the network; the optimizer's tensors are dropped in it.
        source: opened with its optimizer.
        wanted: the class to write for, "auto" for the one that goes on as PyTorch would.
        recorded: from the conversion that wrote the source out of MindSpore's files, where there is a record of it.
        declared: the names in the PyTorch network's order; empty where it is not given.

    Raises:
        Unsupported: an optimizer whose state no class of MindSpore takes.
        Undecided: Adam or AdamW, or whose state is whose, cannot be told.
        UsageError: `wanted` is no class for this state.
        Malformed: the state contradicts the network.
    """
    assert source.checkpoint.optimizer is not None
    found, group_steps = _with_numbers(source, source.checkpoint.optimizer)
    kind = class_for(source, found, wanted, recorded)
    names, notes = _parameters(plan, source, recorded, declared)
    parameters = _network_steps(plan, source, names)
    counts = _counts(source, found)
    done = _steps_done(counts, recorded)
    given = _Translation(found, kind, parameters, counts, done)
    steps = [*group_steps, *_counter_steps(given), *_moment_steps(given)]
    taken = {step.source.name for step in steps if step.source}
    for slots in found.state.values():
        for slot, value in slots.items():
            if isinstance(value, TensorSpec) and value.name not in taken:
                steps.append(Step(value, None, "dropped", _why_dropped(kind, slot), optimizer=True))
    own = set(source.checkpoint.optimizer.tensor_names)
    network = [step for step in plan.steps if not (step.source and step.source.name in own)]
    mine = tuple(step.target.name for step in parameters if step.target)
    carried = Carried(
        kind.name,
        tuple(found.param_groups),
        mine,
        counts,
        done,
        notes=(*_notes(given), *notes),
    )
    order = recorded.order if recorded else ()
    return plan._replace(steps=_in_order([*network, *steps], order), optimizer=carried)


def _with_numbers(source: Source, found: OptimizerDict) -> tuple[OptimizerDict, list[Step]]:
    """The same with settings that are tensors as the numbers in them, and the steps of those tensors."""
    groups, steps = [dict(group) for group in found.param_groups], []
    with TensorReader(source.checkpoint) as reader:
        for group in groups:
            for name, value in group.items():
                if isinstance(value, TensorSpec):
                    number = read_number(reader, value.name)
                    group[name] = shortest(number) if value.dtype is FLOAT32 else number
                    reason = f"a setting, the number {group[name]:g}"
                    steps.append(Step(value, None, "dropped", reason, optimizer=True))
    return found._replace(param_groups=tuple(groups)), steps


def _in_order(steps: list[Step], order: tuple[str, ...]) -> tuple[Step, ...]:
    """The steps as the MindSpore file that the source was made from had its tensors."""
    place = {name: i for i, name in enumerate(order)}
    return tuple(sorted(steps, key=lambda s: place.get(s.target.name, len(place)) if s.target else len(place)))


def _parameters(
    plan: Plan, source: Source, recorded: Carried | None, declared: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Source names by number, and remarks; as they were numbered when the source was written, where that is known."""
    found = source.checkpoint.optimizer
    count = sum(len(group["params"]) for group in found.param_groups) if found else 0
    if recorded and len(recorded.parameters) == count:
        back = {step.target.name: step.source.name for step in plan.steps if step.target and step.source}
        if all(name in back for name in recorded.parameters):
            return [back[name] for name in recorded.parameters], []
    return parameters_of(source.checkpoint, source.layers, source.wrapper, declared)


def _network_steps(plan: Plan, source: Source, names: list[str]) -> list[Step]:
    """The steps of the parameters; of a shared one, that under whose name MindSpore keeps it."""
    step_of = {step.source.name: step for step in plan.steps if step.source}
    found = [step_of[step_of[name].same_as or name] for name in names]
    lost = next((step.source.name for step in found if step.source and not step.target), None)
    if lost is not None:
        hint = "Leave --optimizer out to convert the network alone."
        message = "it has state in the optimizer, but does not travel itself"
        raise Unsupported(message, file=source.checkpoint.path, entry=lost, hint=hint)
    return found


def _counts(source: Source, found: OptimizerDict) -> dict[int, float]:
    counts = {}
    with TensorReader(source.checkpoint) as reader:
        for number, slots in found.state.items():
            step = slots.get("step")
            value = read_number(reader, step.name) if isinstance(step, TensorSpec) else step
            if value is not None:
                entry = f"{found.key}.state.{number}.step"
                counts[number] = as_count(float(value), source.checkpoint.path, entry)
    return counts


def _steps_done(counts: Mapping[int, float], recorded: Carried | None) -> int:
    """What MindSpore is to count: PyTorch's steps; counted on from the record, where there is one."""
    before, most = (recorded.global_step, max(recorded.steps.values(), default=0)) if recorded else (0, 0)
    return int(before + max(counts.values(), default=most) - most)


def _counter_steps(given: _Translation) -> Iterator[Step]:
    for name in given.kind.counters:
        if name == "learning_rate":
            yield from _rates(given)
            continue
        dtype, shape = TYPES[name]
        value, reason = _counter(name, given)
        data = encoded(dtype, value)
        yield Step(None, TensorSpec(name, dtype, shape), "created", reason, data=data, optimizer=True)


def _counter(name: str, given: _Translation) -> tuple[float, str]:
    group = given.groups[0]
    if name == "momentum":
        return group["momentum"], "PyTorch's momentum, of param_groups"
    if name.startswith("beta"):
        beta = group["betas"][int(name[4]) - 1]
        return power(beta, given.global_step), f"{beta:g} to the power of PyTorch's step, {given.global_step}"
    return given.global_step, f"PyTorch's step, {given.global_step}" if given.counts else "PyTorch's SGD counts none"


def _rates(given: _Translation) -> Iterator[Step]:
    """One learning rate, or one for each group where they differ: nn/optim/optimizer.py, _init_group_params."""
    dtype, shape = TYPES["learning_rate"]
    rates = [group.get("lr") for group in given.groups]
    missing = next((i for i, rate in enumerate(rates) if type(rate) not in (int, float)), None)
    if missing is not None:
        hint = "Save the learning rate as a number: for group in optimizer.param_groups: group['lr'] = float(...)."
        entry = f"{given.found.key}.param_groups.{missing}.lr"
        raise Unsupported("the learning rate is no plain number", entry=entry, hint=hint)
    names = ["learning_rate"] if len(set(rates)) == 1 else [f"{GROUP_RATE}{i}" for i in range(len(rates))]
    for name, rate in zip(names, rates, strict=False):
        data = encoded(dtype, rate)  # type: ignore[arg-type]
        reason = "PyTorch's lr, of param_groups"
        yield Step(None, TensorSpec(name, dtype, shape), "created", reason, data=data, optimizer=True)


def _moment_steps(given: _Translation) -> Iterator[Step]:
    kind = given.kind
    used = {slot for slots in given.found.state.values() for slot, v in slots.items() if isinstance(v, TensorSpec)}
    for slot, prefix in kind.moments.items():
        if slot == AMSGRAD and slot not in used and not kind.always_amsgrad:
            continue
        for number, parameter in enumerate(given.parameters):
            yield _moment(given, number, parameter, slot, prefix)
    if kind.stat:
        for number, parameter in enumerate(given.parameters):
            begun = isinstance(given.found.state.get(number, {}).get(MOMENTUM), TensorSpec)
            reason = f"0 marks a parameter that {kind.path} has stepped" if begun else "1 marks one not stepped yet"
            yield _new(parameter, kind.stat, 0.0 if begun else 1.0, reason)


def _moment(given: _Translation, number: int, parameter: Step, slot: str, prefix: str) -> Step:
    assert parameter.source
    assert parameter.target
    value = given.found.state.get(number, {}).get(slot)
    if not isinstance(value, TensorSpec):
        return _new(parameter, prefix, 0.0, f"{given.kind.path} begins with 0; PyTorch has no {slot} of it yet")
    if value.shape != parameter.source.shape:
        raise Malformed(
            "the optimizer's state has another shape than its parameter",
            entry=f"{value.name}, of {parameter.source.name}",
            expected=parameter.source.shape,
            found=value.shape,
        )
    target = TensorSpec(prefix + parameter.target.name, value.dtype, parameter.target.shape)
    reason = f"PyTorch's {slot} of {parameter.source.name} is {given.kind.path}'s {prefix.removesuffix('.')}"
    fate: Fate = "renamed" if target.shape == value.shape else "reshaped"
    return Step(value, target, fate, reason, optimizer=True)


def _new(parameter: Step, prefix: str, fill: float, reason: str) -> Step:
    assert parameter.target
    target = parameter.target._replace(name=prefix + parameter.target.name)
    return Step(None, target, "created", reason, fill=fill, optimizer=True)


def _why_dropped(kind: OptimizerClass, slot: str) -> str:
    if slot != "step":
        return f"{kind.path} keeps no {slot}"
    return f"{kind.path} counts for all parameters, in {kind.count}"


def _notes(given: _Translation) -> Iterator[str]:
    kind, groups, counts = given.kind, given.groups, given.counts
    settings = "; ".join(dict.fromkeys(_settings(group, kind) for group in groups))
    yield f"the optimizer's state is for {kind.path}; a checkpoint does not hold its other settings, here {settings}"
    if len(set(counts.values())) > 1:
        least, most = min(counts.values()), max(counts.values())
        yield f"PyTorch counts {least:g} to {most:g} steps of its parameters; MindSpore has one count for all"
    if kind.torch == "SGD" and not given.global_step:
        yield "PyTorch's SGD counts no steps: global_step is 0, where a learning-rate schedule of MindSpore begins"
    if kind.filters_weight_decay and any(group["weight_decay"] for group in groups):
        yield (
            f"{kind.path} leaves gamma and beta out of weight_decay, where PyTorch does not, unless it is given "
            "groups: [{'params': ..., 'weight_decay': ...}]"
        )
    if not kind.corrects_bias and given.global_step:
        first, second = groups[0]["betas"]
        factor = (1 - first**given.global_step) / sqrt(1 - second**given.global_step)
        yield (
            f"mindspore.nn.AdamWeightDecay corrects no bias: after {given.global_step} steps its next one is about "
            f"{factor:.2g} times PyTorch's; --optimizer=experimental.AdamW goes on as PyTorch"
        )
    for lost in _lost(given):
        yield f"{lost}: not carried"


def _lost(given: _Translation) -> Iterator[str]:
    """Settings and entries that the class cannot express."""
    kind = given.kind
    for i, group in enumerate(given.groups):
        where = f"{given.found.key}.param_groups.{i}"
        if group.get("maximize") and "experimental" not in kind.path:
            yield f"{where}.maximize (mindspore.nn has none)"
        if kind.name == "Momentum" and group["dampening"]:
            yield f"{where}.dampening ({kind.path} has none; --optimizer=SGD has)"
        if kind.name == "Momentum" and group["nesterov"]:
            yield f"{where}.nesterov ({kind.path} ignores use_nesterov on the CPU; --optimizer=SGD does not)"
        if "beta1_power" in kind.counters and tuple(group["betas"]) != tuple(given.groups[0]["betas"]):
            yield (
                f"{where}.betas ({kind.path} has one beta1_power and beta2_power for all, here the first group's; "
                "--optimizer=experimental.Adam corrects the bias of each)"
            )
    if AMSGRAD not in kind.moments and any(AMSGRAD in slots for slots in given.found.state.values()):
        yield f"{given.found.key}: {AMSGRAD} ({kind.path} has no AMSGrad)"
    yield from (entry.name for entry in given.found.left_out)


def _settings(group: Mapping[str, Any], kind: OptimizerClass) -> str:
    rate = () if "learning_rate" in kind.counters else ("lr",)
    shown = (name for name in (*rate, "momentum", "dampening", "nesterov", "betas", "eps", "weight_decay", "amsgrad"))
    return ", ".join(f"{name}={group[name]}" for name in shown if name in group)
