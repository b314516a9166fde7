"""Convolutions in one, two and three dimensions, as sums over windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from porter.layers.ordinary_settings import PADDING, SAME, same_padding
from porter.verification.arithmetic import Number, einsum
from porter.verification.recipes.maps import shifted
from porter.verification.recipes.recipe import Arguments, Numbers, Recipe, Shapes, Values, normal
from porter.verification.recipes.windows import Windows

if TYPE_CHECKING:
    import numpy as np

    from porter.verification.cases import Array

_BATCH = 2


def _windows(shapes: Shapes, values: Values) -> Windows:
    return Windows.of(shapes["weight"][2:], values)


def _inputs(shapes: Shapes, values: Values, random: np.random.Generator) -> tuple[Array, ...]:
    channels = shapes["weight"][1] * values["groups"]
    return (normal(random, _BATCH, channels, *_windows(shapes, values).input_sizes()),)


def _forward(inputs: tuple[Number, ...], p: Numbers, values: Values) -> Number:
    x, weight, groups = inputs[0], p["weight"], values["groups"]
    windows = Windows.of(weight.value.shape[2:], values)
    n, out, size = x.value.shape[0], weight.value.shape[0], x.value.shape[2:]
    padded = windows.padded(x)
    seen = padded.at(lambda i: windows.over(i).reshape(n, -1, groups, weight.value[0].size))
    grouped = weight.at(lambda i: i.reshape(groups, out // groups, -1))
    y = einsum("npgi,goi->npgo", seen, grouped).at(lambda i: i.reshape(n, -1, out))
    return shifted(y, p).at(lambda i: i.swapaxes(1, 2).reshape(n, out, *windows.positions(size)))


def _common(shapes: Shapes, values: Values) -> dict[str, Any]:
    out, in_, *_ = shapes["weight"]
    return {"in_channels": in_ * values["groups"], "out_channels": out, **_windows(shapes, values).arguments()}


def _torch(shapes: Shapes, values: Values) -> Arguments:
    windows = _windows(shapes, values)
    padding: Any = SAME if windows.padding == SAME or _is_same(windows) else tuple(p for p, _ in windows.padding)
    if padding != SAME and any(before != after for before, after in windows.padding):
        raise ValueError(f"it pads both ends of an axis alike, unlike {windows.padding}")
    return {**_common(shapes, values), "padding": padding, "groups": values["groups"], "bias": "bias" in shapes}


def _mindspore(shapes: Shapes, values: Values) -> Arguments:
    layout = {"group": values["groups"], "has_bias": "bias" in shapes, "weight_init": "zeros"}
    return {**_common(shapes, values), **layout, **_mindspore_padding(_windows(shapes, values))}


def _mindspore_padding(windows: Windows) -> Arguments:
    if windows.padding == SAME or _is_same(windows):
        return {"pad_mode": SAME}
    flat = tuple(n for pair in windows.padding for n in pair)
    if not any(flat):
        return {"pad_mode": "valid"}
    if len(windows.kernel) > 1:
        return {"pad_mode": "pad", "padding": flat}
    if flat[0] != flat[1]:
        raise ValueError(f"its 1-D convolution pads both ends alike, unlike {flat}")
    return {"pad_mode": "pad", "padding": flat[0]}


def _is_same(windows: Windows) -> bool:
    """Whether the padding differs at both ends, and is what `same` is in both frameworks."""
    lopsided = any(before != after for before, after in windows.padding)
    return (
        lopsided and set(windows.stride) == {1} and windows.padding == same_padding(windows.kernel, windows.dilation)
    )


CONVOLUTION = Recipe(
    _inputs,
    _forward,
    _torch,
    _mindspore,
    lambda shapes: {"stride": 1, PADDING: ((0, 0),) * (len(shapes["weight"]) - 2), "dilation": 1, "groups": 1},
    "stride 1, no padding and one group",
)
