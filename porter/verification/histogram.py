"""How the shares of the bound that errors use up are spread: a few counts per check, small enough for any report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from porter.verification.cases import Array

# log10 of the edges between the bins, two to a decade; 0, the bound itself, is one of them.
EDGES = tuple(number / 2 for number in range(-10, 5))
BINS = len(EDGES) + 1
_EDGES = tuple(10.0**edge for edge in EDGES)


def histogram(shares: Iterable[Array]) -> tuple[int, ...]:
    """Counts of elements by log10(error / bound).

    Args:
        shares: arrays of error / bound, not negative, any shape; inf counts as beyond every edge.

    Returns:
        BINS counts: at most 10**EDGES[0] (exact results among them), then up to and with each next edge, then above
        the last. Elements within their bound stand below the bin that begins at 0.
    """
    import numpy as np

    # One comparison per edge goes through an array faster than a search among the edges per element.
    above = np.zeros(BINS + 1, np.int64)
    for share in shares:
        above += (share.size, *(np.count_nonzero(share > edge) for edge in _EDGES), 0)
    return tuple((above[:-1] - above[1:]).tolist())
