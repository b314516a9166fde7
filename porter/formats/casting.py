"""Numbers in and out of bytes: casting between floating-point types, and tensors of one value."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from porter.formats.dtypes import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, INT64, DType
from porter.formats.model import TensorSpec
from porter.formats.transfer import Chunk, widen_bfloat16

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Elements that are cast at a time. Fewer are nearer to the processor, but between two calls of numpy the threads wait
# for each other: 1 GB of float32 became bfloat16 in 1.0 s in three threads, in 1.8 s with a quarter of these.
_BLOCK = 256 << 10
_BY_RANGE = (FLOAT16, BFLOAT16, FLOAT32, FLOAT64)
# The bits of infinity without its sign, shifted left by one.
_INFINITY_SHIFTED = {FLOAT16: 0xF800, BFLOAT16: 0xFF00, FLOAT32: 0xFF000000}
_STRUCT = {"float16": "<e", "float32": "<f", "float64": "<d"}


class Overflow(NamedTuple):
    """What a cast to `dtype` made infinite: tensor of the output -> number of values that were finite."""

    dtype: DType
    tensors: Mapping[str, int]

    @property
    def wider(self) -> tuple[str, ...]:
        """The dtypes, as `--dtype` takes them, that hold larger numbers."""
        return {FLOAT16: ("bfloat16", "float32"), BFLOAT16: ("float32", "float64")}.get(self.dtype, ("float64",))

    def __str__(self) -> str:
        where = f"{len(self.tensors)} tensors, the first " if len(self.tensors) > 1 else ""
        return (
            f"values too large for {self.dtype} became infinite: {sum(self.tensors.values())} in {where}"
            f"{next(iter(self.tensors))}; --dtype {' or '.join(self.wider)} holds them"
        )


def filled(spec: TensorSpec, value: float) -> bytes:
    """The bytes of a tensor whose every element is `value`, which its dtype must hold exactly."""
    count = spec.nbytes // spec.dtype.itemsize
    if spec.dtype is INT64:
        return struct.pack("<q", int(value)) * count
    if spec.dtype is BFLOAT16:
        return struct.pack("<f", value)[2:] * count
    return struct.pack(_STRUCT[spec.dtype.name], value) * count


def cast_chunks(
    chunks: Iterable[Chunk], source: DType, target: TensorSpec, overflowed: dict[str, int]
) -> Iterator[memoryview]:
    """Cast a tensor's bytes, chunk by chunk, rounding to nearest, ties to even.

    A yielded buffer is only valid until the next one is asked for.

    Args:
        chunks: whole elements of dtype `source`, one of float16, bfloat16, float32, float64.
        source: their dtype.
        target: the tensor to write; its dtype is one of the same four.
        overflowed: gets the target's name, and how many finite numbers became infinite, where any do.
    """
    import numpy as np

    narrower, infinite = _BY_RANGE.index(target.dtype) < _BY_RANGE.index(source), 0
    done = np.empty(min(_BLOCK, target.nbytes // target.dtype.itemsize), _bits(target.dtype))
    for chunk in chunks:
        elements = np.frombuffer(chunk, _bits(source))
        for start in range(0, len(elements), _BLOCK):
            block = elements[start : start + _BLOCK]
            place = done[: len(block)]
            _cast(block, source, place, target.dtype)
            if narrower:
                infinite += _count_overflowed(block, source, place, target.dtype)
            yield place.view(np.uint8).data
    if infinite:
        overflowed[target.name] = infinite


def _bits(dtype: DType) -> str:
    """numpy's name of the unsigned integers that are as long."""
    return f"<u{dtype.itemsize}"


def _cast(bits: NDArray[Any], source: DType, place: NDArray[Any], target: DType) -> None:
    """Fill `place` with the bits in `target` of numbers whose bits in `source` are given."""
    import numpy as np

    if source.itemsize == 2:
        _table(source, target).take(bits, out=place, mode="wrap")  # any other mode goes through a copy of `place`
        return
    with np.errstate(over="ignore", invalid="ignore"):
        _round(_numbers(bits, source), place, target)


@cache
def _table(source: DType, target: DType) -> NDArray[Any]:
    """The bits in `target` of each of the 65,536 numbers of a type of 16 bits."""
    import numpy as np

    bits = np.arange(1 << 16, dtype=_bits(source))
    table = np.empty(len(bits), _bits(target))
    with np.errstate(over="ignore", invalid="ignore"):
        _round(_numbers(bits, source), table, target)
    return table


def _numbers(bits: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """Numbers from their bits; bfloat16 exactly widened to float32."""
    return widen_bfloat16(bits) if dtype is BFLOAT16 else bits.view(dtype.numpy)


def _round(numbers: NDArray[Any], place: NDArray[Any], dtype: DType) -> None:
    """Fill `place` with the bits of `numbers` rounded to `dtype`."""
    if dtype is BFLOAT16:
        place[:] = narrow_to_bfloat16(numbers)
    else:
        place.view(dtype.numpy)[:] = numbers


def _count_overflowed(bits: NDArray[Any], source: DType, rounded: NDArray[Any], target: DType) -> int:
    """How many of the finite numbers in `bits` are infinite as `rounded`, also in bits."""
    import numpy as np

    # Shifted by one bit, both infinities look the same, and only NaN is above them.
    shifted = rounded << 1
    if shifted.max(initial=0) < _INFINITY_SHIFTED[target]:
        return 0
    infinite = shifted == _INFINITY_SHIFTED[target]
    return int(np.count_nonzero(infinite & np.isfinite(_numbers(bits, source))))


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
