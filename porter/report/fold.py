"""Repeated layers folded into one line: `layer{1..4}.{0..2}.bn1`, with how many there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")

NUMBER = re.compile(r"\d+")


def fold(items: Iterable[T], name: Callable[[T], str], alike: Callable[[T], Hashable]) -> list[tuple[str, list[T]]]:
    """Group items whose names differ only in their numbers and that are alike otherwise.

    Args:
        items: in the order of the network.
        name: an item's dotted name.
        alike: what else must be equal (kind, verdict).

    Returns:
        (folded name, items) in order of each group's first item.
    """
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault((NUMBER.sub("#", name(item)), alike(item)), []).append(item)
    return [(_folded([name(item) for item in group]), group) for group in groups.values()]


def _folded(names: list[str]) -> str:
    """`a1.b0` and `a2.b0` as `a{1..2}.b0`: the numbers at each place, as a range where there are several."""
    if len(names) == 1:
        return names[0]
    columns = zip(*(NUMBER.findall(name) for name in names), strict=True)
    spans = iter([_span({int(number) for number in column}) for column in columns])
    return NUMBER.sub(lambda _: next(spans), names[0])


def _span(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{{{low}..{high}}}"
