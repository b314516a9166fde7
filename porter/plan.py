"""What becomes of every tensor, decided and proven before a byte is written.

A plan is a list of steps. Each source tensor has exactly one, with a fate and a reason; tensors that only the target
has get one of their own. Names, shapes and created values come from the layer rules (`porter.layers.kinds`) alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Literal, NamedTuple

from porter.errors import Unsupported, UsageError
from porter.formats.dtypes import BY_NAME, FLOAT32, INT64, TEXT, DType
from porter.formats.model import TensorSpec
from porter.layers.kinds import Dialect, Parameter
from porter.layers.model import Layer

if TYPE_CHECKING:
    from porter.optimizer.model import Carried

Fate = Literal["copied", "renamed", "reshaped", "cast", "created", "dropped", "shared"]


class Step(NamedTuple):
    """The fate of one tensor.

    Attributes:
        source: the tensor read; None for a created one.
        target: the tensor written; None for a dropped one.
        fate: the farthest-reaching thing that happens to it (a tensor that is renamed and cast is `cast`).
        reason: why, in words.
        fill: the value of every element of a created tensor.
        data: the exact bytes of a created tensor, where an earlier conversion recorded them.
        same_as: the source tensor whose bytes a `shared` tensor has: PyTorch writes a tensor under every name that
            leads to it, MindSpore under one. Such a step has a source or a target, not both.
        layer: name of the layer it belongs to; None outside of any layer.
        ruled: the target's name by the layer rules, where `porter.edits.rename` has changed it.
        optimizer: it is an optimizer's and not the network's, and was planned by `porter.optimizer`.
    """

    source: TensorSpec | None
    target: TensorSpec | None
    fate: Fate
    reason: str
    fill: float | None = None
    data: bytes | None = None
    same_as: str | None = None
    layer: str | None = None
    ruled: str | None = None
    optimizer: bool = False

    def to_json(self) -> dict[str, object]:
        return {
            "source": self.source.name if self.source else None,
            "target": self.target.name if self.target else None,
            "fate": self.fate,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Plan:
    """The steps from one dialect to another, in the order in which the tensors are written.

    Attributes:
        optimizer: what else of an optimizer travels; None where none does.
        notes: what it takes for granted that nothing tells, and what would tell it.
    """

    from_: Dialect
    to: Dialect
    steps: tuple[Step, ...]
    optimizer: Carried | None = None
    notes: tuple[str, ...] = ()

    @property
    def targets(self) -> list[TensorSpec]:
        return [step.target for step in self.steps if step.target]

    def count(self, fate: Fate) -> int:
        return sum(step.fate == fate for step in self.steps)


def make_plan(
    specs: Sequence[TensorSpec], layers: Sequence[Layer], from_: Dialect, to: Dialect, left_out: Mapping[str, str]
) -> Plan:
    """The plan for a checkpoint, from the layer rules.

    Args:
        specs: every tensor of the source, in its order.
        layers: as recognised; all decided where `from_` and `to` have different names
            (`porter.layers.undecided`).
        from_, to: whose names the source bears and the target shall bear.
        left_out: tensors that do not travel, name -> what they are (optimizer state).
    """
    return Plan(from_, to, tuple(_Planner(specs, layers, from_, to, left_out).steps()))


class _Planner:
    def __init__(
        self,
        specs: Sequence[TensorSpec],
        layers: Sequence[Layer],
        from_: Dialect,
        to: Dialect,
        left_out: Mapping[str, str],
    ) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self.layers = layers
        self.from_: Dialect = from_
        self.to: Dialect = to
        self.left_out = left_out
        self.place = {
            name: (layer, layer.kind.parameter(slot)) for layer in layers for slot, name in layer.tensors.items()
        }
        floats = Counter(spec.dtype for spec in specs if spec.dtype.is_floating)
        self.usual_dtype = floats.most_common(1)[0][0] if floats else FLOAT32

    def steps(self) -> Iterable[Step]:
        position = {name: i for i, name in enumerate(self.specs)}
        last_tensor = {
            max(layer.tensors.values(), key=position.__getitem__): layer for layer in self.layers if layer.tensors
        }
        for spec in self.specs.values():
            yield self._step(spec)
            if spec.name in last_tensor:
                yield from self._created(last_tensor[spec.name])
        for layer in self.layers:
            if not layer.tensors:
                yield from self._created(layer)

    def _step(self, spec: TensorSpec) -> Step:
        if spec.name in self.left_out:
            step = _left_out(spec, self.left_out)
            return step._replace(layer=self.place[spec.name][0].name) if spec.name in self.place else step
        if spec.dtype is TEXT:
            return Step(spec, None, "dropped", "a text entry, no tensor")
        if spec.name not in self.place:
            return Step(spec, spec, "copied", "outside of the layers bnport has rules for: keeps its name")
        layer, parameter = self.place[spec.name]
        leaves_mindspore = self.from_ == "mindspore" and self.to != "mindspore"
        if leaves_mindspore and parameter.slot in _STATISTICS and _keeps_no_statistics(layer):
            return Step(spec, None, "dropped", f"{layer.kind_name}: {_no_statistics(layer)}", layer=layer.name)
        name = self._name(layer, parameter)
        if name is None:
            reason = f"{layer.kind_name}: MindSpore has no {parameter.torch}; kept in the record beside the output"
            return Step(spec, None, "dropped", reason, layer=layer.name)
        shape = parameter.shape_in(self.to, spec.shape, came_from=self.from_)
        fate: Fate = "copied"
        reason = f"{layer.kind_name}: same name in both"
        if name != spec.name:
            fate = "renamed"
            reason = f"{layer.kind_name}: {self._renaming(layer, parameter)}"
        if shape != spec.shape:
            fate, reason = "reshaped", f"{reason}; MindSpore's has one axis more, of length 1"
        return Step(spec, TensorSpec(name, spec.dtype, shape), fate, reason, layer=layer.name)

    def _renaming(self, layer: Layer, parameter: Parameter) -> str:
        path = layer.path_in(self.to, came_from=self.from_)
        torch, mindspore = parameter.torch, parameter.mindspore
        if path == layer.name:
            return f"PyTorch's {torch} is MindSpore's {mindspore}"
        here, there = layer.name.rpartition(".")[2], path.rpartition(".")[2]
        ours, theirs = (there, here) if self.from_ == "mindspore" else (here, there)
        return f"PyTorch's {ours}.{torch} is MindSpore's {theirs}.{mindspore}"

    def _created(self, layer: Layer) -> Iterable[Step]:
        """The tensors that the target's layer has and the source's has not."""
        for parameter in layer.kind.in_order(self.to):
            name = self._name(layer, parameter)
            if parameter.slot in layer.tensors or name is None or not self._is_needed(layer, parameter):
                continue
            target = TensorSpec(name, *self._created_type(layer, parameter))
            what = parameter.name_in(self.to, root=not layer.name)
            where = "MindSpore" if self.to == "mindspore" else "PyTorch"
            reason = (
                f"{layer.kind_name}: {where} always has {what}; {parameter.fill:g} leaves the outputs as they are"
            )
            yield Step(None, target, "created", reason, fill=parameter.fill, layer=layer.name)

    def _is_needed(self, layer: Layer, parameter: Parameter) -> bool:
        if self.to == "mindspore":
            return parameter.always_in_mindspore
        return parameter.torch_with in layer.tensors and self.from_ != self.to and not _keeps_no_statistics(layer)

    def _created_type(self, layer: Layer, parameter: Parameter) -> tuple[DType, tuple[int, ...]]:
        if parameter.torch_with:
            return INT64, ()
        assert layer.channels is not None, "a layer without a channel count is undecided"
        kin = next((self.specs[name] for slot, name in layer.tensors.items() if slot != "count"), None)
        if kin:
            return kin.dtype, kin.shape
        return self.usual_dtype, layer.shape or (layer.channels,)

    def _name(self, layer: Layer, parameter: Parameter) -> str | None:
        path = layer.path_in(self.to, came_from=self.from_)
        leaf = parameter.name_in(self.to, root=not path)
        return leaf if leaf is None or not path else f"{path}.{leaf}"


_STATISTICS = ("mean", "variance")


def _keeps_no_statistics(layer: Layer) -> bool:
    """Whether PyTorch's layer, which behaves as MindSpore's does, has no running statistics."""
    return layer.kind.family == "InstanceNorm" or (
        layer.settings is not None and layer.settings.statistics == "batch"
    )


def _no_statistics(layer: Layer) -> str:
    if layer.kind.family == "InstanceNorm":
        return "MindSpore never reads these; PyTorch's that never does (track_running_stats=False) has none"
    return "use_batch_statistics=True is track_running_stats=False, which keeps none"


def strip_prefix(plan: Plan, prefix: str) -> Plan:
    """`plan` with `prefix` removed from the front of every target name that has it."""

    if not prefix:
        return plan

    def stripped(step: Step) -> Step:
        if step.target is None or not step.target.name.startswith(prefix):
            return step
        target = step.target._replace(name=step.target.name.removeprefix(prefix))
        fate: Fate = "renamed" if step.fate == "copied" else step.fate
        return step._replace(target=target, fate=fate, reason=f"{step.reason}; prefix {prefix} removed")

    return replace(plan, steps=tuple(stripped(step) for step in plan.steps))


def cast(plan: Plan, dtype: DType | None) -> Plan:
    """`plan` with every floating-point target of another dtype written as `dtype`; None leaves it as it is.

    Raises:
        Unsupported: a tensor of 8-bit floats, whose numbers bnport does not compute with.
    """

    if dtype is None:
        return plan

    def written_as(step: Step) -> Step:
        if step.target is None or not step.target.dtype.is_floating or step.target.dtype == dtype:
            return step
        if step.target.dtype.itemsize == 1:
            hint = "Leave --dtype out: 8-bit floats are copied as they are."
            raise Unsupported("cannot be cast", entry=step.target.name, found=step.target.dtype, hint=hint)
        target = step.target._replace(dtype=dtype)
        fate: Fate = "cast" if step.source else step.fate
        return step._replace(target=target, fate=fate, reason=f"{step.reason}; {step.target.dtype} as {dtype}")

    return replace(plan, steps=tuple(written_as(step) for step in plan.steps))


def leave_out(plan: Plan, specs: Iterable[TensorSpec], left_out: Mapping[str, str]) -> Plan:
    """`plan` with a dropped step for every one of `left_out` (name -> what it is) that it does not speak of."""
    known = {step.source.name for step in plan.steps if step.source}
    more = (_left_out(spec, left_out) for spec in specs if spec.name in left_out and spec.name not in known)
    return replace(plan, steps=(*plan.steps, *more))


def _left_out(spec: TensorSpec, left_out: Mapping[str, str]) -> Step:
    return Step(spec, None, "dropped", f"{left_out[spec.name]}: not part of the model")


def prove(
    plan: Plan, specs: Sequence[TensorSpec], layers: Sequence[Layer] | None, *, removed: str = "", restored: str = ""
) -> None:
    """Check a plan, before a byte is written, against the source and the layers it was made from.

    Args:
        layers: whose rules must give every name; None where names are no longer theirs.
        removed: the prefix that names lose.
        restored: the prefix that names get back.

    Raises:
        UsageError: two tensors would get one name.
        AssertionError: a fault in bnport or in a record: a tensor is unaccounted for or changes its size, or the
            rules read from right to left do not give the source back.
    """
    _prove_unique(plan)
    sources = [step.source for step in plan.steps if step.source]
    must(len(sources) == len(specs) and set(sources) == set(specs), "a source tensor is unaccounted for")
    counterpart = {step.source.name: step.target.name for step in plan.steps if step.source and step.target}
    for step in plan.steps:
        must(step.fate != "shared" or step.same_as in counterpart, f"nothing keeps {step.same_as}, which is shared")
        if step.source and step.target:
            must(prod(step.source.shape) == prod(step.target.shape), f"{step.source.name} changes its size")
    if layers is not None:
        _prove_names(plan, layers, removed, restored)


def _prove_names(plan: Plan, layers: Sequence[Layer], removed: str, restored: str) -> None:
    """Undecided layers have no rule to hold names against: between PyTorch and mint they keep them."""
    decided = [layer for layer in layers if layer.certainty != "undecided"]
    place = {name: (layer, layer.kind.parameter(slot)) for layer in decided for slot, name in layer.tensors.items()}
    for step in plan.steps:
        if not step.source or not step.target:
            continue
        there = step.source.name
        if there in place:
            layer, parameter = place[there]
            leaf = parameter.name_in(plan.from_, root=not layer.name)
            shape = parameter.shape_in(plan.from_, step.target.shape, came_from=plan.to)
            must(there == f"{layer.name}.{leaf}".removeprefix("."), f"{there}: no way back")
            must(step.source.shape == shape, f"{there}: its shape has no way back")
            path = layer.path_in(plan.to, came_from=plan.from_)
            there = f"{path}.{parameter.name_in(plan.to, root=not path)}".removeprefix(".")
        else:
            must(step.source.shape == step.target.shape, f"{there}: outside of the layers, shapes stay")
        # A prefix that is removed, or put back, need not stand before every name.
        possible = {name.removeprefix(removed) for name in (there, restored + there)}
        must(step.target.name in possible, f"{step.source.name}: the rules do not give {step.target.name}")


def must(holds: bool, fault: str) -> None:
    """An assertion that `python -O` keeps."""
    if not holds:
        raise AssertionError(fault)


def _prove_unique(plan: Plan) -> None:
    takers: dict[str, str] = {}
    for step in plan.steps:
        if step.target is None:
            continue
        came_from = step.source.name if step.source else "a created tensor"
        if step.target.name in takers:
            raise UsageError(
                "two tensors would get the same name",
                entry=step.target.name,
                expected="unique names",
                found=f"{takers[step.target.name]} and {came_from}",
                hint="Choose another --strip-prefix or --layer.",
            )
        takers[step.target.name] = came_from


def dtype_called(name: str) -> DType:
    """The dtype a user means by `--dtype`.

    Raises:
        UsageError: no floating-point type of that name can be written.
    """
    aliases = {"fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp32": "float32", "fp64": "float64"}
    dtype = BY_NAME.get(aliases.get(name, name))
    castable = ("float16", "bfloat16", "float32", "float64")
    if dtype is None or dtype.name not in castable:
        raise UsageError("no dtype to cast to", entry=f"--dtype {name}", expected=", ".join(castable), found=name)
    return dtype
