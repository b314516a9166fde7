"""Which of several modules that are all alike is which of as many on another side, by what they are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

Told = Literal["only one", "names", "numbers", "like names", "only one left", "crossed names", "order"]

# How much to believe a pair, by what told it from its likes. An order among likes, not a probability: below 0.9 two
# modules could be exchanged. "Crossed names" are alike, but say otherwise than the order of declaration does.
CONFIDENCE: dict[Told, float] = {
    "only one": 1.0,
    "names": 1.0,
    "numbers": 0.9,
    "like names": 0.9,
    "only one left": 0.9,
    "crossed names": 0.7,
    "order": 0.5,
}

# What counts: numbers, and letters that stand alone (`conv_a`, `conv_b`).
_ORDINAL = re.compile(r"\d+|(?<![A-Za-z])[A-Za-z](?![A-Za-z])")
_WORD = re.compile(r"\d+|[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
# Letters from which on the common beginning of two words says that they mean the same (attn, attention).
_STEM = 3
# More likes than this are not compared by name: every one is compared with every other.
_COMPARED = 64

Match = tuple[int, int, Told]


def tell_apart(left: Sequence[str], right: Sequence[str]) -> list[Match]:
    """Pairs of places in two lists of as many names, each list unique and in the order of declaration."""
    if len(left) == 1:
        return [(0, 0, "only one")]
    place = {name: j for j, name in enumerate(right)}
    if place.keys() == set(left):
        return [(i, place[name], "names") for i, name in enumerate(left)]
    series = _series(left), _series(right)
    if series[0] and series[0].keys() == series[1].keys():
        return [
            (i, j, "numbers") for size in series[0] for i, j in zip(series[0][size], series[1][size], strict=True)
        ]
    same: list[Match] = [(i, place[name], "names") for i, name in enumerate(left) if name in place]
    taken = {j for _, j, _ in same}
    others = [i for i, name in enumerate(left) if name not in place], [j for j in place.values() if j not in taken]
    return same + _told_by_likeness(left, right, *others)


def _told_by_likeness(left: Sequence[str], right: Sequence[str], rows: list[int], columns: list[int]) -> list[Match]:
    """Pairs among the places `rows` of `left` and `columns` of `right`: by like names, the rest by their order."""
    alike = _most_alike(left, right, rows, columns) if len(rows) <= _COMPARED else {}
    free = [j for j in columns if j not in alike.values()]
    rest = dict(zip((i for i in rows if i not in alike), free, strict=True))
    found = alike | rest
    by_name: Told = "like names"
    if any(found[i] > found[k] for i, k in pairwise(sorted(found))):
        by_name = "crossed names"
    last: Told = "only one left" if by_name == "like names" else by_name
    told: Told = last if len(rest) == 1 else "order"
    return [(i, j, by_name if i in alike else told) for i, j in found.items()]


def _most_alike(left: Sequence[str], right: Sequence[str], rows: list[int], columns: list[int]) -> dict[int, int]:
    """row -> column of names that are more alike than either is to any other that is left."""
    words = {name: _words(name) for name in (*left, *right)}
    score = {(i, j): likeness(words[left[i]], words[right[j]]) for i in rows for j in columns}
    found: dict[int, int] = {}
    while True:
        open_rows = [i for i in rows if i not in found]
        open_columns = [j for j in columns if j not in found.values()]
        best = {i: _only_best({j: score[i, j] for j in open_columns}) for i in open_rows}
        back = {j: _only_best({i: score[i, j] for i in open_rows}) for j in open_columns}
        new = {i: j for i, j in best.items() if j is not None and back[j] == i}
        if not new:
            return found
        found |= new


def _only_best(scores: dict[int, float]) -> int | None:
    """The key of the one greatest score above 0."""
    top = max(scores.values(), default=0.0)
    keys = [key for key, score in scores.items() if score == top]
    return keys[0] if top and len(keys) == 1 else None


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", name))]


def likeness(one: Sequence[str], other: Sequence[str]) -> float:
    """How alike two lists of words are: 0 to 1, the mean over all words of the best likeness to one of the other."""
    if not one or not other:
        return 0.0
    sums = (max(_overlap(a, b) for b in theirs) for mine, theirs in ((one, other), (other, one)) for a in mine)
    # Rounded, so that equal ones are equal in whatever order they were summed.
    return round(sum(sums) / (len(one) + len(other)), 9)


def _overlap(a: str, b: str) -> float:
    """Share of the longer word that both begin with: where the shorter is all of it (q, query), or it says enough."""
    if a.isdigit() or b.isdigit():
        return float(a == b)
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return same / max(len(a), len(b)) if same >= min(_STEM, len(a), len(b)) else 0.0


def _series(names: Sequence[str]) -> dict[int, list[int]]:
    """The places of names in series, length -> names that differ in nothing but numbers.

    Empty where two series are of one length, or one does not count upwards in the order of declaration: then nothing
    tells which is which.
    """
    series: dict[str, list[tuple[list[int], int]]] = {}
    for place, name in enumerate(names):
        count = [int(n) if n.isdigit() else ord(n.lower()) for n in _ORDINAL.findall(name)]
        series.setdefault(_ORDINAL.sub("#", name), []).append((count, place))
    by_length = {len(members): [place for _, place in members] for members in series.values()}
    counts = all(a[0] < b[0] for members in series.values() for a, b in pairwise(members))
    return by_length if counts and len(by_length) == len(series) else {}
