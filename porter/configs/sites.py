"""Which nodes of a config are settings of batch normalisations, and in whose terms.

Settings hide in typed mappings (`{type: BN3d, momentum: 0.01}`), beside a class (`norm_op`, `norm_op_kwargs`), in
MONAI's pairs (`["batch", {...}]`), in sections (`BN:`), under prefixed keys (`bn_momentum`) and, in Python, in calls. A
plain `momentum` anywhere else is none. `names` says what a key or a class name means, `walk` what surrounds a mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from porter.configs.names import (
    named,
    names_others,
    perhaps_prefixed,
    plain_setting,
    prefixed_setting,
    schedules_momentum,
)
from porter.configs.references import Path, References, is_number, is_symbolic, text_of
from porter.configs.terms import ARGUMENTS, INITIAL, ONLY_MINDSPORE, SHARED, TERMS, TRACK, USE_BATCH, Dialect
from porter.configs.tree import Document, Entry, Expression, Mapping, Node, Scalar, Span, scalars
from porter.configs.walk import Role, Visit, visits
from porter.errors import UsageError
from porter.layers.patterns import matches

KEEP = "keep"
# A number by which code changes a momentum while it trains; no argument of any class.
SCHEDULE = "schedule"

# What a place without a class can say of a batch normalisation.
_SETTINGS = frozenset((*SHARED[1:], *INITIAL, TRACK, USE_BATCH))


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting, where it is written.

    Attributes:
        name: the argument's name ("momentum"), or `SCHEDULE`.
        path: keys and list indexes down to it.
        entry: its key and value.
        owner: the mapping that `entry` is written in.
        values: what it refers to, else its own value; several for a list.
        problem: why a value could not be found.
        is_argument: its key is the layer's argument, and may be renamed or removed.
    """

    name: str
    path: Path
    entry: Entry
    owner: Mapping
    values: tuple[Scalar, ...]
    problem: str | None = None
    is_argument: bool = False


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
    """The dotted name of a framework's batch normalisation, written out; `class_name` is "" for one of none's kind.

    Only those of `CLASSES` have a counterpart: torch.nn.LazyBatchNorm3d has a name here and no class.
    """

    path: Path
    span: Span
    dialect: Dialect
    class_name: str
    scalar: Scalar | None = None


@dataclass(frozen=True, eq=False)
class OtherUse:
    """A value that is no batch normalisation's setting here: an optimizer's momentum, an InstanceNorm's."""

    path: Path
    entry: Entry
    value: Scalar


@dataclass
class Found:
    """What a search found: all places in the order of the file."""

    sites: list[Site] = field(default_factory=list)
    classes: list[ClassName] = field(default_factory=list)
    others: list[OtherUse] = field(default_factory=list)

    @property
    def undecided(self) -> tuple[Site, ...]:
        """The sites that may be something else; see `porter.configs.translate` for those that matter."""
        return tuple(site for site in self.sites if site.doubt)


def find(document: Document, settings: Sequence[tuple[str, str]] = ()) -> Found:
    """Search a config for settings of batch normalisations.

    Args:
        document: the config.
        settings: the user's word: (pattern of a path, setting or "keep"); of several that match the last counts.

    Raises:
        UsageError: one of `settings` names no setting, or matches nothing.
    """
    told = _Told(settings)
    found = _Search(document, told).found()
    told.demand_all_used()
    return found


class _Told:
    """What the user says about paths."""

    def __init__(self, settings: Sequence[tuple[str, str]]) -> None:
        self._settings = settings
        self._used: set[int] = set()
        for pattern, name in settings:
            if name != KEEP and name not in _SETTINGS:
                known = ", ".join([*sorted(_SETTINGS), KEEP])
                raise UsageError("no setting", entry=f"--setting {pattern}={name}", expected=known, found=name)

    def about(self, path: Path) -> str | None:
        name = None
        for index, (pattern, setting) in enumerate(self._settings):
            if matches(pattern, ".".join(path)):
                self._used.add(index)
                name = setting
        return name

    def demand_all_used(self) -> None:
        for index, (pattern, name) in enumerate(self._settings):
            if index not in self._used:
                entry = f"--setting {pattern}={name}"
                raise UsageError(
                    "matches nothing", entry=entry, hint="Write the path as the table or an error shows it."
                )


class _Search:
    def __init__(self, document: Document, told: _Told) -> None:
        self._document = document
        self._told = told
        self._references = References(document)
        self._found = Found()
        # Uses in a mapping that only defines values for others to take: no use in its own right.
        self._definitions: list[OtherUse] = []
        self._definers: dict[int, int] = {}

    def found(self) -> Found:
        for visit in visits(self._document, self._references, lambda path: self._told.about(path) == KEEP):
            self._look_at(visit)
        self._settle_definitions()
        self._find_classes()
        if self._document.is_code:
            self._found.sites = list(_in_code(self._document, self._found.sites))
        self._found.sites.sort(key=lambda site: site.settings[0].entry.value.span.start)
        return self._found

    def _look_at(self, visit: Visit) -> None:
        layer: list[Setting] = []
        prefixed: list[Setting] = []
        doubtful: list[Setting] = []
        for path, entry, owner in visit.entries:
            word = self._told.about(path)
            name = _in_place(entry, visit.role)
            if word == KEEP or visit.kept:
                self._note_other(visit, path, entry, owner)
            elif word:
                prefixed.append(self._setting(word, path, entry, owner, entry.name in ARGUMENTS))
            elif name and visit.role.is_batch_norm:
                layer.append(self._setting(name, path, entry, owner, entry.name in (name, "")))
            elif prefixed_setting(entry.name):
                prefixed.append(self._setting(prefixed_setting(entry.name) or "", path, entry, owner))
            elif perhaps_prefixed(entry.name):
                doubtful.append(self._setting("momentum", path, entry, owner))
            elif schedules_momentum(entry.name):
                prefixed.append(self._setting(SCHEDULE, path, entry, owner))
            else:
                self._note_other(visit, path, entry, owner)
        self._add(visit, layer, visit.role)
        self._add(visit, prefixed, Role("layer"))
        self._add(visit, doubtful, Role("doubt", doubt="it may be another normalisation's"))

    def _add(self, visit: Visit, settings: Sequence[Setting], role: Role) -> None:
        settings = [setting for setting in settings if setting.values or setting.problem]
        if not settings:
            return
        dialect = role.named.dialect
        if dialect is None and any(s.is_argument and s.name in ONLY_MINDSPORE for s in settings):
            dialect = "mindspore"
        self._found.sites.append(
            Site(visit.path, visit.node, tuple(settings), dialect, role.named.class_name, role.doubt)
        )

    def _setting(self, name: str, path: Path, entry: Entry, owner: Mapping, is_argument: bool = False) -> Setting:
        values: list[Scalar] = []
        problem = None
        for scalar in scalars(entry.value):
            value = self._references.resolved(scalar, path)
            if value is None:
                problem = f"{scalar.text} refers to nothing in this file"
            elif not isinstance(value, Scalar):
                problem = f"{scalar.text} refers to no single value"
            elif isinstance(value.value, str) and not is_number(value) and name in ("momentum", "eps"):
                problem = f"{scalar.text} is computed" if is_symbolic(value.value) else problem
            else:
                values.append(value)
        return Setting(name, path, entry, owner, tuple(values), problem, is_argument)

    def _note_other(self, visit: Visit, path: Path, entry: Entry, owner: Mapping) -> None:
        if plain_setting(entry.name) not in _SETTINGS:
            return
        value = self._references.resolved(entry.value, path)
        if not isinstance(value, Scalar):
            return
        use = OtherUse(path, entry, value)
        defines = visit.role.kind == "plain" and visit.is_first and not any(map(names_others, path))
        if defines:
            self._definitions.append(use)
            self._definers[id(use)] = id(owner)
        else:
            self._found.others.append(use)

    def _settle_definitions(self) -> None:
        taken = {id(setting.owner) for site in self._found.sites for setting in site.settings}
        self._found.others += (use for use in self._definitions if self._definers[id(use)] not in taken)

    def _find_classes(self) -> None:
        for root in self._document.roots:
            for path, node in _everything(root.node, tuple(filter(None, [root.name]))):
                self._found.classes += _class_names(path, node)


def _in_place(entry: Entry, role: Role) -> str | None:
    """The setting that an entry of a batch normalisation's own mapping is."""
    if entry.position is not None:
        if not (role.named.dialect and role.named.class_name):
            return None
        names = TERMS[role.named.dialect].positional[role.named.class_name]
        return names[entry.position] if entry.position < len(names) else None
    name = plain_setting(entry.name)
    return name if role.kind == "layer" or name in _SETTINGS else None


def _class_names(path: Path, node: Node) -> Iterator[ClassName]:
    if isinstance(node, Mapping) and node.callee and node.callee_span:
        name = named(node.callee)
        if name.dialect:
            yield ClassName(path, node.callee_span, name.dialect, name.class_name)
    elif isinstance(node, Scalar) and isinstance(node.value, str | Expression):
        text = text_of(node)
        name = named(text)
        # A name that Python's imports shorten says nothing of the framework itself: the import does.
        if name.dialect and (isinstance(node.value, str) or node.text == text):
            yield ClassName(path, node.span, name.dialect, name.class_name, node)


def _everything(root: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    """Every node with a path to it, once."""
    seen: set[int] = set()
    waiting = [(path, root)]
    while waiting:
        path, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield path, node
        if isinstance(node, Mapping):
            waiting += (((*path, entry.name), entry.value) for entry in reversed(node.entries))
        elif not isinstance(node, Scalar):
            waiting += (((*path, str(index)), item) for index, item in reversed([*enumerate(node.items)]))


def _in_code(document: Document, sites: Sequence[Site]) -> Iterator[Site]:
    """`sites` of a Python file, where assigned names and arguments go through code before they reach a layer.

    What a rewritten expression uses stays as it is. Other assignments, and arguments of functions that are no batch
    normalisation, are in doubt; a mapping is passed on as in any other config.
    """
    modules = {id(root.node) for root in document.roots if not root.name}
    used = {
        word
        for site in sites
        for setting in site.settings
        if not (site.node.callee is not None and prefixed_setting(setting.entry.name))
        for value in setting.values
        if isinstance(value.value, Expression)
        for word in re.findall(r"\w+", value.value.text)
    }
    for site in sites:
        own = [s for s in site.settings if not prefixed_setting(s.entry.name)]
        handed_on = [s for s in site.settings if prefixed_setting(s.entry.name) and s.entry.name not in used]
        if own:
            yield replace(site, settings=tuple(own))
        doubt = site.doubt
        if id(site.node) in modules or site.node.callee is not None:
            handed_on = [s for s in handed_on if not any(isinstance(v.value, Expression) for v in s.values)]
            doubt = "the code may hand it to a batch normalisation or compute with it"
        if handed_on:
            yield replace(site, settings=tuple(handed_on), doubt=doubt)
