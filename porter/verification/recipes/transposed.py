"""Transposed convolutions: each number of the input adds the kernel to a window of the output.

Padding is what is cut off that output at both ends (`porter.layers.ordinary_settings`); a negative cut makes it
longer, by numbers that are the bias alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from porter.layers.ordinary_settings import APPENDED, PADDING, per_axis, same_crop, valid_crop
from porter.verification.arithmetic import Number, einsum
from porter.verification.recipes.maps import shifted
from porter.verification.recipes.recipe import Arguments, Numbers, Recipe, Shapes, Values, normal
from porter.verification.recipes.windows import Windows, places

if TYPE_CHECKING:
    import numpy as np

    from porter.verification.cases import Array

_BATCH = 2


def _windows(shapes: Shapes, values: Values) -> Windows:
    return Windows.of(shapes["weight"][2:], values)


def _inputs(shapes: Shapes, values: Values, random: np.random.Generator) -> tuple[Array, ...]:
    return (normal(random, _BATCH, shapes["weight"][0], *_windows(shapes, values).uncut_sizes()),)


def _forward(inputs: tuple[Number, ...], p: Numbers, values: Values) -> Number:
    x, (c, out, *kernel), groups = inputs[0], p["weight"].value.shape, values["groups"]
    windows = Windows.of(tuple(kernel), values)
    grouped = x.at(lambda i: i.reshape(i.shape[0], groups, c // groups, -1))
    weight = p["weight"].at(lambda i: i.reshape(groups, c // groups, out, -1))
    spread = einsum("ngip,giok->npgok", grouped, weight).at(lambda i: i.reshape(*i.shape[:2], groups * out, -1))
    reach = windows.reach(x.value.shape[2:])
    # A negative cut leaves room behind the last window.
    ends = [r - after for r, (_, after) in zip(reach, windows.padding, strict=True)]
    whole = (x.value.shape[0], groups * out, *map(max, reach, ends))
    summed = spread.put(windows.over(places(whole, [*map(slice, reach)])), whole)
    kept = [slice(before, end) for (before, _), end in zip(windows.padding, ends, strict=True)]
    return _appended(shifted(summed.at(lambda i: i[(..., *kept)]), p, len(kernel)), values)


def _appended(y: Number, values: Values) -> Number:
    rank = y.value.ndim - 2
    more = per_axis(values[APPENDED], rank)
    if not any(more):
        return y
    whole = (*y.value.shape[:2], *(size + n for size, n in zip(y.value.shape[2:], more, strict=True)))
    return y.put(places(whole, [*map(slice, y.value.shape[2:])]), whole)


def _common(shapes: Shapes, values: Values) -> dict[str, Any]:
    in_, out, *_ = shapes["weight"]
    return {"in_channels": in_, "out_channels": out * values["groups"], **_windows(shapes, values).arguments()}


def _torch(shapes: Shapes, values: Values) -> Arguments:
    windows = _windows(shapes, values)
    longer = tuple(before - after for before, after in windows.padding)
    if min(longer) < 0 or any(per_axis(values[APPENDED], len(longer))):
        raise ValueError(f"it cuts both ends of an axis alike, or less behind, and appends no zeros: {values}")
    return {
        **_common(shapes, values),
        "padding": tuple(before for before, _ in windows.padding),
        "output_padding": longer,
        "groups": values["groups"],
        "bias": "bias" in shapes,
    }


def _mindspore(shapes: Shapes, values: Values) -> Arguments:
    layout = {"group": values["groups"], "has_bias": "bias" in shapes, "weight_init": "zeros"}
    padding = {1: _padding_1d, 2: _padding_2d, 3: _padding_3d}[len(shapes["weight"]) - 2]
    return {**_common(shapes, values), **layout, **padding(_windows(shapes, values), values)}


def _padding_1d(windows: Windows, values: Values) -> Arguments:
    ((before, after),) = windows.padding
    return _by_mode(windows) if before != after or after < 0 else {"pad_mode": "pad", "padding": before}


def _padding_2d(windows: Windows, values: Values) -> Arguments:
    flat = tuple(n for pair in windows.padding for n in pair)
    if min(flat) < 0:
        return _by_mode(windows)
    return {"pad_mode": "pad", "padding": flat, "output_padding": values[APPENDED]}


def _padding_3d(windows: Windows, values: Values) -> Arguments:
    longer = tuple(max(-after, 0) for _, after in windows.padding)
    flat = tuple(n for before, after in windows.padding for n in (before, max(after, 0)))
    return {"pad_mode": "pad", "padding": flat, "output_padding": longer}


def _by_mode(windows: Windows) -> Arguments:
    """What no numbers can say, one of MindSpore's modes may."""
    for mode, cut in (("same", same_crop), ("valid", valid_crop)):
        if windows.padding == cut(windows.kernel, windows.stride, windows.dilation):
            return {"pad_mode": mode}
    raise ValueError(f"its layer has no argument that cuts {windows.padding} off")


def _assumed(shapes: Shapes) -> Values:
    """The weight has the output channels of one group, the bias those of all."""
    groups = shapes["bias"][0] // shapes["weight"][1] if "bias" in shapes else 1
    nothing = ((0, 0),) * (len(shapes["weight"]) - 2)
    return {"stride": 1, PADDING: nothing, APPENDED: 0, "dilation": 1, "groups": groups}


TRANSPOSED = Recipe(_inputs, _forward, _torch, _mindspore, _assumed, "stride 1 and no padding")
