"""TOML configs: read with the place of every character, and how a change of them is spelled; see `toml_tree`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from porter.configs import tree
from porter.configs.formats.commas import line_end, line_start, without
from porter.configs.formats.toml_tree import List, Statement, Table, read
from porter.configs.splices import Splice
from porter.configs.tree import Document, Entry, Root, Scalar, Span


def parse(text: str) -> Document:
    """Read a config in TOML.

    Raises:
        Malformed: tomllib would not read it, as where a key is given twice; with line and column.
        LimitExceeded: it is nested too deep.
    """
    root, tables = read(text)
    return _TomlDocument(text, [Root("", root)], tables=tables)


@dataclass(frozen=True, eq=False)
class _TomlDocument(Document):
    tables: Mapping[tree.Mapping, Table] = field(default_factory=dict)

    def spelled(self, value: bool | str | None, like: Scalar) -> str | None:
        if isinstance(value, str):
            return _quoted(value, like.text) if like.quoted else value
        if like.quoted:
            # "True" is Python's word for it, "true" that of JSON.
            return _quoted(str(value) if str(like.value).istitle() else json.dumps(value), like.text)
        return None if value is None else json.dumps(value)

    def renamed(self, entry: Entry, name: str) -> Splice:
        assert entry.key is not None
        return Splice(*entry.key.span, _quoted(name, entry.key.text) if entry.key.quoted else name)

    def removed(self, mapping: tree.Mapping, entries: Collection[Entry]) -> list[Splice]:
        table = self.tables[mapping]
        gone = {(table, entry.name) for entry in entries}
        statements = table.block.statements
        indexes = [at for at, statement in enumerate(statements) if not gone.isdisjoint(statement.entries())]
        if not indexes or not self._vanishes(table, indexes):
            return self._without(table, indexes)
        kept, *others = indexes
        return [self._emptied(table, statements[kept]), *self._without(table, others)]

    def _vanishes(self, table: Table, gone: Sequence[int]) -> bool:
        """Whether nothing else in the file says that there is such a table."""
        statements = table.block.statements
        naming = [at for at, statement in enumerate(statements) if table in statement.owners[1:]]
        return bool(naming) and set(naming) <= set(gone) and not self._is_header(table)

    def _is_header(self, table: Table) -> bool:
        """Whether a header of its own opens the table."""
        headers = filter(self._opens, table.block.statements)
        return any(table in _opened(statement) for statement in headers)

    def _opens(self, statement: Statement) -> bool:
        return self.text[statement.span.start] == "["

    def _emptied(self, table: Table, statement: Statement) -> Splice:
        """An empty table in the place of a statement that named it by a dotted key."""
        keys = statement.keys[: statement.owners.index(table)]
        name = self.text[keys[0].span.start : keys[-1].span.end]
        return Splice(*statement.span, f"[{name}]" if self._opens(statement) else f"{name} = {{}}")

    def _without(self, table: Table, gone: Sequence[int]) -> list[Splice]:
        spans = [statement.span for statement in table.block.statements]
        if table.block.is_inline:
            return without(self.text, spans, gone)
        return list(self._lines(spans[index] for index in gone))

    def _lines(self, spans: Iterator[Span]) -> Iterator[Splice]:
        for span in spans:
            start, end = line_start(self.text, span.start), line_end(self.text, span.end)
            assert start is not None
            assert end is not None
            yield Splice(start, end, "")


def _opened(header: Statement) -> Sequence[object]:
    """The table of a header, or all those of its array."""
    value = header.owners[-1].values[str(header.keys[-1].value)]
    return value.items if isinstance(value, List) else [value]


def _quoted(text: str, like: str) -> str:
    """`text` in the quotes of `like`, one or three."""
    quote = like[:3] if like.startswith(('"""', "'''")) else like[0]
    if quote[0] == '"' or "'" in text:
        inner = json.dumps(text, ensure_ascii=False)[1:-1]
        return f'"{inner}"' if quote[0] == "'" else quote + inner + quote
    return quote + text + quote
