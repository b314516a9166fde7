"""Normalisations by a batch's or a sample's own statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from porter.verification.arithmetic import Number, reciprocal_root
from porter.verification.moments import moments_over
from porter.verification.recipes.recipe import Numbers, Recipe, Shapes, normal

if TYPE_CHECKING:
    import numpy as np

    from porter.verification.cases import Array

EPS = 1e-5


def _layer_norm(inputs: tuple[Number, ...], p: Numbers) -> Number:
    dims = p["gamma"].value.ndim
    distance, variance = moments_over(inputs[0], tuple(range(-dims, 0)), one_pass=True)
    return distance * reciprocal_root(variance + EPS) * p["gamma"] + p["beta"]


LAYER_NORM = Recipe(
    lambda shapes, random: (normal(random, 5, *shapes["gamma"]),),
    _layer_norm,
    lambda shapes: {"normalized_shape": shapes["gamma"], "eps": EPS},
    lambda shapes: {
        "normalized_shape": shapes["gamma"],
        "begin_norm_axis": 1,
        "begin_params_axis": 1,
        "epsilon": EPS,
    },
    f"eps {EPS:g}",
)


def _groups(channels: int) -> int:
    return 2 if channels % 2 == 0 and channels > 2 else 1


def _group_norm(inputs: tuple[Number, ...], p: Numbers) -> Number:
    x = inputs[0]
    shape, channels = x.value.shape, x.value.shape[1]
    grouped = x.at(lambda i: i.reshape(shape[0], _groups(channels), -1))
    distance, variance = moments_over(grouped, (2,), one_pass=True)
    scaled = (distance * reciprocal_root(variance + EPS)).at(lambda i: i.reshape(shape))
    return _affine(scaled, p)


def _affine(x: Number, p: Numbers) -> Number:
    def along(number: Number) -> Number:
        return number.at(lambda i: i.reshape(1, -1, *[1] * (x.value.ndim - 2)))

    return x * along(p["gamma"]) + along(p["beta"])


GROUP_NORM = Recipe(
    lambda shapes, random: (normal(random, 2, shapes["gamma"][0], 3, 4, 2),),
    _group_norm,
    lambda shapes: {"num_groups": _groups(shapes["gamma"][0]), "num_channels": shapes["gamma"][0], "eps": EPS},
    lambda shapes: {"num_groups": _groups(shapes["gamma"][0]), "num_channels": shapes["gamma"][0], "eps": EPS},
    f"eps {EPS:g} and 2 groups, or 1",
)


def _instance_norm(inputs: tuple[Number, ...], p: Numbers) -> Number:
    x = inputs[0]
    distance, variance = moments_over(x, tuple(range(2, x.value.ndim)), one_pass=True)
    return _affine(distance * reciprocal_root(variance + EPS), p)


def instance_norm(dims: int) -> Recipe:
    """The layer as it is trained: by each sample's own statistics, which MindSpore's always uses."""

    def inputs(shapes: Shapes, random: np.random.Generator) -> tuple[Array, ...]:
        return (normal(random, 2, shapes["gamma"][0], *(3, 4, 5)[:dims]),)

    return Recipe(
        inputs,
        _instance_norm,
        lambda shapes: {"num_features": shapes["gamma"][0], "eps": EPS, "affine": True},
        lambda shapes: {"num_features": shapes["gamma"][0], "eps": EPS},
        f"eps {EPS:g} and each sample's own statistics",
    )
