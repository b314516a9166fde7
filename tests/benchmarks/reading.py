"""What opening a checkpoint costs, beside the framework's own reader on the same file in the same run.

    python tests/benchmarks/reading.py [--rounds 5] [--folder DIR] [--only TEXT] [--json]

Opening means: to know every tensor's name, dtype and shape. Each opening is a process of its own, its imports not
counted; bnport and its peer take turns, caches warm. Prints for both the median, the fastest and the slowest time and
the peak resident memory (VmHWM; in brackets what opening added to it), and bnport's time as a multiple of its peer's.
MindSpore has no way to open a .ckpt but to load it, and 100 GB it cannot load: there the peer is bnport itself on the
same number of small tensors. All tensors are zeros; the 100 GB take no space on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from porter.formats import mindspore_ckpt, safetensors
from porter.formats.dtypes import FLOAT32
from porter.formats.model import Layout, TensorSpec

LAYOUTS: dict[str, Callable[[Sequence[TensorSpec]], Layout]] = {
    ".safetensors": lambda specs: safetensors.layout(specs, metadata={}),
    ".ckpt": mindspore_ckpt.layout,
}
# Reader -> what it imports, and what it does; the file's name is in `path`.
READERS = {
    "bnport": ("from pathlib import Path; from porter.formats import open_checkpoint", "open_checkpoint(Path(path))"),
    "torch.load": (
        "import torch",
        "[(n, t.dtype, t.shape) for n, t in torch.load(path, mmap=True, weights_only=True).items()]",
    ),
    "safe_open": (
        "import numpy; from safetensors import safe_open",
        "file = safe_open(path, 'np'); "
        "[(n, (t := file.get_slice(n)).get_dtype(), t.get_shape()) for n in file.keys()]",
    ),
    "load_checkpoint": (
        "import mindspore",
        "[(n, p.dtype, p.shape) for n, p in mindspore.load_checkpoint(path).items()]",
    ),
}


class Case(NamedTuple):
    """A file of that many `tensors` of `shape`; the peer opens the same, or one of its own, of `peer_shape`."""

    suffix: str
    tensors: int
    shape: tuple[int, ...]
    peer: str
    peer_shape: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        gigabytes = self.tensors * 4 * prod(self.shape) // 10**9
        return f"{self.tensors:,} tensors{f', {gigabytes} GB' if gigabytes else ''} {self.suffix}"


CASES = (
    Case(".pth", 50_000, (1,), "torch.load"),
    Case(".safetensors", 50_000, (1,), "safe_open"),
    Case(".ckpt", 50_000, (1,), "load_checkpoint"),
    Case(".pth", 1000, (32, 32), "torch.load"),
    Case(".safetensors", 1000, (32, 32), "safe_open"),
    Case(".ckpt", 1000, (32, 32), "load_checkpoint"),
    Case(".safetensors", 1000, (25_000_000,), "safe_open"),
    Case(".ckpt", 1000, (25_000_000,), "bnport", peer_shape=(32, 32)),
)

PROCESS = """
import json, sys, time
{imports}
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
path, before = sys.argv[1], peak()
started = time.perf_counter()
{action}
seconds = time.perf_counter() - started
print(json.dumps([seconds, peak(), peak() - before]))
"""


class Opening(NamedTuple):
    """One measurement: seconds, peak resident MB of the process, and how many of those opening added."""

    seconds: float
    peak_mb: float
    added_mb: float


def opened(reader: str, path: Path) -> Opening:
    imports, action = READERS[reader]
    command = [sys.executable, "-c", PROCESS.format(imports=imports, action=action), str(path)]
    environment = os.environ | {"GLOG_v": "3"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return Opening(*json.loads(done.stdout.splitlines()[-1]))


def build(path: Path, tensors: int, shape: tuple[int, ...]) -> Path:
    """A file of zeros: a .pth by torch.save, the others by our own writers, the tensors a hole in the file."""
    if path.suffix == ".pth":
        import torch

        torch.save({f"layer.{i}.weight": torch.zeros(shape) for i in range(tensors)}, path)
        return path
    layout = LAYOUTS[path.suffix]([TensorSpec(f"layer.{i}.weight", FLOAT32, shape) for i in range(tensors)])
    with path.open("wb") as file:
        file.truncate(layout.size)
        for offset, data in layout.literals:
            file.seek(offset)
            file.write(data)
    return path


def figures(openings: Iterable[Opening]) -> dict[str, float]:
    seconds, peaks, added = zip(*openings, strict=True)
    return {
        "seconds": statistics.median(seconds),
        "fastest": min(seconds),
        "slowest": max(seconds),
        "peak_mb": max(peaks),
        "added_mb": max(added),
    }


def run(case: Case, folder: Path, rounds: int) -> dict[str, Any]:
    ours = peers = build(folder / f"ours{case.suffix}", case.tensors, case.shape)
    if case.peer_shape:
        peers = build(folder / f"peer{case.suffix}", case.tensors, case.peer_shape)
    measured = [(opened("bnport", ours), opened(case.peer, peers)) for _ in range(rounds + 1)]
    # The first round warms the caches.
    ours_of, peers_of = (figures(openings) for openings in zip(*measured[1:], strict=True))
    return {
        "file": case.name,
        "bnport": ours_of,
        "peer": {"reader": case.peer, **peers_of},
        "ratio": ours_of["seconds"] / peers_of["seconds"],
    }


def cells(measured: dict[str, float]) -> list[str]:
    median, fastest, slowest = (f"{1000 * measured[key]:.0f}" for key in ("seconds", "fastest", "slowest"))
    return [median, f"{fastest}-{slowest}", f"{measured['peak_mb']:.0f} (+{measured['added_mb']:.0f})"]


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of opening a checkpoint, beside the frameworks' own.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files go (default: the temporary folder)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only files whose name contains TEXT ('.pth')")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        rows = [run(case, Path(folder), given.rounds) for case in CASES if given.only in case.name]
    if given.json:
        print(json.dumps({"schema": "bnport.benchmark.reading/1", "rounds": given.rounds, "files": rows}, indent=2))
        return
    headings = ("median ms", "min-max", "peak MB")
    table = Table("file", *headings, "peer", *headings, "ratio", box=None)
    for row in rows:
        peer = row["peer"]
        table.add_row(row["file"], *cells(row["bnport"]), peer["reader"], *cells(peer), f"{row['ratio']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
