"""Take entries out of a list that commas separate: flow mappings of YAML, inline tables of TOML.

An entry that has its lines to itself goes with them and with a comment behind it; another goes with its comma and
the blanks that set it apart. A comment on a line above stays, and so does a trailing comma.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from porter.configs.splices import Splice
from porter.configs.tree import Span

BREAK = r"(?:\r\n|[\n\r\x85\u2028\u2029])"
HASH_COMMENT = r"#[^\n\r\x85\u2028\u2029]*"

_BLANKS = re.compile(r"[ \t]*")


def without(text: str, items: Sequence[Span], gone: Collection[int], comment: str = HASH_COMMENT) -> list[Splice]:
    """The splices that take some items out.

    Args:
        text: the whole file.
        items: the characters of each, separators not included.
        gone: their indexes.
        comment: what a comment looks like, a regular expression.
    """
    return list(_Cutter(text, items, comment).cuts(sorted(gone)))


def line_start(text: str, at: int) -> int | None:
    """Where the line starts that has nothing but blanks before `at`; None where it has."""
    while at and text[at - 1] in " \t":
        at -= 1
    return at if not at or text[:at] == "\ufeff" or re.match(BREAK, text[at - 1]) else None


def line_end(text: str, at: int, comment: str = HASH_COMMENT) -> int | None:
    """Where the next line starts, if nothing but blanks and comments follows `at` on this one; else None."""
    match = re.compile(rf"[ \t]*(?:{comment})?[ \t]*(?:{BREAK}|\Z)").match(text, at)
    return match.end() if match else None


class _Cutter:
    def __init__(self, text: str, items: Sequence[Span], comment: str) -> None:
        self._text = text
        self._items = items
        self._comment = comment
        trivia = re.compile(rf"(?:\s|{comment})*")
        self._commas = [self._comma(trivia.match(text, item.end)) for item in items]

    def _comma(self, gap: re.Match[str] | None) -> int | None:
        assert gap is not None
        return gap.end() if self._text[gap.end() : gap.end() + 1] == "," else None

    def cuts(self, gone: Sequence[int]) -> Iterator[Splice]:
        for first, last in _runs(gone):
            lines = [self._lines(index, index) for index in range(first, last + 1)]
            if None in lines:
                lines = [self._lines(first, last)]
            if None in lines:
                yield from self._inline(first, last)
                continue
            yield from (Splice(*span, "") for span in lines if span)
            if first and self._is_dangling(last):
                yield self._without_comma(first - 1)

    def _is_dangling(self, last: int) -> bool:
        """Whether the comma before a run that ends with `last` would have nothing to separate any more."""
        return last == len(self._items) - 1 and self._commas[last] is None

    def _without_comma(self, index: int) -> Splice:
        comma = self._commas[index]
        assert comma is not None
        return Splice(comma, comma + 1, "")

    def _end(self, index: int) -> int:
        comma = self._commas[index]
        return self._items[index].end if comma is None else comma + 1

    def _lines(self, first: int, last: int) -> Span | None:
        """The lines of these items, if nothing else is on them."""
        start = line_start(self._text, self._items[first].start)
        end = line_end(self._text, self._end(last), self._comment)
        return None if start is None or end is None else Span(start, end)

    def _inline(self, first: int, last: int) -> Iterator[Splice]:
        start, end = self._items[first].start, self._end(last)
        if last < len(self._items) - 1:
            yield self._before_others(first, start, end)
        elif not first:
            yield Splice(self._blanks_before(start), self._after_blanks(end), "")
        elif not self._text[self._end(first - 1) : start].strip():
            yield Splice(self._end(first - 1) - 1, self._items[last].end if self._is_dangling(last) else end - 1, "")
        else:
            yield Splice(start, end, "")
            if self._is_dangling(last):
                yield self._without_comma(first - 1)

    def _before_others(self, first: int, start: int, end: int) -> Splice:
        line = line_end(self._text, end, self._comment)
        if line is None:
            return Splice(start, self._after_blanks(end), "")
        if first:
            return Splice(self._blanks_before(start), end, "")
        return Splice(start, self._after_blanks(line), "")

    def _after_blanks(self, at: int) -> int:
        match = _BLANKS.match(self._text, at)
        assert match is not None
        return match.end()

    def _blanks_before(self, at: int) -> int:
        return len(self._text[:at].rstrip(" \t"))


def _runs(indexes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of neighbours."""
    first = 0
    for at, index in enumerate(indexes):
        if at + 1 == len(indexes) or indexes[at + 1] != index + 1:
            yield indexes[first], index
            first = at + 1
