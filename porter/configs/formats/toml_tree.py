"""TOML as tomllib reads it, as a tree that knows its characters.

tomllib says whether a text is TOML and what each value is; the scanner here only finds where a valid document keeps
its keys and values. The two must agree on the whole document.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from porter.configs.tree import (
    DEEPEST,
    Entry,
    Expression,
    ListNode,
    Mapping,
    Node,
    Scalar,
    Span,
    malformed,
    too_deep,
)
from porter.errors import LimitExceeded

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TRIVIA = re.compile(r"(?:\s|#[^\n]*)*")
_BASIC, _LITERAL = r'"(?:[^"\\\n]|\\.)*"', r"'[^'\n]*'"
_KEY = re.compile(rf"[A-Za-z0-9_-]+|{_BASIC}|{_LITERAL}")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
# Up to two quotes before the closing three belong to the string.
_LONG = r'"""(?:[^\\]|\\[\s\S])*?"""(?:"{0,2})' + r"|'''[\s\S]*?'''(?:'{0,2})"
# A date and its time may have a space between them.
_WORD = r"\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]+|[^\s,\]}#]+"
_VALUE = re.compile(f"{_LONG}|{_BASIC}|{_LITERAL}|{_WORD}")


@dataclass(eq=False)
class Table:
    """A table while lines may still add to it.

    Attributes:
        block: the statements that its entries are among: those of the document, or of an inline table.
    """

    span: Span
    block: Block
    keys: dict[str, Scalar] = field(default_factory=dict)
    values: dict[str, Table | List | Scalar] = field(default_factory=dict)

    def inner(self, key: Scalar, span: Span) -> Table:
        """The table that `key` leads to, of an array of tables the last; a new one where there is none."""
        name = _name(key)
        self.keys.setdefault(name, key)
        value = self.values.setdefault(name, Table(span, self.block))
        if isinstance(value, List):
            value = value.items[-1]
        assert isinstance(value, Table)
        return value


@dataclass(eq=False)
class List:
    """An array, or an array of tables."""

    span: Span
    items: list[Table | List | Scalar] = field(default_factory=list)


class Statement(NamedTuple):
    """A header, or a key with its value.

    Attributes:
        span: its characters.
        keys: the parts of its dotted key.
        owners: the table that each part is an entry of.
        above: the entries, as table and name, that it is part of by the header above it.
    """

    span: Span
    keys: Sequence[Scalar]
    owners: Sequence[Table]
    above: Sequence[tuple[Table, str]] = ()

    def entries(self) -> list[tuple[Table, str]]:
        """The entries that it is part of, from the outermost."""
        own = [(owner, _name(key)) for owner, key in zip(self.owners, self.keys, strict=True)]
        return [*self.above, *own]


@dataclass(eq=False)
class Block:
    """The statements of the document, or of one inline table."""

    is_inline: bool
    statements: list[Statement] = field(default_factory=list)


def read(text: str) -> tuple[Mapping, dict[Mapping, Table]]:
    """The tree of a document, and the table that each mapping was.

    Raises:
        Malformed: tomllib would not read it.
        LimitExceeded: it is nested more than `DEEPEST` levels deep.
    """
    expected = _loaded(text)
    scanner = _Scanner(text)
    try:
        frozen = _Frozen()
        root = frozen.mapping(scanner.document())
        agrees = repr(_plain(root)) == repr(expected)  # as text, for NaN is not equal to itself
    except (ValueError, IndexError, AssertionError):
        agrees = False
    if not agrees:
        raise malformed(text, scanner.at, "is TOML that bnport cannot follow")
    return root, frozen.tables


def _loaded(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError as error:
        raise LimitExceeded("is nested too deep", expected=f"at most {DEEPEST} levels") from error
    except ValueError as error:
        message, _, where = str(error).partition(" (at ")
        numbers = [int(number) for number in re.findall(r"\d+", where)]
        before = text.split("\n")[: numbers[0] - 1] if len(numbers) == 2 else []
        at = sum(len(line) + 1 for line in before) + numbers[1] - 1 if len(numbers) == 2 else len(text)
        raise malformed(text, min(at, len(text)), f"is no TOML: {message}") from error


class _Scanner:
    """Reads a valid document from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 1 if text.startswith("\ufeff") else 0
        self._depth = 0

    def document(self) -> Table:
        block = Block(is_inline=False)
        root = Table(Span(0, len(self._text)), block)
        table, above = root, list[tuple[Table, str]]()
        while self._next():
            if self._text[self.at] == "[":
                table, above = self._header(root)
            else:
                self._key_value(table, above)
        return root

    def _header(self, root: Table) -> tuple[Table, list[tuple[Table, str]]]:
        """The table that the next lines are of, and the entries that this makes them part of."""
        start, brackets = self.at, 2 if self._text.startswith("[[", self.at) else 1
        self.at += brackets
        keys = self._dotted()
        self._next()
        self.at += brackets
        statement, owner = self._statement(Span(start, self.at), keys, root, ())
        if brackets == 1:
            return owner.inner(keys[-1], statement.span), statement.entries()
        owner.keys.setdefault(_name(keys[-1]), keys[-1])
        tables = owner.values.setdefault(_name(keys[-1]), List(statement.span))
        assert isinstance(tables, List)
        tables.items.append(Table(statement.span, root.block))
        return owner.inner(keys[-1], statement.span), statement.entries()

    def _key_value(self, table: Table, above: Sequence[tuple[Table, str]]) -> None:
        start = self.at
        keys = self._dotted()
        self._next()
        self.at += 1  # the equals sign
        value = self._value()
        _, owner = self._statement(Span(start, self.at), keys, table, above)
        owner.keys[_name(keys[-1])] = keys[-1]
        owner.values[_name(keys[-1])] = value

    def _statement(
        self, span: Span, keys: list[Scalar], table: Table, above: Sequence[tuple[Table, str]]
    ) -> tuple[Statement, Table]:
        """A new statement, and the table that its last key is an entry of."""
        if len(keys) + len(above) > DEEPEST:
            raise too_deep(self._text, self.at)
        owners = [table]
        for key in keys[:-1]:
            owners.append(owners[-1].inner(key, span))
        for grown in [*owners, *(owner for owner, _ in above)]:
            grown.span = Span(grown.span.start, span.end)
        statement = Statement(span, keys, owners, above)
        table.block.statements.append(statement)
        return statement, owners[-1]

    def _dotted(self) -> list[Scalar]:
        self._next()
        keys = [self._scalar(_KEY)]
        while dot := _DOT.match(self._text, self.at):
            self.at = dot.end()
            keys.append(self._scalar(_KEY))
        return keys

    def _value(self) -> Table | List | Scalar:
        letter = self._next()
        if letter not in ("[", "{"):
            return self._scalar(_VALUE)
        self._depth += 1
        if self._depth > DEEPEST:
            raise too_deep(self._text, self.at)
        value = self._list() if letter == "[" else self._inline_table()
        self._depth -= 1
        return value

    def _list(self) -> List:
        result = List(Span(self.at, self.at))
        self.at += 1
        while self._next() != "]":
            result.items.append(self._value())
            self._after_comma()
        self.at += 1
        result.span = Span(result.span.start, self.at)
        return result

    def _inline_table(self) -> Table:
        table = Table(Span(self.at, self.at), Block(is_inline=True))
        self.at += 1
        while self._next() != "}":
            self._key_value(table, ())
            self._after_comma()
        self.at += 1
        table.span = Span(table.span.start, self.at)
        return table

    def _after_comma(self) -> None:
        if self._next() == ",":
            self.at += 1

    def _next(self) -> str:
        """The next character that is no space and no comment, "" at the end."""
        match = _TRIVIA.match(self._text, self.at)
        assert match is not None
        self.at = match.end()
        return self._text[self.at : self.at + 1]

    def _scalar(self, pattern: re.Pattern[str]) -> Scalar:
        match = pattern.match(self._text, self.at)
        assert match is not None
        self.at = match.end()
        text, quoted = match.group(), match.group()[0] in "\"'"
        value = _loaded_value(text) if quoted or pattern is _VALUE else text
        known = isinstance(value, str | bool | int | float)
        return Scalar(Span(*match.span()), value if known else Expression(text), text, quoted)


class _Frozen:
    """Turns tables into nodes."""

    def __init__(self) -> None:
        self.tables: dict[Mapping, Table] = {}

    def mapping(self, table: Table) -> Mapping:
        entries = [Entry(name, self._node(value), table.keys[name]) for name, value in table.values.items()]
        mapping = Mapping(table.span, tuple(entries))
        self.tables[mapping] = table
        return mapping

    def _node(self, value: Table | List | Scalar) -> Node:
        if isinstance(value, List):
            end = max([value.span.end, *(item.span.end for item in value.items)])
            return ListNode(Span(value.span.start, end), tuple(self._node(item) for item in value.items))
        return self.mapping(value) if isinstance(value, Table) else value


def _name(key: Scalar) -> str:
    return str(key.value)


def _loaded_value(text: str) -> Any:
    return tomllib.loads(f"value = {text}")["value"]


def _plain(node: Node) -> Any:
    """What tomllib would make of `node`."""
    if isinstance(node, Mapping):
        return {entry.name: _plain(entry.value) for entry in node.entries}
    if isinstance(node, ListNode):
        return [_plain(item) for item in node.items]
    return _loaded_value(node.text) if isinstance(node.value, Expression) else node.value
