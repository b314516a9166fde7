"""A config file as a tree whose nodes know the characters they were written with.

All four formats (YAML, JSON, TOML, Python) become these three kinds of node, so that one search and one translation
serve all. What differs between formats is how a change is spelled: that is what a `Document` knows.

Offsets count characters of the text, not bytes.
"""

from __future__ import annotations

import bisect
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple

from porter.configs.splices import Splice
from porter.errors import LimitExceeded, Malformed

# Levels of nesting that a config may have: no config that a person wrote comes near it.
DEEPEST = 200


class Span(NamedTuple):
    """The characters text[start:end]."""

    start: int
    end: int


class Place(NamedTuple):
    """Where a person finds it: line and column, both from 1, the column in characters."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"

    @classmethod
    def of(cls, text: str, offset: int) -> Place:
        """Of one character; a `Document` finds many of them faster."""
        return cls(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def malformed(text: str, offset: int, message: str, found: object = None, expected: object = None) -> Malformed:
    """The error that a config cannot be read from this character on; `porter.configs.files` adds the file."""
    return Malformed(message, entry=str(Place.of(text, offset)), expected=expected, found=found)


def too_deep(text: str, offset: int) -> LimitExceeded:
    """The error that a config nests deeper than `DEEPEST` at this character."""
    return LimitExceeded(
        "is nested too deep", entry=str(Place.of(text, offset)), expected=f"at most {DEEPEST} levels"
    )


@dataclass(frozen=True)
class Expression:
    """A value that is computed when the config is used: Python that is no literal. It is never evaluated.

    Attributes:
        text: as it is written.
        name: for a name, the dotted name its imports make of it ("torch.nn.BatchNorm3d" for `nn.BatchNorm3d`).
    """

    text: str
    name: str = ""


Value = str | bool | int | float | Expression | None


@dataclass(frozen=True, eq=False)
class Scalar:
    """One value or key.

    Attributes:
        span: its characters, quotes included.
        value: as the usual loader of the format reads it: PyYAML's, so that `1e-3` is a str; json; tomllib;
            ast.literal_eval, where a Python name, call or operation is an `Expression`.
        text: the characters of `span`.
        quoted: whether it is written as a string, in quotes or as a block.
    """

    span: Span
    value: Value
    text: str
    quoted: bool = False


@dataclass(frozen=True, eq=False)
class Entry:
    """A key and its value in a mapping, or an argument of a call.

    Attributes:
        name: the key as text; for a positional argument "".
        value: its node. Two entries that hold the same node (a YAML alias) hold the same object.
        key: the key's characters; None for a positional argument.
        position: index of a positional argument, from 0; None for others.
    """

    name: str
    value: Node
    key: Scalar | None = None
    position: int | None = None


@dataclass(frozen=True, eq=False)
class Mapping:
    """Keys and values; in Python also the arguments of a call.

    Attributes:
        span: its characters.
        entries: in the order they are written, merged ones not included.
        merged: mappings that a YAML merge key (`<<`) takes further entries from, the first outweighing the next.
        callee: for a call in Python, what is called: the dotted name its imports make of it
            ("torch.nn.BatchNorm3d" for `BN(64)` after `from torch.nn import BatchNorm3d as BN`), "" where unknown.
            None: no call. `dict(...)` is no call but a mapping; `functools.partial(f, ...)` is a call of f. The
            variables of a function are as much as the arguments of an unknown call.
        callee_span: the characters of that name, where it is written there in full, or no rule can rename it.
        perhaps_callee: where `callee` is unknown, what is called unless something else is passed or assigned:
            "torch.nn.BatchNorm3d" for `norm_layer(64)` in a function of `norm_layer=nn.BatchNorm3d`.
        is_open: it takes further entries from elsewhere (`**kwargs`, `*args`).
        is_scope: its entries are names that Python code assigns, in a module, class or function, or a function's
            defaults; the code may use them in any way.
    """

    span: Span
    entries: tuple[Entry, ...]
    merged: tuple[Mapping, ...] = ()
    callee: str | None = None
    callee_span: Span | None = None
    perhaps_callee: str = ""
    is_open: bool = False
    is_scope: bool = False

    def entry(self, name: str) -> Entry | None:
        """The entry called `name` of this mapping, else of those merged into it."""
        found = (entry for mapping in self.layers() for entry in mapping.entries if entry.name == name)
        return next(found, None)

    def layers(self) -> Iterator[Mapping]:
        """This mapping and those merged into it, near and far, each before what it outweighs."""
        seen: set[Mapping] = set()  # merging a mapping twice, and that twice, must not take ever longer
        waiting = [self]
        while waiting:
            mapping = waiting.pop()
            if mapping not in seen:
                seen.add(mapping)
                yield mapping
                waiting += reversed(mapping.merged)


@dataclass(frozen=True, eq=False)
class ListNode:
    """A list or tuple."""

    span: Span
    items: tuple[Node, ...]


Node = Scalar | Mapping | ListNode


class Root(NamedTuple):
    """A tree of a document: a YAML document, the module of a Python file, or an expression inside a function.

    Attributes:
        name: what paths below start with: "" for the first, "UNet.__init__.norm()" for a call in a method.
        node: the tree.
    """

    name: str
    node: Node


# How an expression is rewritten; each names what it makes of the value.
Rewrite = Literal["momentum: 1 - m", "track_running_stats to use_batch_statistics", "use_batch_statistics to track"]


class Sources(NamedTuple):
    """What an expression takes its value from.

    Attributes:
        values: what is assigned, given or a default in the same file, near and far.
        names: what the rest is looked up under: "MOMENTUM" for `cfg.BN.MOMENTUM`.
    """

    values: frozenset[Scalar] = frozenset()
    names: frozenset[str] = frozenset()


class NeedsPerson(NamedTuple):
    """A place that only a person can translate, such as `m.momentum = 0.01` in a loop over modules."""

    span: Span
    text: str


class Import(NamedTuple):
    """An import statement in Python that batch normalisations are named through.

    Attributes:
        span: the characters of the package's name: `torch.nn` in `from torch.nn import BatchNorm3d as BN`.
        package: that name.
        alone: it brings in nothing else, so that the package can be renamed.
        text: the statement.
    """

    span: Span
    package: str
    alone: bool
    text: str


@dataclass(frozen=True, eq=False)
class Document(ABC):
    """A parsed config file: its trees, and how a change of them is spelled in its format.

    Attributes:
        text: the whole file, decoded; line ends as they are.
        roots: its trees, in the order of the file.
        needs_person: what the format's reader found that no rule can translate.
        imports: in Python, those that batch normalisations are named through.
    """

    # Whether a text stands for the one value of that name in the file; Python has names of its own.
    names_are_text: ClassVar[bool] = True

    text: str
    roots: Sequence[Root]
    needs_person: Sequence[NeedsPerson] = ()
    imports: Sequence[Import] = ()

    @cached_property
    def _starts(self) -> list[int]:
        """Where each line starts."""
        return [0, *(at + 1 for at, letter in enumerate(self.text) if letter == "\n")]

    def place(self, offset: int) -> Place:
        """Line and column of a character."""
        line = bisect.bisect_right(self._starts, offset)
        return Place(line, offset - self._starts[line - 1] + 1)

    def sources(self, value: Scalar) -> Sources:
        """What an expression takes its value from, as far as this file says."""
        return Sources()

    def constant(self, value: Scalar) -> Scalar | None:
        """The number that an expression can only mean: of a constant's name, or of 1 - such a name. Else None."""
        return None

    def handed_on_as(self, value: Scalar) -> frozenset[str]:
        """The names that expressions which take a value from `value` are given: `bn` for `bn=MOMENTUM`."""
        return frozenset()

    @abstractmethod
    def spelled(self, value: bool | str | None, like: Scalar) -> str | None:
        """`value` as a literal in the style of `like`: True as `True`, `true` or `yes`, None as `null` or `~`.

        A str is text to keep the quotes of `like`. None where the format has no such literal (null in TOML).
        """

    @abstractmethod
    def renamed(self, entry: Entry, name: str) -> Splice:
        """Call `entry` `name`, in the quotes of its key; a positional argument becomes a keyword."""

    @abstractmethod
    def removed(self, mapping: Mapping, entries: Collection[Entry]) -> list[Splice]:
        """Take `entries` out of `mapping`, with the separators, line and comment that are theirs alone."""

    def rewritten(self, value: Scalar, how: Rewrite) -> str | None:
        """The text of an expression after `how`, in the parentheses it needs; None where it cannot be done."""
        return None


def scalars(node: Node) -> Iterator[Scalar]:
    """Every value below a node, once, in the order of the file."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Scalar):
            yield node
        elif isinstance(node, Mapping):
            waiting += [*reversed(node.merged), *(entry.value for entry in reversed(node.entries))]
        else:
            waiting += reversed(node.items)
