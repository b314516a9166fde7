"""The experiment every layer goes through, whoever carries it out: the inputs and the order of the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, TypeVar

from porter.errors import BackendError
from porter.verification.cases import LayerCase, Side
from porter.verification.options import Options

if TYPE_CHECKING:
    import numpy as np

    from porter.verification.cases import Array

T = TypeVar("T", covariant=True)
# Check -> what it compares; None for what one of those that run the layer has not: a parameter that is not trained.
Trajectory = Mapping[str, tuple[T | None, ...]]

# Elements per channel of every input: few, for the error of a sum grows with it, yet enough that 1 / (n - 1) and
# 1 / n differ by 1e-4 of the variance.
ELEMENTS = 120
_SPATIAL = (3, 4, 5)

# How far, and how much wider or narrower, the inputs lie than the layer's own running statistics, in units of
# its standard deviation: off centre, so that batch and running statistics give different outputs.
_SHIFTS = (0.5, -0.75, 0.25, -0.25)
_SPREADS = (1.25, 0.75, 1.5, 1.0)


# The check of inputs that no training meets; see `_make_edges`.
EDGES = "edge inputs"


class Inexpressible(BackendError):
    """A framework has no way to say these settings; a layer it should hold cannot be right."""


class Layer(Protocol[T]):
    """A batch normalisation that runs: a framework's, the float64 reference, or the reference with its bounds.

    A framework that cannot run it raises BackendError.
    """

    def evaluate(self, x: Array) -> T:
        """Output in evaluation mode; x of shape (N, C, *spatial), float32."""

    def train(self, x: Array) -> T:
        """Output in training mode; the running statistics move where the settings say so."""

    def gradients(self, x: Array, upstream: Array, *, training: bool) -> tuple[T | None, ...]:
        """Of sum(output * upstream): of x, gamma and beta; None for one that is not trained. Statistics may move."""

    def statistics(self) -> tuple[T, T] | None:
        """Running mean and variance, shape (C,); None where the settings use none."""


@dataclass(frozen=True)
class Inputs:
    """Inputs of one experiment, float32, shape (N, C, *spatial).

    Attributes:
        training: one per training step.
        upstream: gradient of the output, in the shape of `evaluation` and `training`.
        edges: inputs at the edge of what a layer meets, in shapes of their own; see `_make_edges`.
    """

    evaluation: Array
    training: tuple[Array, ...]
    upstream: Array
    edges: tuple[Array, ...]


def trajectory(layer: Layer[T], inputs: Inputs) -> Trajectory[T]:
    """What the layer gives in each check: evaluation, training, the statistics it moved, evaluation with those.

    The edges come next, first all in evaluation, then in training, and the gradients in training last of all: what
    they move nobody looks at.
    """
    before = layer.evaluate(inputs.evaluation)
    gradients = layer.gradients(inputs.evaluation, inputs.upstream, training=False)
    training = tuple(layer.train(x) for x in inputs.training)
    statistics = layer.statistics()
    moved = {} if statistics is None else {"statistics": statistics}
    after = layer.evaluate(inputs.evaluation)
    edges = (*(layer.evaluate(x) for x in inputs.edges), *(layer.train(x) for x in inputs.edges if _trains(x)))
    return {
        "eval": (before,),
        "train": training,
        **moved,
        "eval after training": (after,),
        "eval gradients": gradients,
        "train gradients": layer.gradients(inputs.training[0], inputs.upstream, training=True),
        EDGES: edges,
    }


def _trains(x: Array) -> bool:
    """One value has no variance: PyTorch refuses it in training, MindSpore gives beta. No conversion changes that."""
    return x.size > x.shape[1]


def make_inputs(case: LayerCase, options: Options) -> Inputs:
    """Inputs at the scale of the source's own running statistics.

    N, D, H and W all differ, so that an axis taken for another shows. Every second training step has a spread of
    about sqrt(eps) around 0, where eps decides the output however large the running variance is.
    """
    import numpy as np

    spatial = _SPATIAL[3 - (case.kind.spatial or 0) :]
    shape = (ELEMENTS // int(np.prod(spatial)), channels_of(case), *spatial)
    mean, scale = _location_and_scale(case.source, shape[1])
    flat = np.full(shape[1], 3 * max(case.source.settings.eps, 1e-10) ** 0.5)
    random = np.random.default_rng(list(sha256(f"{options.seed}:{case.name}".encode()).digest()))

    def draw(centre: Array, spread: Array) -> Array:
        per_channel = (1, -1, *(1 for _ in spatial))
        noise = random.standard_normal(shape)
        return (centre.reshape(per_channel) + spread.reshape(per_channel) * noise).astype(np.float32)

    training = []
    for step in range(options.steps):
        if step % 2:
            training.append(draw(np.zeros(shape[1]), flat))
            continue
        turn = step // 2 % len(_SHIFTS)
        training.append(draw(mean + _SHIFTS[turn] * scale, _SPREADS[turn] * scale))
    upstream = draw(np.zeros(shape[1]), np.ones(shape[1]))
    return Inputs(draw(mean + 0.25 * scale, scale), tuple(training), upstream, _make_edges(case, mean, scale, random))


def _make_edges(case: LayerCase, mean: Array, scale: Array, random: np.random.Generator) -> tuple[Array, ...]:
    """Tiny variance beside a large mean, variance 0, large activations, one value per channel.

    Each has a spatial shape of its own, odd, even and 1, and one has a batch of 1.
    """
    import numpy as np

    dims = case.kind.spatial or 0
    edges = [((2, 4, 6), 4, 1e3, 1e-3), ((3, 1, 5), 1, -2.0, 0.0), ((1, 2, 1), 3, 0.0, 1e4)]
    if "batch" not in (case.source.settings.statistics, case.target.settings.statistics):
        edges.append(((1, 1, 1), 1, 0.5, 0.0))

    def draw(spatial: tuple[int, ...], batch: int, shift: float, spread: float) -> Array:
        noise = random.standard_normal((batch, *spatial[:dims], len(mean)))
        return np.moveaxis(mean + scale * (shift + spread * noise), -1, 1).astype(np.float32)

    with np.errstate(over="ignore"):
        return tuple(draw(*edge) for edge in edges)


def channels_of(case: LayerCase) -> int:
    """C; 2 for a layer without parameters on either side, which treats any number of channels alike."""
    for side in (case.source, case.target):
        for slot, values in side.parameters.items():
            if slot != "count":
                return int(values.shape[0])
    return 2


def _location_and_scale(side: Side, channels: int) -> tuple[Array, Array]:
    import numpy as np

    mean = np.asarray(side.parameters.get("mean", np.zeros(channels)), np.float64)
    variance = np.asarray(side.parameters.get("variance", np.ones(channels)), np.float64)
    usable = np.isfinite(variance) & (variance >= 0)
    scale = np.sqrt(np.where(usable, variance, 1.0) + max(side.settings.eps, 1e-10))
    return np.where(np.isfinite(mean), mean, 0.0), scale
