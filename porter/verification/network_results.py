"""What the check of two whole networks answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Literal

from porter.differences import Difference
from porter.verification.results import finite

Mode = Literal["eval", "train"]
Where = Literal["by_layer", "activations", "graph"]

# What is compared: an output (with the place in it, where it is no single tensor), the number of a network's outputs,
# or a buffer of running statistics.
OUTPUT, COUNT = "output", "number of outputs"


@dataclass(frozen=True)
class Problem:
    """A parameter that a network and its file do not share.

    Attributes:
        side: `PyTorch` or `MindSpore`.
        difference: what is missing in the file, left over in it, or of another shape.
    """

    side: str
    difference: Difference

    def to_json(self) -> dict[str, object]:
        return {"side": self.side, **self.difference.to_json()}


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
        shapes: PyTorch's and MindSpore's; for the number of outputs, both numbers.
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
    def can_be_judged(self) -> bool:
        """Whether agreement says something: numbers an order of magnitude above what rounding explains."""
        return self.allowed < self.magnitude / 10

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
        activations: with MindSpore's network run as it is; in the order in which PyTorch completes the calls,
            statistics last.
        by_layer: the same, each layer's output exchanged for PyTorch's once it is compared, so that no error goes on.
        graph: the network's outputs and statistics in MindSpore's graph mode, where it was asked for.
        cause: why the first divergence is likely there, in words.
        not_run: why nothing, or not everything, could be compared; None when all was.
    """

    mode: Mode
    activations: tuple[Activation, ...]
    by_layer: tuple[Activation, ...] = ()
    graph: tuple[Activation, ...] = ()
    cause: str | None = None
    not_run: str | None = None

    @property
    def where(self) -> Where | None:
        """In which run the networks part; layer by layer shows it best."""
        runs: dict[Where, tuple[Activation, ...]] = {
            "by_layer": self.by_layer,
            "activations": self.activations,
            "graph": self.graph,
        }
        return next((where for where, rows in runs.items() if not all(row.ok for row in rows)), None)

    @property
    def diverging(self) -> tuple[Activation, ...]:
        """The results of that run; empty where the networks agree."""
        rows: tuple[Activation, ...] = getattr(self, self.where) if self.where else ()
        return rows

    @property
    def told(self) -> tuple[Activation, ...]:
        """`diverging` as it is shown: what the network gives as a whole counts where it ran as it is.

        Layer by layer its output is made of PyTorch's numbers, and equals PyTorch's behind any wrong layer.
        """
        if self.where != "by_layer" or any(not row.layer and not row.ok for row in self.by_layer):
            return self.diverging
        whole = (row for row in self.activations if not row.layer)
        return (*(row for row in self.by_layer if row.layer), *whole)

    @property
    def first_divergence(self) -> Activation | None:
        return next((activation for activation in self.diverging if not activation.ok), None)

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
            "found_in": self.where,
            "cause": self.cause,
            "not_run": self.not_run,
            "activations": [activation.to_json() for activation in self.activations],
            "by_layer": [activation.to_json() for activation in self.by_layer],
            "graph": [activation.to_json() for activation in self.graph],
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


def unproven(whole: Sequence[Activation], by_layer: Sequence[Activation]) -> str | None:
    """Why agreement says nothing: an output that is all 0 or not finite, or no larger than what rounding explains.

    Not where every step can be judged: then each does what it should, however much the network magnifies rounding.
    """
    doubtful = next((row for row in whole if not row.layer and row.is_output and not row.can_be_judged), None)
    if doubtful is None:
        return None
    told = (
        f"the network's {doubtful.what} cannot be judged on this input: its largest value is "
        f"{doubtful.magnitude:.0e}, and rounding alone explains {doubtful.allowed:.0e}"
    )
    outputs = [row for row in by_layer if row.is_output]
    # A layer inside may well be 0 throughout; a network whose output is says nothing.
    unsure = [row for row in outputs if not row.can_be_judged and (row.magnitude or row.allowed or not row.layer)]
    if unsure:
        return f"{told}; nor, layer by layer, can {unsure[0].label}"
    return None if any(not row.layer for row in outputs) else told
