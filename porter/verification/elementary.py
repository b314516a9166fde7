"""Elementary functions of numbers that know how far float32 may lie from them (`porter.verification.arithmetic`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from porter.verification.arithmetic import ELEMENTARY, Number
from porter.verification.roundings import gamma

if TYPE_CHECKING:
    from porter.verification.cases import Array

# MindSpore's CPU kernels approximate these functions by polynomials and fractions that are off by more than the few
# roundings counted for every elementary function; largest errors measured against float64 at 200,001 points from -12
# to 12, mindspore 2.10: exp 6.1e-6 and sigmoid 3.1e-6 of the result, tanh 1.01e-4 near 5, whence it is 1, falling
# with about the ninth power of x below.
_EXP_OFF, _SIGMOID_OFF = 8e-6, 4e-6
_TANH_OFF, _TANH_END, _TANH_ORDER = 1.2e-4, 5.0, 8.5


def reciprocal_root(x: Number, least: Array | float = 0.0) -> Number:
    """1 / sqrt(x), NaN below 0; x is at least `least`, however large its error is."""
    import numpy as np

    # The variance it is taken of may be as small as its error: the slope there is bounded by the function's ends.
    value = 1 / np.sqrt(x.value)
    low, high = 1 / np.sqrt(np.maximum(x.value - x.error, least)), 1 / np.sqrt(x.value + x.error)
    off = np.maximum(low - value, value - high)
    error = off + gamma(ELEMENTARY) * abs(value)

    def back(g: Number) -> Number:
        return g * (result * result * result) * -0.5

    result = Number(value, error, ((x, back),))
    return result


def reciprocal(x: Number) -> Number:
    """1 / x."""
    import numpy as np

    nearest = np.maximum(abs(x.value) - x.error, 0)
    return x.function(lambda v: 1 / v, lambda n: -(reciprocal(n) * reciprocal(n)), 1 / (abs(x.value) * nearest))


def exponential(x: Number) -> Number:
    """e to the power of x."""
    import numpy as np

    return x.function(np.exp, exponential, np.exp(x.value + x.error), _EXP_OFF * np.exp(x.value))


def sigmoid(x: Number) -> Number:
    """1 / (1 + exp(-x))."""
    import numpy as np

    def slope(n: Number) -> Number:
        y = sigmoid(n)
        return y * (-y + 1.0)

    def value(v: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-v)))

    return x.function(value, slope, 0.25, _SIGMOID_OFF * value(x.value))


def tanh(x: Number) -> Number:
    """Hyperbolic tangent."""
    import numpy as np

    def slope(n: Number) -> Number:
        y = tanh(n)
        return -(y * y) + 1.0

    size = abs(x.value)
    off = np.where(size < _TANH_END, _TANH_OFF * (size / _TANH_END) ** _TANH_ORDER, 1 - np.tanh(size))
    return x.function(np.tanh, slope, 1.0, off)
