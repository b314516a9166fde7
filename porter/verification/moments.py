"""Mean and variance as numbers that know their rounding error."""

from __future__ import annotations

from math import prod

from porter.verification.arithmetic import Number
from porter.verification.roundings import gamma


def moments_over(x: Number, axes: tuple[int, ...], *, one_pass: bool) -> tuple[Number, Number]:
    """x less its mean, and its biased variance, over `axes`, which stay with length 1.

    Args:
        one_pass: for frameworks that compute the variance as mean(x^2) - mean(x)^2, or merge it from parts: that is
            off by gamma_n mean(x^2) (Chan, Golub & LeVeque 1983, table 1).
    """
    import numpy as np

    n = prod(x.value.shape[axis] for axis in axes)
    distance = x - x.total(axes) * (1 / n)
    variance = (distance * distance).total(axes) * (1 / n)
    if one_pass:
        variance = variance.blurred(gamma(n + 2) * np.square(x.value).mean(axes, keepdims=True))
    return distance, variance
