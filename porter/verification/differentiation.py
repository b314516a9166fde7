"""What a layer gives when it is run forwards and backwards, whoever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Passes(Generic[T]):
    """Output and gradients of sum(output * upstream).

    Attributes:
        inputs: by input, those of floating point.
        parameters: slot -> gradient, of the parameters that are trained.
    """

    output: T
    inputs: tuple[T, ...]
    parameters: Mapping[str, T]
