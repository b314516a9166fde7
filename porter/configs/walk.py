"""A walk over a config that knows at each mapping whether it describes a batch normalisation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from porter.configs.names import (
    FIRST_VAGUE_RANK,
    Named,
    class_key_rank,
    holds_arguments,
    is_optimizer,
    is_optimizers,
    is_section,
    is_weight_decay,
    named,
    names_norms,
    normalises,
    partners,
    plain_setting,
    snake,
)
from porter.configs.references import Path, References, text_of
from porter.configs.tree import Document, Entry, ListNode, Mapping, Node, Scalar

_UNKNOWN = Named("unknown")

# (path, entry, the mapping it is written in), those merged into it included.
_Entries = Sequence[tuple[Path, Entry, Mapping]]


@dataclass(frozen=True)
class Role:
    """What a mapping is.

    Attributes:
        kind: "layer": the arguments of a batch normalisation; "section": settings for the batch normalisations of a
            model; "doubt": one of these, or something else; "other": something else; "plain": nothing is known.
        named: the class, where one is named.
        doubt: why it may be something else.
    """

    kind: Literal["layer", "section", "doubt", "other", "plain"]
    named: Named = _UNKNOWN
    doubt: str | None = None

    @property
    def is_batch_norm(self) -> bool:
        return self.kind in ("layer", "section", "doubt")


PLAIN, OTHER = Role("plain"), Role("other")


@dataclass(frozen=True)
class Visit:
    """One look at a mapping.

    Attributes:
        node: the mapping.
        path: the keys and list indexes down to it.
        role: what it is there.
        entries: as above.
        is_first: it was not looked at before; an aliased mapping is looked at wherever it stands.
        offset: the character where it stands, or its alias.
        kept: the user says that it shall stay as it is.
    """

    node: Mapping
    path: Path
    role: Role
    entries: _Entries
    is_first: bool
    offset: int
    kept: bool

    def offset_of(self, entry: Entry, owner: Mapping) -> int:
        """Where an entry is used: its key, or what brings it in from elsewhere."""
        is_here = owner is self.node and self.is_first
        return (entry.key or entry.value).span.start if is_here else self.offset


class _Stop(NamedTuple):
    """A node to look at: below the key `key` at `offset`, which says `hint` about it."""

    node: Node
    path: Path
    key: str
    offset: int
    hint: Role | None = None
    kept: bool = False


@dataclass
class _Walk:
    references: References
    kept: Callable[[Path], bool]
    seen: dict[int, set[Role]] = field(default_factory=dict)
    lists: set[tuple[int, str, Role | None, bool]] = field(default_factory=set)

    def visits(self, start: _Stop) -> Iterator[Visit]:
        waiting = [start]
        while waiting:
            stop = waiting.pop()
            if isinstance(stop.node, Mapping):
                entries = _entries(stop.node, stop.path)
                role = _beside_optimizers(_role(stop.node, entries, stop.key, stop.hint), entries, stop)
                roles = self.seen.setdefault(id(stop.node), set())
                again = role in roles
                if again and role.kind != "plain":
                    continue
                kept = stop.kept or self.kept(stop.path)
                visit = Visit(stop.node, stop.path, role, entries, not roles, stop.offset, kept)
                roles.add(role)
                yield visit
                waiting += [] if again else reversed([*self._children(visit)])
            elif isinstance(stop.node, ListNode):
                # An aliased list says nothing new in the same role: lists of lists of aliases would never end.
                looked_at = (id(stop.node), stop.key, stop.hint, stop.kept)
                if looked_at not in self.lists:
                    self.lists.add(looked_at)
                    waiting += reversed([*_items(stop.node, stop)])
            elif stop.hint:
                # Only what is said to be arguments of a batch normalisation is looked up elsewhere.
                node = self.references.resolved(stop.node, stop.path)
                waiting += [stop._replace(node=node)] if isinstance(node, Mapping) else []

    def _children(self, visit: Visit) -> Iterator[_Stop]:
        for path, entry, owner in visit.entries:
            hint = None
            says_what = visit.role.kind in ("layer", "other") or visit.role.named != _UNKNOWN
            if says_what and holds_arguments(entry.name):
                hint = visit.role
            hint = hint or partner(visit, entry, self.references)
            yield _Stop(entry.value, path, entry.name, visit.offset_of(entry, owner), hint, visit.kept)


def partner(visit: Visit, entry: Entry, references: References) -> Role | None:
    """What the key beside `norm_op_kwargs` that names the class says about it."""
    wanted = partners(entry.name)
    for _, other, _ in visit.entries if wanted else ():
        node = references.resolved(other.value, visit.path)
        if snake(other.name) in wanted and isinstance(node, Scalar):
            role = _role_named(named(text_of(node)), entry.name)
            if role:
                return role
    return None


def visits(document: Document, references: References, kept: Callable[[Path], bool]) -> Iterator[Visit]:
    """Every mapping of a document, in the order of the file; `kept` says which paths the user wants left alone."""
    walk = _Walk(references, kept)
    for root in document.roots:
        path = (root.name,) if root.name else ()
        yield from walk.visits(_Stop(root.node, path, root.name, root.node.span.start))


def _role(mapping: Mapping, entries: _Entries, key: str, hint: Role | None) -> Role:
    role = _role_of_call(mapping) if mapping.callee is not None else _role_of_entries(entries, key, hint)
    if role.kind == "plain" and not mapping.is_scope:
        role = _beside_a_norm(entries)
    if role.is_batch_norm or mapping.is_scope:
        return role
    name = next((name for _, entry, _ in entries for name in _classes_in(entry.value)), None)
    return Role("doubt", name, f"{name.class_name} is named beside it") if name else role


def _role_of_entries(entries: _Entries, key: str, hint: Role | None) -> Role:
    name = _class_entry(entries)
    if name:
        role = _role_named(named(text_of(name)), key)
        if role and role.is_batch_norm and not (names_norms(key) or is_section(key) or _describes_a_layer(entries)):
            return _doubt(f"{text_of(name)} may name something else than what has these settings")
        if role:
            return role
        return _doubt(f"what {text_of(name)} is, is not known") if names_norms(key) or is_section(key) else OTHER
    if hint:
        return hint
    if is_section(key):
        return Role("section")
    return _doubt("it may be another normalisation's") if names_norms(key) else PLAIN


def _classes_in(node: Node) -> Iterator[Named]:
    """The frameworks' batch normalisations that a value names in full, by itself or in a list."""
    for item in node.items if isinstance(node, ListNode) else (node,):
        if isinstance(item, Scalar) and (isinstance(item.value, str) or item.text == text_of(item)):
            name = named(text_of(item))
            if name.class_name:
                yield name


def _beside_a_norm(entries: _Entries) -> Role:
    """The role of settings beside `norm: batchnorm`: most often they are a whole training's."""
    scalars = ((e.name, text_of(e.value)) for _, e, _ in entries if isinstance(e.value, Scalar))
    for name, text in scalars:
        names_one = names_norms(name) and named(text).kind in ("batch norm", "perhaps")
        if names_one and not _of_optimizers(entries):
            return _doubt(f"{name}: {text} stands beside it")
    return PLAIN


def _beside_optimizers(role: Role, entries: _Entries, stop: _Stop) -> Role:
    """`role`, in doubt where an optimizer's settings are as likely: below one, or beside a learning rate."""
    if role.kind not in ("layer", "section") or role.named.class_name:
        return role
    around = next((key for key in stop.path if is_optimizer(key)), None)
    beside = around or _of_optimizers(entries)
    if beside is None:
        return role
    return Role("doubt", role.named, f"it may be an optimizer's: {'below' if around else 'beside'} {beside}")


def _of_optimizers(entries: _Entries) -> str | None:
    """What an optimizer's settings say. A weight decay is one only where nothing beside it says a normalisation's."""
    has_own_decay = any(normalises(entry.name) for _, entry, _ in entries)
    words = (entry.name for _, entry, _ in entries if is_optimizers(entry.name))
    return next((word for word in words if not (has_own_decay and is_weight_decay(word))), None)


def _role_of_call(call: Mapping) -> Role:
    name = named(call.callee or "")
    if name.kind == "batch norm":
        return Role("layer", name)
    if name.kind == "perhaps":
        return Role("doubt", name, f"it may be that of a batch normalisation inside of {call.callee}")
    name = named(call.perhaps_callee)
    return Role("doubt", name, "something else may be passed") if name.kind == "batch norm" else OTHER


def _role_named(name: Named, key: str) -> Role | None:
    """The role of arguments of the class `name` under `key`; None where the name says nothing."""
    if name.kind == "perhaps":
        certain = names_norms(key) or is_section(key)
        return Role("layer", name) if certain else Role("doubt", name, "it may be no normalisation at all")
    if name.kind == "unknown":
        return None
    return Role("layer", name) if name.kind == "batch norm" else Role("other", name)


def _doubt(why: str) -> Role:
    return Role("doubt", _UNKNOWN, why)


def _describes_a_layer(entries: _Entries) -> bool:
    """Whether a mapping says by its keys that it is a layer: a class, or a name and nothing but arguments."""
    names = [entry.name for _, entry, _ in entries]
    ranks = [rank for name in names if (rank := class_key_rank(name)) is not None]
    if min(ranks) < FIRST_VAGUE_RANK:
        return True
    return all(class_key_rank(n) is not None or plain_setting(n) or holds_arguments(n) for n in names)


def _class_entry(entries: _Entries) -> Scalar | None:
    """The value that names the class of what a mapping describes."""
    ranked = [
        (rank, entry.value)
        for _, entry, _ in entries
        if (rank := class_key_rank(entry.name)) is not None and isinstance(entry.value, Scalar)
    ]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _items(node: ListNode, stop: _Stop) -> Iterator[_Stop]:
    """The items of a list; in a pair of a name and a mapping, the name says what the mapping is."""
    hint = stop.hint
    if len(node.items) == 2 and isinstance(node.items[0], Scalar):
        hint = _role_named(named(text_of(node.items[0])), stop.key) or hint
    elif name := next(_classes_in(node), None):
        hint = Role("doubt", name, f"{name.class_name} is named beside it")
    for index, item in enumerate(node.items):
        yield stop._replace(node=item, path=(*stop.path, str(index)), hint=hint)


def _entries(mapping: Mapping, path: Path) -> list[tuple[Path, Entry, Mapping]]:
    """The entries of a mapping and of those merged into it, outweighed ones left out.

    What Python assigns twice is there twice: in `if` and `else`, or by `cfg.BN = CfgNode()` and `cfg.BN.EPS = 1e-3`.
    Of values, each has a path of its own then: `momentum`, `momentum#2`.
    """
    found: list[tuple[Path, Entry, Mapping]] = []
    outweighed: set[str] = set()
    for owner in mapping.layers():
        own = [(entry.name if entry.position is None else str(entry.position), entry) for entry in owner.entries]
        repeated: Counter[str] = Counter()
        for name, entry in own:
            repeated[name] += isinstance(entry.value, Scalar)
            each = f"{name}#{repeated[name]}" if repeated[name] > 1 and isinstance(entry.value, Scalar) else name
            found += [] if name in outweighed else [((*path, each), entry, owner)]
        outweighed |= {name for name, _ in own}
    return found
