"""The windows of a convolution: where its kernel stands on the input, and which input is worth giving it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from porter.layers.ordinary_settings import PADDING, SAME, per_axis
from porter.verification.arithmetic import Number
from porter.verification.recipes.recipe import Arguments, Values

# Places of the window along each axis at least: few, and different, so that an axis taken for another shows.
_POSITIONS = (2, 3, 1)

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Windows:
    """The windows of a kernel, one number for each axis.

    Attributes:
        padding: (before, after) of each axis, or `SAME`; of a transposed convolution what is cut off.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Any

    @classmethod
    def of(cls, kernel: tuple[int, ...], values: Values) -> Windows:
        rank, padding = len(kernel), values[PADDING]
        stride, dilation = per_axis(values["stride"], rank), per_axis(values["dilation"], rank)
        return cls(tuple(kernel), stride, dilation, padding if padding == SAME else tuple(padding)[-rank:])

    @property
    def spans(self) -> tuple[int, ...]:
        """Elements of the input from a window's first to its last."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))

    def arguments(self) -> Arguments:
        """Those that both frameworks call alike; MindSpore's 1-D layers take no tuples."""
        named = {"kernel_size": self.kernel, "stride": self.stride, "dilation": self.dilation}
        return {name: value if len(value) > 1 else value[0] for name, value in named.items()}

    def pads(self, sizes: tuple[int, ...]) -> Pairs:
        """(before, after) of each axis for an input of these sizes."""
        if self.padding != SAME:
            return tuple(self.padding)
        axes = zip(sizes, self.stride, self.spans, strict=True)
        totals = (max((-(-size // stride) - 1) * stride + span - size, 0) for size, stride, span in axes)
        return tuple((total // 2, total - total // 2) for total in totals)

    def positions(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """How often the window fits along each axis."""
        axes = zip(sizes, self.pads(sizes), self.spans, self.stride, strict=True)
        return tuple((size + sum(pads) - span) // stride + 1 for size, pads, span, stride in axes)

    def padded(self, x: Number) -> Number:
        """`x`, shape (N, C, *sizes), between the zeros that it is padded with."""
        shape = x.value.shape
        pads = self.pads(shape[2:])
        if not any(map(any, pads)):
            return x
        whole = (*shape[:2], *(size + sum(pair) for size, pair in zip(shape[2:], pads, strict=True)))
        inner = [slice(before, before + size) for (before, _), size in zip(pads, shape[2:], strict=True)]
        return x.put(places(whole, inner), whole)

    def over(self, index: Any) -> Any:
        """(N, C, *sizes) -> (N, positions, C, elements of the window)."""
        import numpy as np

        rank = len(self.kernel)
        axes: Any = tuple(range(2, 2 + rank))
        every = np.lib.stride_tricks.sliding_window_view(index, self.spans, axes)
        steps = tuple(slice(None, None, step) for step in (*self.stride, *self.dilation))
        taken = np.moveaxis(every[(slice(None), slice(None), *steps)], 1, 1 + rank)
        n, c = index.shape[:2]
        return taken.reshape(n, -1, c, int(np.prod(self.kernel)))

    def input_sizes(self) -> tuple[int, ...]:
        """The smallest input on which the window stands often enough, and every element of it meets a number.

        Where the last window ends before the input does, `same` pads otherwise than any numbers.
        """

        def is_enough(axis: int, size: int) -> bool:
            sizes, stride = (size,) * len(self.kernel), self.stride[axis]
            positions, pads = self.positions(sizes)[axis], self.pads(sizes)[axis]
            left_over = (size + sum(pads) - self.spans[axis]) % stride
            return (
                positions >= _POSITIONS[axis]
                and (left_over > 0 or stride == 1 or self.padding == SAME)
                and self._meets(axis, positions, range(pads[0], pads[0] + size))
            )

        return self._smallest(is_enough)

    def uncut_sizes(self) -> tuple[int, ...]:
        """Of a transposed convolution: the smallest input that leaves every element of the kernel in the output."""

        def is_enough(axis: int, size: int) -> bool:
            before, after = self.padding[axis]
            end = self.reach((size,) * len(self.kernel))[axis] - after
            return size >= _POSITIONS[axis] and self._meets(axis, size, range(before, end))

        return self._smallest(is_enough)

    def reach(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """How far the windows of a transposed convolution reach, one for each number of an input of these sizes."""
        axes = zip(sizes, self.stride, self.spans, strict=True)
        return tuple((size - 1) * stride + span for size, stride, span in axes)

    def _smallest(self, is_enough: Callable[[int, int], bool]) -> tuple[int, ...]:
        return tuple(next(size for size in count(1) if is_enough(axis, size)) for axis in range(len(self.kernel)))

    def _meets(self, axis: int, positions: int, within: range) -> bool:
        """Whether each element of the kernel, at one of its positions, stands in the range."""
        stride, dilation = self.stride[axis], self.dilation[axis]
        return all(
            any(position * stride + element * dilation in within for position in range(positions))
            for element in range(self.kernel[axis])
        )


def places(shape: tuple[int, ...], within: Sequence[slice]) -> Any:
    """Which elements of an array of this shape, counted in C order, stand where the slices of its last axes meet."""
    import numpy as np

    index: Any = np.arange(np.prod(shape)).reshape(shape)
    return index[(..., *within)]
