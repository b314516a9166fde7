"""Whether the modules that hold one tensor are one module that stands in several places, or several that share it.

A network tells. A state dict does not: either way it lists every name, and a version for every path. What it shows:

- Modules that hold other tensors beside the shared one are different modules.
- What networks tie are weights: an output's to an embedding's, rarely kernels. Nobody ties biases, gains and
  statistics one by one. Where these have further names, too, it is the module around them that stands in several
  places, with every weight in it (nnU-Net's blocks hold their layers by name and, again, in the order of running).
- Of a weight that is alone, nothing tells. A matrix is taken for a tied one, a kernel for that of a layer used twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from porter.formats.model import Checkpoint
from porter.layers.model import Layer

# Tensors of the same bytes have one number; module -> last part of a tensor's name -> number.
Contents = Mapping[str, Mapping[str, int]]


def places_of(checkpoint: Checkpoint, names: Iterable[str]) -> list[list[str]]:
    """`names` of non-empty tensors, those that have the same bytes of the file in one list."""
    places: dict[object, list[str]] = {}
    for name in names:
        tensor = checkpoint.tensors[name]
        if tensor.extents:
            place = (tensor.extents, tensor.view, tensor.spec.dtype, tensor.spec.shape)
            places.setdefault(place, []).append(name)
    return list(places.values())


def contents_of(places: Iterable[Iterable[str]]) -> Contents:
    contents: dict[str, dict[str, int]] = {}
    for number, group in enumerate(places):
        for name in group:
            parent, _, leaf = name.rpartition(".")
            contents.setdefault(parent, {})[leaf] = number
    return contents


class SharedModules:
    """Tells a module that stands in several places from several modules that share a tensor.

    Args:
        checkpoint: PyTorch's.
        places: as `places_of` gives them.
        layers: as recognised; layers of different kinds may share a tensor, but are not one layer.
        first_paths: path of a module of the network -> its first path there; empty where there is no network.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        places: Sequence[Sequence[str]],
        layers: Iterable[Layer],
        first_paths: Mapping[str, str],
    ) -> None:
        self._axes = {name: len(tensor.spec.shape) for name, tensor in checkpoint.tensors.items()}
        self._places = places
        self._kinds = {layer.name: {kind.name for kind in layer.kinds} for layer in layers}
        self._first_paths = first_paths
        self._contents = contents_of(places)

    def readings(self, group: Sequence[str]) -> list[list[str]]:
        """Those of the names of one tensor that lead to it through the same module as the first; likeliest first.

        Several readings where nothing tells which is right.
        """
        paths = {name: name.rpartition(".")[0] for name in group}
        if all(path in self._first_paths for path in paths.values()):
            first = self._first_paths[paths[group[0]]]
            return [[name for name in group if self._first_paths[paths[name]] == first]]
        alike = [name for name in group if self._may_be_one(paths[name], paths[group[0]])]
        axes = self._axes[group[0]]
        alone = len(self._contents[paths[group[0]]]) == 1 and axes > 1
        if not alone or sum(name in self._in_repeated_modules for name in alike) >= len(alike) - 1:
            return [alike]
        return [[group[0]], alike] if axes == 2 else [alike, [group[0]]]

    def _may_be_one(self, path: str, other: str) -> bool:
        """Whether two modules hold the same tensors under the same names, and can be of one kind."""
        if self._contents[path] != self._contents[other]:
            return False
        return path not in self._kinds or other not in self._kinds or bool(self._kinds[path] & self._kinds[other])

    @cached_property
    def _in_repeated_modules(self) -> set[str]:
        """Names of tensors in modules of which everything has a name outside, and not weights alone."""
        root = _Module()
        for group in self._places:
            ways = [list(root.way_to(name)) for name in group]
            inside = Counter(id(module) for way in ways for module in way)
            for module in (module for way in ways for module in way):
                module.tensors += 1
                module.repeated += inside[id(module)] < len(group)
                module.has_vectors |= self._axes[group[0]] < 2
        shared = (name for group in self._places if len(group) > 1 for name in group)
        return {
            name
            for name in shared
            if any(module.has_vectors and module.repeated == module.tensors for module in root.way_to(name))
        }


@dataclass
class _Module:
    """Counts of the tensors below a module: all, and those that have a name outside of it, too."""

    tensors: int = 0
    repeated: int = 0
    has_vectors: bool = False
    children: dict[str, _Module] = field(default_factory=dict)

    def way_to(self, tensor: str) -> Iterator[_Module]:
        """The modules on the way from this one to a tensor below it, this one left out."""
        module = self
        for level in tensor.split(".")[:-1]:
            module = module.children.setdefault(level, _Module())
            yield module
