"""Which nodes of a config are settings of batch normalisations, and in whose terms.

Settings hide in typed mappings (`{type: BN3d, momentum: 0.01}`), beside a class (`norm_op`, `norm_op_kwargs`), in
MONAI's pairs (`["batch", {...}]`), in sections (`BN:`), under prefixed keys (`bn_momentum`) and, in Python, in calls.
A plain `momentum` anywhere else is none. `names` says what a key or a class name means, `walk` what surrounds a
mapping.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial

from porter.configs import code
from porter.configs.model import SCHEDULE, SETTINGS, ClassName, Found, OtherUse, Setting, Site, Unread
from porter.configs.names import (
    defines_a_value,
    holds_arguments,
    in_code,
    is_optimizer,
    named,
    names_others,
    perhaps_prefixed,
    plain_setting,
    prefixed_setting,
    schedules_momentum,
)
from porter.configs.references import Path, References, is_number, is_symbolic, text_of
from porter.configs.terms import ARGUMENTS, CLASSES, ONLY_MINDSPORE, SHARED, TERMS
from porter.configs.told import KEEP, Told
from porter.configs.tree import Document, Entry, Expression, ListNode, Mapping, Node, Scalar
from porter.configs.walk import Role, Visit, partner, visits

# No longer keys are taken for names of variables alone.
_VARIABLE = 2


def search(document: Document, told: Told) -> Found:
    """Search a config for settings of batch normalisations.

    Args:
        document: the config.
        told: the user's word, which the configs of one run heed together.
    """
    return _Search(document, told).found()


class _Search:
    def __init__(self, document: Document, told: Told) -> None:
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
        self._look_at_all()
        self._found.sites = sorted(
            code.in_code(self._document, self._found.sites), key=lambda site: site.settings[0].entry.value.span.start
        )
        return self._found

    def _look_at(self, visit: Visit) -> None:
        layer: list[Setting] = []
        prefixed: list[Setting] = []
        doubtful: list[Setting] = []
        optimizers: list[Setting] = []
        for path, entry, owner in visit.entries:
            word = self._told.about(path) or (KEEP if visit.kept else None)
            name = _in_place(entry, visit.role)
            setting = partial(self._setting, visit, path, entry, owner)
            if word == KEEP:
                self._note_other(visit, path, entry, owner)
            elif word:
                told = layer if visit.role.is_batch_norm and not visit.role.doubt else prefixed
                told.append(replace(setting(word, entry.name in ARGUMENTS), is_told=True))
            elif name and visit.role.is_batch_norm:
                layer.append(setting(name, entry.name in (name, "")))
            elif visit.role.kind == "layer" and isinstance(entry.value, ListNode) and holds_arguments(entry.name):
                layer += self._listed(visit, path, entry, owner)
            elif own := prefixed_setting(entry.name):
                (optimizers if any(map(is_optimizer, path)) else prefixed).append(setting(own))
            elif perhaps_prefixed(entry.name):
                doubtful.append(setting("momentum"))
            elif schedules_momentum(entry.name):
                prefixed.append(setting(SCHEDULE))
            else:
                self._note_other(visit, path, entry, owner)
                self._note_arguments_by_position(visit, path, entry)
        if visit.role.kind == "layer" and visit.node.callee is None and visit.node.is_open:
            text = "it takes further entries from elsewhere, perhaps settings of this batch normalisation"
            self._found.unread.append(Unread(visit.path, visit.node.span, text, visit.role.named.dialect))
        self._add(visit, layer, visit.role)
        self._add(visit, prefixed, Role("layer"))
        self._add(visit, doubtful, Role("doubt", doubt="it may be another normalisation's"))
        self._add(visit, optimizers, Role("doubt", doubt="it may be an optimizer's, or an average's"))

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

    def _setting(
        self, visit: Visit, path: Path, entry: Entry, owner: Mapping, name: str, is_argument: bool = False
    ) -> Setting:
        values: list[Scalar] = []
        problem = None if _numbers(entry.value) else "it is a mapping, not a value: a schedule?"
        for scalar in _numbers(entry.value):
            value, puzzle = self._value(scalar, path, name)
            values += [value] if value else []
            problem = puzzle or problem
        offset = visit.offset_of(entry, owner)
        return Setting(name, path, offset, entry, owner, tuple(values), problem, is_argument)

    def _listed(self, visit: Visit, path: Path, entry: Entry, owner: Mapping) -> Iterator[Setting]:
        """The positional arguments in a list, such as Hydra's `_args_`, of a layer whose class is named."""
        name = visit.role.named
        if not (name.dialect and name.class_name and isinstance(entry.value, ListNode)):
            return
        arguments = TERMS[name.dialect].positional[name.class_name]
        for index, (argument, item) in enumerate(zip(arguments, entry.value.items, strict=False)):
            at = (*path, str(index))
            setting = self._setting(visit, at, replace(entry, value=item), owner, argument)
            if index >= len(SHARED):
                setting = replace(
                    setting, values=(), problem="it is given by position, and the target has another there"
                )
            yield setting

    def _value(self, scalar: Scalar, path: Path, name: str) -> tuple[Scalar | None, str | None]:
        """What a value of the setting `name` refers to, or why that is not known; neither for prose."""
        value = self._references.resolved(scalar, path)
        if value is None:
            return None, f"{scalar.text} refers to nothing in this file"
        if not isinstance(value, Scalar):
            return None, f"{scalar.text} refers to no single value"
        if isinstance(value.value, str) and not is_number(value) and name in ("momentum", "eps"):
            return None, f"{scalar.text} is computed, or defined elsewhere" if is_symbolic(value.value) else None
        return value, None

    def _note_other(self, visit: Visit, path: Path, entry: Entry, owner: Mapping) -> None:
        value = self._references.resolved(entry.value, path)
        if not isinstance(value, Scalar):
            return
        is_named_so = plain_setting(entry.name) is not None
        if not is_named_so and not self._references.is_elsewhere(entry.value, value):
            return
        is_written_here = value is entry.value and (entry.key is None or entry.key.span.end <= value.span.start)
        is_plain = visit.role.kind == "plain" and visit.is_first and not any(map(names_others, path))
        use = OtherUse(path, visit.offset_of(entry, owner), entry, value, is_plain and is_written_here)
        if is_named_so and use.defines:
            self._definitions.append(use)
            self._definers[id(use)] = id(owner)
        elif is_named_so or not is_plain or not _is_a_name(entry.name, is_written_here):
            self._found.others.append(use)

    def _note_arguments_by_position(self, visit: Visit, path: Path, entry: Entry) -> None:
        """Tell of `norm_layer_args: [1e-5, 0.1]` beside `norm_layer: BN`: what stands where is the code's matter."""
        if isinstance(entry.value, ListNode) and any(map(is_number, _numbers(entry.value))):
            role = partner(visit, entry, self._references)
            if role and role.is_batch_norm:
                text = "arguments of a batch normalisation by position: what stands where is not known"
                self._found.unread.append(Unread(path, entry.value.span, text, role.named.dialect))

    def _note_parts(self, path: Path, node: Node, taken: Collection[int]) -> None:
        """The uses of values that are no entry's value: parts of texts, and items of lists that are no setting's."""
        if isinstance(node, Scalar):
            for value in self._references.mentioned(node, path):
                self._found.others.append(OtherUse(path, node.span.start, Entry("", node), value))
        elif isinstance(node, ListNode) and id(node) not in taken:
            for index, item in enumerate(node.items):
                at = (*path, str(index))
                served = self._references.resolved(item, at)
                if isinstance(served, Scalar) and self._references.is_elsewhere(item, served):
                    self._found.others.append(OtherUse(at, node.span.start, Entry("", item), served))

    def _settle_definitions(self) -> None:
        taken = {id(setting.owner) for site in self._found.sites for setting in site.settings}
        self._found.others += (use for use in self._definitions if self._definers[id(use)] not in taken)

    def _look_at_all(self) -> None:
        """Find what no mapping's entries show: names of classes, and further uses of values."""
        taken = {id(setting.entry.value) for site in self._found.sites for setting in site.settings}
        for root in self._document.roots:
            for path, node in _everything(root.node, tuple(filter(None, [root.name]))):
                self._found.classes += _class_names(path, node)
                self._note_parts(path, node, taken)
                self._found.unread += _unread(path, node)


def _numbers(node: Node) -> Sequence[Scalar]:
    """The values of an entry that holds one, or a list of them."""
    if isinstance(node, Scalar):
        return (node,)
    return [item for item in node.items if isinstance(item, Scalar)] if isinstance(node, ListNode) else ()


def _is_a_name(key: str, is_written_here: bool) -> bool:
    """Whether a value stands under `key` for others to refer to; a repeated one may be a use (dropout's `p`)."""
    return defines_a_value(key) or (is_written_here and len(key) <= _VARIABLE)


def _in_place(entry: Entry, role: Role) -> str | None:
    """The setting that an entry of a batch normalisation's own mapping is."""
    if entry.position is not None:
        if not (role.named.dialect and role.named.class_name):
            return None
        names = TERMS[role.named.dialect].positional[role.named.class_name]
        return names[entry.position] if entry.position < len(names) else None
    name = plain_setting(entry.name)
    return name if role.kind == "layer" or name in SETTINGS else None


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


def _unread(path: Path, node: Node) -> Iterator[Unread]:
    """Code in a text that makes a batch normalisation, and names whose framework the file does not tell."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str | Expression):
        return
    # Other expressions are Python's own, and read as such.
    is_text = isinstance(node.value, str) or re.match(r"[fF][rR]?['\"]|[rR][fF]['\"]", node.text)
    name = in_code(text_of(node)) if is_text else None
    if name:
        yield Unread(path, node.span, f"{node.text:.60} holds code, which is not read", name.dialect)
    elif isinstance(node.value, str) and re.fullmatch(rf"nn\.(?:{'|'.join(CLASSES)})", text_of(node)):
        yield Unread(path, node.span, f"whose {node.text} is, only the code that reads it knows: it is not renamed")


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
