"""How a tensor differs from what it should hold, in words: the simplest change that explains every value.

A change is only named where it gives every value found, up to the rounding of the dtype that stores it. For a factor
or an offset that is decided by intervals: each pair of values allows a range of factors, and one factor must lie in
all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile
from math import isfinite
from typing import TYPE_CHECKING, Any

from porter.formats.dtypes import BY_NAME
from porter.verification.bounds import stored
from porter.verification.rearranged import rearranged, same

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from porter.verification.cases import Array

Interval = tuple[float, float]

# Bits of the mantissa as stored, and half the spacing of subnormal numbers.
_MANTISSA = {"float16": (10, 2.0**-25), "bfloat16": (7, 2.0**-134), "float32": (23, 2.0**-150), "float64": (52, 0.0)}
# Up to this many wrong values are listed, where most are right.
FEW = 3
# A number that explains this many values is no coincidence; an eps, which short dtypes hardly show, is one of more.
_TELLING, _TELLING_IN_SHORT = 3, 8
_GREATEST_EPS = 0.1
UNEXPLAINED = "; no rule explains it: the values are another checkpoint's, or damaged"
# Roundings that a formula of a few operations may cost.
_COMPUTED = 8


def describe(name: str, right: Array, found: Array, dtype: str) -> str:
    """What is wrong with one tensor, which differs from `right`.

    Args:
        name: what the text shall call it.
        right, found: of one shape; bfloat16 as float32 or float64, whole numbers as int64 or uint64.
        dtype: as both are stored.
    """
    return explained(name, right, found, dtype) or unexplained(name, right, found)


def explained(name: str, right: Array, found: Array, dtype: str) -> str | None:
    """As `describe`, where a few elements or a simple change are all; else None."""
    import numpy as np

    wrong = _wrong(right, found)
    if len(wrong) == 0:
        wrong = np.flatnonzero((np.signbit(right) != np.signbit(found)).ravel())
    if len(wrong) == 0:
        return f"{name} differs in the bits of NaN only"
    if len(wrong) == 1 or (len(wrong) <= FEW and 2 * len(wrong) < right.size):
        return ", ".join(_element(name, right, found, int(place), dtype) for place in wrong)
    with np.errstate(all="ignore"):
        changes = list(_changes(right, found, dtype))
    return f"{name} {', or '.join(changes)}" if changes else None


def unexplained(name: str, right: Array, found: Array) -> str:
    """How much of a tensor is wrong, and where it is most."""
    import numpy as np

    wrong = len(_wrong(right, found))
    with np.errstate(all="ignore"):
        distance = np.nan_to_num(np.abs(np.subtract(found, right, dtype=np.float64)), nan=np.inf)
    worst = np.unravel_index(int(distance.argmax()), right.shape)
    where = f"channel {worst[0]}" if right.ndim == 1 else f"[{', '.join(str(int(i)) for i in worst)}]"
    count = f"{wrong} of {right.size} {'channels' if right.ndim == 1 else 'values'}"
    text = f"{name} differs in {count}, most in {where}: {instead(found[worst], right[worst])}"
    everywhere = wrong > 0.9 * right.size
    return text + UNEXPLAINED if everywhere else text


def _wrong(right: Array, found: Array) -> NDArray[np.intp]:
    """The flat places of the elements that differ."""
    import numpy as np

    return np.flatnonzero(~equal_elements(right, found).ravel())


def equal_elements(a: Array, b: Array) -> NDArray[np.bool_]:
    """Where both hold the same number, or both NaN."""
    import numpy as np

    return np.asarray((a == b) | ((a != a) & (b != b)))


def factor(right: Array, found: Array, dtype: str) -> Interval | None:
    """The least and the largest number that multiplies `right` to `found`; None where none does."""
    import numpy as np

    usable = np.isfinite(right) & np.isfinite(found) & (right != 0)
    if not usable.any() or not same(right[~usable], found[~usable]):
        return None
    error = _rounding(found[usable], dtype)
    ends = (found[usable] - error) / right[usable], (found[usable] + error) / right[usable]
    return _interval(np.minimum(*ends), np.maximum(*ends), without=1.0)


def offset(right: Array, found: Array, dtype: str) -> Interval | None:
    """The least and the largest number that `found` is above `right` by; None where there is none."""
    import numpy as np

    usable = np.isfinite(right) & np.isfinite(found)
    if not usable.any() or not same(right[~usable], found[~usable]):
        return None
    error = _rounding(found[usable], dtype)
    difference = np.subtract(found[usable], right[usable], dtype=np.float64)
    return _interval(difference - error, difference + error, without=0.0)


def includes(interval: Interval, value: float, dtype: str) -> bool:
    """Whether `value` lies in `interval`, as it is or rounded to `dtype`: either may have been computed with."""
    import numpy as np

    low, high = interval
    return low <= value <= high or low <= stored(np.array([value]), dtype)[0] <= high


def number_within(interval: Interval, dtype: str) -> str:
    """The shortest decimal number of an interval, in the sense of `includes`."""
    middle = sum(interval) / 2
    texts = (f"{middle:.{digits}g}" for digits in range(1, 18))
    return next((text for text in texts if includes(interval, float(text), dtype)), repr(middle))


def instead(found: Any, right: Any) -> str:
    """Both numbers with as many digits as tell them apart."""
    if getattr(right, "dtype", None) and right.dtype.kind in "iu":
        return f"{found} where {right} was expected"
    digits = next((d for d in (6, 9, 17) if f"{found:.{d}g}" != f"{right:.{d}g}"), 17)
    return f"{found:.{digits}g} where {right:.{digits}g} was expected"


def _changes(right: Array, found: Array, dtype: str) -> Iterator[str]:
    """Predicates that explain every value: the first exact one alone, or a factor and an offset that both do."""
    exact = next(_exact_changes(right, found, dtype), None)
    if exact:
        yield exact
        return
    multiplied, moved = factor(right, found, dtype), offset(right, found, dtype)
    if multiplied:
        yield f"is multiplied by {number_within(multiplied, dtype)}"
    if moved:
        yield f"is offset by {number_within(moved, dtype)}"
    if not (multiplied or moved):
        yield from _by_channel(right, found, dtype)


def _by_channel(right: Array, found: Array, dtype: str) -> Iterator[str]:
    """A factor for each place along axis 0 or 1: what folding a normalisation into a convolution leaves."""
    import numpy as np

    for axis in range(min(right.ndim, 2)):
        if right.size < _TELLING * right.shape[axis]:
            continue
        pairs = zip(np.moveaxis(right, axis, 0), np.moveaxis(found, axis, 0), strict=True)
        intervals = ((1.0, 1.0) if same(*pair) else factor(*pair, dtype) for pair in pairs)
        ends = (each for each in takewhile(bool, intervals) if each)
        factors = [0.0 if low <= 0 <= high else (low + high) / 2 for low, high in ends]
        changed = [place for place, each in enumerate(factors) if each != 1]
        if len(factors) < right.shape[axis]:
            continue
        if len(changed) <= FEW and 2 * len(changed) < len(factors):
            told = (f"channel {place} by {factors[place]:.3g}" for place in changed)
            yield f"is multiplied along axis {axis}: {', '.join(told)}"
        else:
            yield (
                f"has {len(changed)} of {len(factors)} channels along axis {axis} multiplied by factors of their own "
                f"({min(factors):.3g} to {max(factors):.3g}): is a normalisation folded into it?"
            )
        return


def _exact_changes(right: Array, found: Array, dtype: str) -> Iterator[str]:
    import numpy as np

    if constant(found):
        one = found.flat[0] + 0  # -0 is told as 0
        where = "in every channel" if right.ndim == 1 else "throughout"
        yield f"is {instead(one, right.flat[0]) if constant(right) else f'{one:.9g}'} {where}"
    if same(found, -right):
        yield "has the opposite sign"
    order = rearranged(right, found)
    if order:
        yield order
    if dtype in _MANTISSA:
        yield from (f"looks rounded to {short}" for short in _SHORTER if same(found, stored(right, short)))
        if dtype == "float32" and same(found, _cut_to_bfloat16(right)):
            yield "looks cut to bfloat16 (its last 16 bits left out, not rounded)"
        rounding = _COMPUTED * _rounding(found, dtype)
        for what, function in _functions(np).items():
            value = function(right)
            if np.isfinite(value).all() and bool((np.abs(found - value) <= rounding).all()):
                yield f"holds {what}"
        yield from _after_adding(right, found, dtype)


def _after_adding(right: Array, found: Array, dtype: str) -> Iterator[str]:
    """What a normalisation makes of its variance, and some libraries keep."""
    import numpy as np

    telling = _TELLING if dtype in ("float32", "float64") else _TELLING_IN_SHORT
    if right.ndim != 1 or right.size < telling or not (found > 0).all():
        return
    error = _COMPUTED * _rounding(found, dtype)
    for root, what, undone in (
        ("sqrt", "standard deviation", np.square),
        ("1 / sqrt", "inverse standard deviation", lambda values: 1 / np.square(values)),
    ):
        ends = undone(found - error) - right, undone(found + error) - right
        eps = _interval(np.minimum(*ends), np.maximum(*ends), without=0.0)
        if eps and 0 < sum(eps) / 2 <= _GREATEST_EPS:
            yield f"holds {root}(variance + {number_within(eps, dtype)}), the {what} with eps in it"


def _cut_to_bfloat16(values: Array) -> Array:
    import numpy as np

    return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(values.dtype)


_SHORTER = ("bfloat16", "float16")


def _functions(np: Any) -> dict[str, Callable[[Array], Array]]:
    """What a variance is often taken for."""
    return {
        "its square root (the standard deviation in place of the variance)": np.sqrt,
        "its square (the variance in place of the standard deviation)": np.square,
        "its inverse": lambda values: 1 / values,
        "the inverse of its square root": lambda values: 1 / np.sqrt(values),
    }


def _rounding(values: Array, dtype: str) -> Array:
    """Half the spacing of the dtype's numbers at `values`, with a little room for the arithmetic in float64."""
    import numpy as np

    bits, least = _MANTISSA.get(dtype, (52, 0.0))
    half = np.ldexp(1.0, np.frexp(values)[1] - bits - 2)
    room = 4 if bits == _MANTISSA["float64"][0] else 1 + 1e-6
    return np.asarray(room * np.maximum(half, least))


def _interval(low: Array, high: Array, *, without: float) -> Interval | None:
    """What lies in all intervals; None where nothing does, or where `without` does, for then nothing has changed."""
    least, most = float(low.max()), float(high.min())
    return (least, most) if least <= most and not least <= without <= most and isfinite(least + most) else None


def _element(name: str, right: Array, found: Array, place: int, dtype: str) -> str:
    import numpy as np

    index = ", ".join(str(int(i)) for i in np.unravel_index(place, right.shape))
    where = f"{name}[{index}]" if index else name
    text = f"{where} is {instead(found.flat[place], right.flat[place])}"
    bit = _flipped_bit(right.flat[place], found.flat[place], dtype)
    return text if bit is None else f"{text}: one bit is flipped ({_significance(bit, dtype)})"


def _flipped_bit(right: Any, found: Any, dtype: str) -> int | None:
    """The one bit, counted from the least significant, in which both differ as stored; None where more do."""
    different = _as_stored(right, dtype) ^ _as_stored(found, dtype)
    if found != found:  # a conversion makes every NaN a quiet one, by the highest bit of its mantissa
        different &= ~(1 << (_MANTISSA[dtype][0] - 1))
    return different.bit_length() - 1 if different and different & (different - 1) == 0 else None


def _as_stored(number: Any, dtype: str) -> int:
    """The bits of a number, as an unsigned integer."""
    import numpy as np

    if dtype not in _MANTISSA:
        return int(int(number) & ((1 << 8 * BY_NAME[dtype].itemsize) - 1))
    kept = np.array(number, "float32" if dtype == "bfloat16" else dtype)
    return int(kept.view(f"u{kept.itemsize}")) >> (16 if dtype == "bfloat16" else 0)


def _significance(bit: int, dtype: str) -> str:
    if dtype not in _MANTISSA:
        return f"bit {bit}"
    highest = 8 * BY_NAME[dtype].itemsize - 1
    part = "the sign" if bit == highest else "exponent" if bit >= _MANTISSA[dtype][0] else "mantissa"
    return f"bit {bit}, {part}"


def constant(values: Array) -> bool:
    """Whether all values are one; false for none."""
    return bool(values.size and (values == values.flat[0]).all())
