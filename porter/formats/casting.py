"""Numbers in and out of bytes: casting between floating-point types, and tensors of one value."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from porter.formats.dtypes import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, INT64, DType
from porter.formats.model import TensorSpec
from porter.formats.transfer import Chunk, widen_bfloat16

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What is computed with at a time: little enough for the processor's cache.
_BLOCK_BYTES = 256 << 10
_BY_RANGE = (FLOAT16, BFLOAT16, FLOAT32, FLOAT64)
# The bits of infinity without its sign, shifted left by one.
_INFINITY_SHIFTED = {FLOAT16: 0xF800, BFLOAT16: 0xFF00, FLOAT32: 0xFF000000}
_STRUCT = {"float16": "<e", "float32": "<f", "float64": "<d"}


def filled(spec: TensorSpec, value: float) -> bytes:
    """The bytes of a tensor whose every element is `value`, which its dtype must hold exactly."""
    count = spec.nbytes // spec.dtype.itemsize
    if spec.dtype is INT64:
        return struct.pack("<q", int(value)) * count
    if spec.dtype is BFLOAT16:
        return struct.pack("<f", value)[2:] * count
    return struct.pack(_STRUCT[spec.dtype.name], value) * count


def cast_chunks(
    chunks: Iterable[Chunk], source: DType, target: TensorSpec, warnings: list[str]
) -> Iterator[memoryview]:
    """Cast a tensor's bytes, chunk by chunk, rounding to nearest, ties to even.

    Args:
        chunks: whole elements of dtype `source`, one of float16, bfloat16, float32, float64.
        source: their dtype.
        target: the tensor to write; its dtype is one of the same four.
        warnings: gets a sentence when finite numbers become infinite.
    """
    import numpy as np

    narrower, overflowed = _BY_RANGE.index(target.dtype) < _BY_RANGE.index(source), 0
    for chunk in chunks:
        for block in _blocks(memoryview(chunk)):
            numbers = _decode(block, source)
            with np.errstate(over="ignore", invalid="ignore"):
                data = _encode(numbers, target.dtype)
            if narrower:
                overflowed += _count_overflowed(numbers, data, target.dtype)
            yield data.view(np.uint8).data
    if overflowed:
        warnings.append(f"{target.name}: {overflowed} values are too large for {target.dtype} and became infinite")


def _blocks(chunk: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(chunk), _BLOCK_BYTES):
        yield chunk[start : start + _BLOCK_BYTES]


def _decode(chunk: Chunk, dtype: DType) -> NDArray[Any]:
    import numpy as np

    if dtype is BFLOAT16:
        return widen_bfloat16(np.frombuffer(chunk, "<u2"))
    return np.frombuffer(chunk, dtype.numpy)


def _encode(numbers: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """`numbers` rounded to `dtype`; bfloat16 as bit patterns."""
    return narrow_to_bfloat16(numbers) if dtype is BFLOAT16 else numbers.astype(dtype.numpy)


def _count_overflowed(numbers: NDArray[Any], rounded: NDArray[Any], dtype: DType) -> int:
    """How many finite `numbers` are infinite as `rounded`, which is of `dtype`."""
    import numpy as np

    # Shifted by one bit, both infinities look the same.
    infinite = rounded.view(f"<u{dtype.itemsize}") << 1 == _INFINITY_SHIFTED[dtype]
    return int(np.count_nonzero(infinite & np.isfinite(numbers))) if infinite.any() else 0


def narrow_to_bfloat16(numbers: NDArray[Any]) -> NDArray[np.uint16]:
    """float32 (float64 is rounded to it first) to bfloat16 bit patterns, nearest-even; NaN stays NaN."""
    import numpy as np

    single = numbers.astype("<f4", copy=False)
    bits = single.view("<u4")
    # Adding half a unit of the lower half, and one less where the upper half is even, rounds ties to even.
    rounded = (bits >> np.uint32(16)) & np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits
    rounded >>= np.uint32(16)
    nan = np.isnan(single)
    if nan.any():
        rounded = np.where(nan, (bits >> np.uint32(16)) | np.uint32(0x0040), rounded)
    return rounded.astype("<u2")
