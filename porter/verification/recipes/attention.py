"""Multi-head attention without its output projection, which is a linear layer of its own: here it is the identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from porter.verification.arithmetic import Number, einsum, exponential, joined, reciprocal
from porter.verification.recipes.recipe import Arguments, Numbers, Recipe, Shapes, normal

if TYPE_CHECKING:
    import numpy as np

    from porter.verification.cases import Array

_QUERIES, _KEYS, _BATCH = 3, 4, 2
_ROLES = ("q", "k", "v")


def _width(shapes: Shapes) -> int:
    return shapes["in_proj_weight"][1] if "in_proj_weight" in shapes else shapes["q_proj_weight"][0]


def _heads(width: int) -> int:
    return 2 if width % 2 == 0 else 1


def _widths(shapes: Shapes) -> tuple[int, int, int]:
    """Of queries, keys and values."""
    if "in_proj_weight" in shapes:
        return (_width(shapes),) * 3
    return _width(shapes), shapes["k_proj_weight"][1], shapes["v_proj_weight"][1]


def _inputs(shapes: Shapes, random: np.random.Generator) -> tuple[Array, ...]:
    lengths = (_QUERIES, _KEYS, _KEYS)
    return tuple(normal(random, n, _BATCH, width) for n, width in zip(lengths, _widths(shapes), strict=True))


def _projected(x: Number, p: Numbers, role: int, width: int) -> Number:
    rows = slice(role * width, (role + 1) * width)
    together = p.get("in_proj_weight")
    weight = p[f"{_ROLES[role]}_proj_weight"] if together is None else together.at(lambda i: i[rows])
    y = einsum("lni,oi->lno", x, weight)
    return y + p["in_proj_bias"].at(lambda i: i[rows]) if "in_proj_bias" in p else y


def _with_bias(x: Number, bias: Number) -> Number:
    """A bias for keys or values is one more of them."""
    return joined([x, bias.at(lambda i: i.repeat(_BATCH, axis=1))], 0)


def _forward(inputs: tuple[Number, ...], p: Numbers) -> Number:
    width = _width({slot: number.value.shape for slot, number in p.items()})
    heads = _heads(width)
    q, k, v = (_projected(x, p, role, width) for role, x in enumerate(inputs))
    if "bias_k" in p:
        k, v = _with_bias(k, p["bias_k"]), _with_bias(v, p["bias_v"])
    q, k, v = (x.at(lambda i: i.reshape(*i.shape[:2], heads, -1)) for x in (q, k, v))
    scores = einsum("lnhd,snhd->nhls", q * (width // heads) ** -0.5, k)
    weights = exponential(scores - Number(scores.value.max(-1, keepdims=True)))
    weights = weights * reciprocal(weights.total((-1,)))
    return einsum("nhls,snhd->lnhd", weights, v).at(lambda i: i.reshape(*i.shape[:2], -1))


def _torch(shapes: Shapes) -> Arguments:
    width, keys, values = _widths(shapes)
    own = {} if "in_proj_weight" in shapes else {"kdim": keys, "vdim": values}
    return {
        "embed_dim": width,
        "num_heads": _heads(width),
        "bias": "in_proj_bias" in shapes,
        **own,
        "add_bias_kv": "bias_k" in shapes,
    }


def _mindspore(shapes: Shapes) -> Arguments:
    arguments = dict(_torch(shapes))
    return {"has_bias": arguments.pop("bias"), **arguments}


ATTENTION = Recipe(_inputs, _forward, _torch, _mindspore, "2 heads, or 1")
