"""What a conversion costs, as a multiple of `cp` on the same disk in the same run.

    python tests/benchmarks/convert.py [--sizes 1,10,100,1000] [--counts 10,100,1000,10000,50000] [--rounds 5]
        [--folder DIR] [--peers] [--json] [--plot FILE.svg]

For every size it builds a checkpoint of 4 MiB fp32 tensors and 100 BatchNorm3d groups, for every count one of so many
tensors of about 1 KB, then runs every job and `cp` in turn, each in a process of its own, start-up included, caches
warm, outputs removed and all written to the disk before. Prints the median time, its ratio to `cp`'s, the peak memory
of the process (all of it, and without pages of files), and what it read and wrote. `--peers` adds what people do by
hand today, with PyTorch and MindSpore installed: `torch.load` + `mindspore.save_checkpoint`, and back.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measuring import Cost, Job, compare
from plot import Panel, svg
from rich.console import Console
from rich.table import Table

from porter.formats import safetensors, torch_zip
from porter.formats.dtypes import FLOAT32
from porter.formats.model import TensorSpec
from porter.formats.writing import write_layout

BNPORT = [sys.executable, "-c", "from porter.cli import main; main()"]
CONVERSIONS = (
    ("net.pth", "out.ckpt"),
    ("net.ckpt", "out.pth"),
    ("net.safetensors", "out.ckpt"),
    ("net.ckpt", "out.safetensors"),
    ("net.pth", "out.safetensors"),
    ("net.safetensors", "out.safetensors"),
)
PEERS = {
    "torch.load + mindspore.save_checkpoint": (
        "net.pth",
        "peer.ckpt",
        """
import os, sys
os.environ["GLOG_v"] = "3"
import mindspore, torch
state = torch.load(sys.argv[1], weights_only=True)
mindspore.save_checkpoint([{"name": n, "data": mindspore.Tensor(t.numpy())} for n, t in state.items()], sys.argv[2])
""",
    ),
    "mindspore.load_checkpoint + torch.save": (
        "net.ckpt",
        "peer.pth",
        """
import os, sys
os.environ["GLOG_v"] = "3"
import mindspore, torch
state = mindspore.load_checkpoint(sys.argv[1])
torch.save({n: torch.from_numpy(p.asnumpy()) for n, p in state.items()}, sys.argv[2])
""",
    ),
}
PLOTTED = ("cp", ".pth -> .ckpt", ".ckpt -> .pth", *PEERS)
SPARSE_BYTES = 100 << 30


def large_tensors(megabytes: int) -> list[TensorSpec]:
    """Convolutions of 4 MiB, or one of 1 MiB, with a BatchNorm3d behind every one of the first hundred."""
    shape = (256, 256, 4, 2, 2) if megabytes >= 4 else (256, 256, 1, 2, 2)
    specs = []
    for i in range(max(megabytes // 4, 1)):
        specs.append(TensorSpec(f"layer{i}.conv.weight", FLOAT32, shape))
        specs += _norm(f"layer{i}.bn", 256) if i < 100 else []
    return specs


def small_tensors(count: int) -> list[TensorSpec]:
    """Convolutions of 1.7 KB, each with a BatchNorm3d of 4 channels."""
    specs: list[TensorSpec] = []
    for i in range(count // 5):
        specs += [TensorSpec(f"layer{i}.conv.weight", FLOAT32, (4, 4, 3, 3, 3)), *_norm(f"layer{i}.bn", 4)]
    return specs


def _norm(name: str, channels: int) -> list[TensorSpec]:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return [TensorSpec(f"{name}.{leaf}", FLOAT32, (channels,)) for leaf in leaves]


def build(folder: Path, specs: list[TensorSpec]) -> None:
    """net.pth, and from it net.ckpt and net.safetensors, without their records."""
    content = memoryview(np.random.default_rng(0).standard_normal(1 << 20, np.float32).view(np.uint8).data)
    sizes = {spec.name: spec.nbytes for spec in specs}
    descriptor = os.open(folder / "net.pth", os.O_RDWR | os.O_CREAT)
    write_layout(descriptor, torch_zip.layout(specs), lambda name: [content[: sizes[name]]])
    os.close(descriptor)
    for suffix, to in ((".ckpt", "mindspore"), (".safetensors", "torch")):
        arguments = ["-o", str(folder / f"net{suffix}"), "--to", to, "--no-verify", "--quiet"]
        subprocess.run([*BNPORT, "convert", str(folder / "net.pth"), *arguments], check=True)
        (folder / f"net{suffix}.bnport.json").unlink()


def jobs(folder: Path, peers: bool) -> list[Job]:
    def convert(source: str, output: str, *options: str) -> Job:
        arguments = [str(folder / source), "-o", str(folder / output), "--no-verify", "--quiet", *options]
        name = " ".join((f"{Path(source).suffix} -> {Path(output).suffix}", *options))
        return Job(name, [*BNPORT, "convert", *arguments], outputs(output))

    def outputs(name: str) -> tuple[Path, Path]:
        return folder / name, folder / f"{name}.bnport.json"

    copy = Job("cp", ["cp", str(folder / "net.pth"), str(folder / "copy.pth")], [folder / "copy.pth"])
    found = [copy, *(convert(*files) for files in CONVERSIONS)]
    found.append(convert("net.pth", "out.ckpt", "--no-checksum"))
    found.append(convert("net.pth", "out.ckpt", "--dtype", "float16"))
    for name, (source, output, program) in PEERS.items() if peers else ():
        command = [sys.executable, "-c", program, str(folder / source), str(folder / output)]
        found.append(Job(name, command, outputs(output)))
    return found


def start_up(folder: Path) -> list[Job]:
    """What is done however large the checkpoint is."""
    path = folder / "sparse.safetensors"
    specs = [TensorSpec(f"conv{i}.weight", FLOAT32, (1 << 20, 1, 4, 4, 8)) for i in range(SPARSE_BYTES >> 29)]
    layout = safetensors.layout(specs, metadata={"format": "pt"})
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    write_layout(descriptor, layout._replace(slots={}), lambda name: [])
    os.close(descriptor)
    return [
        Job("cp of nothing", ["cp", os.devnull, str(folder / "nothing")], [folder / "nothing"]),
        Job("bnport --help", [*BNPORT, "--help"]),
        Job("bnport inspect, 100 GiB", [*BNPORT, "inspect", str(path)]),
    ]


def show(title: str, costs: list[Cost]) -> None:
    table = Table(box=None)
    table.add_column("job", no_wrap=True)
    for heading in ("median s", "min-max", "x cp", "peak MB", "private MB", "read MB", "written MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for cost in costs:
        memory = (f"{cost.peak_mb:.0f}", f"{cost.private_mb:.0f}", f"{cost.read_mb:.0f}", f"{cost.written_mb:.0f}")
        spread = f"{cost.fastest:.2f}-{cost.slowest:.2f}"
        table.add_row(cost.job, f"{cost.seconds:.2f}", spread, f"{cost.ratio:.2f}", *memory)
    Console(width=140).print(f"\n{title}", table, sep="\n")


def plot(sizes: dict[int, list[Cost]], counts: dict[int, list[Cost]]) -> str:
    def curves(found: dict[int, list[Cost]]) -> dict[str, list[tuple[float, float]]]:
        jobs = dict.fromkeys(cost.job for costs in found.values() for cost in costs if cost.job in PLOTTED)
        return {job: [(x, c.seconds) for x, costs in found.items() for c in costs if c.job == job] for job in jobs}

    by_size = Panel("Tensors of 4 MiB", "size in MB", "seconds", curves(sizes))
    by_count = Panel("Tensors of about 1 KB", "number of tensors", "seconds", curves(counts))
    return svg([panel for panel in (by_size, by_count) if panel.curves])


def arguments() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",") if number]

    parser = argparse.ArgumentParser(description="The cost of a conversion, as a multiple of cp.")
    parser.add_argument("--sizes", type=numbers, default=[1, 10, 100, 1000], help="in MB")
    parser.add_argument("--counts", type=numbers, default=[10, 100, 1000, 10_000, 50_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files go (default: the temporary folder)")
    parser.add_argument("--peers", action="store_true", help="measure PyTorch and MindSpore as well")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    return parser.parse_args()


def main() -> None:
    given = arguments()

    def measured(title: str, specs: list[TensorSpec] | None = None) -> list[Cost]:
        with tempfile.TemporaryDirectory(dir=given.folder) as name:
            folder = Path(name)
            if specs is not None:
                build(folder, specs)
            costs = compare(start_up(folder) if specs is None else jobs(folder, given.peers), given.rounds)
        if not given.json:
            show(title, costs)
        return costs

    start = measured("Start-up")
    sizes = {size: measured(f"{size} MB", large_tensors(size)) for size in given.sizes}
    counts = {count: measured(f"{count} tensors", small_tensors(count)) for count in given.counts}
    if given.plot:
        given.plot.write_text(plot(sizes, counts))
    if given.json:
        machine = {"system": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        by = {
            key: [{key: x, "jobs": [cost.to_json() for cost in costs]} for x, costs in found.items()]
            for key, found in (("megabytes", sizes), ("tensors", counts))
        }
        document = {"schema": "bnport.benchmark.convert/2", "machine": machine, "rounds": given.rounds, **by}
        print(json.dumps({**document, "start_up": [cost.to_json() for cost in start]}, indent=2))


if __name__ == "__main__":
    main()
