"""The numbers an optimizer keeps once for all parameters, in and out of their bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from porter.errors import Malformed
from porter.formats.dtypes import BY_NAME, FLOAT32, DType
from porter.formats.transfer import TensorReader

INT32: DType = BY_NAME["int32"]

# name -> (dtype, shape), as each MindSpore class creates them.
TYPES: dict[str, tuple[DType, tuple[int, ...]]] = {
    "global_step": (INT32, (1,)),
    "state_step": (INT32, ()),
    "learning_rate": (FLOAT32, ()),
    "momentum": (FLOAT32, ()),
    "beta1_power": (FLOAT32, ()),
    "beta2_power": (FLOAT32, ()),
}


_MULTIPLIED = 1_000_000


def encoded(dtype: DType, value: float) -> bytes:
    """One element of int32 or float32."""
    return struct.pack("<i", int(value)) if dtype is INT32 else struct.pack("<f", value)


def read_number(reader: TensorReader, name: str) -> float:
    """The one number in a tensor.

    Raises:
        Malformed: it has none, or several.
    """
    values = reader.array(name).reshape(-1)
    if len(values) != 1:
        raise Malformed("one number was expected", file=reader.checkpoint.path, entry=name, found=len(values))
    return float(values[0])


def as_count(value: float, file: Path, entry: str) -> float:
    """`value`, a number of steps.

    Raises:
        Malformed: no training makes so many, or a part of one.
    """
    if not (0 <= value < 2**31 and value == int(value)):
        raise Malformed("is no number of steps", file=file, entry=entry, expected="0 to 2^31 - 1", found=value)
    return value


def shortest(value: float) -> float:
    """The shortest decimal that is `value` in float32: 0.1 for 0.10000000149."""
    import numpy as np

    return float(str(np.float32(value)))


def power(beta: float, steps: int) -> float:
    """`beta` to the power of `steps`, multiplied up in float32 as mindspore.nn.Adam does.

    Beyond a million steps at once: what is left there, if anything, differs by rounding errors only.
    """
    import numpy as np

    if steps > _MULTIPLIED:
        return float(np.float32(beta**steps))
    result, factor = np.float32(1), np.float32(beta)
    for _ in range(steps):
        following = result * factor
        if following == result:
            break
        result = following
    return float(result)


def beta_of(default: float, power_found: float, steps: int) -> float | None:
    """The decimal whose power of `steps` is `power_found`; None where too many steps have left nothing to tell."""
    if steps == 0:
        return default
    if not 0 < power_found < 1:
        return None
    for beta in _guesses(default, power_found, steps):
        # Each multiplication rounds by at most half a unit of float32.
        if 0 <= beta < 1 and abs(power(beta, steps) / power_found - 1) <= 2**-24 * (steps + 1):
            return beta
    return None


def _guesses(default: float, power_found: float, steps: int) -> Iterator[float]:
    yield default
    root = power_found ** (1 / steps)
    yield from (round(root, digits) for digits in range(1, 7))
