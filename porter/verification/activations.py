"""What a network computes on its way: the outputs of its layers, call by call, whichever framework runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from porter.errors import UsageError
from porter.verification.options import NetworkInput

if TYPE_CHECKING:
    from porter.verification.cases import Array

# Place in a layer's output ("" for a tensor, "[0]", "['logits']") -> its values.
Arrays = Mapping[str, "Array"]


@dataclass(frozen=True)
class Call:
    """One call of a layer in a forward pass: `number` 0 is the first. `path` "" is the network itself."""

    path: str
    number: int = 0


# Told (call, positional inputs, output) in the framework's own types, which are good until it returns. What it
# returns takes the output's place in the network; None leaves it.
Watch = Callable[[Call, tuple[Any, ...], Any], Any]


Inputs = Sequence[tuple[NetworkInput, "Array"]]


def make_network_inputs(wanted: Sequence[NetworkInput], seed: int) -> Inputs:
    """The inputs asked for; each differs from every other."""
    import numpy as np

    return [(x, x.draw(np.random.default_rng([seed, place]))) for place, x in enumerate(wanted)]


def bind(function: Any, inputs: Inputs, option: str) -> tuple[list[Array], dict[str, Array]]:
    """Positional and keyword arguments for `function`.

    Raises:
        UsageError: it has no argument of a name that `inputs` gives.
    """
    known = signature(function).parameters
    takes_any = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in known.values())
    for wanted, _ in inputs:
        if wanted.name and wanted.name not in known and not takes_any:
            raise UsageError(
                "the network has no such input", entry=f"--input-shape {wanted} ({option})", expected=", ".join(known)
            )
    positional = [array for wanted, array in inputs if wanted.name is None]
    return positional, {wanted.name: array for wanted, array in inputs if wanted.name}


def tensors_in(value: Any, tensor: type, place: str = "") -> Iterator[tuple[str, Any]]:
    """(place, tensor) for every tensor in an output: a tensor, or tuples, mappings and dataclasses of them."""
    if isinstance(value, tensor):
        yield place, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from tensors_in(part, tensor, f"{place}[{key!r}]")
    elif isinstance(value, tuple | list):
        for index, part in enumerate(value):
            yield from tensors_in(part, tensor, f"{place}[{index}]")
    elif is_dataclass(value):
        for member in fields(value):
            yield from tensors_in(getattr(value, member.name), tensor, f"{place}.{member.name}")


def exchanged(value: Any, tensor: type, arrays: Arrays, put: Callable[[Any, Array], Any], place: str = "") -> Any:
    """An output with `put(tensor, array)` for each tensor whose place `arrays` has; as `tensors_in`."""
    if isinstance(value, tensor):
        return put(value, arrays[place]) if place in arrays else value
    if isinstance(value, Mapping):
        return _with(value, {k: exchanged(v, tensor, arrays, put, f"{place}[{k!r}]") for k, v in value.items()})
    if isinstance(value, tuple | list):
        parts = [exchanged(part, tensor, arrays, put, f"{place}[{index}]") for index, part in enumerate(value)]
        return value._make(parts) if hasattr(value, "_make") else type(value)(parts)
    if is_dataclass(value) and not isinstance(value, type):
        new = copy(value)
        for member in fields(value):
            part = exchanged(getattr(value, member.name), tensor, arrays, put, f"{place}.{member.name}")
            object.__setattr__(new, member.name, part)  # it may be frozen
        return new
    return value


def _with(mapping: Mapping[Any, Any], items: Mapping[Any, Any]) -> Any:
    """A mapping of the same type: some that networks return have constructors of their own."""
    if not isinstance(mapping, MutableMapping):
        return items
    new = copy(mapping)
    new.update(items)
    return new


class CallCounter:
    """Numbers the calls of each layer in one forward pass."""

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}

    def next(self, path: str) -> Call:
        number = self._calls.get(path, 0)
        self._calls[path] = number + 1
        return Call(path, number)


def switches_off(module: Any) -> bool:
    """Whether a layer is of the dropout family: random in training, the identity in evaluation."""
    return any("Drop" in cls.__name__ for cls in type(module).__mro__)
