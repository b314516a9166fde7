"""The error that a number brings along stays with what is made of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.verification.arithmetic import Number, einsum, gradients, joined
from porter.verification.elementary import exponential, reciprocal, reciprocal_root, sigmoid, tanh

Operation = Callable[[Number, Number], Number]

# What each makes of a matrix of shape (2, 3), and of another; values lie between 1 and 2.
OPERATIONS: dict[str, Operation] = {
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
    "inner products": lambda a, b: einsum("ij,kj->ik", a, b),
    "total": lambda a, b: (a * b).total((1,)),
    "rows picked": lambda a, b: a.at(lambda i: i[[1, 0, 1]]) + b.at(lambda i: i[[0, 0, 1]]),
    "rows added up": lambda a, b: (
        a.put(np.array([[0, 1, 0], [1, 0, 1]]), (2,)) + b.put(np.arange(6), (6,)).total((0,))
    ),
    "joined": lambda a, b: joined([a, b], 0),
    "blurred": lambda a, b: (a * b).blurred(np.full((2, 3), 1e-3)),
    "functions": lambda a, b: exponential(a) + sigmoid(b) + tanh(a) + reciprocal(b) + reciprocal_root(a),
}


@pytest.mark.parametrize("name", OPERATIONS)
@given(
    seed=st.integers(0, 10_000), errors=st.tuples(st.sampled_from([None, 0.0, 0.05]), st.sampled_from([None, 0.05]))
)
@settings(deadline=None, max_examples=30)
def test_what_was_made_of_inexact_numbers_is_as_inexact(name, seed, errors) -> None:
    """Operands moved by their errors move the result, and its gradients, by the errors it says, at most."""
    random = np.random.default_rng(seed)
    values = [random.uniform(1.1, 1.9, (2, 3)) for _ in errors]
    stated = [None if error is None else np.full((2, 3), error) for error in errors]
    moved = [v + (error or 0.0) * random.choice([-1, 1], (2, 3)) for v, error in zip(values, errors, strict=True)]
    upstream = random.standard_normal(_run(name, values, [None, None])[0].value.shape)
    said = _differentiated(name, values, stated, upstream)
    for mine, its in zip(said, _differentiated(name, moved, [None, None], upstream), strict=True):
        assert (abs(mine.value - its.value) <= mine.error + 1e-12).all()
    assert all(number.exact for number in _run(name, values, [None, None])[1])


def test_an_error_that_is_not_a_number_bounds_nothing() -> None:
    assert Number(np.ones(2), np.array([np.nan, 1.0])).error.tolist() == [np.inf, 1.0]


def _run(name: str, values: list[np.ndarray], errors: list[np.ndarray | None]) -> tuple[Number, list[Number]]:
    operands = [Number(v, error) for v, error in zip(values, errors, strict=True)]
    return OPERATIONS[name](*operands), operands


def _differentiated(name, values, errors, upstream) -> list[Number]:
    output, operands = _run(name, values, errors)
    return [output, *gradients(output, upstream, operands)]
