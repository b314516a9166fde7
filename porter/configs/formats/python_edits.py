"""How a change of Python source is spelled: arguments named and taken out, expressions rewritten."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

from porter.configs.formats.commas import without
from porter.configs.formats.python_constants import constants
from porter.configs.formats.python_flow import Flow
from porter.configs.formats.python_scopes import Scope
from porter.configs.formats.python_source import Source, module_of
from porter.configs.splices import Splice
from porter.configs.terms import inverted, number
from porter.configs.tree import Document, Entry, Expression, Mapping, Rewrite, Scalar, Sources, Span

_QUOTED = re.compile(r"(?P<prefix>[a-zA-Z]*)(?P<quote>'''|\"\"\"|'|\")")
# A continued line separates no more than a comment does.
_COMMENT = r"#[^\r\n]*|\\\r?\n"
_BETWEEN = re.compile(rf"{_COMMENT}|(?P<sign>[()*])")
# Expressions that need no parentheses behind a minus, whatever is in them.
_BINDS_TIGHTER = (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.Await, ast.UnaryOp, ast.Constant)
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass
class Layout:
    """What stands between the brackets of a dict or call.

    Attributes:
        inside: the characters between the brackets.
        items: the parts that commas separate, without parentheses around them; the entry is None for `**x` and the
            like. In the order of the file, once the mapping is whole.
    """

    inside: Span
    items: list[tuple[Span, Entry | None]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class PythonDocument(Document):
    """Python source.

    Attributes:
        layouts: of every mapping that is written in brackets.
        assignments: the statements that make an entry and nothing else.
        syntax: what each value was written as, and the scope it is read in.
        flow: where values come from.
    """

    names_are_text: ClassVar[bool] = False

    layouts: dict[Mapping, Layout] = field(default_factory=dict)
    assignments: dict[Entry, Span] = field(default_factory=dict)
    syntax: dict[Scalar, tuple[ast.expr, Scope]] = field(default_factory=dict)
    flow: Flow = field(default_factory=lambda: Flow(Scope(ast.Module([], []))))

    def spelled(self, value: bool | str | None, like: Scalar) -> str | None:
        style = _QUOTED.match(like.text) if like.quoted else None
        if style is None or not isinstance(value, str):
            return str(value)
        is_plain = "\\" not in value and style["quote"][0] not in value and value.isprintable()
        return f"{style['quote']}{value}{style['quote']}" if is_plain else repr(value)

    def renamed(self, entry: Entry, name: str) -> Splice:
        if entry.key is None:
            start = self._starts_of_arguments[entry]
            return Splice(start, start, f"{name}=")
        return Splice(*entry.key.span, self.spelled(name, entry.key) or name)

    def removed(self, mapping: Mapping, entries: Collection[Entry]) -> list[Splice]:
        layout = self.layouts.get(mapping)
        if layout is None:
            return [Splice(*self.assignments[entry], "pass") for entry in entries]
        gone = {index for index, (_, entry) in enumerate(layout.items) if entry in entries}
        return without(self.text, _parts(self.text, layout), gone, _COMMENT)

    def sources(self, value: Scalar) -> Sources:
        if value not in self.syntax:
            return Sources()
        found = self.flow.sources(*self.syntax[value])
        values = {scalar for syntax in found.values for scalar in self._scalars.get(syntax, ())}
        return Sources(frozenset(values - {value}), frozenset(filter(None, found.names)))

    def constant(self, value: Scalar) -> Scalar | None:
        match self.syntax.get(value):
            case ast.Name(id=name), _:
                return self._constants.get(name)
            case ast.BinOp(left=ast.Constant(value=1), op=ast.Sub(), right=ast.Name(id=name)), _ if (
                scalar := self._constants.get(name)
            ) and number(scalar.text) is not None:
                text = inverted(scalar.text)
                return replace(scalar, value=float(text), text=text)
        return None

    @cached_property
    def _constants(self) -> dict[str, Scalar]:
        module = next((scope.root.node for _, scope in self.syntax.values()), None)
        known = constants(module).items() if isinstance(module, ast.Module) else ()
        return {name: scalar for name, syntax in known for scalar in self._scalars.get(syntax, ())}

    def handed_on_as(self, value: Scalar) -> frozenset[str]:
        return frozenset(self._handed_on.get(value, ()))

    @cached_property
    def _handed_on(self) -> dict[Scalar, set[str]]:
        """The names that `handed_on_as` tells of every value."""
        found: dict[Scalar, set[str]] = {}
        for entry in (*self.assignments, *(entry for mapping in self.layouts for entry in mapping.entries)):
            if isinstance(entry.value, Scalar) and isinstance(entry.value.value, Expression):
                for value in self.sources(entry.value).values:
                    found.setdefault(value, set()).add(entry.name)
        return found

    @cached_property
    def _scalars(self) -> dict[ast.expr, list[Scalar]]:
        """The values that each expression was made into."""
        made: dict[ast.expr, list[Scalar]] = {}
        for scalar, (syntax, _) in self.syntax.items():
            made.setdefault(syntax, []).append(scalar)
        return made

    def rewritten(self, value: Scalar, how: Rewrite) -> str | None:
        # In parentheses an expression may go over several lines.
        source = Source(f"({value.text})")
        expression = module_of(source.text).body[0]
        assert isinstance(expression, ast.Expr)
        return _REWRITES[how](source, expression.value)

    @cached_property
    def _starts_of_arguments(self) -> dict[Entry, int]:
        """Where every argument starts, parentheses around it included."""
        return {
            entry: part.start
            for layout in self.layouts.values()
            for part, (_, entry) in zip(_parts(self.text, layout), layout.items, strict=True)
            if entry
        }


def _parts(text: str, layout: Layout) -> list[Span]:
    """The items of a layout with the parentheses or stars around them."""
    starts = [span.start for span, _ in layout.items]
    ends = [span.end for span, _ in layout.items]
    edges = zip([layout.inside.start, *ends], [*starts, layout.inside.end], strict=True)
    return [Span(before[1], after[0]) for before, after in pairwise(_gap(text, *edge) for edge in edges)]


def _gap(text: str, start: int, end: int) -> tuple[int, int]:
    """Between two items: where the parentheses around the first close, and where those around the second open."""
    closed, opened = start, end
    for found in _BETWEEN.finditer(text, start, end):
        if found["sign"] == ")":
            closed = found.end()
        elif found["sign"]:
            opened = min(opened, found.start())
    return closed, opened


def _inverted(source: Source, value: ast.expr) -> str | None:
    """`1 - value`, or of `1 - x` the x. None where it is no number, or perhaps None."""
    if not all(map(_may_be_a_number, _outcomes(value))):
        return None
    match value:
        case ast.BinOp(left=ast.Constant(value=1), op=ast.Sub(), right=right):
            return None if "#" in source.text[: source.span(right).start] else _alone(source, right)
        case ast.BinOp(op=ast.Mult() | ast.Div() | ast.FloorDiv() | ast.Mod() | ast.Pow()):
            return f"1 - {source.text_of(value)}"
        case ast.BinOp() | ast.IfExp() | ast.BoolOp() | ast.NamedExpr():
            return f"1 - ({source.text_of(value)})"
    return f"1 - {source.text_of(value)}" if isinstance(value, _BINDS_TIGHTER) else None


def _outcomes(value: ast.expr) -> list[ast.expr]:
    """What an expression may come to, choices inside of choices included."""
    match value:
        case ast.IfExp():
            return [*_outcomes(value.body), *_outcomes(value.orelse)]
        case ast.BoolOp():
            return [outcome for part in value.values for outcome in _outcomes(part)]
        case ast.NamedExpr():
            return _outcomes(value.value)
    return [value]


def _may_be_a_number(value: ast.expr) -> bool:
    if isinstance(value, ast.Constant):
        return isinstance(value.value, int | float)
    is_not = isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not)
    return not (is_not or isinstance(value, ast.JoinedStr | ast.Dict | ast.List | ast.Tuple | ast.Set | ast.Lambda))


def _from_track(source: Source, value: ast.expr) -> str | None:
    """use_batch_statistics: None where `value` is true, else True."""
    match value:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"True if {_operand(source, operand)} else None"
        case ast.Starred():
            return None
    return f"None if {_operand(source, value)} else True"


def _to_track(source: Source, value: ast.expr) -> str | None:
    """track_running_stats, where `value` says None and True by a condition: False (frozen) has no counterpart."""
    match value:
        case ast.IfExp(body=ast.Constant(value=None), orelse=ast.Constant(value=True), test=test):
            return _alone(source, test)
        case ast.IfExp(body=ast.Constant(value=True), orelse=ast.Constant(value=None), test=test):
            text = _operand(source, test)
            return f"not ({text})" if isinstance(test, ast.BoolOp) else f"not {text}"
    return None


def _alone(source: Source, value: ast.expr) -> str:
    """An expression on its own; in parentheses where it needs them, or goes over lines."""
    text = source.text_of(value)
    bare = not isinstance(value, ast.NamedExpr | ast.Yield | ast.YieldFrom) and not _LINE_END.search(text)
    return text if bare else f"({text})"


def _operand(source: Source, value: ast.expr) -> str:
    """An expression as the condition of another."""
    text = source.text_of(value)
    return (
        f"({text})" if isinstance(value, ast.IfExp | ast.Lambda | ast.NamedExpr | ast.Yield | ast.YieldFrom) else text
    )


_REWRITES: dict[Rewrite, Callable[[Source, ast.expr], str | None]] = {
    "momentum: 1 - m": _inverted,
    "track_running_stats to use_batch_statistics": _from_track,
    "use_batch_statistics to track": _to_track,
}
