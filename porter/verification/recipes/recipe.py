"""How to run a layer whose parameters are all that is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from porter.layers.kinds import Kind
    from porter.verification.arithmetic import Number
    from porter.verification.cases import Array

Shapes = Mapping[str, tuple[int, ...]]
Arguments = Mapping[str, Any]
Numbers = Mapping[str, "Number"]
# Setting -> value in PyTorch's terms (`porter.layers.ordinary_settings`).
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A kind of layer: what to feed it, what it computes, and how each framework is asked for it.

    Attributes:
        inputs: (slot -> shape of the parameter in PyTorch, settings, generator) -> inputs, float32, or int64 for an
            embedding.
        forward: (inputs, slot -> parameter, settings) -> the output, or the first of several.
        torch, mindspore: the arguments of the class that make a layer with parameters of these shapes and these
            settings; ValueError where the framework has no such layer.
        assumed: the settings, all of them, that the layer is run with where no network says its own.
        assumes: those in words; "" where none of them can change a result. They decide neither the parameters nor
            their layout.
    """

    inputs: Callable[[Shapes, Values, np.random.Generator], tuple[Array, ...]]
    forward: Callable[[tuple[Number, ...], Numbers, Values], Number]
    torch: Callable[[Shapes, Values], Arguments]
    mindspore: Callable[[Shapes, Values], Arguments]
    assumed: Callable[[Shapes], Values] = lambda shapes: {}
    assumes: str = ""


@dataclass(frozen=True)
class Setup:
    """A layer as one side has it, and what it is run on.

    Attributes:
        settings: all that the recipe assumes, as this side has them.
        parameters: slot -> float32 values in PyTorch's shape.
        inputs, upstream: what goes in, and the gradient of what comes out.
    """

    kind: Kind
    recipe: Recipe
    settings: Values
    parameters: Mapping[str, Array]
    inputs: tuple[Array, ...]
    upstream: Array

    @property
    def shapes(self) -> Shapes:
        return {slot: values.shape for slot, values in self.parameters.items()}


def normal(random: np.random.Generator, *shape: int) -> Array:
    """Standard normal numbers, float32."""
    import numpy as np

    return random.standard_normal(shape).astype(np.float32)
