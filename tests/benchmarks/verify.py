"""What a verification costs, and how much of it is importing PyTorch and MindSpore.

    python tests/benchmarks/verify.py [--rounds 5] [--only TEXT] [--folder DIR] [--json]

Converts the sample, 100 BatchNorm3d, a layer of every kind, and two of MONAI's networks, then runs `bnport verify` on
each and a process that only imports both frameworks, in turn, every one in a process of its own, caches warm. Prints
median and range of the seconds for the whole process, the share of them that importing took in the same rounds, and
what is left for each layer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from measuring import Job, measure
from monai.networks import nets
from rich.console import Console
from rich.table import Table
from torch import nn

BNPORT = [sys.executable, "-c", "from porter.cli import main; main()"]
SAMPLE = Path(__file__).parents[2] / "samples" / "video_resnet" / "video_resnet.pth"
IMPORTS = Job("imports", [sys.executable, "-c", "import os; os.environ['GLOG_v'] = '3'; import torch, mindspore"])


def norms() -> nn.Module:
    """16 to 256 channels, with weights and statistics that differ from channel to channel."""
    layers = [nn.BatchNorm3d(channels) for channels in (16, 32, 64, 128, 256) for _ in range(20)]
    for layer in layers:
        for values, (low, high) in zip(
            layer.state_dict().values(), [(-2, 2), (-2, 2), (-2, 2), (0.5, 2)], strict=False
        ):
            values.uniform_(low, high)
    return nn.Sequential(*layers)


def every_kind() -> nn.Module:
    """A layer of every kind that runs on the CPU in both frameworks."""
    wide = [getattr(nn, f"{name}{dims}d")(16, 16, 3) for name in ("Conv", "ConvTranspose") for dims in (1, 2, 3)]
    normalising = [getattr(nn, f"BatchNorm{dims}d")(16) for dims in (1, 2, 3)]
    recurrent = [getattr(nn, name)(32, 32) for name in ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell")]
    maps = [nn.Linear(64, 32), nn.Bilinear(16, 16, 8), nn.Embedding(100, 32), nn.PReLU(16)]
    return nn.Sequential(
        *wide, *normalising, nn.LayerNorm(32), nn.GroupNorm(4, 16), *maps, *recurrent, nn.MultiheadAttention(32, 4)
    )


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "100 BatchNorm3d": norms,
    "a layer of every kind": every_kind,
    "MONAI UNet": lambda: nets.UNet(3, 1, 2, (16, 32, 64, 128), (2, 2, 2), num_res_units=2, norm="batch"),
    "MONAI SegResNet": lambda: nets.SegResNet(init_filters=16, norm=("batch", {})),
}
SAMPLED = "samples/video_resnet"


@dataclass(frozen=True)
class Cost:
    """One job.

    Attributes:
        seconds, fastest, slowest: of the whole process, median and range.
        importing: seconds of a process that only imports, median of the same rounds.
        share: importing / seconds.
        per_layer: what is left, for each layer.
    """

    job: str
    layers: int
    seconds: float
    fastest: float
    slowest: float
    importing: float
    share: float
    per_layer: float

    @classmethod
    def of(cls, job: str, layers: int, whole: list[float], imports: list[float]) -> Cost:
        seconds, importing = statistics.median(whole), statistics.median(imports)
        left = (seconds - importing) / layers
        return cls(job, layers, seconds, min(whole), max(whole), importing, importing / seconds, left)


def convert(name: str, folder: Path) -> tuple[int, Job]:
    """The number of layers that a conversion is verified by, and its verification."""
    source, output = SAMPLE, folder / "sample.ckpt"
    if name != SAMPLED:
        source = folder / f"{name}.pth"
        output = source.with_suffix(".ckpt")
        # A whole pickled module, whose classes say what each layer is.
        torch.save(NETWORKS[name](), source)
    files = [str(source), str(output)]
    subprocess.run([*BNPORT, "convert", files[0], "-o", files[1], "--no-verify", "--quiet"], check=True)
    shown = subprocess.run([*BNPORT, "verify", *files, "--json"], check=True, capture_output=True, text=True)
    layers = sum(layer["ok"] is not None for layer in json.loads(shown.stdout)["layers"])
    return layers, Job(name, [*BNPORT, "verify", *files, "--quiet"])


def measured(names: list[str], rounds: int, folder: Path) -> list[Cost]:
    jobs = {name: convert(name, folder) for name in names}
    imports: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        imports.append(measure(IMPORTS).seconds)
        for name, (_, job) in jobs.items():
            seconds[name].append(measure(job).seconds)
    return [Cost.of(name, jobs[name][0], seconds[name], imports) for name in names]


def show(costs: list[Cost]) -> None:
    table = Table(box=None)
    table.add_column("job", no_wrap=True)
    for heading in ("layers", "median s", "min-max", "importing s", "share", "ms per layer"):
        table.add_column(heading, justify="right", no_wrap=True)
    for cost in costs:
        spread, share = f"{cost.fastest:.2f}-{cost.slowest:.2f}", f"{cost.share:.0%}"
        seconds = (f"{cost.seconds:.2f}", spread, f"{cost.importing:.2f}", share)
        table.add_row(cost.job, str(cost.layers), *seconds, f"{1000 * cost.per_layer:.0f}")
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of a verification, and the share of imports in it.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", metavar="TEXT", help="jobs whose name has this in it")
    parser.add_argument("--folder", type=Path, help="where the files go (default: the temporary folder)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    names = [name for name in (SAMPLED, *NETWORKS) if given.only in name]
    if not names:
        parser.error(f"no job has {given.only!r} in its name")
    # As it is once installed: compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        costs = measured(names, given.rounds, Path(folder))
    if given.json:
        machine = {
            "system": platform.platform(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
        }
        jobs = [{k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(cost).items()} for cost in costs]
        document = {"schema": "bnport.benchmark.verify/1", "machine": machine, "rounds": given.rounds, "jobs": jobs}
        print(json.dumps(document, indent=2))
    else:
        show(costs)


if __name__ == "__main__":
    main()
