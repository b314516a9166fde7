"""What becomes of a config: its changes, and what a person has to know or to settle."""

from __future__ import annotations

from dataclasses import dataclass, field

from porter.configs.splices import Splice
from porter.configs.tree import Place


@dataclass(frozen=True)
class Change:
    """One setting or name that is rewritten.

    Attributes:
        path: keys and list indexes down to it, with dots between them.
        setting: the argument's name before, or "class", "import".
        before: as it is written.
        after: as it will be; "" for what is taken out.
        rule: the row of the table that is applied.
        why: that rule in words.
        place: line and column of the value, from 1.
        splices: the characters that change; none where those of another change take this along.
        defines: the names under which code can look the value up; none where a layer alone takes it.
        reads: what an expression that is rewritten looks up, in this file or another.
        fed_by: where the values stand that such an expression takes in this file for certain.
    """

    path: str
    setting: str
    before: str
    after: str
    rule: str
    why: str
    place: Place
    splices: tuple[Splice, ...]
    defines: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    fed_by: frozenset[Place] = frozenset()


@dataclass(frozen=True)
class Remark:
    """Something to know about a place; see `Translation`."""

    path: str
    setting: str
    text: str
    place: Place


@dataclass(frozen=True)
class Undecision:
    """A place that may be a batch normalisation's.

    Attributes:
        path, setting, place: as in `Change`.
        text: why it is not certain, with the other place where there is one.
        options: what the user can type, each one way of settling it; none where only an edit does.
    """

    path: str
    setting: str
    text: str
    place: Place
    options: tuple[str, ...]


@dataclass
class Translation:
    """What becomes of a config.

    Attributes:
        changes: in the order of the file.
        warnings: what the translated config does not say.
        needs_person: places that no rule can translate; they stay as they are.
        notes: places left alone for a reason worth saying.
        undecided: places that the user has to settle before anything is written.
    """

    changes: list[Change] = field(default_factory=list)
    warnings: list[Remark] = field(default_factory=list)
    needs_person: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)
    undecided: list[Undecision] = field(default_factory=list)

    @property
    def splices(self) -> list[Splice]:
        """Every change of characters."""
        return [splice for change in self.changes for splice in change.splices]
