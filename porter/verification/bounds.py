"""How far float32 may lie from the float64 reference: a rounding-error bound for every element.

A bound, not a tolerance: it follows from the unit roundoff, the number of elements, the input and the parameters,
and holds for any correct float32 layer, in whatever order it sums and however it groups the formula. First-order
terms carry small integer constants that count roundings; they leave room for the second order.

Sources: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002): lemma 3.1 (gamma_n), section
4.2 (error of a sum in any order); T. F. Chan, G. H. Golub, R. J. LeVeque, Algorithms for Computing the Sample
Variance (1983): two-pass and updating algorithms. MindSpore's CPU kernel sums in float32, in two passes, PyTorch's in
float64; the one-pass "textbook" algorithm, which can lose every digit, is not covered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from porter.verification.arithmetic import UNDERFLOW, Number, gradients
from porter.verification.elementary import reciprocal_root
from porter.verification.moments import moments_over
from porter.verification.reference import Reference, along, moments
from porter.verification.roundings import UNIT_ROUNDOFF, gamma

if TYPE_CHECKING:
    from collections.abc import Mapping

    from porter.verification.cases import Array

# Unit roundoff u, and half the spacing of subnormal numbers, of what parameters can be stored in.
_PRECISION: Mapping[str, tuple[float, float]] = {
    "float16": (2.0**-11, 2.0**-25),
    "bfloat16": (2.0**-8, 2.0**-134),
    "float32": (UNIT_ROUNDOFF, 2.0**-150),
}

# Roundings in gamma / sqrt(variance + eps): eps and the sum (halved by the root), root, quotient and product are 4;
# a vectorised reciprocal root that is off by two units in the last place makes 8.
_SCALE_ROUNDINGS = 8
# Roundings that meet x, mean and beta in (x - mean) * alpha + beta, and in alpha * x + (beta - mean * alpha).
_MAP_ROUNDINGS = 4
# Roundings in one step of a running statistic, the float32 value of its weight included.
_MOVE_ROUNDINGS = 4


@dataclass(frozen=True)
class Within:
    """Float64 values and the absolute error a float32 result may have, same shape."""

    value: Array
    bound: Array


class Bounded:
    """The reference with its bounds (`porter.verification.trajectory.Layer`).

    Args:
        reference: the layer, whose state moves along.
        rounding: slot -> absolute error of the parameters the float32 layer was given, shape (C,).
    """

    def __init__(self, reference: Reference, rounding: Mapping[str, Array]) -> None:
        self._reference = reference
        self._rounding = rounding
        self._mean_error = rounding["mean"]
        # How far the running variance may lie below and above: never so far below as to lose its sign.
        self._variance_below = self._variance_above = rounding["variance"]

    def evaluate(self, x: Array) -> Within:
        bound = self._running_bound(x) if self._reference.uses_running else self._batch_bound(x)
        return Within(self._reference.evaluate(x), bound)

    def train(self, x: Array) -> Within:
        if not self._reference.moves:
            return self.evaluate(x)
        bound = self._batch_bound(x)
        self._move(x)
        return Within(self._reference.train(x), bound)

    def gradients(self, x: Array, upstream: Array, *, training: bool) -> tuple[Within, Within, Within]:
        import numpy as np

        reference, eps = self._reference, self._eps
        batch = (training and reference.moves) or not reference.uses_running
        given = Number(x)
        scale = Number(along(reference.gamma, x), along(self._rounding["gamma"], x))
        shift = Number(along(reference.beta, x), along(self._rounding["beta"], x))
        if batch:
            distance, variance = moments_over(given, (0, *range(2, x.ndim)), one_pass=False)
            least: Array | float = eps
        else:
            distance = given - Number(along(reference.mean, x), along(self._mean_error, x))
            error = np.maximum(self._variance_below, self._variance_above)
            variance = Number(along(reference.variance, x), along(error, x))
            least = along(reference.variance - self._variance_below + eps, x)
        output = distance * reciprocal_root(variance + eps, least) * scale + shift
        found = gradients(output, upstream, (given, scale, shift))
        values = reference.gradients(x, upstream, training=training)
        of_x, of_gamma, of_beta = (
            Within(value, number.error.reshape(value.shape)) for value, number in zip(values, found, strict=True)
        )
        return of_x, of_gamma, of_beta

    def statistics(self) -> tuple[Within, Within] | None:
        import numpy as np

        values = self._reference.statistics()
        if values is None:
            return None
        variance_error = np.maximum(self._variance_below, self._variance_above)
        return Within(values[0], self._mean_error), Within(values[1], variance_error)

    def _running_bound(self, x: Array) -> Array:
        mean, variance = self._reference.mean, self._reference.variance
        variances = (variance - self._variance_below, variance, variance + self._variance_above)
        return self._bound(x, mean, self._mean_error, variances)

    def _batch_bound(self, x: Array) -> Array:
        mean, mean_error, variances = _moments_within(x)
        return self._bound(x, mean, mean_error, variances)

    def _bound(self, x: Array, mean: Array, mean_error: Array, variances: tuple[Array, Array, Array]) -> Array:
        """Error of (x - mean) * alpha + beta, alpha = gamma / sqrt(variance + eps).

        The error of alpha multiplies x - mean in either grouping of the formula, for alpha is computed once.
        """
        import numpy as np

        low, exact, high = (1 / np.sqrt(np.maximum(v + self._eps, 0)) for v in variances)
        relative = np.nan_to_num(np.maximum(low / exact - 1, 1 - high / exact), nan=0.0, posinf=np.inf)
        relative = relative + gamma(_SCALE_ROUNDINGS) * self._cancellation(variances[1])
        alpha = np.abs(self._reference.gamma) * exact
        alpha_error = alpha * relative + self._rounding["gamma"] * exact * (1 + relative)
        constant = (alpha + alpha_error) * mean_error + self._rounding["beta"] + UNDERFLOW
        rounded = alpha * np.abs(mean) + np.abs(self._reference.beta)
        constant = constant + gamma(_MAP_ROUNDINGS) * rounded
        slope = gamma(_MAP_ROUNDINGS) * alpha
        distance = np.abs(x - along(mean, x))
        bound: Array = along(alpha_error, x) * distance + along(slope, x) * np.abs(x) + along(constant, x)
        return bound

    def _cancellation(self, variance: Array) -> Array:
        """What a sum of variance and eps loses when the variance is negative; 1 otherwise."""
        import numpy as np

        lost: Array = np.nan_to_num((np.abs(variance) + self._eps) / np.abs(variance + self._eps), nan=1.0)
        return lost

    def _move(self, x: Array) -> None:
        """The errors of the running statistics after one more step: the old ones decay, the batch's come in."""
        import numpy as np

        n, weight = x.size // x.shape[1], self._reference.weight
        mean, mean_error, (low, variance, high) = _moments_within(x)
        unbiased = n / (n - 1)

        def moved(old: Array, old_error: Array, new: Array, new_error: Array) -> Array:
            rounding = gamma(_MOVE_ROUNDINGS) * (np.abs(old) + abs(weight) * np.abs(new)) + UNDERFLOW
            return np.asarray(abs(1 - weight) * old_error + abs(weight) * new_error + rounding)

        old, new = self._reference.variance, variance * unbiased
        self._mean_error = moved(self._reference.mean, self._mean_error, mean, mean_error)
        self._variance_below = moved(old, self._variance_below, new, (variance - low) * unbiased)
        self._variance_above = moved(old, self._variance_above, new, (high - variance) * unbiased)

    @property
    def _eps(self) -> float:
        return self._reference.side.settings.eps


def storage_error(values: Array, dtype: str) -> Array:
    """Absolute error of storing `values` in `dtype`: 0 where a value is representable, else u * |value|."""
    import numpy as np

    if dtype not in _PRECISION:
        return np.zeros_like(values)
    u, subnormal = _PRECISION[dtype]
    return np.where(stored(values, dtype) == values, 0.0, u * np.abs(values) + subnormal)


def stored(values: Array, dtype: str) -> Array:
    """`values` rounded to the nearest number of `dtype` (ties to even), as float64."""
    import numpy as np

    with np.errstate(all="ignore"):
        if dtype in ("float16", "float32"):
            return values.astype(dtype).astype(np.float64)
        if dtype != "bfloat16":
            return values.astype(np.float64)
        # bfloat16 is float32's upper half: adding half of the lower half's unit rounds, the odd bit breaks ties.
        bits = values.astype(np.float32).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
        return np.where(np.isfinite(values), rounded.view(np.float32).astype(np.float64), values)


def parameter_errors(reference: Reference, dtype: str) -> dict[str, Array]:
    """Slot -> absolute error, shape (C,), of parameters stored as `dtype` and then computed with in float32."""
    slots = {"gamma": reference.gamma, "beta": reference.beta, "mean": reference.mean, "variance": reference.variance}
    return {slot: storage_error(v, dtype) + storage_error(v, "float32") for slot, v in slots.items()}


def _moments_within(x: Array) -> tuple[Array, Array, tuple[Array, Array, Array]]:
    """Batch mean and its error; the variance with the least and the largest value it may be computed as.

    A sum of n terms is off by at most gamma_(n-1) * sum |x| in any order (Higham 4.2). Two passes around a mean that
    is off by d give variance + d^2 within gamma_(n+3); updating algorithms are off by n u sqrt(variance * mean(x^2))
    (Chan, Golub & LeVeque, table 1). Neither can make a variance negative.
    """
    import numpy as np

    n = x.size // x.shape[1]
    mean, variance = moments(x)
    axes = (0, *range(2, x.ndim))
    mean_error = gamma(n + 1) * np.abs(x).mean(axes, dtype=np.float64)
    square = variance + np.square(mean)
    error = gamma(n + 4) * np.sqrt(variance * square)
    return (
        mean,
        mean_error,
        (np.maximum(variance - error, 0), variance, variance + error + gamma(n + 4) ** 2 * square),
    )
