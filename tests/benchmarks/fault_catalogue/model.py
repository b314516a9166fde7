"""A fault of an output: how it is put there, and what `verify` must say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from fault_subjects import Subject, Tensors
from numpy.typing import NDArray

Array = NDArray[Any]
Inject = Callable[[Tensors], None]
# Layer (or tensor outside of any) -> regular expressions that all must be found in what `verify` says of it.
Victims = Mapping[str, tuple[str, ...]]

# What the diagnoses call the parameters of a batch normalisation.
SLOTS = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}


@dataclass(frozen=True)
class Fault:
    """One fault of one output.

    Attributes:
        family: the row of the table it counts in.
        what: the fault in words, for the list of those that were not named.
        victims: nothing else may be accused.
        inject: changes the tensors of the output; None where only `verify` is told otherwise.
        options: keywords of `porter.verify` that say how the target is configured.
    """

    family: str
    what: str
    victims: Victims
    inject: Inject | None = None
    options: dict[str, Any] = field(default_factory=dict)


class Scene:
    """What faults are made for: a right conversion, and another training of the same network.

    Args:
        make: (folder, seed) -> the subject, with other values for another seed.
        layers: so many layers are damaged where one would do.
    """

    def __init__(self, make: Callable[[Path, int], Subject], folder: Path, random: np.random.Generator, layers: int):
        self._make, self._folder = make, folder
        self.subject, self.random, self.layers = make(folder, 0), random, layers
        self.tensors = Tensors(self.subject.output)

    @cached_property
    def foreign(self) -> Tensors:
        return Tensors(self._make(self._folder, 1).output)

    def norm(self, layer: Any) -> dict[str, str]:
        """Slot -> tensor of the output, of a batch normalisation's parameters; its counter left out."""
        names = self.subject.tensors(layer)
        return {slot: names[slot] for slot in SLOTS if slot in names}

    @cached_property
    def others(self) -> list[str]:
        """Tensors of no batch normalisation, of more than one value."""
        norms = {name for layer in self.subject.norms for name in self.subject.tensors(layer).values()}
        return [name for name in self.tensors if name not in norms and self.tensors[name].size > 1]

    def owner(self, name: str) -> str:
        """What `verify` will name where the tensor is wrong: the layer it belongs to, else the tensor."""
        for layer in self.subject.layers:
            if name in self.subject.tensors(layer).values():
                return str(layer.name)
        return name

    def sample(self, items: Sequence[Any], count: int | None = None) -> Iterator[Any]:
        for i in self.random.permutation(len(items))[: self.layers if count is None else count]:
            yield items[i]


def setting(family: str, what: str, victims: Victims, change: Mapping[str, Array]) -> Fault:
    """The fault that gives the named tensors of the output these values."""

    def inject(tensors: Tensors) -> None:
        for name, values in change.items():
            tensors[name] = values

    return Fault(family, what, victims, inject)


def constant(values: Array) -> bool:
    return bool((values == values.flat[0]).all())
