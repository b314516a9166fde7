"""What a search of a config finds."""

from __future__ import annotations

from dataclasses import dataclass, field

from porter.configs.references import Path
from porter.configs.terms import INITIAL, SHARED, TRACK, USE_BATCH, Dialect
from porter.configs.tree import Entry, Mapping, Scalar, Span

# A number by which code changes a momentum while it trains; no argument of any class.
SCHEDULE = "schedule"

# What a place without a class can say of a batch normalisation.
SETTINGS = frozenset((*SHARED[1:], *INITIAL, TRACK, USE_BATCH))


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting, where it is written.

    Attributes:
        name: the argument's name ("momentum"), or `SCHEDULE`.
        path: keys and list indexes down to it.
        offset: the character where it is used: its key, or the alias or merge that takes it there.
        entry: its key and value.
        owner: the mapping that `entry` is written in.
        values: what it refers to, else its own value; several for a list.
        problem: why a value could not be found.
        is_argument: its key is the layer's argument, and may be renamed or removed.
        is_told: the user says that it is one.
    """

    name: str
    path: Path
    offset: int
    entry: Entry
    owner: Mapping
    values: tuple[Scalar, ...]
    problem: str | None = None
    is_argument: bool = False
    is_told: bool = False


@dataclass(frozen=True, eq=False)
class Site:
    """Settings that belong to one batch normalisation, or to one mapping of a user's code.

    Attributes:
        path: keys and list indexes down to it.
        node: the mapping.
        settings: in the order of the file.
        dialect: whose terms they are in, where they say so themselves.
        class_name: of `CLASSES`, "" where none is named.
        doubt: why it may be something else; None where it is certain.
    """

    path: Path
    node: Mapping
    settings: tuple[Setting, ...]
    dialect: Dialect | None = None
    class_name: str = ""
    doubt: str | None = None


@dataclass(frozen=True)
class ClassName:
    """The dotted name of a framework's batch normalisation, written out.

    Attributes:
        path: keys and list indexes down to it.
        span: its characters.
        dialect: whose it is.
        class_name: of `CLASSES`; "" for another, of which no rule knows: torch.nn.LazyBatchNorm3d.
        scalar: the value that is the name; None for what a call calls.
    """

    path: Path
    span: Span
    dialect: Dialect
    class_name: str
    scalar: Scalar | None = None


@dataclass(frozen=True)
class Unread:
    """What may hold settings of a batch normalisation and is not read: code in a text, `**` of what is not known.

    Attributes:
        path: keys and list indexes down to it.
        span: its characters.
        text: why it is not read.
        dialect: whose terms it is in, where it says so.
    """

    path: Path
    span: Span
    text: str
    dialect: Dialect | None = None


@dataclass(frozen=True, eq=False)
class OtherUse:
    """A value that is no batch normalisation's setting here: an optimizer's momentum, an InstanceNorm's.

    Attributes:
        path, offset, entry: as in `Setting`.
        value: what it refers to, else its own value.
        defines: nothing is known of the place but that the value is written there, perhaps for others to refer to.
    """

    path: Path
    offset: int
    entry: Entry
    value: Scalar
    defines: bool = False


@dataclass
class Found:
    """What a search found: all places in the order of the file."""

    sites: list[Site] = field(default_factory=list)
    classes: list[ClassName] = field(default_factory=list)
    others: list[OtherUse] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    @property
    def undecided(self) -> tuple[Site, ...]:
        """The sites that may be something else; see `porter.configs.translate` for those that matter."""
        return tuple(site for site in self.sites if site.doubt)
