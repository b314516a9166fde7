"""What is wrong with the tensors of an output, and what that says of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from porter.formats.casting import Overflow
from porter.formats.transfer import TensorReader
from porter.optimizer.carry import wrong_settings
from porter.plan import Plan, Step
from porter.verification.copies import TensorProblem, check_structure, compare_tensor
from porter.verification.copy_faults import explain
from porter.verification.results import LayerResult
from porter.verification.together import in_words


@dataclass(frozen=True)
class ComparedTensors:
    """An output's tensors, compared with what the plan makes of the source.

    Attributes:
        steps: those whose tensors were compared element by element.
        problems: what is wrong.
        overflow: what was finite in the source, and is infinite in the output for the cast; None where nothing is.
    """

    steps: Sequence[Step]
    problems: tuple[TensorProblem, ...]
    overflow: Overflow | None

    def told(self, layer: LayerResult) -> LayerResult:
        """`layer` with what its tensors say of why it fails: other values, or some that the cast made infinite."""
        mine = [problem for problem in self.problems if problem.layer == layer.name]
        if mine:
            told = in_words(mine)
            return layer if layer.besides is None else replace(layer, diagnosis="; ".join([*told, *layer.besides]))
        overflown = self._overflown.get(layer.name, {})
        if self.overflow is None or not overflown or layer.cause not in ("parameters", "framework"):
            return layer
        told = [str(Overflow(self.overflow.dtype, overflown))]
        return replace(layer, diagnosis="; ".join([*told, *(layer.besides or ())]), cause="dtype")

    @cached_property
    def _overflown(self) -> Mapping[str | None, dict[str, int]]:
        """By layer, as `Overflow.tensors`."""
        counts = self.overflow.tensors if self.overflow else {}
        by_layer: dict[str | None, dict[str, int]] = {}
        for step in self.steps:
            if step.target and step.target.name in counts:
                by_layer.setdefault(step.layer, {})[step.target.name] = counts[step.target.name]
        return by_layer


def compare_tensors(plan: Plan, theirs: TensorReader, ours: TensorReader) -> ComparedTensors:
    """Compare every tensor of an output, and the settings of its optimizer, with what `plan` makes of the source.

    Args:
        theirs, ours: readers of the source and of the output.

    Raises:
        InputError: one of the files cannot be read any more.
    """
    problems = list(check_structure(plan, ours.checkpoint))
    wrong = wrong_settings(plan, ours.checkpoint)
    if wrong:
        problems.append(TensorProblem("optimizer.param_groups", None, "values", wrong))
    unusable = {problem.name for problem in problems}
    steps = [step for step in plan.steps if step.target and step.target.name not in unusable]
    overflowed: dict[str, int] = {}
    differing = [p for p in (compare_tensor(step, theirs, ours, overflowed) for step in steps) if p]
    problems += explain(differing, steps, theirs, ours)
    return ComparedTensors(steps, tuple(problems), _overflow(steps, overflowed))


def _overflow(steps: Sequence[Step], overflowed: Mapping[str, int]) -> Overflow | None:
    """All casts of one plan are to one dtype."""
    dtypes = (step.target.dtype for step in steps if step.target and step.target.name in overflowed)
    return next((Overflow(dtype, overflowed) for dtype in dtypes), None)
