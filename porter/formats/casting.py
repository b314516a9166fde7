"""Numbers in and out of bytes: casting between floating-point types, and tensors of one value."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from porter.formats.dtypes import BFLOAT16, INT64, DType
from porter.formats.model import TensorSpec
from porter.formats.transfer import Chunk, widen_bfloat16

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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

    overflowed = 0
    for chunk in chunks:
        numbers = _decode(chunk, source)
        with np.errstate(over="ignore"):
            data, back = _encode(numbers, target.dtype)
        overflowed += int(np.count_nonzero(np.isinf(back) & np.isfinite(numbers)))
        yield data.view(np.uint8).data
    if overflowed:
        warnings.append(f"{target.name}: {overflowed} values are too large for {target.dtype} and became infinite")


def _decode(chunk: Chunk, dtype: DType) -> NDArray[Any]:
    import numpy as np

    if dtype is BFLOAT16:
        return widen_bfloat16(np.frombuffer(chunk, "<u2"))
    return np.frombuffer(chunk, dtype.numpy)


def _encode(numbers: NDArray[Any], dtype: DType) -> tuple[NDArray[Any], NDArray[Any]]:
    """`numbers` rounded to `dtype`: what to write, and the same as numbers again."""
    if dtype is not BFLOAT16:
        rounded = numbers.astype(dtype.numpy)
        return rounded, rounded
    bits = narrow_to_bfloat16(numbers)
    return bits, widen_bfloat16(bits)


def narrow_to_bfloat16(numbers: NDArray[Any]) -> NDArray[np.uint16]:
    """float32 (float64 is rounded to it first) to bfloat16 bit patterns, nearest-even; NaN stays NaN."""
    import numpy as np

    single = numbers.astype("<f4")
    bits = single.view("<u4")
    # Adding half a unit of the lower half, and one less where the upper half is even, rounds ties to even.
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet_nan = (bits >> np.uint32(16)) | np.uint32(0x0040)
    return np.where(np.isnan(single), quiet_nan, rounded).astype("<u2")
