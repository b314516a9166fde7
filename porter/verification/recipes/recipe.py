"""How to run a layer whose parameters are all that is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from porter.verification.arithmetic import Number
    from porter.verification.cases import Array

Shapes = Mapping[str, tuple[int, ...]]
Arguments = Mapping[str, Any]
Numbers = Mapping[str, "Number"]


@dataclass(frozen=True)
class Recipe:
    """A kind of layer: what to feed it, what it computes, and how each framework is asked for it.

    Attributes:
        inputs: (slot -> shape of the parameter in PyTorch, generator) -> inputs, float32, or int64 for an embedding.
        forward: (inputs, slot -> parameter) -> the output, or the first of several.
        torch, mindspore: the arguments of the class that make a layer with parameters of these shapes.
        assumes: what no checkpoint says and the layer is run with, in words; "" where there is no such thing. It
            decides neither the parameters nor their layout.
    """

    inputs: Callable[[Shapes, np.random.Generator], tuple[Array, ...]]
    forward: Callable[[tuple[Number, ...], Numbers], Number]
    torch: Callable[[Shapes], Arguments]
    mindspore: Callable[[Shapes], Arguments]
    assumes: str = ""


def normal(random: np.random.Generator, *shape: int) -> Array:
    """Standard normal numbers, float32."""
    import numpy as np

    return random.standard_normal(shape).astype(np.float32)
