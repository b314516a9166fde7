"""What a layer gives when it is run forwards and backwards, whoever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from porter.errors import BackendError

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


def check_shape(output: tuple[int, ...], upstream: tuple[int, ...]) -> None:
    """Check the shape of a layer's output.

    Raises:
        BackendError: another one was expected.
    """
    if output != upstream:
        raise BackendError(f"its output has shape {list(output)} where {list(upstream)} was expected")
