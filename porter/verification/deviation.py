"""How far arrays lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from porter.verification.cases import Array


def deviation(found: Array, truth: Array) -> float:
    """Largest absolute difference; inf where the shapes, or which numbers are finite, differ."""
    import numpy as np

    if found.shape != truth.shape:
        return float("inf")
    if not truth.size:
        return 0.0
    with np.errstate(all="ignore"):
        difference = np.abs(found.astype(np.float64) - truth)
    same = (np.isnan(found) & np.isnan(truth)) | (found == truth)
    return float(np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference)).max())


def magnitude(array: Array) -> float:
    """The largest finite absolute value."""
    import numpy as np

    finite = array[np.isfinite(array)]
    return float(np.abs(finite).max()) if finite.size else 0.0
