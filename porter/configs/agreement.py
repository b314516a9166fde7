"""Values that serve in several places, by an alias, a merge key or a reference: what becomes of them must agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from porter.configs.model import Setting
from porter.configs.references import Path
from porter.configs.rules import STAYS, Outcome
from porter.configs.terms import SHARED, Dialect
from porter.configs.tree import Entry, Scalar


@dataclass(frozen=True, eq=False)
class Use:
    """A value in a role, and what becomes of it there.

    Attributes:
        defines: as in `porter.configs.model.OtherUse`.
    """

    path: Path
    offset: int
    name: str
    entry: Entry
    value: Scalar | None
    outcome: Outcome = STAYS
    setting: Setting | None = None
    source: Dialect | None = None
    defines: bool = False


def clashes(uses: Sequence[Use]) -> Iterator[tuple[list[Use], tuple[Use, Use]]]:
    """Uses that share a value or an entry and disagree on it, and two of them, a changing one first."""
    shared = [(group, _of_value) for group in _by(uses, lambda use: use.value)]
    shared += [(group, _of_entry) for group in _by(uses, lambda use: use.entry)]
    for group, made in shared:
        clash = _clash(group, made)
        if clash:
            yield group, clash


def _by(uses: Sequence[Use], what: Callable[[Use], object]) -> list[list[Use]]:
    """The uses that share something."""
    groups: dict[int, list[Use]] = {}
    for use in uses:
        if what(use) is not None:
            groups.setdefault(id(what(use)), []).append(use)
    return [group for group in groups.values() if len(group) > 1]


def _clash(group: Sequence[Use], made: Callable[[Outcome], object]) -> tuple[Use, Use] | None:
    """Two uses of one value or entry that would make different things of it, a changing one first."""
    changing = next((use for use in group if made(use.outcome) != made(STAYS)), None)
    if changing is None:
        return None
    return next(((changing, use) for use in group if made(use.outcome) != made(changing.outcome)), None)


def _of_value(outcome: Outcome) -> object:
    return (outcome.value, outcome.removed)


def _of_entry(outcome: Outcome) -> object:
    return (outcome.key, outcome.removed)


def named_after_the_shared(uses: list[Use]) -> list[Use]:
    """`uses` of a call, in which positional arguments after those that all dialects share are given by name.

    Their places differ between the dialects, and Python takes no positional argument behind a named one.
    """
    late = [use for use in uses if use.entry.position is not None and use.entry.position >= len(SHARED)]
    if not any(use.outcome.changes for use in late):
        return uses
    return [
        replace(use, outcome=replace(use.outcome, key=use.outcome.key or use.name))
        if any(use is one for one in late) and not use.outcome.removed
        else use
        for use in uses
    ]
