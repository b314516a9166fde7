"""What an installed framework can run, found out by running it. Started in a process of its own by `porter.doctor`.

An import that aborts, or a kernel that crashes, must be a finding and not the end of the examination.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from porter.verification.mindspore_backend import calm_the_log

# Enough elements for a variance: N, C, D, H, W.
_SHAPE = (2, 2, 2, 2, 2)


@dataclass(frozen=True)
class Kernel:
    """One attempt to run `layer` on `device`, in `dtype`; `mode` is eval or train; `error` is None when it ran."""

    layer: str
    device: str
    dtype: str
    mode: str
    error: str | None


@dataclass(frozen=True)
class Facts:
    """What a framework can run.

    Attributes:
        devices: those it can use, in its own spelling.
        kernels: every attempt.
        signature: of mindspore.nn.BatchNorm3d: `classic`, or `announced` where momentum is PyTorch's and
            track_running_stats takes the place of use_batch_statistics; None for PyTorch.
    """

    devices: tuple[str, ...]
    kernels: tuple[Kernel, ...]
    signature: str | None = None

    @classmethod
    def from_json(cls, text: str) -> Facts:
        facts = json.loads(text)
        return cls(tuple(facts["devices"]), tuple(Kernel(**k) for k in facts["kernels"]), facts["signature"])


def main(framework: str) -> None:
    """Print the `Facts` about `framework`, `torch` or `mindspore`, in JSON, as the last line of stdout."""
    facts = {"torch": _torch, "mindspore": _mindspore}[framework]()
    print("\n" + json.dumps(asdict(facts)), flush=True)


def _torch() -> Facts:
    import torch

    def run(device: str, dtype: str, mode: str) -> None:
        element = getattr(torch, dtype)
        layer = torch.nn.BatchNorm3d(2).to(device, element).train(mode == "train")
        layer(torch.ones(_SHAPE, device=device, dtype=element)).sum().item()

    devices = ("cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count())))
    kernels = (
        kernel for device in devices for kernel in _tried("torch.nn.BatchNorm3d", device, partial(run, device))
    )
    return Facts(devices, tuple(kernels))


def _mindspore() -> Facts:
    calm_the_log()
    import mindspore

    def run(cls: Callable[..., Any], dtype: str, mode: str) -> None:
        element = getattr(mindspore, dtype)
        cls(2, dtype=element).set_train(mode == "train")(mindspore.ops.ones(_SHAPE, element)).asnumpy()

    target = str(mindspore.get_context("device_target"))
    layers = {
        "mindspore.nn.BatchNorm3d": mindspore.nn.BatchNorm3d,
        "mindspore.mint.nn.BatchNorm3d": mindspore.mint.nn.BatchNorm3d,
    }
    kernels = (kernel for name, cls in layers.items() for kernel in _tried(name, target, partial(run, cls)))
    devices = tuple(name for name in ("CPU", "GPU", "Ascend") if mindspore.hal.is_available(name))
    announced = "track_running_stats" in inspect.signature(mindspore.nn.BatchNorm3d).parameters
    return Facts(devices, tuple(kernels), "announced" if announced else "classic")


def _tried(layer: str, device: str, run: Callable[[str, str], None]) -> list[Kernel]:
    return [
        Kernel(layer, device, dtype, mode, _error(run, dtype, mode))
        for dtype in ("float32", "float16", "bfloat16", "float64")
        for mode in ("eval", "train")
    ]


def _error(run: Callable[[str, str], None], dtype: str, mode: str) -> str | None:
    """What `run` raises, in one line; None when it runs."""
    try:
        run(dtype, mode)
    except Exception as error:
        # MindSpore frames its longer messages in lines of dashes.
        lines = (line.strip("- ") for line in str(error).splitlines())
        return next(filter(None, lines), type(error).__name__)
    return None
