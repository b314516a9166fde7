"""Whether a conversion fits the network that someone else wrote: every name, shape and dtype, both ways.

bnport's own strict check. MindSpore's loads what fits, strips prefixes, casts without a word and reports the rest as
a warning; PyTorch's `load_state_dict` is strict about names and shapes, and casts silently too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Literal

from porter import network, port_rules
from porter.align import UNIQUE, Alignment, align
from porter.edits import Rename, rename_all
from porter.errors import VerificationFailed
from porter.formats.model import TensorSpec
from porter.layers.kinds import Dialect
from porter.plan import Plan

# Names compared with each missing one: those of equal shape that stand nearest to it in the network's order.
_COMPARED = 24
_CANDIDATES = 3
# More differences than this are counted, not printed: a network of other names differs in all of them.
_SHOWN = 10


@dataclass(frozen=True)
class Candidate:
    """A tensor of the output that the network has no place for, and may be one that it misses.

    Attributes:
        name: in the output.
        similarity: of the two names, 0 to 1 (`difflib.SequenceMatcher.ratio`).
        same_shape: whether their shapes agree.
    """

    name: str
    similarity: float
    same_shape: bool

    def __str__(self) -> str:
        return f"{self.name} ({self.similarity:.0%} alike, {'same' if self.same_shape else 'other'} shape)"


@dataclass(frozen=True)
class Difference:
    """One parameter in which the output and the network differ; `candidates` only where it is missing, best first."""

    name: str
    problem: Literal["missing", "left over", "shape", "dtype"]
    text: str
    candidates: tuple[Candidate, ...] = ()

    def __str__(self) -> str:
        closest = f"; closest: {', '.join(map(str, self.candidates))}" if self.candidates else ""
        return f"{self.name}: {self.text}{closest}"

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"name": self.name, "problem": self.problem, "text": self.text}
        if self.problem == "missing":
            document["candidates"] = [vars(candidate) for candidate in self.candidates]
        return document


class DoesNotFit(VerificationFailed):
    """The output's parameters are not the target network's; nothing was written.

    Attributes:
        differences: all of them, in the network's order, what is left over last.
        proposed: the renames that would mend them; None where they were not asked for.
    """

    def __init__(
        self,
        differences: Sequence[Difference],
        reference: str,
        proposed: Alignment | None = None,
        hint: str | None = None,
    ) -> None:
        self.differences, self.proposed = tuple(differences), proposed
        kinds = ("missing", "left over", "shape", "dtype")
        counts = {kind: sum(d.problem == kind for d in differences) for kind in kinds}
        words = {
            "missing": "missing",
            "left over": "left over",
            "shape": "of another shape",
            "dtype": "of another dtype",
        }
        lines = [str(one) for one in (proposed.proposals if proposed and proposed.proposals else self.differences)]
        shown = len(lines) if proposed else _SHOWN
        more = [f"... and {len(lines) - shown} more; --json lists all"] if len(lines) > shown else []
        super().__init__(
            "the converted parameters do not fit the network; nothing was written",
            entry=reference,
            expected="every name, shape and dtype as the network has it",
            found=", ".join(f"{count} {words[kind]}" for kind, count in counts.items() if count),
            details=[*lines[:shown], *more],
            hint=hint or _hint(self.differences),
        )

    def document(self) -> dict[str, Any]:
        document = {**super().document(), "differences": [difference.to_json() for difference in self.differences]}
        return document if self.proposed is None else {**document, "proposed": self.proposed.to_json()}


def parameters_of(reference: str, dialect: Dialect) -> tuple[TensorSpec, ...]:
    """The parameters of the network `reference`, written in the framework of `dialect`.

    Raises:
        UsageError, BackendError: as `porter.network.torch_modules`.
    """
    return network.torch_parameters(reference) if dialect == "torch" else network.mindspore_parameters(reference)


def compare(output: Sequence[TensorSpec], parameters: Sequence[TensorSpec]) -> list[Difference]:
    """Every difference between the tensors of an output and the parameters of the network they are for."""
    given = {spec.name: spec for spec in output}
    wanted = {spec.name: spec for spec in parameters}
    left_over = [spec for spec in output if spec.name not in wanted]
    by_shape: dict[tuple[int, ...], list[TensorSpec]] = {}
    for spec in left_over:
        by_shape.setdefault(spec.shape, []).append(spec)
    found = []
    for place, want in enumerate(parameters):
        have = given.get(want.name)
        if have is None:
            candidates = _closest(want, place / len(parameters), by_shape.get(want.shape, left_over))
            found.append(Difference(want.name, "missing", f"missing, {_described(want)}", candidates))
        elif have.shape != want.shape:
            text = f"{list(have.shape)}, the network has {list(want.shape)}"
            found.append(Difference(want.name, "shape", text))
        elif have.dtype != want.dtype:
            found.append(Difference(want.name, "dtype", f"{have.dtype}, the network has {want.dtype}"))
    return [*found, *(Difference(s.name, "left over", f"left over, {_described(s)}") for s in left_over)]


def fit(
    plan: Plan, reference: str, mode: Literal["propose", "apply"] | None, rules_file: Path | None
) -> tuple[Rename, ...]:
    """Check that a plan fits the network `reference`; the further renames that make it so.

    Args:
        plan: as it would be carried out.
        reference: the network, in the framework of `plan.to`.
        mode: None checks only; "propose" looks for renames where it does not fit, and fails with them; "apply" takes
            them where the structure leaves no other choice.
        rules_file: where proposals are written, a rules file; None writes none.

    Raises:
        DoesNotFit: a name, shape or dtype differs, and is not to be mended or cannot be.
        FileIOError: `rules_file` cannot be written.
    """
    output = [step.target for step in plan.steps if step.target and not step.optimizer]
    parameters = parameters_of(reference, plan.to)
    differences = compare(output, parameters)
    if not differences:
        return ()
    if mode is None:
        raise DoesNotFit(differences, reference)
    proposed = align(output, parameters)
    renames = tuple(proposal.rename for proposal in proposed.proposals)
    names = rename_all([spec.name for spec in output], renames)
    remaining = compare([replace(s, name=n) for s, n in zip(output, names, strict=True)], parameters)
    if mode == "apply" and proposed.is_unique and not remaining:
        return renames
    raise DoesNotFit(differences, reference, proposed, _told(proposed, remaining, mode, rules_file))


def _told(
    proposed: Alignment, remaining: Sequence[Difference], mode: Literal["propose", "apply"], rules_file: Path | None
) -> str:
    """What to do about proposals; writes them to `rules_file`, unless there is one."""
    left = f" {len(remaining)} differences remain with them, the first: {remaining[0]}." if remaining else ""
    if not proposed.proposals:
        return f"No rename would mend it.{left}"
    unsure = sum(proposal.confidence < UNIQUE for proposal in proposed.proposals)
    why = f" Not applied: {unsure} of the renames could be others as well." if mode == "apply" and unsure else ""
    if rules_file is None:
        return f"These renames are proposed.{why}{left}"
    rows = [(proposal.rename, proposal.remark) for proposal in proposed.proposals]
    if not port_rules.write_proposals(rules_file, rows):
        others = f"{rules_file}, which exists already, says something else and is left as it is"
        return f"These renames are proposed.{why}{left} {others}: use it with --rules, or remove it."
    return (
        f"These renames are proposed, and written to {rules_file}.{why}{left} Check them, then --rules {rules_file}."
    )


def _described(spec: TensorSpec) -> str:
    return f"{spec.dtype} {list(spec.shape)}"


def _closest(want: TensorSpec, place: float, pool: Sequence[TensorSpec]) -> tuple[Candidate, ...]:
    """The likeliest of `pool` for `want`, which stands at `place` (0 to 1) in its network."""
    start = max(0, min(round(place * len(pool)) - _COMPARED // 2, len(pool) - _COMPARED))
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(want.name)
    found: list[Candidate] = []
    for spec in pool[start : start + _COMPARED]:
        matcher.set_seq1(spec.name)
        # The quick ratio is an upper bound: the slow one is worked out only where it could matter.
        if len(found) < _CANDIDATES or matcher.quick_ratio() > found[-1].similarity:
            found.append(Candidate(spec.name, round(matcher.ratio(), 2), spec.shape == want.shape))
            found = sorted(found, key=lambda candidate: -candidate.similarity)[:_CANDIDATES]
    return tuple(found)


def _hint(differences: Sequence[Difference]) -> str:
    problems = {difference.problem for difference in differences}
    if "missing" in problems and "left over" in problems:
        return "--align proposes renames, --rename 'PATTERN=REPLACEMENT' makes them."
    if "missing" in problems:
        return "The source does not have them: is it the checkpoint of this network?"
    if "left over" in problems:
        return "Leave them out with drop = [...] in a rules file (--rules), if the network is right without them."
    if "shape" in problems:
        return "The network is configured for other sizes than the checkpoint."
    return "--dtype casts; MindSpore would, on loading, do so without a word."
