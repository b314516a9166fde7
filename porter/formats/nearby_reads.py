"""Short reads from a file at ascending positions; where they lie close together, one read brings many."""

from __future__ import annotations

import os

# Reading on costs less than asking again where the next bytes wanted are this near.
NEAR_BYTES = 16 << 10
WINDOW_BYTES = 64 << 10


class NearbyReads:
    """The bytes of a file, asked for piece by piece; where pieces lie far apart, nothing but them is read."""

    __slots__ = ("_descriptor", "_end", "_start", "_window")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._start = 0
        self._end = -NEAR_BYTES
        self._window = b""

    def take(self, at: int, length: int) -> bytes:
        """The `length` bytes from position `at` on, fewer where the file ends first.

        Raises:
            OSError: from the operating system.
        """
        if at < self._start or at + length > self._end:
            wanted = max(length, WINDOW_BYTES) if self._start <= at < self._end + NEAR_BYTES else length
            self._window = os.pread(self._descriptor, wanted, at)
            self._start, self._end = at, at + len(self._window)
        return self._window[at - self._start : at - self._start + length]
