from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from porter.layers.settings import Settings, decimal_text, invert_momentum


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


def test_settings_survive_their_json() -> None:
    settings = Settings(1e-3, None, False, "frozen", {"eps": "network"})
    document = settings.to_json()
    assert Settings(**document) == settings  # type: ignore[arg-type]
    assert Settings(**document).known_from == {"eps": "network"}  # type: ignore[arg-type]
