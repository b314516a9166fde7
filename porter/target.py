"""Whether a conversion fits the network that someone else wrote, and the renames that would make it fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from porter import network, port_rules
from porter.align import UNIQUE, Alignment, align
from porter.differences import Difference, compare
from porter.edits import Rename, rename_all
from porter.errors import VerificationFailed
from porter.formats.dtypes import DType
from porter.formats.model import TensorSpec
from porter.layers.kinds import Dialect
from porter.plan import Plan

# More differences than this are counted, not printed: a network of other names differs in all of them.
_SHOWN = 10


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
            hint=hint or way_to_fit(self.differences),
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


def misfit(plan: Plan, reference: str) -> list[Difference]:
    """Every parameter in which the output of a plan and the network `reference`, in its framework, differ.

    Raises:
        UsageError, BackendError: as `parameters_of`.
    """
    return compare(_parameters(plan), parameters_of(reference, plan.to))


def _parameters(plan: Plan) -> list[TensorSpec]:
    return [step.target for step in plan.steps if step.target and not step.optimizer]


class Fit(NamedTuple):
    """How a plan fits a network: with these further renames, and what the user should know."""

    renames: tuple[Rename, ...]
    notes: tuple[str, ...]


def fit(
    plan: Plan,
    reference: str,
    mode: Literal["propose", "apply"] | None,
    rules_file: Path | None,
    dtype: DType | None = None,
) -> Fit:
    """Check that a plan fits the network `reference`; the further renames that make it so.

    Args:
        plan: as it would be carried out.
        reference: the network, in the framework of `plan.to`.
        mode: None checks only; "propose" looks for renames where it does not fit, and fails with them; "apply" takes
            them where the structure leaves no other choice.
        rules_file: where proposals are written, a rules file; None writes none.
        dtype: the one that floating-point tensors are wanted in, whichever the network has.

    Raises:
        DoesNotFit: a name, shape or dtype differs, and is not to be mended or cannot be.
        FileIOError: `rules_file` cannot be written.
    """
    own, output = parameters_of(reference, plan.to), _parameters(plan)
    wanted = [spec._replace(dtype=dtype) if dtype and spec.dtype.is_floating else spec for spec in own]
    notes = tuple(_dtype_note(compare(wanted, own), reference, dtype))
    differences = compare(output, wanted)
    if not differences:
        return Fit((), notes)
    if mode is None:
        raise DoesNotFit(differences, reference)
    proposed = align(output, wanted)
    renames = tuple(proposal.rename for proposal in proposed.proposals)
    names = rename_all([spec.name for spec in output], renames)
    remaining = compare([s._replace(name=n) for s, n in zip(output, names, strict=True)], wanted)
    if mode == "apply" and proposed.is_unique and not remaining:
        return Fit(renames, notes)
    raise DoesNotFit(differences, reference, proposed, _told(proposed, remaining, mode, rules_file))


def _dtype_note(others: Sequence[Difference], reference: str, dtype: DType | None) -> Iterator[str]:
    if others:
        yield (
            f"{len(others)} tensors are {dtype}, as --dtype asks, where {reference} has others and casts them on "
            f"loading; the first: {others[0]}"
        )


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


def way_to_fit(differences: Sequence[Difference]) -> str:
    """What helps where an output and the network it is for differ in this."""
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
