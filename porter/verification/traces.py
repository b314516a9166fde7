"""What a network computes call by call, and how far another run lies from it, compared as that run goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from porter.verification.activations import Arrays, Call
from porter.verification.deviation import deviation

if TYPE_CHECKING:
    from porter.verification.cases import Array

# Statistics are no call of a layer; they are told as one of this number under the buffer's name.
STATISTICS = -1

Trace = dict[Call, Arrays]


class Network(Protocol):
    """What `TorchNetwork` and `MindSporeNetwork` do alike with what their layers return."""

    def arrays(self, value: Any) -> Arrays: ...

    def exchanged(self, value: Any, arrays: Arrays) -> Any: ...


class Recorder:
    """Keeps every call of a run in `trace`: this is all that a comparison keeps, so numbers are narrowed to float32.

    That costs half a rounding, of the eight that are always allowed. A module that only passes on what the last layer
    in it made, as a Sequential does, shares its array.
    """

    def __init__(self, network: Network) -> None:
        self.trace: Trace = {}
        self._network = network
        self._last: list[Array] = []

    def watch(self, call: Call, given: tuple[Any, ...], output: Any) -> None:
        arrays = self._network.arrays(output)
        if arrays:
            self.keep(call, arrays)

    def keep(self, call: Call, arrays: Arrays) -> None:
        kept = {place: self._shared(_narrow(array)) for place, array in arrays.items()}
        self.trace[call] = kept
        self._last = list(kept.values())

    def _shared(self, array: Array) -> Array:
        import numpy as np

        same = (last for last in self._last if last.shape == array.shape and np.array_equal(last, array))
        return next(same, array)


def _narrow(array: Array) -> Array:
    import numpy as np

    if array.dtype != np.float64:
        return array
    with np.errstate(over="ignore"):  # MindSpore's numbers are infinite there, too
        return array.astype(np.float32)


@dataclass(frozen=True)
class Measured:
    """How far a call's tensors lie from the truth.

    Attributes:
        errors: largest absolute differences, in the order of the truth's tensors.
        shapes: of this run's tensors, likewise.
        count: of this run's tensors; more or fewer than the truth has are not compared.
    """

    errors: list[float]
    shapes: list[tuple[int, ...]]
    count: int


@dataclass
class Comparison:
    """A run held against the truth, each call as it happens: nothing is kept but how far apart they are.

    Layers are compared number by number in their outputs' order: a network may run one on a volume as a plane, and
    what it does with the shape after it shows at its own output, which has to have the truth's.

    Attributes:
        forced: each call's output is exchanged for the truth, once it is compared. Then errors do not add up, and
            every call shows what was done wrongly since the calls before it, alone.
    """

    truth: Trace
    network: Network
    forced: bool = False
    measured: dict[Call, Measured] = field(default_factory=dict)

    def watch(self, call: Call, given: tuple[Any, ...], output: Any) -> Any:
        """See `porter.verification.activations.Watch`."""
        if call not in self.truth:
            return None
        found, truth = self.network.arrays(output), self.truth[call]
        self.compare(call, found)
        if not self.forced:
            return None
        places = _places(truth, found).items()
        return self.network.exchanged(output, {own: _shaped(truth[place], found[own]) for place, own in places})

    def compare(self, call: Call, found: Arrays) -> None:
        pairs = [(found[own], self.truth[call][place]) for place, own in _places(self.truth[call], found).items()]
        inside = call.path and call.number != STATISTICS
        errors = [deviation(_shaped(own, true) if inside else own, true) for own, true in pairs]
        self.measured[call] = Measured(errors, [own.shape for own, _ in pairs], len(found))


def _shaped(array: Array, like: Array) -> Array:
    """The numbers of `array` in the shape of `like`, where they fill it."""
    return array.reshape(like.shape) if array.size == like.size else array


def _places(truth: Arrays, found: Arrays) -> dict[str, str]:
    """Place in the truth -> place in what was found: the same where both have the same, else in order."""
    if set(truth) == set(found):
        return {place: place for place in truth}
    return dict(zip(truth, found, strict=False))
