"""What reading a file costs, counted and not timed: the same on every machine, however busy."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest


@contextmanager
def at_most(lines: int) -> Iterator[None]:
    """Fail as soon as more than `lines` lines of Python have run: at once, however long they would go on.

    A line counts each time it runs. Loops inside of C functions do not count.
    """
    left = lines

    def count(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        left -= event == "line"
        if left < 0:
            sys.settrace(before)
            pytest.fail(f"more than {lines} lines of Python, at {frame.f_code.co_filename}:{frame.f_lineno}")
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that each call of os.pread and os.preadv brings from now on, in order."""
    lengths: list[int] = []

    def counted(read: Callable[..., Any], length: Callable[[Any], int]) -> Callable[..., Any]:
        def reading(*arguments: Any) -> Any:
            result = read(*arguments)
            lengths.append(length(result))
            return result

        return reading

    monkeypatch.setattr(os, "pread", counted(os.pread, len))
    monkeypatch.setattr(os, "preadv", counted(os.preadv, int))
    return lengths
