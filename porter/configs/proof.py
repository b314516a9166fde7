"""The last guard before a translated config is written: read again, it says what was meant and nothing else."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from porter.configs.splices import Splice, undone
from porter.configs.tree import Document, Expression, ListNode, Mapping, Node, Scalar, Span
from porter.errors import BnportError

FAULT = "This is a fault in bnport: please report it with the config."

_LOST, _NEW = "was lost", "was not there"

# Where a key or value is, and what it says.
_Said = tuple[int, int, str]


def demand_only(before: Document, splices: Sequence[Splice], after: Document) -> None:
    """Demand that every key and value of `before` outside of `splices` stands in `after`, and nothing else does.

    What replaces one key or value has to be read as one.

    Args:
        before: the config.
        splices: the changes of its text.
        after: the changed text, read.

    Raises:
        BnportError: it does not: a fault in bnport.
    """
    splices, back = sorted(splices), undone(before.text, splices)
    expected = set(_moved(_outside(before, splices), splices))
    found = set(_outside(after, back))
    wrong = [(start, f"{text}, which {_LOST}") for start, _, text in expected - found]
    wrong += [(start, f"{text}, which {_NEW}") for start, _, text in found - expected]
    values, made = ({scalar.span for scalar in _written(document)} for document in (before, after))
    for splice, (start, end, _) in zip(splices, back, strict=False) if len(back) == len(splices) else ():
        if splice.start < splice.end and Span(splice.start, splice.end) in values and Span(start, end) not in made:
            wrong.append((start, f"{after.text[start:end]}, which is no single value"))
    if wrong:
        start, what = min(wrong)
        raise BnportError(
            "the translated text says something else than was meant; nothing was written",
            entry=str(after.place(start)),
            found=what,
            hint=FAULT,
        )


def _outside(document: Document, splices: Sequence[Splice]) -> Iterator[_Said]:
    """What the document says outside of `splices`."""
    ordered = sorted(splices)
    starts = [splice.start for splice in ordered]
    for scalar in _written(document):
        start, end = scalar.span
        # Changes do not overlap: of those that start before a scalar's end only the last can reach into it.
        at = bisect_right(starts, end) - 1
        near = ordered[max(at - 1, 0) : at + 1]
        if not any((s.start < end and start < s.end) or s.start <= start <= end <= s.end for s in near):
            yield start, end, _text(scalar)


def _moved(said: Iterator[_Said], splices: Sequence[Splice]) -> Iterator[_Said]:
    """`said` where the changes before it move it to."""
    ends = [splice.end for splice in splices]
    shifts = [0, *accumulate(len(splice.text) - (splice.end - splice.start) for splice in splices)]
    for start, end, text in said:
        shift = shifts[bisect_right(ends, start)]
        yield start + shift, end + shift, text


def _text(scalar: Scalar) -> str:
    # What an expression names depends on the imports, which may have changed.
    return scalar.value.text if isinstance(scalar.value, Expression) else repr(scalar.value)


def _written(document: Document) -> Iterator[Scalar]:
    """Every key and value, once."""
    seen: set[int] = set()
    waiting: list[Node] = [root.node for root in document.roots]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Scalar):
            yield node
        elif isinstance(node, ListNode):
            waiting += node.items
        elif isinstance(node, Mapping):
            yield from (entry.key for entry in node.entries if entry.key)
            waiting += (*node.merged, *(entry.value for entry in node.entries))
