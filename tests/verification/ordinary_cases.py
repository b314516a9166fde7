"""Layers of the kinds that have no settings, with parameters of one shape each, right or with a fault."""

from __future__ import annotations

import numpy as np

from porter.layers.kinds import KINDS, Dialect
from porter.verification.cases import OrdinaryCase, Stored

Shapes = dict[str, tuple[int, ...]]


def _recurrent(gates: int, levels: int, both_ways: bool) -> Shapes:
    shapes: Shapes = {}
    for level in range(levels):
        for way in ("", "_reverse")[: 1 + both_ways]:
            end, wide = f"_l{level}{way}", 5 * (1 + both_ways)
            shapes |= {f"weight_ih{end}": (gates * 5, 4 if level == 0 else wide), f"weight_hh{end}": (gates * 5, 5)}
            shapes |= {f"bias_ih{end}": (gates * 5,), f"bias_hh{end}": (gates * 5,)}
    return shapes


def _cell(gates: int) -> Shapes:
    return {
        "weight_ih": (gates * 5, 4),
        "weight_hh": (gates * 5, 5),
        "bias_ih": (gates * 5,),
        "bias_hh": (gates * 5,),
    }


KERNEL = (3, 2, 4)
SHAPES: list[tuple[str, Shapes]] = [
    ("Linear", {"weight": (7, 5), "bias": (7,)}),
    ("Linear", {"weight": (4, 3)}),
    ("Bilinear", {"weight": (7, 5, 4), "bias": (7,)}),
    ("Embedding", {"weight": (11, 5)}),
    ("PReLU", {"weight": (6,)}),
    ("PReLU", {"weight": (1,)}),
    ("LayerNorm", {"gamma": (6,), "beta": (6,)}),
    ("LayerNorm", {"gamma": (3, 4), "beta": (3, 4)}),
    ("GroupNorm", {"gamma": (6,), "beta": (6,)}),
    ("GroupNorm", {"gamma": (5,), "beta": (5,)}),
    *((f"Conv{n}d", {"weight": (7, 5, *KERNEL[:n]), "bias": (7,)}) for n in (1, 2, 3)),
    *((f"ConvTranspose{n}d", {"weight": (6, 4, *KERNEL[:n]), "bias": (4,)}) for n in (1, 2, 3)),
    ("Conv3d", {"weight": (2, 1, 1, 1, 1)}),
    ("ConvTranspose3d", {"weight": (6, 4, 2, 3, 2), "bias": (8,)}),  # two groups
    ("ConvTranspose2d", {"weight": (4, 5, 2, 3)}),
    *((name, _recurrent(gates, 2, both_ways=True)) for name, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))),
    ("LSTM", _recurrent(4, 1, both_ways=False)),
    *((f"{name}Cell", _cell(gates)) for name, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))),
    ("MultiheadAttention", {"in_proj_weight": (18, 6), "in_proj_bias": (18,)}),
    ("MultiheadAttention", {"in_proj_weight": (15, 5)}),
    (
        "MultiheadAttention",
        {
            "q_proj_weight": (6, 6),
            "k_proj_weight": (6, 4),
            "v_proj_weight": (6, 5),
            "in_proj_bias": (18,),
            "bias_k": (1, 1, 6),
            "bias_v": (1, 1, 6),
        },
    ),
]


def ordinary_case(
    kind: str,
    shapes: Shapes,
    seed: int = 0,
    scale: float = 1.0,
    dialects: tuple[Dialect, Dialect] = ("torch", "mindspore"),
    name: str = "layer",
) -> OrdinaryCase:
    """A right conversion of normal parameters of standard deviation `scale`; `shapes` are PyTorch's."""
    random = np.random.default_rng(seed)
    values = {slot: (scale * random.standard_normal(shape)).astype(np.float32) for slot, shape in shapes.items()}
    rules = {slot: KINDS[kind].parameter(slot) for slot in shapes}
    sides = (
        {slot: v.reshape(rules[slot].shape_in(dialect, v.shape, came_from="torch")) for slot, v in values.items()}
        for dialect in dialects
    )
    theirs, ours = (Stored(dialect, side) for dialect, side in zip(dialects, sides, strict=True))
    return OrdinaryCase(name, KINDS[kind], theirs, ours)
