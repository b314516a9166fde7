"""Recurrent layers and their cells, step by step, from a state of 0.

Definitions as both frameworks document them (torch/nn/modules/rnn.py, mindspore/nn/layer/rnns.py); gates stand in
the order i, f, g, o (LSTM) and r, z, n (GRU).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from porter.verification.arithmetic import Number, einsum, joined, sigmoid, tanh
from porter.verification.recipes.recipe import Arguments, Numbers, Recipe, Shapes, normal

if TYPE_CHECKING:
    import numpy as np

    from porter.verification.cases import Array

# Enough steps for the hidden weights to count twice.
_STEPS = 3
_BATCH = 2

# (what the input gives, what the hidden state gives, hidden state, memory) -> both states anew.
Step = Callable[[Number, Number, Number, Number], tuple[Number, Number]]


def _parts(x: Number, count: int) -> list[Number]:
    """`x` cut into gates along its last axis."""
    size = x.value.shape[-1] // count
    return [x.at(partial(_columns, start=gate * size, end=(gate + 1) * size)) for gate in range(count)]


def _columns(index: Any, start: int, end: int) -> Any:
    return index[..., start:end]


def _lstm(x: Number, h: Number, hidden: Number, memory: Number) -> tuple[Number, Number]:
    i, f, g, o = _parts(x + h, 4)
    memory = sigmoid(f) * memory + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(memory), memory


def _gru(x: Number, h: Number, hidden: Number, memory: Number) -> tuple[Number, Number]:
    (xr, xz, xn), (hr, hz, hn) = _parts(x, 3), _parts(h, 3)
    new, keep = tanh(xn + sigmoid(xr + hr) * hn), sigmoid(xz + hz)
    return (-keep + 1.0) * new + keep * hidden, memory


def _rnn(x: Number, h: Number, hidden: Number, memory: Number) -> tuple[Number, Number]:
    return tanh(x + h), memory


def _gates(x: Number, p: Numbers, which: str, end: str) -> Number:
    y = einsum("ni,oi->no", x, p[f"weight_{which}{end}"])
    return y + p[f"bias_{which}{end}"] if f"bias_{which}{end}" in p else y


def _advance(step: Step, p: Numbers, end: str, sequence: list[Number]) -> list[Number]:
    """The hidden state after each element of a sequence of shape (N, I) each."""
    import numpy as np

    width = p[f"weight_hh{end}"].value.shape[1]
    hidden = memory = Number(np.zeros((sequence[0].value.shape[0], width)))
    states = []
    for x in sequence:
        hidden, memory = step(_gates(x, p, "ih", end), _gates(hidden, p, "hh", end), hidden, memory)
        states.append(hidden)
    return states


def _ends(slots: Shapes | Numbers) -> tuple[int, bool]:
    """Levels, and whether the layer also runs backwards."""
    levels = 1 + max(int(slot.split("_l")[1].removesuffix("_reverse")) for slot in slots)
    return levels, any(slot.endswith("_reverse") for slot in slots)


def _layer(step: Step) -> Callable[[tuple[Number, ...], Numbers], Number]:
    def run(inputs: tuple[Number, ...], p: Numbers) -> Number:
        sequence = [inputs[0].at(itemgetter(time)) for time in range(_STEPS)]
        levels, both_ways = _ends(p)
        for level in range(levels):
            states = _advance(step, p, f"_l{level}", sequence)
            if both_ways:
                back = _advance(step, p, f"_l{level}_reverse", sequence[::-1])[::-1]
                states = [joined(pair, 1) for pair in zip(states, back, strict=True)]
            sequence = states
        return joined([x.at(lambda i: i[None]) for x in sequence], 0)

    return run


def _layer_arguments(bias: str) -> Callable[[Shapes], Arguments]:
    def make(shapes: Shapes) -> Arguments:
        levels, both_ways = _ends(shapes)
        sizes = {"input_size": shapes["weight_ih_l0"][1], "hidden_size": shapes["weight_hh_l0"][1]}
        return {**sizes, "num_layers": levels, bias: "bias_ih_l0" in shapes, "bidirectional": both_ways}

    return make


def _cell_arguments(bias: str) -> Callable[[Shapes], Arguments]:
    return lambda shapes: {
        "input_size": shapes["weight_ih"][1],
        "hidden_size": shapes["weight_hh"][1],
        bias: "bias_ih" in shapes,
    }


def _cell_inputs(states: int) -> Callable[[Shapes, np.random.Generator], tuple[Array, ...]]:
    def make(shapes: Shapes, random: np.random.Generator) -> tuple[Array, ...]:
        width = shapes["weight_hh"][1]
        return (
            normal(random, _BATCH, shapes["weight_ih"][1]),
            *(normal(random, _BATCH, width) for _ in range(states)),
        )

    return make


def _cell(step: Step) -> Callable[[tuple[Number, ...], Numbers], Number]:
    def run(inputs: tuple[Number, ...], p: Numbers) -> Number:
        x, hidden, *memory = inputs
        return step(_gates(x, p, "ih", ""), _gates(hidden, p, "hh", ""), hidden, memory[0] if memory else hidden)[0]

    return run


def _recipes(step: Step, states: int, assumes: str = "") -> tuple[Recipe, Recipe]:
    layer = Recipe(
        lambda shapes, random: (normal(random, _STEPS, _BATCH, shapes["weight_ih_l0"][1]),),
        _layer(step),
        _layer_arguments("bias"),
        _layer_arguments("has_bias"),
        assumes,
    )
    cell = Recipe(_cell_inputs(states), _cell(step), _cell_arguments("bias"), _cell_arguments("has_bias"), assumes)
    return layer, cell


LSTM, LSTM_CELL = _recipes(_lstm, 2)
GRU, GRU_CELL = _recipes(_gru, 1)
RNN, RNN_CELL = _recipes(_rnn, 1, "tanh")
