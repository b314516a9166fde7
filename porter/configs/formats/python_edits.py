"""How a change of Python source is spelled: arguments named and taken out, expressions rewritten."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from porter.configs.formats.python_source import Source, module_of
from porter.configs.tree import Document, Entry, Mapping, Rewrite, Scalar, Span, Splice

_QUOTED = re.compile(r"(?P<prefix>[a-zA-Z]*)(?P<quote>'''|\"\"\"|'|\")")
_BETWEEN = re.compile(r"#[^\r\n]*|(?P<sign>[,()*])")
_LINE_END = re.compile(r"\r\n|\r|\n")
_BLANK_BEFORE = re.compile(r"(?P<line_end>\r\n|\r|\n)[ \t\f]*\Z")
_REST_OF_LINE = re.compile(r"[ \t\f]*(#[^\r\n]*)?(\r\n|\r|\n)")


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
    """

    layouts: dict[Mapping, Layout] = field(default_factory=dict)
    assignments: dict[Entry, Span] = field(default_factory=dict)

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
        gone = [entry in entries for _, entry in layout.items]
        return [Splice(*span, "") for span in _taken_out(self.text, _parts(self.text, layout), gone)]

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


class _Part(NamedTuple):
    """One part between two commas.

    Attributes:
        start: with the parentheses or stars around it.
        end: likewise.
        after: the end of the comma that follows; `end` where none does.
    """

    start: int
    end: int
    after: int


def _parts(text: str, layout: Layout) -> list[_Part]:
    """The parts of a layout, with what belongs to them."""
    starts = [span.start for span, _ in layout.items]
    ends = [span.end for span, _ in layout.items]
    gaps = [
        _gap(text, *ends_and_starts)
        for ends_and_starts in zip([layout.inside.start, *ends], [*starts, layout.inside.end], strict=True)
    ]
    return [_Part(before[2], after[0], after[1]) for before, after in pairwise(gaps)]


def _gap(text: str, start: int, end: int) -> tuple[int, int, int]:
    """Between two parts: the end of the first, of the comma, and the start of the second."""
    closed = comma = start
    opened = end
    for found in _BETWEEN.finditer(text, start, end):
        match found["sign"]:
            case ")":
                closed = comma = found.end()
            case ",":
                comma = found.end()
            case "(" | "*":
                opened = min(opened, found.start())
    return closed, comma, opened


def _taken_out(text: str, parts: Sequence[_Part], gone: Sequence[bool]) -> list[Span]:
    """The characters to remove so that the parts that are `gone` are, none of them overlapping."""
    spans: list[Span] = []
    for first, last in _runs(text, parts, gone):
        kept = max((i for i in range(first) if not gone[i]), default=None)
        span = _one_run(text, parts, first, last, kept)
        while spans and spans[-1].end >= span.start:
            span = Span(min(spans[-1].start, span.start), max(spans.pop().end, span.end))
        spans.append(span)
    return spans


def _runs(text: str, parts: Sequence[_Part], gone: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """First and last of the parts that go together: neighbours on one line."""
    first = None
    for i, part in enumerate(parts):
        if not gone[i]:
            continue
        first = i if first is None else first
        follows = i + 1 < len(parts) and gone[i + 1] and not _LINE_END.search(text, part.end, parts[i + 1].start)
        if not follows:
            yield first, i
            first = None


def _one_run(text: str, parts: Sequence[_Part], first: int, last: int, kept: int | None) -> Span:
    """What goes with the parts `first` to `last`, which stand on one line; `kept` stays before them."""
    start, end, after = parts[first].start, parts[last].end, parts[last].after
    blank = _BLANK_BEFORE.search(text, 0 if kept is None else parts[kept].end, start)
    line_end = _REST_OF_LINE.match(text, after)
    if blank and line_end:
        return Span(blank.end("line_end"), line_end.end())
    if last + 1 < len(parts) and not _LINE_END.search(text, after, parts[last + 1].start):
        return Span(start, parts[last + 1].start)
    if kept is not None and "#" not in text[parts[kept].end : start]:
        return Span(parts[kept].end, end)
    return Span(start, after)


def _inverted(source: Source, value: ast.expr) -> str | None:
    """`1 - value`, or of `1 - x` the x. None where it is no number, or perhaps None."""
    match value:
        case ast.BinOp(left=ast.Constant(value=1), op=ast.Sub(), right=right):
            return None if "#" in source.text[: source.span(right).start] else _alone(source, right)
        case ast.IfExp(body=ast.Constant(value=None)) | ast.IfExp(orelse=ast.Constant(value=None)):
            return None
        case ast.BinOp(op=ast.Mult() | ast.Div() | ast.FloorDiv() | ast.Mod() | ast.Pow()):
            return f"1 - {source.text_of(value)}"
        case (
            ast.Name() | ast.Attribute() | ast.Subscript() | ast.Call() | ast.Await() | ast.UnaryOp() | ast.Constant()
        ):
            return f"1 - {source.text_of(value)}"
        case ast.BinOp() | ast.IfExp() | ast.BoolOp() | ast.NamedExpr():
            return f"1 - ({source.text_of(value)})"
    return None


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
