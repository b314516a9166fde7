"""What the check of two whole networks answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import inf
from typing import Literal

from porter.verification.results import finite

Mode = Literal["eval", "train"]

# What is compared: an output (with the place in it, where it is no single tensor), the number of a network's outputs,
# or a buffer of running statistics.
OUTPUT, COUNT = "output", "number of outputs"


@dataclass(frozen=True)
class Problem:
    """A parameter that a network and its file do not share.

    Attributes:
        side: `PyTorch` or `MindSpore`.
        problem: `missing` in the file, `unexpected` in the network, or `shape`.
        text: what is wrong, in words.
    """

    side: str
    name: str
    problem: str
    text: str

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Activation:
    """One call of a layer that both networks have, or running statistics after it.

    Attributes:
        layer: path in the PyTorch network; "" is the network itself, whose output this is.
        target: path in the MindSpore network.
        what: `output` and the place in it, `number of outputs`, or a buffer of statistics (`running_mean`).
        call: 0 for the layer's first call in a forward pass.
        ok: whether `error` is at most `allowed`.
        error: largest absolute difference between MindSpore's numbers and PyTorch's in float64; inf where the
            shapes, or which numbers are finite, differ.
        allowed: see `porter.verification.networks`.
        magnitude: the largest absolute value PyTorch computes.
        shapes: PyTorch's and MindSpore's.
    """

    layer: str
    target: str
    what: str
    call: int
    ok: bool
    error: float
    allowed: float
    magnitude: float
    shapes: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def is_output(self) -> bool:
        return self.what.startswith(OUTPUT)

    @property
    def label(self) -> str:
        name = self.layer or "the network"
        what = self.what.removeprefix(OUTPUT) if self.is_output else f".{self.what}"
        return f"{name}{what}" + (f" (call {self.call + 1})" if self.call else "")

    @property
    def share(self) -> float:
        """The error as a share of what is allowed."""
        if self.allowed > 0:
            return self.error / self.allowed
        return inf if self.error else 0.0

    def to_json(self) -> dict[str, object]:
        numbers = {name: finite(getattr(self, name)) for name in ("error", "allowed", "magnitude")}
        return {**asdict(self), **numbers, "shapes": [list(shape) for shape in self.shapes]}


@dataclass(frozen=True)
class ModeResult:
    """Both networks in one mode.

    Attributes:
        activations: in the order in which PyTorch completes the calls; statistics last.
        cause: why the first divergence is likely there, in words.
        not_run: why nothing, or not everything, could be compared; None when all was.
    """

    mode: Mode
    activations: tuple[Activation, ...]
    cause: str | None = None
    not_run: str | None = None

    @property
    def first_divergence(self) -> Activation | None:
        return next((activation for activation in self.activations if not activation.ok), None)

    @property
    def ok(self) -> bool | None:
        if self.first_divergence:
            return False
        return None if self.not_run else True

    def to_json(self) -> dict[str, object]:
        first = self.first_divergence
        return {
            "mode": self.mode,
            "ok": self.ok,
            "first_divergence": first.label if first else None,
            "cause": self.cause,
            "not_run": self.not_run,
            "activations": [activation.to_json() for activation in self.activations],
        }


@dataclass(frozen=True)
class NetworkResult:
    """The verdict on two whole networks.

    Attributes:
        inputs: as `--input-shape` takes them.
        problems: what the networks and the files do not share; nothing was run then.
        modes: evaluation, then training.
        only_in: framework -> paths of layers that the other network does not have under that name.
        notes: what the reader must know to weigh the verdict.
    """

    inputs: tuple[str, ...]
    problems: tuple[Problem, ...]
    modes: tuple[ModeResult, ...]
    only_in: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool | None:
        verdicts = [mode.ok for mode in self.modes]
        if self.problems or False in verdicts:
            return False
        return None if None in verdicts else True

    def to_json(self) -> dict[str, object]:
        return {
            "ok": self.ok,
            "inputs": list(self.inputs),
            "problems": [problem.to_json() for problem in self.problems],
            "modes": [mode.to_json() for mode in self.modes],
            "only_in": {side: list(paths) for side, paths in self.only_in.items()},
            "notes": list(self.notes),
        }
