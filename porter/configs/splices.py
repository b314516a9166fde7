"""Changes of characters, and how they are made and undone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Splice(NamedTuple):
    """Replace text[start:end] by `text`."""

    start: int
    end: int
    text: str


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """`text` with every splice made.

    Raises:
        ValueError: two of them overlap: a fault in bnport.
    """
    pieces, at = [], 0
    for start, end, new in sorted(splices):
        if start < at:
            raise ValueError(f"two changes overlap at character {start}")
        pieces += [text[at:start], new]
        at = end
    return "".join([*pieces, text[at:]])


def undone(text: str, splices: Iterable[Splice]) -> list[Splice]:
    """The splices that turn `spliced(text, splices)` back into `text`."""
    back: list[Splice] = []
    shift = 0
    for start, end, new in sorted(splices):
        at, before = start + shift, text[start:end]
        if back and back[-1].end == at:  # one splice of both: two at one place have no order
            at, before = back[-1].start, back.pop().text + before
        back.append(Splice(at, start + shift + len(new), before))
        shift += len(new) - (end - start)
    return back
