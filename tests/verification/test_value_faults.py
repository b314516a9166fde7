"""Each change of a tensor is named, at every rank and dtype, and no change is named that was not made."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.verification.bounds import stored
from porter.verification.value_faults import describe

VALUES = np.random.default_rng(0).standard_normal((4, 3, 2, 3, 5))
RIGHT = stored(VALUES, "float32")


def said(found: np.ndarray, right: np.ndarray = RIGHT, dtype: str = "float32") -> str:
    return describe("w", right, stored(np.asarray(found), dtype), dtype)


FACTORS = np.array([0.5, 1.0, -2.0, 3.0])
CHANGES = {
    "outputs scaled": (
        RIGHT * FACTORS.reshape(4, 1, 1, 1, 1),
        "w has 3 of 4 channels along axis 0 multiplied by factors of their own (-2 to 3): is a normalisation folded "
        "into it?",
    ),
    "one output left out": (
        RIGHT * np.array([1, 0, 1, 1]).reshape(4, 1, 1, 1, 1),
        "w is multiplied along axis 0: channel 1 by 0",
    ),
    "inputs scaled": (
        RIGHT * FACTORS[:3].reshape(3, 1, 1, 1),
        "w has 2 of 3 channels along axis 1 multiplied by factors of their own (-2 to 1): is a normalisation folded "
        "into it?",
    ),
    "negated": (-RIGHT, "w has the opposite sign"),
    "scaled": (RIGHT * 1.000001, "w is multiplied by 1.000001"),
    "scaled down": (RIGHT * 0.25, "w is multiplied by 0.25"),
    "offset": (RIGHT + 1e-3, "w is offset by 0.001"),
    "inverse": (1 / RIGHT, "w holds its inverse"),
    "square": (np.square(RIGHT), "w holds its square (the variance in place of the standard deviation)"),
    "rounded": (stored(RIGHT, "float16"), "w looks rounded to float16"),
    "rounded more": (stored(RIGHT, "bfloat16"), "w looks rounded to bfloat16"),
    "cut off": (
        (RIGHT.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32),
        "w looks cut to bfloat16 (its last 16 bits left out, not rounded)",
    ),
    "zeros": (0 * RIGHT, "w is 0 throughout"),
    "transposed": (RIGHT.swapaxes(0, 1).reshape(RIGHT.shape), "w has its axes 0 and 1 exchanged"),
    "channels last": (
        np.moveaxis(RIGHT, 1, -1).reshape(RIGHT.shape),
        "w has its axes in the order 0, 2, 3, 4, 1",
    ),
    "mirrored": (RIGHT[..., ::-1], "w is mirrored along axis 4"),
    "as the transposed convolution has it": (
        RIGHT[:, :, ::-1, ::-1, ::-1].swapaxes(0, 1).reshape(RIGHT.shape),
        "w has its axes 0 and 1 exchanged and is mirrored along axes 2, 3, 4",
    ),
    "outputs shifted": (np.roll(RIGHT, 1, axis=0), "w is permuted along axis 0: shifted by 1"),
    "inputs exchanged": (RIGHT[:, [1, 0, 2]], "w is permuted along axis 1: channels 0 and 1 are exchanged"),
    "shuffled": (
        np.random.default_rng(1).permutation(RIGHT.ravel()).reshape(RIGHT.shape),
        "w holds its own values in another order",
    ),
}


VARIANCE = stored(np.random.default_rng(0).uniform(0.01, 4, 16), "float32")


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_variance_that_became_a_deviation_is_named_with_its_eps(eps: float, dtype: str) -> None:
    """In the arithmetic of the dtype, which rounds more than once."""
    computed = np.sqrt(VARIANCE.astype(dtype) + np.dtype(dtype).type(eps))
    text = f"(variance + {eps:g})"
    assert said(computed, VARIANCE, dtype) == f"w holds sqrt{text}, the standard deviation with eps in it"
    assert (
        said(1 / computed, VARIANCE, dtype)
        == f"w holds 1 / sqrt{text}, the inverse standard deviation with eps in it"
    )


@pytest.mark.parametrize(("found", "words"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_all_values_is_named(found: np.ndarray, words: str) -> None:
    assert said(found) == words


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), factor=st.floats(0.1, 10).filter(lambda f: abs(f - 1) > 0.05))
def test_a_factor_is_found_in_every_dtype(dtype: str, seed: int, factor: float) -> None:
    right = stored(np.random.default_rng(seed).uniform(0.5, 2, 40), dtype)
    found = re.search(r"is multiplied by (\S+)", said(right * factor, right, dtype))
    assert found, "the factor is not named"
    assert float(found[1]) == pytest.approx(factor, rel=2.0**-7 if dtype == "bfloat16" else 2.0**-10)


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 10**6), size=st.floats(1e-5, 1))
def test_noise_is_not_called_a_rule(seed: int, size: float) -> None:
    random = np.random.default_rng(seed)
    right = stored(random.standard_normal(40), "float32")
    words = said(right * (1 + size * random.standard_normal(40)), right)
    assert words.startswith("w differs in ")
    assert words.endswith("no rule explains it: the values are another checkpoint's, or damaged")


@pytest.mark.parametrize(("dtype", "width"), [("float16", 16), ("bfloat16", 16), ("float32", 32), ("float64", 64)])
def test_a_flipped_bit_of_every_significance_is_named(dtype: str, width: int) -> None:
    right = stored(np.array([0.75, -1.25, 3.5, 1e-3, 100.0]), dtype)
    kept = "float32" if dtype == "bfloat16" else dtype
    for bit in range(width):
        bits = right.astype(kept).view(f"u{np.dtype(kept).itemsize}").copy()
        bits[2] ^= bits.dtype.type(1 << (bit + 16 * (dtype == "bfloat16")))
        words = describe("w", right, bits.view(kept).astype(np.float64), dtype)
        assert re.match(rf"w\[2\] is \S+ where 3\.5\S* was expected: one bit is flipped \(bit {bit}, ", words), words


def test_a_zero_of_the_other_sign_is_told() -> None:
    words = describe("w", np.array([0.0, 1.0, 2.0]), np.array([-0.0, 1.0, 2.0]), "float32")
    assert words == "w[0] is -0 where 0 was expected: one bit is flipped (bit 31, the sign)"


def test_a_counter_is_told() -> None:
    words = describe("", np.array(4096), np.array(4097), "int64").strip()
    assert words == "is 4097 where 4096 was expected: one bit is flipped (bit 0)"


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_a_flipped_bit_of_a_whole_number_is_named(dtype: str) -> None:
    right = np.array([77, 5, 3], dtype)
    for bit in range(8 * right.itemsize):
        bits = right.view(f"u{right.itemsize}").copy()
        bits[0] ^= bits.dtype.type(1 << bit)
        found = bits.view(dtype)
        wide = "uint64" if dtype == "uint64" else "int64"
        words = describe("w", right.astype(wide), found.astype(wide), dtype)
        assert words == f"w[0] is {int(found[0])} where 77 was expected: one bit is flipped (bit {bit})"


def test_gates_in_another_order_are_told_by_their_places() -> None:
    weight = stored(np.random.default_rng(0).standard_normal((12, 5)), "float32")
    gates = np.split(weight, 4)
    words = said(np.concatenate([gates[i] for i in (0, 2, 1, 3)]), weight)
    assert words == "w has its 4 parts of 3 rows (gates, or queries, keys and values) in the order 0, 2, 1, 3"


def test_what_a_factor_and_an_offset_both_give_is_said_to_be_either() -> None:
    right = np.array([1.0, 1.0, 1.0, 1.0, 1.0 + 2**-23])
    words = said(right * 1.5, right)
    assert "is multiplied by" in words
    assert ", or is offset by" in words
