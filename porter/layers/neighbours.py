"""What the layers around a normalisation say about the number of its spatial axes.

A state dict lists layers in order of declaration, which usually is the order of the data. A normalisation over C
channels that follows a convolution with C output channels (or precedes one with C input channels) works on that
convolution's data, so a 5-D weight means BatchNorm3d, a 4-D one BatchNorm2d, a linear layer BatchNorm1d.

This is inference, not proof, and is reported as such. Habits of real networks that need care:
- convolutions declared before their norms (conv1, conv2, bn1, bn2): the k-th norm behind a run of k or more
  weights has its convolution in that run;
- side branches (a squeeze-and-excitation's linear layers between a convolution and its norm): of several weights
  with the norm's channels, those in the innermost module around the norm count;
- a norm behind a norm (conv, bn, pool, flatten, bn, linear): it has no convolution left, what it feeds decides;
- concatenations (DenseNet): no neighbour has its channels, but all convolutions of the network agree;
- a scale and shift without statistics beside linear layers is a LayerNorm: a batch or instance normalisation there
  would have statistics, or nothing to average over; a lone scale beside convolutions is a PReLU.

Every question is answered in the time that the names' depth takes, whatever the number of layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

from porter.layers.groups import Group
from porter.layers.kinds import KINDS, Kind
from porter.layers.weights import LINEAR, VOLUMES, Weight

# Weights that are named one by one in a finding's text.
_NAMED = 4
# Modules around a layer that are looked at; a name is a stranger's, and may have a dot at every other character.
_DEPTH = 32


class Norm(NamedTuple):
    """A normalisation candidate in the order of layers.

    Attributes:
        name: dotted path.
        channels: None where no tensor tells.
        tracked: whether it may keep running statistics (it has some, or no tensor at all).
        alone: whether a weight is all it has.
    """

    name: str
    channels: int | None
    tracked: bool = True
    alone: bool = False


class Finding(NamedTuple):
    """What the neighbours say: how many spatial axes the data may have, and the words for it.

    `axes` counts 0 for a linear layer's data; it is empty where there is no evidence.
    """

    axes: frozenset[int]
    text: str


@dataclass
class _Feeders:
    """Weights of one run that put out the same number of channels, and the axes of all of them together."""

    weights: list[Weight] = field(default_factory=list)
    axes: frozenset[int] = frozenset()

    def add(self, weight: Weight) -> None:
        self.weights.append(weight)
        self.axes |= weight.axes


@dataclass
class _Run:
    """Weights without a norm between them, and the norms behind them.

    Attributes:
        weights: in their order, complete before the first norm asks.
        norms: how many norms stand behind it.
        taken: (channels, module) -> how many weights there have a norm of their own deeper inside the module.
    """

    weights: list[Weight] = field(default_factory=list)
    norms: int = 0
    taken: dict[tuple[int, str], int] = field(default_factory=dict)

    @cached_property
    def below(self) -> dict[tuple[int, str], _Feeders]:
        """(channels, module) -> the weights of the run below that module with that many output channels."""
        found: dict[tuple[int, str], _Feeders] = {}
        for weight in self.weights:
            for module in _modules_around(weight.name):
                for channels in weight.outputs:
                    found.setdefault((channels, module), _Feeders()).add(weight)
        return found

    def feeders(self, norm: Norm) -> _Feeders | None:
        """The weights that may feed the next norm behind the run: those in the innermost module around it."""
        if norm.channels is None or self.norms >= len(self.weights):
            return None
        if len(self.weights) == 1:  # as in most runs: it feeds the norm from wherever it stands, or nothing does
            (weight,) = self.weights
            return _Feeders([weight], weight.axes) if norm.channels in weight.outputs else None
        places = [(norm.channels, module) for module in _modules_around(norm.name)]
        found = next((i for i, place in enumerate(places) if place in self.below), None)
        if found is None:
            return None
        for place in places[found + 1 :]:
            self.taken[place] = self.taken.get(place, 0) + 1
        feeders = self.below[places[found]]
        return feeders if self.taken.get(places[found], 0) < len(feeders.weights) else None


class Neighbourhood:
    """The order of weights and norms in one checkpoint."""

    def __init__(self, sequence: Sequence[Weight | Norm]) -> None:
        self._weights = [item for item in sequence if isinstance(item, Weight)]
        self._network_axes = frozenset[int]()
        self._runs: dict[str, tuple[_Run, int]] = {}
        self._feeders: dict[str, _Feeders | None] = {}
        self._next: dict[str, Weight | None] = {}
        run = _Run()
        for item in sequence:
            if isinstance(item, Weight):
                run = _Run() if run.norms else run
                run.weights.append(item)
                self._network_axes |= item.axes - LINEAR
            else:
                self._runs[item.name] = run, run.norms
                self._feeders[item.name] = run.feeders(item)
                run.norms += 1
        following: Weight | None = None
        for item in reversed(sequence):
            if isinstance(item, Weight):
                following = item
            else:
                self._next[item.name] = following

    def about(self, norm: Norm) -> Finding:
        """What surrounds `norm` says about its data."""
        feeders, fed = self._feeders[norm.name], self._next[norm.name]
        if fed is not None and norm.channels not in fed.inputs:
            fed = None
        if feeders:
            return self._fed_by(norm, feeders, fed)
        if fed is not None and not fed.is_linear:
            return Finding(fed.axes, f"it feeds {fed.name} ({fed.what}, {norm.channels} input channels)")
        if fed is not None and not norm.tracked:
            return Finding(LINEAR, f"it has no statistics and feeds {fed.name} ({fed.what})")
        return self._by_the_network(norm, fed)

    def volumes_around(self, norm: Norm) -> Finding:
        """Whether all convolutions are 3-D in the innermost module around `norm` that has weights, linear or not.

        Nothing about other ranks: too far from the norm to contradict its names.
        """
        module = next((module for module in _modules_around(norm.name) if module in self._axes_below), "")
        if self._axes_below.get(module, LINEAR) - LINEAR != VOLUMES:
            return Finding(frozenset(), "not all convolutions around it are 3-D")
        return Finding(VOLUMES, f"every convolution of {module or 'the network'} has 3 spatial axes")

    @cached_property
    def _axes_below(self) -> dict[str, frozenset[int]]:
        """Module -> the axes of all weights below it."""
        found: dict[str, frozenset[int]] = {}
        for weight in self._weights:
            for module in _modules_around(weight.name):
                found[module] = found.get(module, weight.axes) | weight.axes
        return found

    def feeder_channels(self, norm: Norm) -> int | None:
        """Channels of a norm that has no tensors of its own: what the convolution before it puts out.

        None where several weights stand before it and the norms behind them do not pair off with them.
        """
        run, before = self._runs[norm.name]
        if len(run.weights) == run.norms:
            return run.weights[before].channels
        return run.weights[-1].channels if len(run.weights) == 1 and not before else None

    def _fed_by(self, norm: Norm, feeders: _Feeders, fed: Weight | None) -> Finding:
        nearest, *others = feeders.weights[: -_NAMED - 1 : -1]
        text = f"fed by {nearest.name} ({nearest.what}, {norm.channels} output channels)"
        if fed and not fed.is_linear and fed.axes != nearest.axes and not _encloses(nearest, norm, fed):
            return Finding(feeders.axes | fed.axes, f"{text}, but it feeds {fed.name} ({fed.what})")
        if len(feeders.axes) > 1 and others:
            text += ", among others: " + ", ".join(f"{weight.name} ({weight.what})" for weight in others)
        return Finding(feeders.axes, text)

    def _by_the_network(self, norm: Norm, fed: Weight | None) -> Finding:
        """No neighbour has the channels: what all convolutions of the network agree on, where that can be meant."""
        run, before = self._runs[norm.name]
        behind_linear = bool(run.weights) and run.weights[-1].is_linear
        behind_its_own_norm = before >= len(run.weights) and fed is not None and fed.is_linear
        if len(self._network_axes) != 1 or behind_linear or behind_its_own_norm:
            return Finding(frozenset(), "no convolution beside it has its channels")
        (axes,) = self._network_axes
        plural = "axis" if axes == 1 else "axes"
        return Finding(self._network_axes, f"every convolution of the network has {axes} spatial {plural}")


def about_weight(weight: Weight) -> Finding:
    """What the other weights of the network say about the axes of one whose shape leaves them open."""
    if not weight.is_flat or len(weight.axes) > 1:
        return Finding(frozenset(), "its shape tells, or nothing does")
    return Finding(weight.axes, f"{weight.what}: {weight.read_by}")


def kinds_beside(item: Weight | Norm, axes: frozenset[int]) -> tuple[Kind, ...]:
    """The kinds that are possible on data with so many spatial axes (0 beside linear layers)."""
    if isinstance(item, Norm) and axes == LINEAR and not item.tracked:
        return _WITHOUT_STATISTICS
    if isinstance(item, Norm) and item.alone and not axes & LINEAR:
        return _PRELU
    return _kinds_on(axes)


_WITHOUT_STATISTICS = tuple(kind for kind in KINDS.values() if not kind.is_norm_with_statistics)
_PRELU = (KINDS["PReLU"],)


@lru_cache
def _kinds_on(axes: frozenset[int]) -> tuple[Kind, ...]:
    spatial = {max(count, 1) for count in axes}
    return tuple(kind for kind in KINDS.values() if kind.spatial is None or kind.spatial in spatial)


def outer_norms(groups: Mapping[str, Group]) -> dict[str, str]:
    """Norms whose scale and shift sit on the module around them: inner -> outer, as PySlowFast's SubBatchNorm3d.

    The outer module has nothing but a 1-D `weight` and `bias`, the inner ones have statistics without either, over
    the same channels or (split over the batch) a multiple of them. The outer one is a module of the user's own, whose
    parameters keep their names.
    """
    found = {}
    for name, inner in groups.items():
        outer = groups.get(_parent(name)) if name else None
        if outer is None or "running_mean" not in inner.tensors or "weight" in inner.tensors:
            continue
        shapes = {spec.shape for spec in outer.tensors.values()}
        channels = inner.tensors["running_mean"].shape
        if set(outer.tensors) <= {"weight", "bias"} and len(shapes) == 1:
            (own,) = shapes
            if len(own) == len(channels) == 1 and own[0] and channels[0] % own[0] == 0:
                found[name] = outer.name
    return found


def _encloses(before: Weight, norm: Norm, after: Weight) -> bool:
    """Whether a norm belongs to the weight before it: they share a module, the weight after it does not, or no more.

    Across the border of a module the next convolution may be nearer in truth than the previous one.
    """
    shared = _shared_modules(before.name, norm.name)
    return shared > _shared_modules(after.name, norm.name) or _parent(before.name) == _parent(norm.name)


def _modules_around(name: str) -> Iterator[str]:
    """Paths of the modules that a layer lies in, innermost first, the root ("") last; not all if very deep."""
    depth = 0
    while name and depth < _DEPTH:
        name = _parent(name)
        depth += 1
        yield name
    if name:
        yield ""


def _shared_modules(one: str, other: str) -> int:
    return len(set(_modules_around(one)) & set(_modules_around(other)))


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
