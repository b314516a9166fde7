"""Batch normalisation in float64, from its definition: the truth both frameworks are measured against.

Definition: Ioffe & Szegedy, Batch Normalization (2015), algorithms 1 and 2, in the form both frameworks document:
output (x - mean) / sqrt(variance + eps) * gamma + beta, with the batch's biased variance in training, while the
running variance takes in the unbiased one (torch/nn/modules/batchnorm.py; run in mindspore 2.7-2.10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from porter.layers.kinds import Kind
from porter.verification.cases import Side

if TYPE_CHECKING:
    from porter.verification.cases import Array

SLOTS = ("gamma", "beta", "mean", "variance")


@dataclass
class Reference:
    """A batch normalisation that runs in float64 (`porter.verification.trajectory.Layer`).

    Attributes:
        gamma, beta, mean, variance: shape (C,); mean and variance move in training.
        count: training steps so far, which PyTorch's cumulative average (momentum None) divides by.
        unbiased: whether the running variance takes in the unbiased variance of the batch. False is what MindSpore
            2.0.0 did.
    """

    side: Side
    gamma: Array
    beta: Array
    mean: Array
    variance: Array
    count: int = 0
    unbiased: bool = True

    @classmethod
    def of(cls, kind: Kind, side: Side, channels: int, *, unbiased: bool = True) -> Reference:
        """The layer `side` describes; a parameter it lacks counts as the framework's own fill."""
        values = filled(kind, side, channels)
        return cls(side, **values, count=_count(side), unbiased=unbiased)

    @property
    def uses_running(self) -> bool:
        return self.side.settings.statistics != "batch"

    @property
    def moves(self) -> bool:
        return self.side.settings.statistics == "tracked"

    @property
    def weight(self) -> float:
        """Weight of the next batch in the running statistics."""
        momentum = self.side.settings.momentum
        return 1 / (self.count + 1) if momentum is None else momentum

    def evaluate(self, x: Array) -> Array:
        return self.normalise(x, self.mean, self.variance) if self.uses_running else self.normalise(x, *moments(x))

    def train(self, x: Array) -> Array:
        if not self.moves:
            return self.evaluate(x)
        mean, variance = moments(x)
        y = self.normalise(x, mean, variance)
        n = x.size // x.shape[1]
        self.mean = (1 - self.weight) * self.mean + self.weight * mean
        self.variance = (1 - self.weight) * self.variance + self.weight * variance * (
            n / (n - 1) if self.unbiased else 1
        )
        self.count += 1
        return y

    def gradients(self, x: Array, upstream: Array, *, training: bool) -> tuple[Array, Array, Array]:
        """Ioffe & Szegedy, section 3; running statistics are constants, those of the batch depend on x."""
        import numpy as np

        batch = (training and self.moves) or not self.uses_running
        mean, variance = moments(x) if batch else (self.mean, self.variance)
        axes = (0, *range(2, x.ndim))
        inverse = 1 / np.sqrt(variance + self.side.settings.eps)
        normal = (x - along(mean, x)) * along(inverse, x)
        of_gamma, of_beta = (upstream * normal).sum(axes), upstream.sum(axes, dtype=np.float64)
        n = x.size // x.shape[1]
        through = along(of_beta, x) + normal * along(of_gamma, x) if batch else 0.0
        return (upstream - through / n) * along(self.gamma * inverse, x), of_gamma, of_beta

    def statistics(self) -> tuple[Array, Array] | None:
        return (self.mean, self.variance) if self.uses_running else None

    def normalise(self, x: Array, mean: Array, variance: Array) -> Array:
        """Shape of x, float64; NaN where variance + eps is negative, as in both frameworks."""
        import numpy as np

        alpha = self.gamma / np.sqrt(variance + self.side.settings.eps)
        return (x - along(mean, x)) * along(alpha, x) + along(self.beta, x)


def moments(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of every channel in float64, shape (C,)."""
    import numpy as np

    axes = (0, *range(2, x.ndim))
    wide = x.astype(np.float64)
    mean = wide.mean(axes)
    return mean, np.square(wide - along(mean, x)).mean(axes)


def along(values: Array, x: Array) -> Array:
    """Values per channel, shape (C,), shaped to broadcast over x."""
    return values.reshape(1, -1, *(1 for _ in x.shape[2:]))


def filled(kind: Kind, side: Side, channels: int) -> dict[str, Array]:
    """Slot -> float64 values, shape (C,), of gamma, beta, mean and variance, present or filled."""
    import numpy as np

    return {
        slot: np.asarray(side.parameters[slot], np.float64)
        if slot in side.parameters
        else np.full(channels, kind.parameter(slot).fill, np.float64)
        for slot in SLOTS
    }


def _count(side: Side) -> int:
    count = side.parameters.get("count")
    return 0 if count is None else int(count)
