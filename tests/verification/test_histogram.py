"""The histogram of error / bound: every element counted once, and the bound itself an edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from porter.verification.histogram import BINS, EDGES, histogram

BOUND = EDGES.index(0)


@settings(deadline=None)
@given(arrays(np.float64, array_shapes(), elements=st.floats(0, allow_nan=False)))
def test_elements_within_their_bound_stand_below_the_bound(shares: np.ndarray) -> None:
    counts = histogram([shares, shares])
    assert len(counts) == BINS
    assert sum(counts[: BOUND + 1]) == 2 * (shares <= 1).sum()
    assert sum(counts[BOUND + 1 :]) == 2 * (shares > 1).sum()


@pytest.mark.parametrize(
    ("share", "bin_"),
    [
        (0.0, 0),
        (9e-6, 0),
        (2e-5, 1),
        (1.0, BOUND),
        (np.nextafter(1, 2), BOUND + 1),
        (1e2, BINS - 2),
        (np.inf, BINS - 1),
    ],
)
def test_the_bin_of(share: float, bin_: int) -> None:
    assert histogram([np.array([share])]).index(1) == bin_
