"""error / bound: the figure that every report of a check is about."""

from __future__ import annotations

from math import inf, isfinite

from porter.verification.results import Check, LayerResult


def share_of(check: Check) -> float:
    """error / bound; inf where the check failed without both figures, or exceeds a bound of 0."""
    error, bound = check.error, check.bound
    if error is None or bound is None or not (isfinite(error) and isfinite(bound)):
        return inf if check.ok is False else 0.0
    if bound == 0:
        return inf if error else 0.0
    return error / bound


def worst(*layers: LayerResult) -> Check | None:
    """The check of theirs that comes closest to its bound, or exceeds it most; None where none was run.

    What a wrong parameter does tells more than that it is not equal, which allows no error at all.
    """
    ran = [check for layer in layers for check in layer.checks if check.ok is not None]
    return max(ran, key=lambda check: (check.ok is False, bool(check.bound), share_of(check)), default=None)
