"""The measure of how far arrays lie apart, at its edges."""

import numpy as np
import pytest

from porter.verification.deviation import deviation, magnitude

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        ([1.0, 2.5], [1.0, 2.0], 0.5),
        ([], [], 0.0),
        ([[1.0]], [1.0], INF),
        ([NAN, 1.0], [NAN, 1.0], 0.0),
        ([INF], [INF], 0.0),
        ([INF], [-INF], INF),
        ([NAN], [1.0], INF),
        ([1.0], [NAN], INF),
        ([INF], [1.0], INF),
    ],
)
def test_deviation(found, truth, expected):
    assert deviation(np.array(found, np.float32), np.array(truth)) == expected


def test_whole_numbers_do_not_wrap_around():
    assert deviation(np.array([0], np.uint8), np.array([255], np.uint8)) == 255


@pytest.mark.parametrize(
    ("values", "expected"), [([-3.0, 2.0], 3.0), ([NAN, INF, 1.0], 1.0), ([], 0.0), ([NAN], 0.0)]
)
def test_magnitude(values, expected):
    assert magnitude(np.array(values)) == expected
