"""Recurrent layers and their cells, step by step, from a state of 0.

Definitions as both frameworks document them (torch/nn/modules/rnn.py, mindspore/nn/layer/rnns.py); gates stand in
the order i, f, g, o (LSTM) and r, z, n (GRU).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from porter.verification.arithmetic import Number, einsum, joined
from porter.verification.elementary import sigmoid, tanh
from porter.verification.recipes.recipe import Arguments, Numbers, Recipe, Shapes, Values, normal

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


def _rectified_rnn(x: Number, h: Number, hidden: Number, memory: Number) -> tuple[Number, Number]:
    y = x + h
    # Where rounding decides the sign, the slope may be that of either side.
    return y * Number(1.0 * (y.value > 0), 1.0 * (abs(y.value) <= y.error)), memory


def _step(step: Step, values: Values) -> Step:
    return _rectified_rnn if values.get("nonlinearity") == "relu" else step


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


def _layer(step: Step) -> Callable[[tuple[Number, ...], Numbers, Values], Number]:
    def run(inputs: tuple[Number, ...], p: Numbers, values: Values) -> Number:
        time_axis = int(values["batch first"])
        sequence = [inputs[0].at(partial(_at_time, time=time, axis=time_axis)) for time in range(_STEPS)]
        levels, both_ways = _ends(p)
        for level in range(levels):
            states = _advance(_step(step, values), p, f"_l{level}", sequence)
            if both_ways:
                back = _advance(_step(step, values), p, f"_l{level}_reverse", sequence[::-1])[::-1]
                states = [joined(pair, 1) for pair in zip(states, back, strict=True)]
            sequence = states
        return joined([x.at(lambda i: i[:, None] if time_axis else i[None]) for x in sequence], time_axis)

    return run


def _at_time(index: Any, time: int, axis: int) -> Any:
    return index.take(time, axis)


def _layer_arguments(bias: str) -> Callable[[Shapes, Values], Arguments]:
    def make(shapes: Shapes, values: Values) -> Arguments:
        levels, both_ways = _ends(shapes)
        sizes = {"input_size": shapes["weight_ih_l0"][1], "hidden_size": shapes["weight_hh_l0"][1]}
        of_names = {"num_layers": levels, bias: "bias_ih_l0" in shapes, "bidirectional": both_ways}
        return {**sizes, **of_names, **_own(values), "batch_first": values["batch first"]}

    return make


def _cell_arguments(bias: str) -> Callable[[Shapes, Values], Arguments]:
    return lambda shapes, values: {
        "input_size": shapes["weight_ih"][1],
        "hidden_size": shapes["weight_hh"][1],
        bias: "bias_ih" in shapes,
        **_own(values),
    }


def _own(values: Values) -> Arguments:
    return {name: values[name] for name in ("nonlinearity",) if name in values}


def _layer_inputs(shapes: Shapes, values: Values, random: np.random.Generator) -> tuple[Array, ...]:
    size = (_BATCH, _STEPS) if values["batch first"] else (_STEPS, _BATCH)
    return (normal(random, *size, shapes["weight_ih_l0"][1]),)


def _cell_inputs(states: int) -> Callable[[Shapes, Values, np.random.Generator], tuple[Array, ...]]:
    def make(shapes: Shapes, values: Values, random: np.random.Generator) -> tuple[Array, ...]:
        width = shapes["weight_hh"][1]
        return (
            normal(random, _BATCH, shapes["weight_ih"][1]),
            *(normal(random, _BATCH, width) for _ in range(states)),
        )

    return make


def _cell(step: Step) -> Callable[[tuple[Number, ...], Numbers, Values], Number]:
    def run(inputs: tuple[Number, ...], p: Numbers, values: Values) -> Number:
        x, hidden, *memory = inputs
        return _step(step, values)(
            _gates(x, p, "ih", ""), _gates(hidden, p, "hh", ""), hidden, memory[0] if memory else hidden
        )[0]

    return run


def _recipes(step: Step, states: int, own: Values, assumes: str = "") -> tuple[Recipe, Recipe]:
    """The layer and its cell; `own` are the settings that both have."""
    layer = Recipe(
        _layer_inputs,
        _layer(step),
        _layer_arguments("bias"),
        _layer_arguments("has_bias"),
        lambda shapes: {**own, "batch first": False},
        assumes,
    )
    arguments = _cell_arguments("bias"), _cell_arguments("has_bias")
    return layer, Recipe(_cell_inputs(states), _cell(step), *arguments, lambda shapes: own, assumes)


LSTM, LSTM_CELL = _recipes(_lstm, 2, {})
GRU, GRU_CELL = _recipes(_gru, 1, {})
RNN, RNN_CELL = _recipes(_rnn, 1, {"nonlinearity": "tanh"}, "tanh")
