"""Whether a tensor holds its own values in another order, and in which, in words.

Values are compared as numbers: 0.0 and -0.0 are the same one, NaN equals itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from porter.verification.cases import Array

# Permutations that move more rows than this are counted; so many are spelled out.
_TOLD = 3
# Parts that recurrent layers (GRU 3, LSTM 4) and attentions (3) keep in one tensor.
_PARTS = (3, 4)


def rearranged(old: Array, new: Array) -> str | None:
    """How `new` is `old`, of the same shape, in another order: a predicate ("has its axes 0 and 1 exchanged").

    None where it holds other values than `old`, or `old` holds one value only.
    """
    import numpy as np

    if old.size < 2 or not same(np.sort(old, axis=None), np.sort(new, axis=None)):
        return None
    for predicate, moved in _whole_moves(old):
        if same(moved, new) and not same(moved, old):
            return predicate
    parts = _parts_moved(old, new)
    if parts:
        return parts
    for axis in range(old.ndim):
        found = permuted(np.moveaxis(old, axis, 0), np.moveaxis(new, axis, 0))
        if found:
            return f"is permuted along axis {axis}: {found}" if old.ndim > 1 else f"is permuted: {found}"
    return "holds its own values in another order"


def _parts_moved(old: Array, new: Array) -> str | None:
    """Whether the rows come in equal parts that stand in another order, as gates do in another library's layout."""
    import numpy as np

    for count in _PARTS:
        size = len(old) // count
        if size < 2 or len(old) % count:
            continue
        theirs, ours = np.split(old, count), np.split(new, count)
        for order in permutations(range(count)):
            if all(same(theirs[i], part) for i, part in zip(order, ours, strict=True)):
                told = f"{count} parts of {size} rows (gates, or queries, keys and values)"
                return f"has its {told} in the order {_listed(order)}"
    return None


def permuted(old: Array, new: Array, what: str = "channel") -> str | None:
    """How the rows (first axis) of `new` are those of `old` in another order; None where they are not."""
    count = len(old)
    if not count or same(old, new):
        return None
    rows = [[(row + 0.0).tobytes() for row in values] for values in (old, new)]
    old_order, new_order = (sorted(range(count), key=side.__getitem__) for side in rows)
    if [rows[0][i] for i in old_order] != [rows[1][i] for i in new_order]:
        return None
    taken_from = dict(zip(new_order, old_order, strict=True))
    # Equal rows can stand for each other: those that did not move are taken to have stayed.
    moved = [i for i in range(count) if rows[0][i] != rows[1][i]]
    starts = (k for k in range(1, count) if rows[1][k] == rows[0][0])
    shift = next((k for k in starts if rows[0][-k:] + rows[0][:-k] == rows[1]), None)
    if len(moved) == 2:
        return f"{what}s {moved[0]} and {moved[1]} are exchanged"
    if shift:
        return f"shifted by {shift if 2 * shift <= count else shift - count}"
    if rows[0][::-1] == rows[1]:
        return "in reverse order"
    told = ", ".join(f"{what} {i} holds that of {taken_from[i]}" for i in moved[:_TOLD])
    return f"in {len(moved)} of {count} places ({told}{', ...' * (len(moved) > _TOLD)})"


def same(a: Array, b: Array) -> bool:
    """Whether shapes and numbers are equal."""
    import numpy as np

    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f")


def _whole_moves(old: Array) -> Iterator[tuple[str, Array]]:
    """What a wrong layout makes of a weight: axes exchanged, kernels mirrored, both."""
    import numpy as np

    for order in sorted(permutations(range(old.ndim)), key=lambda order: len(_moved(order))):
        yield f"has {_axes_moved(order)}", old.transpose(order).reshape(old.shape)
    kernel = tuple(range(2, old.ndim))
    for number in range(1, len(kernel) + 1):
        for axes in combinations(kernel, number):
            yield f"is mirrored along {_axes(axes)}", np.flip(old, axes)
    if kernel:
        mirrored = np.flip(old, kernel).swapaxes(0, 1).reshape(old.shape)
        yield f"has its axes 0 and 1 exchanged and is mirrored along {_axes(kernel)}", mirrored


def _moved(order: Sequence[int]) -> list[int]:
    return [axis for axis, source in enumerate(order) if axis != source]


def _axes_moved(order: Sequence[int]) -> str:
    moved = _moved(order)
    if len(moved) == 2:
        return f"its axes {moved[0]} and {moved[1]} exchanged"
    return f"its axes in the order {_listed(order)}"


def _axes(axes: Sequence[int]) -> str:
    return f"{'axis' if len(axes) == 1 else 'axes'} {_listed(axes)}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
