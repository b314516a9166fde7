"""The layers that mix channels, and on how many spatial axes their weights say they work.

The rank of a weight usually is its number of spatial axes plus two. Two habits make it ambiguous, and then the other
weights of the network have a say:

- sparse convolutions of point clouds keep the kernel's axes elsewhere: (O, kD, kH, kW, I) in spconv 2,
  (kD, kH, kW, I, O) in spconv 1, `kernel` (K, I, O) in MinkowskiEngine and torchsparse. Their data is a list of
  points, (N, C), as a linear layer's, and its normalisation is BatchNorm1d;
- MindSpore's Conv1d is a Conv2d over a height of 1: (O, I, 1, K) may be either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from porter.layers.groups import Form, Group
from porter.layers.kinds import Dialect

Shape = tuple[int, ...]

# Kernels of sparse convolutions have at most 7 taps an axis, and no axis of a dense kernel has 16 where the others
# have so few: a last axis that long counts channels.
_SPARSE_KERNEL = 7
_CHANNELS = 16


class Weight(NamedTuple):
    """A layer that mixes channels: a convolution, a linear layer.

    Attributes:
        name: dotted path.
        axes: the numbers of spatial axes its data may have: 3, 2 or 1; 0 for a linear layer.
        what: the layer in words.
        channels: output channels, read as an ordinary convolution's unless its bias shows a transposed one.
        outputs, inputs: channel counts its weight may stand for (a transposed convolution stores them swapped, and
            the weight's shape does not tell which it is).
        is_flat: whether it may be MindSpore's Conv1d or its Conv2d, so that the other kernels decide.
        read_by: of one that is flat, what of the other kernels decided; "" where nothing did.
    """

    name: str
    axes: frozenset[int]
    what: str
    channels: int
    outputs: frozenset[int]
    inputs: frozenset[int]
    is_flat: bool = False
    read_by: str = ""

    @property
    def is_linear(self) -> bool:
        return self.axes == LINEAR


LINEAR = frozenset([0])
POINTS = frozenset([1])
PLANES = frozenset([2])
VOLUMES = frozenset([3])
_SPARSE = "sparse convolution"


def weights_of(groups: Mapping[str, Group], dialect: Dialect) -> dict[str, Weight]:
    """The channel-mixing layers among `groups`, by name, in their order."""
    forms = Counter(group.form for group in groups.values())
    shapes: Counter[Shape] = Counter()
    for form, times in forms.items():
        if shape := _weight_shape(form):
            shapes[shape] += times
    network = _Shapes(shapes, dialect)
    weights = {form: _weight(form, network) for form in forms}
    return {name: Weight(name, *weight[1:]) for name, group in groups.items() if (weight := weights[group.form])}


def _weight_shape(form: Form) -> Shape | None:
    shape = dict(form.shapes).get("weight", ())
    return shape if 2 <= len(shape) <= 5 and 0 not in shape else None


class _Shapes:
    """What all weights of a network together say about the ambiguous ones.

    Args:
        count: shape of a weight -> how many have it.

    Attributes:
        axes: shape of a weight -> the axes it may work on, and `Weight.read_by`.
    """

    def __init__(self, count: Mapping[Shape, int], dialect: Dialect) -> None:
        known = count.keys()
        self._dialect = dialect
        self._planes = sum(times for shape, times in count.items() if len(shape) == 4)
        self._kernels = {shape[2:] for shape in known if len(shape) == 4}
        self._tall = any(height > 1 for height, _ in self._kernels)
        self._flat = any(
            height == 1 and width > 1 and (width, 1) not in self._kernels for height, width in self._kernels
        )
        five = [shape for shape in known if len(shape) == 5]
        self._some_sparse = any(_is_sparse(shape) for shape in five)
        self._some_dense = any(not _may_be_sparse(shape) for shape in five)
        self.axes = {shape: self._axes(shape) for shape in known}

    def _axes(self, shape: Shape) -> tuple[frozenset[int], str]:
        if len(shape) == 5 and _may_be_sparse(shape) and self._some_sparse:
            sure = _is_sparse(shape) or not self._some_dense
            return POINTS if sure else frozenset([1, 3]), ""
        if self.is_flat(shape):
            return self._flat_kernel(shape[3])
        return frozenset([len(shape) - 2]), ""

    def is_flat(self, shape: Shape) -> bool:
        return len(shape) == 4 and self._dialect == "mindspore" and shape[2] == 1

    def _flat_kernel(self, width: int) -> tuple[frozenset[int], str]:
        """Of a kernel 1 x `width` in MindSpore: Conv1d's if no other is taller, Conv2d's if none is only wide.

        A kernel `width` x 1 beside it shows the two halves of a separated square. One that is alone shows nothing.
        """
        if width > 1 and (width, 1) in self._kernels:
            return PLANES, f"the network has a kernel of {width} x 1, too"
        if self._tall and not self._flat:
            return PLANES, "the network has kernels that are taller, and none that is only wide"
        if self._flat and not self._tall and self._planes > 1:
            return POINTS, f"all {self._planes} kernels of the network have a height of 1"
        return POINTS | PLANES, ""


def _is_sparse(shape: Shape) -> bool:
    """Whether a 5-D weight cannot be (O, I, kD, kH, kW)."""
    new = max(shape[1:4]) <= _SPARSE_KERNEL and shape[4] >= _CHANNELS
    old = max(shape[:3]) <= _SPARSE_KERNEL and min(shape[3:]) > _SPARSE_KERNEL and shape[4] >= _CHANNELS
    return new or old


def _may_be_sparse(shape: Shape) -> bool:
    return max(shape[1:4]) <= _SPARSE_KERNEL or max(shape[:3]) <= _SPARSE_KERNEL


def _weight(form: Form, network: _Shapes) -> Weight | None:
    """What a group of this form mixes channels with, its name left open; None where it does not."""
    present = dict(form.shapes)
    shape, kernel = _weight_shape(form), present.get("kernel", ())
    if shape:
        return _dense_or_sparse(shape, present.get("bias"), network)
    if len(kernel) in (2, 3):
        inputs, outputs = kernel[-2:]
        return Weight("", POINTS, _SPARSE, outputs, frozenset([outputs]), frozenset([inputs]))
    return None


def _dense_or_sparse(shape: Shape, bias: Shape | None, network: _Shapes) -> Weight:
    axes, read_by = network.axes[shape]
    if len(shape) == 5 and axes == POINTS:
        outputs = {shape[0]} if max(shape[1:4]) <= _SPARSE_KERNEL else set()
        inputs = {shape[4]} if outputs else set()
        if max(shape[:3]) <= _SPARSE_KERNEL:
            outputs, inputs = outputs | {shape[4]}, inputs | {shape[3]}
        return Weight("", axes, _SPARSE, max(outputs), frozenset(outputs), frozenset(inputs))
    what = "linear layer" if axes == LINEAR else f"{len(shape)}-D weight"
    sides = _sides(shape[0], shape[1], bias, is_linear=axes == LINEAR)
    return Weight("", axes, what, *sides, network.is_flat(shape), read_by)


def _sides(
    first: int, second: int, bias: Shape | None, *, is_linear: bool
) -> tuple[int, frozenset[int], frozenset[int]]:
    """Channels, outputs and inputs of a `Weight` whose shape begins with these two lengths."""
    if is_linear or (bias == (first,) and first != second):
        return first, frozenset([first]), frozenset([second])
    if bias == (second,) and first != second:
        return second, frozenset([second]), frozenset([first])
    either = frozenset([first, second])
    return first, either, either
