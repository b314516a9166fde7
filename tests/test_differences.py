"""The strict comparison with a network's own parameters: names, shapes, dtypes, both ways."""

from __future__ import annotations

import pytest

from porter.differences import compare
from porter.formats.dtypes import FLOAT16, FLOAT32
from porter.formats.model import TensorSpec

NETWORK = [
    TensorSpec("stem.weight", FLOAT32, (4, 3)),
    TensorSpec("stem.bias", FLOAT32, (4,)),
    TensorSpec("head.weight", FLOAT32, (4, 3)),
]


def test_nothing_differs() -> None:
    assert compare(NETWORK[::-1], NETWORK) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "stern.weight"}, [("stem.weight", "missing"), ("stern.weight", "left over")]),
        ({"shape": (4, 3, 1)}, [("stem.weight", "shape")]),
        ({"dtype": FLOAT16}, [("stem.weight", "dtype")]),
    ],
)
def test_every_kind_of_difference(changes: dict[str, object], expected: list[tuple[str, str]]) -> None:
    output = [NETWORK[0]._replace(**changes), *NETWORK[1:]]  # type: ignore[arg-type]
    assert [(d.name, d.problem) for d in compare(output, NETWORK)] == expected


def test_the_closest_candidates_are_those_of_equal_shape_and_like_names() -> None:
    output = [
        TensorSpec("body.stem.weight", FLOAT32, (4, 3)),
        TensorSpec("stem.weights", FLOAT32, (4, 4)),  # the likest name, but another shape
        TensorSpec("x", FLOAT32, (4, 3)),
        *NETWORK[1:],
    ]
    missing = compare(output, NETWORK)[0]
    assert [candidate.name for candidate in missing.candidates] == ["body.stem.weight", "x"]
    assert missing.candidates[0].similarity == 0.81  # 2 * 11 / (16 + 11)
    assert "closest: body.stem.weight (81% alike, same shape)" in str(missing)
    assert compare(output[1:2], NETWORK[:1])[0].candidates[0].same_shape is False
