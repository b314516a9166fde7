"""The cyclic garbage collector, paused while facts about many tensors are gathered. Both also decorate functions."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """What is made stays alive, so the cyclic garbage collector finds nothing, in up to a third of the time."""
    yield from _with_collector(gc.disable)


@contextmanager
def collector_running() -> Iterator[None]:
    """For the frameworks, which leave cycles behind, within `collector_paused`."""
    yield from _with_collector(gc.enable)


def _with_collector(switch: Callable[[], None]) -> Iterator[None]:
    enabled = gc.isenabled()
    switch()
    try:
        yield
    finally:
        (gc.enable if enabled else gc.disable)()
