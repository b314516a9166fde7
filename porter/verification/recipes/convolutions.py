"""Convolutions and transposed convolutions in one, two and three dimensions, as sums over windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from porter.verification.arithmetic import Number, einsum
from porter.verification.recipes.maps import shifted
from porter.verification.recipes.recipe import Arguments, Numbers, Recipe, Shapes, normal

if TYPE_CHECKING:
    import numpy as np

    from porter.verification.cases import Array

_BATCH = 2


def _positions(kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Places of the window along each axis: few, and different, so that an axis taken for another shows."""
    return (2, 3, 1)[: len(kernel)]


def _sizes(kernel: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(k + n - 1 for k, n in zip(kernel, _positions(kernel), strict=True))


def _windows(index: Any, kernel: tuple[int, ...]) -> Any:
    """(N, C, *size) -> (N, positions, C, elements of the window)."""
    import numpy as np

    dims = len(kernel)
    axes: Any = tuple(range(2, 2 + dims))
    windows = np.lib.stride_tricks.sliding_window_view(index, kernel, axes)
    ahead = np.moveaxis(windows, 1, 1 + dims)
    n, c = index.shape[:2]
    return ahead.reshape(n, -1, c, int(np.prod(kernel)))


def _convolution(inputs: tuple[Number, ...], p: Numbers) -> Number:
    x, kernel = inputs[0], p["weight"].value.shape[2:]
    windows = x.at(lambda i: _windows(i, kernel))
    weight = p["weight"].at(lambda i: i.reshape(*i.shape[:2], -1))
    y = shifted(einsum("npik,oik->npo", windows, weight), p)
    return y.at(lambda i: i.swapaxes(1, 2).reshape(i.shape[0], i.shape[2], *_positions(kernel)))


def _groups(shapes: Shapes) -> int:
    """Of a transposed convolution: its weight has the output channels of one group, the bias those of all."""
    return int(shapes["bias"][0] // shapes["weight"][1]) if "bias" in shapes else 1


def _transposed(inputs: tuple[Number, ...], p: Numbers) -> Number:
    import numpy as np

    x, (c, out, *kernel) = inputs[0], p["weight"].value.shape
    groups = _groups({slot: number.value.shape for slot, number in p.items()})
    size = tuple(n + k - 1 for n, k in zip(x.value.shape[2:], kernel, strict=True))
    shape = (x.value.shape[0], groups * out, *size)
    grouped = x.at(lambda i: i.reshape(i.shape[0], groups, c // groups, -1))
    weight = p["weight"].at(lambda i: i.reshape(groups, c // groups, out, -1))
    spread = einsum("ngip,giok->npgok", grouped, weight).at(lambda i: i.reshape(*i.shape[:2], groups * out, -1))
    summed = spread.put(_windows(np.arange(np.prod(shape)).reshape(shape), tuple(kernel)), shape)
    return shifted(summed, p, len(kernel))


def _inputs(channels: Callable[[Shapes], int], transposed: bool) -> Callable[..., tuple[Array, ...]]:
    def make(shapes: Shapes, random: np.random.Generator) -> tuple[Array, ...]:
        kernel = shapes["weight"][2:]
        return (normal(random, _BATCH, channels(shapes), *(_positions if transposed else _sizes)(kernel)),)

    return make


def _arguments(transposed: bool, mindspore: bool) -> Callable[[Shapes], Arguments]:
    def make(shapes: Shapes) -> Arguments:
        first, second, *kernel = shapes["weight"]
        groups = _groups(shapes) if transposed else 1
        in_, out = (first, second * groups) if transposed else (second, first)
        size: Any = tuple(kernel) if len(kernel) > 1 else kernel[0]
        common = {"in_channels": in_, "out_channels": out, "kernel_size": size}
        if not mindspore:
            return {**common, "groups": groups, "bias": "bias" in shapes}
        layout = {"pad_mode": "valid", "weight_init": "zeros"}
        return {**common, **layout, "group": groups, "has_bias": "bias" in shapes}

    return make


CONVOLUTION = Recipe(
    _inputs(lambda shapes: shapes["weight"][1], transposed=False),
    _convolution,
    _arguments(transposed=False, mindspore=False),
    _arguments(transposed=False, mindspore=True),
    "stride 1, no padding and one group",
)
TRANSPOSED = Recipe(
    _inputs(lambda shapes: shapes["weight"][0], transposed=True),
    _transposed,
    _arguments(transposed=True, mindspore=False),
    _arguments(transposed=True, mindspore=True),
    "stride 1 and no padding",
)
