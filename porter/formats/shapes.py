"""Shapes that a file states, checked before anything is computed from them."""

from __future__ import annotations

from math import prod

from porter.errors import LimitExceeded, Malformed
from porter.formats.dtypes import DType

# torch's iterators and numpy stop at 64 axes; and the product of more could be made costly.
MAX_AXES = 64
MAX_BYTES = 2**63 - 1


def stated_nbytes(shape: tuple[int, ...], dtype: DType) -> int:
    """The bytes of a dense tensor of `shape`, both as read from a file.

    Raises:
        Malformed: an axis is negative.
        LimitExceeded: more than 64 axes, or 2**63 bytes or more.
        (file and entry are for the caller to add)
    """
    if len(shape) > MAX_AXES:
        raise LimitExceeded("the tensor has too many axes", found=len(shape))
    if shape and min(shape) < 0:
        raise Malformed("an axis of the shape is negative", found=shape)
    nbytes = prod(shape) * dtype.itemsize
    # An axis of 0 hides how long the others are.
    if nbytes > MAX_BYTES or (nbytes == 0 and max(shape) > MAX_BYTES):
        raise LimitExceeded("the shape overflows 64 bits", found=shape)
    return nbytes


def utf8(name: str) -> bytes:
    """`name` as the formats store it.

    Raises:
        Malformed: it holds half a surrogate pair, which no UTF-8 file can express (a pickle can).
    """
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        raise Malformed("the tensor's name is not valid Unicode", entry=name) from error
