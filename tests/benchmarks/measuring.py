"""What a process costs: its time from start to end, its memory, and what it reads and writes (Linux)."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

# How often the private memory of the running process is looked at, in seconds.
_INTERVAL = 0.005


@dataclass(frozen=True)
class Job:
    """A command to measure; `outputs` are removed before and after every run, outside of the time."""

    name: str
    command: Sequence[str]
    outputs: Sequence[Path] = ()


@dataclass(frozen=True)
class Run:
    """One run of a process.

    Attributes:
        seconds: from its start to its end.
        peak_mb: largest resident memory, pages of mapped files included.
        private_mb: largest resident memory that is no file's.
            Both as seen every few milliseconds: what wait4 tells may be the peak of the process that forked it.
        read_mb, written_mb: bytes that went through its calls to read and to write.
    """

    seconds: float
    peak_mb: float
    private_mb: float
    read_mb: float
    written_mb: float


@dataclass(frozen=True)
class Cost:
    """Several runs of one job; `ratio` is the median time as a multiple of that of `cp`."""

    job: str
    seconds: float
    fastest: float
    slowest: float
    ratio: float
    peak_mb: float
    private_mb: float
    read_mb: float
    written_mb: float

    @classmethod
    def of(cls, job: str, runs: Sequence[Run], base: float) -> Cost:
        seconds = [run.seconds for run in runs]
        median = statistics.median(seconds)
        most = (
            max(getattr(run, name) for run in runs) for name in ("peak_mb", "private_mb", "read_mb", "written_mb")
        )
        return cls(job, median, min(seconds), max(seconds), median / base, *most)

    def to_json(self) -> dict[str, object]:
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


def compare(jobs: Sequence[Job], rounds: int) -> list[Cost]:
    """Every job `rounds` times, in turn, each time after a run of its own that is not counted; the first is the base.

    A virtual machine may give memory that lies idle back to its host, and getting it again costs seconds a GB. The
    run before has just had, and left, the memory that the counted one needs, for `cp` as for all others.
    """
    runs: dict[str, list[Run]] = {job.name: [] for job in jobs}
    for _ in range(rounds):
        for job in jobs:
            measure(job)
            runs[job.name].append(measure(job))
    base = statistics.median(run.seconds for run in runs[jobs[0].name])
    return [Cost.of(name, measured, base) for name, measured in runs.items()]


def measure(job: Job) -> Run:
    """Run a job once, with nothing left to be written from before; ends the program where it fails."""
    os.sync()
    _remove(job.outputs)
    started = time.perf_counter()
    process = subprocess.Popen(job.command, stdout=subprocess.DEVNULL, env=_as_installed())
    memory = _Watched(process.pid)
    # Ended, but still there to be looked at.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    seconds = time.perf_counter() - started
    moved = _fields(f"/proc/{process.pid}/io")
    peak, private = memory.stop()
    if process.wait():
        raise SystemExit(f"{' '.join(job.command)} ended with {process.returncode}")
    _remove(job.outputs)
    return Run(
        seconds,
        peak / 1024,
        private / 1024,
        moved.get("rchar", 0) / 1e6,
        moved.get("wchar", 0) / 1e6,
    )


def _remove(outputs: Sequence[Path]) -> None:
    for output in outputs:
        output.unlink(missing_ok=True)


def _as_installed() -> dict[str, str]:
    """An environment in which modules are compiled once, as an installation does, wherever the project lies."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {"PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir(), "bnport-benchmark-bytecode")), **kept}


class _Watched:
    """The largest resident memory of a process, looked at in a thread until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._private, self._stopped = pid, 0, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopped.wait(_INTERVAL):
            seen = _fields(f"/proc/{self._pid}/status")
            self._peak = max(self._peak, seen.get("VmHWM", 0))
            self._private = max(self._private, seen.get("RssAnon", 0))

    def stop(self) -> tuple[int, int]:
        """All of it, and what is no file's, in KiB."""
        self._stopped.set()
        self._thread.join()
        return self._peak, self._private


def _fields(path: str) -> Mapping[str, int]:
    """The numbers of a file of `name: number` lines; empty where it may not be read, or is gone."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":")[::2] for line in lines)
    return {name: int(value.split()[0]) for name, value in pairs if value.split()[:1] and value.split()[0].isdigit()}
