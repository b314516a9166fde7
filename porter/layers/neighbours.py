"""What the layers around a normalisation say about the number of its spatial axes.

A state dict lists layers in order of declaration, which usually is the order of the data. A normalisation over C
channels that follows a convolution with C output channels (or precedes one with C input channels) works on that
convolution's data, so a 5-D weight means BatchNorm3d, a 4-D one BatchNorm2d, a linear layer BatchNorm1d.

This is inference, not proof, and is reported as such. Three habits of real networks need care:
- convolutions declared before their norms (conv1, conv2, bn1, bn2): the k-th norm behind a run of k or more
  weights has its convolution in that run;
- a norm behind a norm (conv, bn, pool, flatten, bn, linear): it has no convolution left, what it feeds decides;
- concatenations (DenseNet): no neighbour has its channels, but all convolutions of the network agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from porter.layers.groups import Group
from porter.layers.kinds import Dialect


@dataclass(frozen=True)
class Weight:
    """A layer that mixes channels: a convolution, a linear layer.

    Attributes:
        name: dotted path.
        axes: spatial axes of its data: 3, 2 or 1; 0 for a linear layer.
        channels: output channels, read as an ordinary convolution's unless its bias shows a transposed one.
        outputs, inputs: channel counts its weight may stand for (a transposed convolution stores them swapped, and
            the weight's shape does not tell which it is).
    """

    name: str
    axes: int
    channels: int
    outputs: frozenset[int]
    inputs: frozenset[int]

    @property
    def what(self) -> str:
        return f"{self.axes + 2}-D weight" if self.axes else "linear layer"


@dataclass(frozen=True)
class Norm:
    """A normalisation candidate: its place in the order, and its channels (None where no tensor tells)."""

    name: str
    channels: int | None


@dataclass(frozen=True)
class Finding:
    """What the neighbours say: the spatial axes they leave possible (none: no evidence), and the words for it."""

    axes: frozenset[int]
    text: str


class Neighbourhood:
    """The order of weights and norms in one checkpoint."""

    def __init__(self, sequence: Sequence[Weight | Norm]) -> None:
        self._sequence = sequence
        self._place = {item.name: i for i, item in enumerate(sequence)}
        self._network_axes = {w.axes for w in sequence if isinstance(w, Weight) and w.axes}

    def about(self, norm: Norm) -> Finding:
        """What surrounds `norm` says about its data."""
        place = self._place[norm.name]
        run, norms_between = self._run_before(place)
        feeding = [w for w in reversed(run) if norms_between < len(run) and norm.channels in w.outputs]
        fed = self._next_weight(place)
        if fed is not None and norm.channels not in fed.inputs:
            fed = None
        if feeding:
            return self._fed_by(norm, feeding, fed)
        if fed is not None and fed.axes:
            return _says({fed.axes}, f"it feeds {fed.name} ({fed.what}, {norm.channels} input channels)")
        return self._by_the_network(norm, run, norms_between, fed)

    def feeder_channels(self, norm: Norm) -> int | None:
        """Channels of a norm that has no tensors of its own: what the convolution before it puts out.

        None where several weights stand before it and the norms behind them do not pair off with them.
        """
        place = self._place[norm.name]
        run, norms_between = self._run_before(place)
        norms_after = next(
            (i for i, item in enumerate(self._sequence[place:]) if isinstance(item, Weight)),
            len(self._sequence) - place,
        )
        if len(run) == norms_between + norms_after:
            return run[norms_between].channels
        return run[-1].channels if len(run) == 1 and not norms_between else None

    def _fed_by(self, norm: Norm, feeding: list[Weight], fed: Weight | None) -> Finding:
        nearest = feeding[0]
        axes = {w.axes for w in feeding}
        text = f"fed by {nearest.name} ({nearest.what}, {norm.channels} output channels)"
        # Across the border of a module the next convolution may be nearer in truth than the previous one.
        if fed is not None and fed.axes and fed.axes != nearest.axes and _parent(nearest.name) != _parent(norm.name):
            axes.add(fed.axes)
            text += f", but it feeds {fed.name} ({fed.what})"
        elif len(axes) > 1:
            text += ", among others: " + ", ".join(f"{w.name} ({w.what})" for w in feeding[1:])
        return _says(axes, text)

    def _by_the_network(self, norm: Norm, run: list[Weight], norms_between: int, fed: Weight | None) -> Finding:
        """No neighbour has the channels: what all convolutions of the network agree on, where that can be meant."""
        behind_linear = bool(run) and not run[-1].axes
        behind_its_own_norm = norms_between >= len(run) and fed is not None and not fed.axes
        if len(self._network_axes) != 1 or behind_linear or behind_its_own_norm:
            return Finding(frozenset(), "no convolution beside it has its channels")
        (axes,) = self._network_axes
        return _says({axes}, f"every convolution of the network has a {axes + 2}-D weight")

    def _run_before(self, place: int) -> tuple[list[Weight], int]:
        """The last unbroken run of weights before `place`, and how many norms stand between it and `place`."""
        last = place - 1
        while last >= 0 and isinstance(self._sequence[last], Norm):
            last -= 1
        run: list[Weight] = []
        for i in range(last, -1, -1):
            item = self._sequence[i]
            if not isinstance(item, Weight):
                break
            run.append(item)
        return run[::-1], place - 1 - last

    def _next_weight(self, place: int) -> Weight | None:
        return next((item for item in self._sequence[place + 1 :] if isinstance(item, Weight)), None)


def weight_of(group: Group, dialect: Dialect) -> Weight | None:
    """`group` as a channel-mixing layer, None where its `weight` is not one (rank 2 to 5)."""
    spec = group.tensors.get("weight")
    if spec is None or not 2 <= len(spec.shape) <= 5:
        return None
    shape = spec.shape
    axes = len(shape) - 2
    if dialect == "mindspore" and axes == 2 and shape[2] == 1 and shape[3] != 1:
        axes = 1  # MindSpore's Conv1d carries an axis more
    first, second = shape[:2]
    bias = group.tensors.get("bias")
    if not axes or (bias is not None and bias.shape == (first,) and first != second):
        return Weight(group.name, axes, first, frozenset([first]), frozenset([second]))
    if bias is not None and bias.shape == (second,) and first != second:
        return Weight(group.name, axes, second, frozenset([second]), frozenset([first]))
    either = frozenset(shape[:2])
    return Weight(group.name, axes, first, either, either)


def _says(axes: Iterable[int], text: str) -> Finding:
    """A linear layer's data has 0 spatial axes, and its normalisation is the 1-D kind."""
    return Finding(frozenset(max(a, 1) for a in axes), text)


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
