"""What has no parts in Python source: values and keys as they are written, and the names of what is assigned."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from porter.configs.formats.python_names import Names, is_batchnorm
from porter.configs.formats.python_scopes import Meaning, Scope
from porter.configs.formats.python_source import Source
from porter.configs.tree import Entry, Expression, Import, Mapping, Node, Scalar, Span, Value


@dataclass
class Section:
    """What is assigned under one dotted prefix, while it is being gathered."""

    key: Scalar | None = None
    entries: list[Entry] = field(default_factory=list)
    inner: dict[str, Section] = field(default_factory=dict)

    def add(self, path: Sequence[Scalar], value: Node) -> Entry:
        """Put `value` at `path`."""
        section = self
        for key in path[:-1]:
            section = section.inner.setdefault(str(key.value), Section(key))
        section.entries.append(Entry(str(path[-1].value), value, path[-1]))
        return section.entries[-1]

    def mapping(self, is_scope: bool = False, callee: str | None = None) -> Mapping:
        """What was gathered, in the order of the file; `self` is as much a scope as the method that sets it."""
        inner = [
            Entry(name, section.mapping(is_scope, callee) if name == "self" else section.mapping(), section.key)
            for name, section in self.inner.items()
        ]
        entries = sorted([*self.entries, *inner], key=lambda entry: entry.key.span if entry.key else entry.value.span)
        ends = [entry.value.span.end for entry in entries]
        start = entries[0].key.span.start if entries[0].key else 0
        return Mapping(Span(start, max(ends)), tuple(entries), (), callee, is_scope=is_scope)


@dataclass
class ValueReader:
    """Makes nodes of keys and values, and remembers the imports that batch normalisations are named through."""

    source: Source
    names: Names
    imports: set[Import] = field(default_factory=set)

    def path(self, target: ast.expr) -> list[Scalar]:
        """The keys of a target such as `cfg.model["bn"].momentum`; none where it is anything else."""
        path: list[Scalar] = []
        while not isinstance(target, ast.Name):
            match target:
                case ast.Attribute(value=inner):
                    end = self.source.span(target).end
                    written = re.search(r"\w+$", self.source.text[max(end - 4 * len(target.attr), 0) : end])
                    path.append(self.name(end - len(written[0]) if written else end))
                case ast.Subscript(value=inner, slice=ast.Constant(value=str()) as key):
                    path.append(self.scalar(key, Meaning()))
                case _:
                    return []
            target = inner
        return [self.name(self.source.span(target).start), *reversed(path)]

    def name(self, start: int) -> Scalar:
        """The identifier at `start` as a key."""
        written = re.compile(r"\w+").match(self.source.text, start)
        text = written[0] if written else ""
        return Scalar(Span(start, start + len(text)), text, text)

    def scalar(self, syntax: ast.expr, meaning: Meaning) -> Scalar:
        span, text = self.source.span(syntax), self.source.text_of(syntax)
        value: Value = Expression(text, meaning.name if meaning.certain and meaning.imports else "")
        match syntax:
            case ast.Constant(value=str() | bool() | int() | float() | None as constant):
                value = constant
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                value = -number
            case ast.UnaryOp(op=ast.UAdd(), operand=ast.Constant(value=int() | float() as number)):
                value = number
        return Scalar(span, value, text, isinstance(value, str))

    def meaning(self, syntax: ast.expr, scope: Scope) -> Meaning:
        """What a name means; the import it comes through is remembered where it is a batch normalisation."""
        meaning = self.names.meaning(syntax, scope)
        if is_batchnorm(meaning.name):
            self.imports.update(filter(None, map(self._import, meaning.imports)))
        return meaning

    def _import(self, way: ast.alias | ast.ImportFrom) -> Import | None:
        start, end = self.source.span(way)
        if isinstance(way, ast.alias):
            return Import(Span(start, start + len(way.name)), way.name, False, f"import {self.source.text_of(way)}")
        package = "." * way.level + (way.module or "")
        at = self.source.text.find(package, start + len("from"), end)
        alone = all(is_batchnorm(f"{package}.{alias.name}") for alias in way.names)
        # Not found: written with blanks around its dots.
        return None if at < 0 else Import(Span(at, at + len(package)), package, alone, self.source.text[start:end])
