"""Normalisations by a batch's or a sample's own statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from porter.layers.ordinary_settings import AXES
from porter.verification.arithmetic import Number
from porter.verification.elementary import reciprocal_root
from porter.verification.moments import moments_over
from porter.verification.recipes.recipe import Arguments, Numbers, Recipe, Shapes, Values, normal

if TYPE_CHECKING:
    import numpy as np

    from porter.verification.cases import Array

_EPS = 1e-5


def _scaled(x: Array, eps: float) -> Array:
    """Every second sample so small that its variance is as large as eps: a wrong eps shows there."""
    import numpy as np

    x[1::2] *= np.float32(eps**0.5 or 1.0)
    return x


def _layer_norm(inputs: tuple[Number, ...], p: Numbers, values: Values) -> Number:
    distance, variance = moments_over(inputs[0], tuple(range(-values[AXES], 0)), one_pass=True)
    return distance * reciprocal_root(variance + values["eps"]) * p["gamma"] + p["beta"]


def _torch_layer_norm(shapes: Shapes, values: Values) -> Arguments:
    if values[AXES] != len(shapes["gamma"]):
        raise ValueError(f"its LayerNorm normalises the {len(shapes['gamma'])} axes of its parameters")
    return {"normalized_shape": shapes["gamma"], "eps": values["eps"]}


LAYER_NORM = Recipe(
    lambda shapes, values, random: (_scaled(normal(random, 5, *shapes["gamma"]), values["eps"]),),
    _layer_norm,
    _torch_layer_norm,
    # Of the axes counted from the end MindSpore takes the last alone.
    lambda shapes, values: {
        "normalized_shape": shapes["gamma"],
        "begin_norm_axis": 1 + len(shapes["gamma"]) - values[AXES],
        "begin_params_axis": 1,
        "epsilon": values["eps"],
    },
    lambda shapes: {"eps": _EPS, AXES: len(shapes["gamma"])},
    f"eps {_EPS:g}",
)


def _group_norm(inputs: tuple[Number, ...], p: Numbers, values: Values) -> Number:
    x = inputs[0]
    shape, groups = x.value.shape, values["number of groups"]
    grouped = x.at(lambda i: i.reshape(shape[0], groups, -1))
    distance, variance = moments_over(grouped, (2,), one_pass=True)
    scaled = (distance * reciprocal_root(variance + values["eps"])).at(lambda i: i.reshape(shape))
    return _affine(scaled, p)


def _affine(x: Number, p: Numbers) -> Number:
    def along(number: Number) -> Number:
        return number.at(lambda i: i.reshape(1, -1, *[1] * (x.value.ndim - 2)))

    return x * along(p["gamma"]) + along(p["beta"])


def _group_arguments(shapes: Shapes, values: Values) -> Arguments:
    (channels,) = shapes["gamma"]
    return {"num_groups": values["number of groups"], "num_channels": channels, "eps": values["eps"]}


def _assumed_groups(shapes: Shapes) -> Values:
    (channels,) = shapes["gamma"]
    return {"eps": _EPS, "number of groups": 2 if channels % 2 == 0 and channels > 2 else 1}


GROUP_NORM = Recipe(
    lambda shapes, values, random: (_scaled(normal(random, 2, shapes["gamma"][0], 3, 4, 2), values["eps"]),),
    _group_norm,
    _group_arguments,
    _group_arguments,
    _assumed_groups,
    f"eps {_EPS:g} and 2 groups, or 1",
)


def _instance_norm(inputs: tuple[Number, ...], p: Numbers, values: Values) -> Number:
    x = inputs[0]
    distance, variance = moments_over(x, tuple(range(2, x.value.ndim)), one_pass=True)
    return _affine(distance * reciprocal_root(variance + values["eps"]), p)


def instance_norm(dims: int) -> Recipe:
    """The layer as it is trained: by each sample's own statistics, which MindSpore's always uses."""

    def inputs(shapes: Shapes, values: Values, random: np.random.Generator) -> tuple[Array, ...]:
        return (_scaled(normal(random, 2, shapes["gamma"][0], *(3, 4, 5)[:dims]), values["eps"]),)

    return Recipe(
        inputs,
        _instance_norm,
        lambda shapes, values: {"num_features": shapes["gamma"][0], "eps": values["eps"], "affine": True},
        lambda shapes, values: {"num_features": shapes["gamma"][0], "eps": values["eps"]},
        lambda shapes: {"eps": _EPS},
        f"eps {_EPS:g} and each sample's own statistics",
    )
