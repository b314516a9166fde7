"""MindSpore's optimizer state as PyTorch's dictionary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from porter.errors import Undecided, Unsupported, UsageError
from porter.formats.dtypes import FLOAT32
from porter.formats.model import TensorSpec
from porter.formats.transfer import TensorReader
from porter.layers.training_state import GROUP_RATE, MOMENT_PREFIXES
from porter.optimizer.classes import AMSGRAD, AUTO, CLASSES, DEFAULTS, OptimizerClass
from porter.optimizer.counters import TYPES, as_count, beta_of, encoded, read_number, shortest
from porter.optimizer.model import Carried
from porter.optimizer.numbering import in_torch_order
from porter.plan import Fate, Plan, Step
from porter.source import Source

KEY = "optimizer"
# A count at which AdamW's bias correction is 1 in float32, with any usual betas.
_LONG_PAST = 1_000_000.0


@dataclass(frozen=True)
class _Translation:
    """What the steps are made from; `parameters` are the network's steps by number, in PyTorch's order."""

    source: Source
    reader: TensorReader
    kind: OptimizerClass
    parameters: list[Step]
    counts: list[float]

    def number(self, name: str) -> float | None:
        return read_number(self.reader, name) if name in self.source.left_out else None


def to_torch(plan: Plan, source: Source, wanted: str, recorded: Carried | None, declared: Sequence[str]) -> Plan:
    """`plan` with the optimizer of its MindSpore source as PyTorch's `state` and `param_groups`.

    Args:
        plan: of the network; the optimizer's tensors are dropped in it.
        source: whose left-out entries are the optimizer's.
        wanted: the optimizer to write for, "auto" for the twin of the source's.
        recorded: from the conversion that wrote the source out of PyTorch's file, where there is a record of it.
        declared: the names in the PyTorch network's order; empty where it is not given.

    Raises:
        UsageError: there is no such state.
        Unsupported: an optimizer, or groups of parameters, that cannot be carried.
        Undecided: Adam's state or AdamW's cannot be told apart.
    """
    kind = _kind(source, wanted, recorded)
    with TensorReader(source.checkpoint) as reader:
        parameters, ordered = _parameters(plan, source, kind, recorded, declared)
        found = _Translation(source, reader, kind, parameters, [])
        counts, notes = _counts(found, recorded)
        found = replace(found, counts=counts)
        steps = [step for number, parameter in enumerate(parameters) for step in _state(found, number, parameter)]
        groups, more = _groups(found, recorded)
        done = found.number(kind.count)
    by_source = {step.source.name: step for step in steps if step.source}
    kept = [_network_step(step, by_source, source, kind) for step in plan.steps]
    network = tuple(step for step in kept if step is not None)
    names = tuple(step.source.name for step in parameters if step.source)
    order = tuple(spec.name for spec in source.checkpoint.specs)
    carried = Carried(
        kind.name, groups, names, dict(enumerate(counts)), int(done or 0), order,
        (*notes, *more, *ordered, *_lost(found, by_source)),
    )  # fmt: skip
    return plan._replace(steps=(*network, *steps), optimizer=carried)


def _network_step(step: Step, taken: Mapping[str, Step], source: Source, kind: OptimizerClass) -> Step | None:
    """A step of the network's plan as it is; the dropped one of an entry that travels, gone."""
    name = step.source.name if step.source else ""
    if name in taken:
        return None
    if name in kind.counters or name.startswith(GROUP_RATE):
        return step._replace(reason="restated in PyTorch's step and param_groups", optimizer=True)
    if name in source.left_out:
        return step._replace(optimizer=True)
    return step


def _kind(source: Source, wanted: str, recorded: Carried | None) -> OptimizerClass:
    specs, left_out = source.checkpoint.tensors, source.left_out
    present = {
        prefix
        for prefix in MOMENT_PREFIXES
        for name in left_out
        if name.startswith(prefix) and name[len(prefix) :] in specs
    }
    fitting = [
        row for row in CLASSES.values() if row.required <= present <= row.prefixes and _has_counters(source, row)
    ]
    if recorded and recorded.name in {row.name for row in fitting}:
        fitting = [CLASSES[recorded.name]]
    elif wanted != AUTO:
        fitting = [row for row in fitting if row.torch == wanted]
    if len({row.torch for row in fitting}) > 1:
        raise Undecided(
            "Adam's state or AdamW's: both bear the same names",
            file=source.checkpoint.path,
            entry=next(iter(left_out)),
            hint="Say it with --optimizer=Adam or --optimizer=AdamW.",
        )
    if not fitting:
        raise _nothing(source, present, wanted)
    return fitting[0]


def _has_counters(source: Source, row: OptimizerClass) -> bool:
    """Whether the counters are that class's: LazyAdam and mint's optimizers have theirs in another shape."""
    specs = source.checkpoint.tensors
    if ("beta2_power" in row.counters) != ("beta2_power" in source.left_out):
        return False
    counted = (name for name in ("state_step", "beta2_power") if name in source.left_out)
    return all((specs[name].spec.dtype, specs[name].spec.shape) == TYPES[name] for name in counted)


def _nothing(source: Source, present: set[str], wanted: str) -> UsageError | Unsupported:
    path = source.checkpoint.path
    if not present:
        return UsageError("holds no optimizer state", file=path, entry="--optimizer", hint="Leave it out.")
    found = ", ".join(sorted(f"{prefix}*" for prefix in present))
    expected = (
        "the state of mindspore." + "nn.SGD, Momentum, Adam, AdamWeightDecay, or experimental.optim.Adam, AdamW"
    )
    if wanted != AUTO:
        expected = f"the state of torch.optim.{wanted}"
    hint = "Leave --optimizer out to convert the network alone."
    return Unsupported("its optimizer state cannot be carried", file=path, expected=expected, found=found, hint=hint)


def _parameters(
    plan: Plan, source: Source, kind: OptimizerClass, recorded: Carried | None, declared: Sequence[str]
) -> tuple[list[Step], list[str]]:
    """The steps of the parameters by PyTorch's number, and remarks."""
    prefix = next(iter(kind.moments.values()))
    owned = {name.removeprefix(prefix) for name in source.left_out if name.startswith(prefix)}
    if recorded and set(recorded.parameters) == owned:
        step_of = {step.source.name: step for step in plan.steps if step.source}
        return [step_of[name] for name in recorded.parameters], []
    parameters = in_torch_order(plan, source.layers, owned, declared)
    lost = owned - {step.source.name for step in parameters if step.source}
    if lost:
        raise Unsupported(
            "PyTorch's network has no such parameter to keep the state of",
            file=source.checkpoint.path,
            entry=min(lost),
            hint="Leave --optimizer out to convert the network alone.",
        )
    note = (
        "PyTorch numbers the parameters as model.parameters() does: the file's order was taken for it; --model tells"
    )
    return parameters, [] if declared else [note]


def _counts(found: _Translation, recorded: Carried | None) -> tuple[list[float], list[str]]:
    """PyTorch's `step` of every parameter, empty for SGD, which keeps none."""
    if found.kind.torch == "SGD":
        return [], []
    done = found.number(found.kind.count)
    if done is None:
        raise Unsupported("its optimizer state has no step counter", file=found.source.checkpoint.path)
    as_count(done, found.source.checkpoint.path, found.kind.count)
    every = range(len(found.parameters))
    if recorded and set(recorded.steps) == set(every):
        # PyTorch may count parameters apart, MindSpore has counted on for all.
        return [recorded.steps[number] + done - recorded.global_step for number in every], []
    if found.kind.corrects_bias:
        return [done for _ in every], []
    note = (
        f"{found.kind.path} corrects no bias: `step` is {_LONG_PAST:.0f}, where AdamW corrects none either and goes "
        "on as MindSpore would"
    )
    return [_LONG_PAST for _ in every], [note]


def _state(found: _Translation, number: int, parameter: Step) -> Iterator[Step]:
    """The steps of one parameter's slots, in PyTorch's order."""
    assert parameter.source
    assert parameter.target
    owner, kind = parameter.source.name, found.kind
    tensors = found.source.checkpoint.tensors
    flag = tensors[kind.stat + owner].spec if kind.stat else None
    fresh = flag is not None and not _is_zero(found.reader, flag.name)
    if flag:
        what = "not stepped yet, where PyTorch has no state" if fresh else "stepped, which PyTorch's state shows"
        yield Step(flag, None, "dropped", f"{owner}: {what}", optimizer=True)
    if found.counts:
        step = TensorSpec(f"{KEY}.state.{number}.step", FLOAT32, ())
        data = encoded(FLOAT32, found.counts[number])
        yield Step(None, step, "created", "MindSpore's count of steps", data=data, optimizer=True)
    for slot, prefix in kind.moments.items():
        if prefix + owner not in tensors:
            continue
        spec = tensors[prefix + owner].spec
        if fresh or (slot == AMSGRAD and kind.always_amsgrad and _is_zero(found.reader, spec.name)):
            yield Step(spec, None, "dropped", "0 throughout, where PyTorch has none", optimizer=True)
            continue
        target = TensorSpec(f"{KEY}.state.{number}.{slot}", spec.dtype, parameter.target.shape)
        reason = f"{kind.path}'s {prefix.removesuffix('.')} of {owner} is PyTorch's {slot}"
        fate: Fate = "renamed" if target.shape == spec.shape else "reshaped"
        yield Step(spec, target, fate, reason, optimizer=True)


def _is_zero(reader: TensorReader, name: str) -> bool:
    return not any(bytes(chunk).strip(b"\0") for chunk in reader.chunks(name))


def _groups(found: _Translation, recorded: Carried | None) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    """PyTorch's param_groups: as recorded, else of PyTorch's defaults; with MindSpore's learning rates."""
    names = [s.source.name for s in found.parameters if s.source]
    if recorded and list(recorded.parameters) == names:
        groups = [dict(group) for group in recorded.param_groups]
        return tuple({**group, "lr": _rate(found, i, group["lr"])} for i, group in enumerate(groups)), []
    if any(name.startswith(GROUP_RATE) for name in found.source.left_out):
        raise Unsupported(
            "which parameters have which of its learning rates is not in the file",
            file=found.source.checkpoint.path,
            entry=f"{GROUP_RATE}0",
            hint="Leave --optimizer out, or name the record of the conversion that wrote it with --record.",
        )
    defaults = DEFAULTS[found.kind.torch]
    known = {"lr": _rate(found, 0, None), **_known(found, defaults)}
    known = {name: value for name, value in known.items() if value is not None}
    group = {**defaults, **known, "params": list(range(len(names)))}
    assumed = [
        f"{name}={group[name]}"
        for name in ("lr", "betas", "momentum", "dampening", "nesterov", "eps", "weight_decay")
        if name in group and name not in known
    ]
    return (group,), [
        f"param_groups hold PyTorch's defaults for what a MindSpore checkpoint does not: {', '.join(assumed)}; "
        "load_state_dict takes them over, so set yours after it"
        + (" (mindspore.nn decays no gamma and no beta)" if found.kind.filters_weight_decay else ""),
    ]


def _known(found: _Translation, defaults: Mapping[str, Any]) -> dict[str, Any]:
    momentum = found.number("momentum")
    amsgrad = any(AMSGRAD in found.kind.moments and _has_maximum(found, step) for step in found.parameters)
    settings: dict[str, Any] = {"momentum": None if momentum is None else shortest(momentum)}
    if "amsgrad" in defaults:
        settings["amsgrad"] = amsgrad
        powers = [found.number(f"beta{i}_power") for i in (1, 2)]
        betas = [
            None if found_power is None else beta_of(default, found_power, int(found.counts[0]))
            for default, found_power in zip(defaults["betas"], powers, strict=True)
        ]
        settings["betas"] = tuple(betas) if None not in betas and betas else None
    return settings


def _has_maximum(found: _Translation, parameter: Step) -> bool:
    assert parameter.source
    name = found.kind.moments[AMSGRAD] + parameter.source.name
    return name in found.source.checkpoint.tensors and not (
        found.kind.always_amsgrad and _is_zero(found.reader, name)
    )


def _rate(found: _Translation, group: int, before: float | None) -> float | None:
    """The learning rate of a group; `before` where the file has none, or the same in float32."""
    name = f"{GROUP_RATE}{group}"
    name = name if name in found.source.left_out else "learning_rate"
    if name not in found.source.left_out:
        return before
    rates = found.reader.array(name).reshape(-1)
    if not len(rates):
        return before
    # A schedule is stored whole: the rate of the step to come.
    now = float(rates[min(int(found.number("global_step") or 0), len(rates) - 1)])
    if before is not None and encoded(FLOAT32, before) == encoded(FLOAT32, now):
        return before
    return shortest(now)


def _lost(found: _Translation, taken: Mapping[str, Step]) -> Iterator[str]:
    if found.source.left_out.get("learning_rate") and found.source.checkpoint.tensors["learning_rate"].spec.shape:
        yield "learning_rate is a schedule: `lr` is its rate of the step to come, the schedule itself is not carried"
    for name, what in found.source.left_out.items():
        if name not in taken and name not in found.kind.counters and not name.startswith(GROUP_RATE):
            yield f"{name} ({what}): not carried"
