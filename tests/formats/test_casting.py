"""Casting against PyTorch's own, on any bit patterns, across the borders of blocks and chunks."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from porter.formats import casting
from porter.formats.dtypes import BFLOAT16, BY_NAME, FLOAT64
from porter.formats.model import TensorSpec

NAMES = ("float16", "bfloat16", "float32", "float64")
PAIRS = [(source, target) for source, target in product(NAMES, NAMES) if source != target]


def any_numbers(dtype: str, count: int) -> torch.Tensor:
    """Every kind of bit pattern, both infinities and NaN first."""
    itemsize = BY_NAME[dtype].itemsize
    raw = np.random.default_rng(0).integers(0, 256, count * itemsize, np.uint8)
    numbers = torch.from_numpy(raw).view(getattr(torch, dtype))
    numbers[:3] = torch.tensor([np.inf, -np.inf, np.nan])
    return numbers


def as_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_any_number_is_cast_as_pytorch_casts_it(source: str, target: str) -> None:
    count = 2 * casting._BLOCK + casting._BLOCK // 4 + 5
    numbers = any_numbers(source, count)
    raw = as_bytes(numbers)
    border = (casting._BLOCK + casting._BLOCK // 4 + 2) * BY_NAME[source].itemsize
    infinite: dict[str, int] = {}
    spec = TensorSpec("x", BY_NAME[target], (count,))
    parts = casting.cast_chunks([raw[:border], b"", raw[border:]], BY_NAME[source], spec, infinite)
    done = b"".join(bytes(part) for part in parts)  # the next part takes the place of the one before
    # float64 to bfloat16 goes through float32 in both; NaN stays NaN, its payload is nobody's.
    expected = (numbers.float() if target == "bfloat16" else numbers).to(getattr(torch, target))
    found = torch.frombuffer(bytearray(done), dtype=getattr(torch, target))
    assert len(done) == spec.nbytes
    assert torch.equal(found.isnan(), expected.isnan())
    # PyTorch rounds float64 to float16 twice, by way of float32, so that a few of its results are not the nearest.
    differs = (found != expected) & ~found.isnan()
    distance = (found.double() - numbers).abs() - (expected.double() - numbers).abs()
    assert (distance[differs] < 0).all()
    assert int(differs.sum()) == (1 if (source, target) == ("float64", "float16") else 0)
    overflowed = int((expected.isinf() & numbers.isfinite()).sum())
    assert infinite == ({"x": overflowed} if overflowed else {})


def test_one_overflow_in_the_last_block_is_counted() -> None:
    numbers = np.ones(casting._BLOCK + 1)
    numbers[-1] = -1e300
    infinite: dict[str, int] = {}
    list(casting.cast_chunks([numbers.tobytes()], FLOAT64, TensorSpec("x", BFLOAT16, numbers.shape), infinite))
    assert infinite == {"x": 1}
