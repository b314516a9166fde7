"""Linear maps: fully connected and bilinear layers, embeddings, PReLU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from porter.verification.arithmetic import Number, einsum
from porter.verification.recipes.recipe import Arguments, Numbers, Recipe, Shapes, Values, normal

if TYPE_CHECKING:
    import numpy as np

    from porter.verification.cases import Array

_BATCH = 5


def _linear_arguments(shapes: Shapes, values: Values) -> Arguments:
    out, in_ = shapes["weight"]
    return {"in_features": in_, "out_features": out, "bias": "bias" in shapes}


def _dense_arguments(shapes: Shapes, values: Values) -> Arguments:
    out, in_ = shapes["weight"]
    return {"in_channels": in_, "out_channels": out, "has_bias": "bias" in shapes, "weight_init": "zeros"}


def _linear(inputs: tuple[Number, ...], p: Numbers, values: Values) -> Number:
    return shifted(einsum("ni,oi->no", inputs[0], p["weight"]), p)


def shifted(y: Number, p: Numbers, axes: int = 0) -> Number:
    """`y` with the bias, where there is one, along its channels, `axes` axes before the last."""
    return y + p["bias"].at(lambda i: i.reshape(-1, *[1] * axes)) if "bias" in p else y


LINEAR = Recipe(
    lambda shapes, values, random: (normal(random, _BATCH, shapes["weight"][1]),),
    _linear,
    _linear_arguments,
    _dense_arguments,
)


def _bilinear(inputs: tuple[Number, ...], p: Numbers, values: Values) -> Number:
    partly = einsum("ni,oij->noj", inputs[0], p["weight"])
    return shifted(einsum("noj,nj->no", partly, inputs[1]), p)


def _bilinear_arguments(shapes: Shapes, values: Values) -> Arguments:
    out, first, second = shapes["weight"]
    return {"in1_features": first, "in2_features": second, "out_features": out, "bias": "bias" in shapes}


def _bidense_arguments(shapes: Shapes, values: Values) -> Arguments:
    out, first, second = shapes["weight"]
    sizes = {"in1_channels": first, "in2_channels": second, "out_channels": out}
    return {**sizes, "has_bias": "bias" in shapes, "weight_init": "zeros"}


BILINEAR = Recipe(
    lambda shapes, values, random: (
        normal(random, _BATCH, shapes["weight"][1]),
        normal(random, _BATCH, shapes["weight"][2]),
    ),
    _bilinear,
    _bilinear_arguments,
    _bidense_arguments,
)


def _rows(shapes: Shapes, values: Values, random: np.random.Generator) -> tuple[Array, ...]:
    """The first, the last and some other rows, one of them twice."""
    import numpy as np

    count = shapes["weight"][0]
    drawn = random.integers(count, size=10)
    rows: Array = np.array([[0, count - 1, *drawn[:4]], [*drawn[4:9], drawn[4]]], np.int64)
    return (rows,)


def _looked_up(inputs: tuple[Number, ...], p: Numbers, values: Values) -> Number:
    import numpy as np

    rows = inputs[0].value.astype(np.int64)
    return p["weight"].at(lambda i: i[rows])


EMBEDDING = Recipe(
    _rows,
    _looked_up,
    lambda shapes, values: dict(zip(("num_embeddings", "embedding_dim"), shapes["weight"], strict=True)),
    lambda shapes, values: {
        **dict(zip(("vocab_size", "embedding_size"), shapes["weight"], strict=True)),
        "embedding_table": "zeros",
    },
)


def _prelu(inputs: tuple[Number, ...], p: Numbers, values: Values) -> Number:
    x = inputs[0]
    slope = p["weight"].at(lambda i: i.reshape(1, -1, 1, 1))
    return x * Number(1.0 * (x.value > 0)) + x * Number(1.0 * (x.value <= 0)) * slope


PRELU = Recipe(
    lambda shapes, values, random: (
        normal(random, 2, max(shapes["weight"][0], 2) if shapes["weight"][0] > 1 else 3, 3, 4),
    ),
    _prelu,
    lambda shapes, values: {"num_parameters": shapes["weight"][0]},
    lambda shapes, values: {"channel": shapes["weight"][0]},
)
