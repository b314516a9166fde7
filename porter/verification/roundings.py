"""How far successive roundings to float32 can lead from the truth, as a share of it."""

from __future__ import annotations

from math import expm1, sqrt

# Unit roundoff u of float32.
UNIT_ROUNDOFF = 2.0**-24
# lambda of `gamma_of_inner_product`.
_LAMBDA = 10.0


def gamma(n: int) -> float:
    """Higham's gamma_n: the relative error n successive roundings can add up to."""
    return n * UNIT_ROUNDOFF / (1 - n * UNIT_ROUNDOFF)


def gamma_of_inner_product(n: int) -> float:
    """gamma_n, or what n roundings of random inputs add up to at most; the smaller of the two.

    N. J. Higham, T. Mary, A New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 41 (2019),
    theorem 3.1: where roundings are independent and have mean 0, an inner product of n terms, in whatever order it is
    summed, is off by more than exp(lambda sqrt(n) u + n u^2 / (1 - u)) - 1, times the sum of absolute values, with a
    probability of at most 2 n exp(-lambda^2 (1 - u)^2 / 2): for `_LAMBDA` and 10^5 terms 4e-17 of each element.
    Layers are run on random inputs, which no sum of constants is: those keep gamma_n (`Number.total`).
    """
    probable = expm1(_LAMBDA * sqrt(n) * UNIT_ROUNDOFF + n * UNIT_ROUNDOFF**2 / (1 - UNIT_ROUNDOFF))
    return min(gamma(n), probable)
