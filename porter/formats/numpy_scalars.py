"""Numbers of NumPy in a pickle: `scalar(dtype, bytes)`, the bytes as text where the pickle's protocol has none.

Source: numpy/_core/src/multiarray/scalartypes.c.src (`gentype_reduce`) and descriptor.c (`arraydescr_reduce`).
NumPy 1 calls the module `numpy.core`.
"""

from __future__ import annotations

import struct
from typing import Any

from porter.formats.pickle_records import Record

_SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
# NumPy's name of the type -> struct's.
_TYPES = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b"}


def numpy_number(value: Record) -> float | None:
    """The number that a pickled `numpy.float64` or its like is; None where `value` is none, or not little-endian."""
    if value.path not in _SCALAR or not isinstance(value.args, tuple) or len(value.args) != 2:
        return None
    dtype, data = value.args
    if not isinstance(dtype, Record) or dtype.path != "numpy.dtype" or not dtype.args or not _is_little(dtype.state):
        return None
    if isinstance(data, Record) and data.path == "_codecs.encode" and data.args and type(data.args[0]) is str:
        data = data.args[0].encode("latin1", "replace")
    name = dtype.args[0]
    code = _TYPES.get(name) if type(name) is str else None
    if code is None or type(data) is not bytes or len(data) != struct.calcsize(f"<{code}"):
        return None
    (number,) = struct.unpack(f"<{code}", data)
    return int(number) if name.startswith("i") else float(number)


def _is_little(state: Any) -> bool:
    """`(version, byte order, ...)`; "|" is that of single bytes."""
    return isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", "|")
