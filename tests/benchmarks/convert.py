"""What a conversion costs, as a multiple of `cp` on the same disk in the same run.

    python tests/benchmarks/convert.py [--megabytes 1024] [--rounds 5] [--folder DIR] [--peers] [--json]

Builds a checkpoint of 4 MiB fp32 tensors and 100 BatchNorm3d groups, then runs every job and `cp` in turn, each in a
process of its own, start-up included, caches warm. Prints the median time, its ratio to `cp`'s, and the peak resident
memory of the process (mapped pages of the file included). `--peers` adds what people do by hand today, with PyTorch
and MindSpore installed: `torch.load` + `mindspore.save_checkpoint`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from porter.formats import torch_zip
from porter.formats.dtypes import FLOAT32
from porter.formats.model import TensorSpec
from porter.formats.writing import write_layout

BNPORT = [sys.executable, "-c", "from porter.cli import main; main()"]
PEER = """
import os, sys
os.environ["GLOG_v"] = "3"
import mindspore, torch
state = torch.load(sys.argv[1], weights_only=True)
mindspore.save_checkpoint([{"name": n, "data": mindspore.Tensor(t.numpy())} for n, t in state.items()], sys.argv[2])
"""


def build(path: Path, megabytes: int) -> None:
    """A .pth whose convolutions have 4 MiB each, with a BatchNorm3d behind every one of the first hundred."""
    specs = []
    for i in range(megabytes // 4):
        specs.append(TensorSpec(f"layer{i}.conv.weight", FLOAT32, (256, 256, 4, 2, 2)))
        if i < 100:
            specs += [
                TensorSpec(f"layer{i}.bn.{leaf}", FLOAT32, (256,))
                for leaf in ("weight", "bias", "running_mean", "running_var")
            ]
    content = os.urandom(4 << 20)
    sizes = {spec.name: spec.nbytes for spec in specs}
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    write_layout(descriptor, torch_zip.layout(specs), lambda name: [memoryview(content)[: sizes[name]]])
    os.close(descriptor)


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds from start to end of a process, and its peak resident memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def jobs(folder: Path, peers: bool) -> dict[str, list[str]]:
    def convert(source: str, output: str, *options: str) -> list[str]:
        outputs = ["-o", str(folder / f"out-{output}"), "--force", "--no-verify", "--quiet"]
        return [*BNPORT, "convert", str(folder / source), *outputs, *options]

    commands = {"cp": ["cp", str(folder / "net.pth"), str(folder / "copy.pth")]}
    for source, output in (
        ("net.pth", "net.ckpt"),
        ("net.ckpt", "net.pth"),
        ("net.safetensors", "net.ckpt"),
        ("net.ckpt", "net.safetensors"),
        ("net.pth", "net.safetensors"),
    ):
        commands[f"{Path(source).suffix} -> {Path(output).suffix}"] = convert(source, output)
    commands[".pth -> .ckpt --no-checksum"] = convert("net.pth", "net.ckpt", "--no-checksum")
    commands["start-up: bnport --help"] = [*BNPORT, "--help"]
    if peers:
        files = (str(folder / "net.pth"), str(folder / "peer.ckpt"))
        commands["torch.load + mindspore.save_checkpoint"] = [sys.executable, "-c", PEER, *files]
    return commands


def run(folder: Path, megabytes: int, rounds: int, peers: bool) -> list[dict[str, object]]:
    build(folder / "net.pth", megabytes)
    for suffix, to in ((".ckpt", "mindspore"), (".safetensors", "torch")):
        arguments = ["-o", str(folder / f"net{suffix}"), "--to", to, "--no-verify", "--quiet"]
        subprocess.run([*BNPORT, "convert", str(folder / "net.pth"), *arguments], check=True)
    commands = jobs(folder, peers)
    for command in commands.values():
        measure(command)  # warms the caches
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            figures[name].append(measure(command))
    base = statistics.median(seconds for seconds, _ in figures["cp"])
    return [
        {
            "job": name,
            "seconds": statistics.median(seconds for seconds, _ in measured),
            "fastest": min(seconds for seconds, _ in measured),
            "slowest": max(seconds for seconds, _ in measured),
            "ratio": statistics.median(seconds for seconds, _ in measured) / base,
            "peak_mb": max(peak for _, peak in measured),
        }
        for name, measured in figures.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of a conversion, as a multiple of cp.")
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files go (default: the temporary folder)")
    parser.add_argument("--peers", action="store_true", help="measure torch.load + mindspore.save_checkpoint as well")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        rows = run(Path(folder), given.megabytes, given.rounds, given.peers)
    if given.json:
        print(
            json.dumps({"schema": "bnport.benchmark.convert/1", "megabytes": given.megabytes, "jobs": rows}, indent=2)
        )
        return
    table = Table("job", "median s", "min-max", "x cp", "peak MB", box=None)
    for row in rows:
        spread = f"{row['fastest']:.2f}-{row['slowest']:.2f}"
        table.add_row(row["job"], f"{row['seconds']:.2f}", spread, f"{row['ratio']:.2f}", f"{row['peak_mb']:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
