"""Signals that end the process: an exception unwinds the stack, so that unfinished files are removed.

A framework that is being imported may swallow the exception, or make an ImportError of it, so that the work would go
on as if the framework were not there. A signal is therefore remembered, and looked for before anything lasts; from
then on signals come too late: whoever reads the exit code must not find a result that it denies.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []


class Stopped(BaseException):
    """A signal asks the process to end; `exit_code` is what shells expect then."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def heed_signals() -> None:
    """Raise `Stopped` at the first signal. Those ignored from the start (`nohup bnport ... &`) stay so."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def heed_again() -> None:
    """Take back the signals that are heeded: a framework may have put a handler of its own before Python's."""
    for number in _heeded():
        signal.signal(number, _stop)


def decided() -> None:
    """Ignore the signals that are heeded so far: the outcome stands, and what is left takes but a moment."""
    for number in _heeded():
        signal.signal(number, signal.SIG_IGN)


def leave_signals() -> None:
    """Let signals end the process at once: all is done, and exceptions would only disturb the interpreter's end."""
    for number in _heeded():
        signal.signal(number, signal.SIG_DFL)


def check() -> None:
    """Raise `Stopped` again where a signal has come and nothing of it arrived."""
    if _received:
        raise Stopped(_received[0])


def _heeded() -> list[signal.Signals]:
    return [number for number in _SIGNALS if signal.getsignal(number) is _stop]


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    _received.append(number)
    raise Stopped(number)
