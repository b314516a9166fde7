"""What becomes of every tensor, decided and proven before a byte is written.

A plan is a list of steps. Each source tensor has exactly one, with a fate and a reason; tensors that only the target
has get one of their own. Names, shapes and created values come from the layer rules (`porter.layers.kinds`) alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from porter.errors import Unsupported, UsageError
from porter.formats.dtypes import BY_NAME, DType
from porter.formats.model import TensorSpec
from porter.layers.kinds import Dialect

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


def moved_with(layer: str, source: TensorSpec, target: TensorSpec | None, fate: Fate, reason: str) -> Step:
    """What most steps are: a tensor of the source that goes where its layer goes."""
    # Every tensor has one: past the Python function that is a NamedTuple's constructor.
    return tuple.__new__(Step, (source, target, fate, reason, None, None, None, layer, None, False))


class Plan(NamedTuple):
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

    @property
    def fates(self) -> Counter[Fate]:
        """How many steps have which fate."""
        return Counter(step.fate for step in self.steps)


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

    return plan._replace(steps=tuple(stripped(step) for step in plan.steps))


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

    return plan._replace(steps=tuple(written_as(step) for step in plan.steps))


def leave_out(plan: Plan, specs: Iterable[TensorSpec], left_out: Mapping[str, str]) -> Plan:
    """`plan` with a dropped step for every one of `left_out` (name -> what it is) that it does not speak of."""
    known = {step.source.name for step in plan.steps if step.source}
    more = (dropped_as(spec, left_out) for spec in specs if spec.name in left_out and spec.name not in known)
    return plan._replace(steps=(*plan.steps, *more))


def dropped_as(spec: TensorSpec, left_out: Mapping[str, str]) -> Step:
    """The step that leaves a tensor of `left_out` (name -> what it is) behind."""
    return Step(spec, None, "dropped", f"{left_out[spec.name]}: not part of the model")


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
