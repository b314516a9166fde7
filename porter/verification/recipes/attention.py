"""Multi-head attention without its output projection, which is a linear layer of its own: here it is the identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from porter.verification.arithmetic import Number, einsum, joined
from porter.verification.elementary import exponential, reciprocal
from porter.verification.recipes.recipe import Arguments, Numbers, Recipe, Shapes, Values, normal

if TYPE_CHECKING:
    import numpy as np

    from porter.verification.cases import Array

_QUERIES, _KEYS, _BATCH = 3, 4, 2
_ROLES = ("q", "k", "v")


def _width(shapes: Shapes) -> int:
    return shapes["in_proj_weight"][1] if "in_proj_weight" in shapes else shapes["q_proj_weight"][0]


def _widths(shapes: Shapes) -> tuple[int, int, int]:
    """Of queries, keys and values."""
    if "in_proj_weight" in shapes:
        return (_width(shapes),) * 3
    return _width(shapes), shapes["k_proj_weight"][1], shapes["v_proj_weight"][1]


def _inputs(shapes: Shapes, values: Values, random: np.random.Generator) -> tuple[Array, ...]:
    lengths = (_QUERIES, _KEYS, _KEYS)
    sizes = ((_BATCH, n) if values["batch first"] else (n, _BATCH) for n in lengths)
    return tuple(normal(random, *size, width) for size, width in zip(sizes, _widths(shapes), strict=True))


def _projected(x: Number, p: Numbers, role: int, width: int) -> Number:
    rows = slice(role * width, (role + 1) * width)
    together = p.get("in_proj_weight")
    weight = p[f"{_ROLES[role]}_proj_weight"] if together is None else together.at(lambda i: i[rows])
    y = einsum("lni,oi->lno", x, weight)
    return y + p["in_proj_bias"].at(lambda i: i[rows]) if "in_proj_bias" in p else y


def _with_bias(x: Number, bias: Number) -> Number:
    """A bias for keys or values is one more of them."""
    return joined([x, bias.at(lambda i: i.repeat(_BATCH, axis=1))], 0)


def _forward(inputs: tuple[Number, ...], p: Numbers, values: Values) -> Number:
    import numpy as np

    width = _width({slot: number.value.shape for slot, number in p.items()})
    heads = values["number of heads"]
    if values["batch first"]:
        inputs = tuple(_other_axis_first(x) for x in inputs)
    q, k, v = (_projected(x, p, role, width) for role, x in enumerate(inputs))
    if "bias_k" in p:
        k, v = _with_bias(k, p["bias_k"]), _with_bias(v, p["bias_v"])
    if values["zeros among the keys"]:
        k, v = (joined([x, Number(np.zeros((1, _BATCH, width)))], 0) for x in (k, v))
    q, k, v = (x.at(lambda i: i.reshape(*i.shape[:2], heads, -1)) for x in (q, k, v))
    scores = einsum("lnhd,snhd->nhls", q * (width // heads) ** -0.5, k)
    weights = exponential(scores - Number(scores.value.max(-1, keepdims=True)))
    weights = weights * reciprocal(weights.total((-1,)))
    y = einsum("nhls,snhd->lnhd", weights, v).at(lambda i: i.reshape(*i.shape[:2], -1))
    return _other_axis_first(y) if values["batch first"] else y


def _other_axis_first(x: Number) -> Number:
    return x.at(lambda i: i.swapaxes(0, 1))


def _assumed(shapes: Shapes) -> Values:
    heads = 2 if _width(shapes) % 2 == 0 else 1
    return {"number of heads": heads, "batch first": False, "zeros among the keys": False}


def _torch(shapes: Shapes, values: Values) -> Arguments:
    width, of_keys, of_values = _widths(shapes)
    own = {} if "in_proj_weight" in shapes else {"kdim": of_keys, "vdim": of_values}
    return {
        "embed_dim": width,
        "num_heads": values["number of heads"],
        "bias": "in_proj_bias" in shapes,
        **own,
        "add_bias_kv": "bias_k" in shapes,
        "add_zero_attn": values["zeros among the keys"],
        "batch_first": values["batch first"],
    }


def _mindspore(shapes: Shapes, values: Values) -> Arguments:
    arguments = dict(_torch(shapes, values))
    return {"has_bias": arguments.pop("bias"), **arguments}


ATTENTION = Recipe(_inputs, _forward, _torch, _mindspore, _assumed, "2 heads, or 1")
