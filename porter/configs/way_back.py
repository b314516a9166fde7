"""Undoing an earlier translation exactly: what was 1e-2 and became 0.99 is 1e-2 again, what was dropped returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from porter.configs.changes import Change, Translation
from porter.configs.files import ConfigFile, parse
from porter.configs.record import Record
from porter.configs.sites import search
from porter.configs.splices import Splice, spliced
from porter.configs.terms import Dialect
from porter.configs.told import Told
from porter.configs.translate import translate
from porter.configs.tree import Document
from porter.errors import BnportError


def undoing(file: ConfigFile, record: Record, to: Dialect) -> Translation | None:
    """The translation that turns the unchanged output of `record` back into its source.

    A record may come from a stranger. What it would restore is taken only if translating that leads to `file` again,
    and if it is in the terms of `to`; otherwise, and where `file` was edited, None.
    """
    text = record.restored(file)
    if text is None:
        return None
    try:
        source = parse(file.format, text)
        forth = _translated(source, record, record.to)
        if forth.undecided or spliced(text, forth.splices) != file.document.text:
            return None
        if _translated(source, record, to).changes:
            return None
    except BnportError:
        return None
    return Translation([*_back(forth.changes, record.undo, file.document)])


def _translated(source: Document, record: Record, to: Dialect) -> Translation:
    found = search(source, Told((), record.settings))
    return translate(source, found, to, record.from_, record.signature, record.recorded)


def _back(changes: Sequence[Change], undo: tuple[Splice, ...], document: Document) -> Iterator[Change]:
    """The inverse of each change, in the places of `document`; the first one holds all splices."""
    starts = sorted(splice for change in changes for splice in change.splices)
    at = 0
    for change in changes:
        if change.splices:
            first = min(change.splices)
            shift = sum(len(s.text) - (s.end - s.start) for s in starts if s < first)
            at = first.start + shift
        yield replace(
            change,
            before=change.after,
            after=change.before,
            rule=f"undo {change.rule}",
            why="as it was before the translation",
            place=document.place(at),
            splices=undo,
        )
        undo = ()
