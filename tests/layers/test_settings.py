from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from porter.layers.settings import (
    Settings,
    decimal_text,
    differing,
    invert_momentum,
    meant_momentum,
    same_momentum,
    same_number,
)


@pytest.mark.parametrize(
    ("torch", "mindspore"),
    [(0.1, 0.9), (0.997, 0.003), (0.003, 0.997), (0.01, 0.99), (0.0, 1.0), (1.0, 0.0), (0.3, 0.7)],
)
def test_momentum_is_inverted_as_decimal_text(torch: float, mindspore: float) -> None:
    assert invert_momentum(torch) == mindspore
    assert invert_momentum(mindspore) == torch


@pytest.mark.parametrize(
    ("residue", "meant"),
    [
        (1 - 0.99, "0.01"),
        (1 - (1 - 0.1), "0.1"),
        (float(np.float32(0.9)), "0.9"),
        (float(np.float32(0.997)), "0.997"),
        (0.123456789012, "0.123456789012"),
    ],
)
def test_residues_of_arithmetic_and_float32_are_what_was_meant(residue: float, meant: str) -> None:
    assert decimal_text(residue) == meant


@given(st.integers(0, 10**6).map(lambda n: n / 10**6))
def test_inverting_twice_restores_every_decimal_momentum(momentum: float) -> None:
    there = invert_momentum(momentum)
    assert 0 <= there <= 1
    assert invert_momentum(there) == momentum


@given(st.integers(0, 10**5).map(lambda n: n / 10**5))
def test_mindspores_own_arithmetic_is_undone(momentum: float) -> None:
    """A cell keeps `1.0 - momentum`, with the rounding of that subtraction."""
    assert float(decimal_text(1.0 - invert_momentum(momentum))) == momentum


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_a_layer_keeps_is_what_it_was_given(dtype: type) -> None:
    """MindSpore keeps 1 - what it is given, PyTorch keeps that; by hand or out of a float32 config."""
    for thousandths in range(1, 1000):
        momentum = thousandths / 1000
        assert meant_momentum(1.0 - float(dtype(momentum))) == invert_momentum(momentum)
        assert meant_momentum(float(dtype(momentum))) == momentum
    assert meant_momentum(1 / 7) == 1 / 7


def test_settings_survive_their_json() -> None:
    settings = Settings(1e-3, None, False, "frozen", {"eps": "network"})
    document = settings.to_json()
    assert Settings(**document) == settings  # type: ignore[arg-type]
    assert Settings(**document).known_from == {"eps": "network"}  # type: ignore[arg-type]


@given(st.integers(0, 10**6).map(lambda n: n / 10**6))
def test_what_subtraction_and_float32_leave_in_a_momentum_is_no_difference(momentum: float) -> None:
    for other in (1 - (1 - momentum), float(np.float32(momentum)), 1 - float(np.float32(1 - momentum))):
        assert same_momentum(momentum, other)
        assert same_momentum(other, momentum)


@given(st.integers(1, 10**4), st.integers(1, 10**4))
def test_a_fraction_is_the_same_in_both_terms(part: int, rest: int) -> None:
    """1/3 and 1 - 2/3 differ by half an ulp of 1; float32's 1/3 is no decimal of 9 digits."""
    momentum, other = part / (part + rest), rest / (part + rest)
    assert same_momentum(momentum, 1 - other)
    assert same_momentum(momentum, float(np.float32(momentum)))
    assert same_number(float(np.float32(momentum)), momentum)


@given(st.integers(1, 10**6 - 1), st.sampled_from([1e-6, 1e-7, 3e-8]))
def test_another_momentum_however_near_is_a_difference(millionths: int, off: float) -> None:
    assert not same_momentum(millionths / 10**6, millionths / 10**6 + off)


@pytest.mark.parametrize("other", [1.00001e-5, 1.1e-5, 1.0000001e-5, 1e-6, 0.0])
def test_no_tolerance_takes_another_eps_for_the_same(other: float) -> None:
    assert not same_number(1e-5, other)
    assert same_number(other, float(np.float32(other)))


SAID = {"affine": "network"}


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        (Settings(), Settings(eps=float(np.float32(1e-5)), momentum=1 - 0.9), ()),
        (Settings(momentum=None), Settings(), ("momentum",)),
        (Settings(eps=1.00001e-5), Settings(momentum=0.9), ("eps", "momentum")),
        (Settings(statistics="frozen"), Settings(momentum=0.9), ("statistics",)),
        (Settings(statistics="frozen"), Settings(momentum=0.9, statistics="frozen"), ()),
        (Settings(known_from=SAID), Settings(affine=False, known_from=SAID), ("affine",)),
        (Settings(), Settings(affine=False, known_from=SAID), ()),
        (Settings(known_from=SAID), Settings(affine=False), ()),
    ],
)
def test_settings_that_differ(one: Settings, other: Settings, names: tuple[str, ...]) -> None:
    assert differing(one, other) == names
    assert differing(other, one) == names
