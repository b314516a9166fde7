"""Signals that end the process: an exception unwinds the stack, so that unfinished files are removed.

A framework that is being imported may swallow the exception, or make an ImportError of it, so that the work would go
on as if the framework were not there. A signal is therefore remembered, and looked for before anything lasts; from
then on signals come too late: whoever reads the exit code must not find a result that it denies.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []
_heeded: list[signal.Signals] = []


class Stopped(BaseException):
    """A signal asks the process to end; `exit_code` is what shells expect then."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def heed_signals() -> None:
    """Raise `Stopped` at the first signal. Those ignored from the start (`nohup bnport ... &`) stay so."""
    _heeded.extend(number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)
    _handle(_stop)


def heed_again() -> None:
    """Take back the signals that are heeded: a framework may have put a handler of its own before Python's."""
    for number in _heeded:
        if signal.getsignal(number) is _stop:
            signal.signal(number, _stop)


def decided() -> None:
    """Ignore signals, for the outcome stands, until `settled`: what lasts is put in its place, or taken away."""
    _handle(signal.SIG_IGN)


def settled() -> None:
    """Let a first signal come too late, and the second end the process, should whoever reads its output stall."""
    _handle(_too_late)


def leave_signals() -> None:
    """Let signals end the process at once: all is done, and exceptions would only disturb the interpreter's end."""
    _handle(signal.SIG_DFL)


def check() -> None:
    """Raise `Stopped` again where a signal has come and nothing of it arrived."""
    if _received:
        raise Stopped(_received[0])


def _handle(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    """Set a handler for the signals that are heeded: none where bnport is a library."""
    for number in _heeded:
        signal.signal(number, handler)


def _too_late(number: int, frame: FrameType | None) -> None:
    _handle(signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    _handle(signal.SIG_IGN)
    _received.append(number)
    raise Stopped(number)
