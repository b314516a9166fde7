"""Two networks that are meant to be one: built, with their parameters, and layer paired with layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from porter import network
from porter.differences import compare
from porter.errors import BackendError
from porter.formats.model import Checkpoint
from porter.layers.ordinary_settings import settings_of_module
from porter.plan import Plan
from porter.source import Source
from porter.verification.mindspore_backend import MindSporeBackend
from porter.verification.mindspore_network import MindSporeNetwork
from porter.verification.network_results import Problem
from porter.verification.pairing import Pairs, Values, pairs_of, read_values
from porter.verification.torch_backend import TorchBackend
from porter.verification.torch_network import TorchNetwork


@dataclass(frozen=True)
class Twins:
    """Two networks, their parameters, and which layer of one is which of the other."""

    torch: TorchNetwork
    mindspore: MindSporeNetwork
    values: Values
    pairs: Pairs

    def common(self) -> dict[str, str]:
        """PyTorch path -> MindSpore path of every layer in both, as it is told; the networks last."""
        told = set(self.watched()[0].values())
        return {path: other for path, other in self._pairs() if path in told} | {"": ""}

    def watched(self) -> tuple[dict[str, str], dict[str, str]]:
        """(PyTorch path -> the layer that it is told as, MindSpore path -> the same): each module once.

        What stands in several places of one network may be several layers of the other: an activation that is used
        again, tied weights. Their calls are those of one layer, in the order in which they happen. A layer that
        `ends_with` an activation is left out: none of PyTorch's layers has its output.
        """
        several = self.ends_with()
        pairs = [pair for pair in self._pairs() if pair[0] not in several]
        told: dict[int, str] = {}
        for path, other in pairs:
            both = id(self.torch.modules[path]), id(self.mindspore.modules[other])
            name, *joined = dict.fromkeys(told[one] for one in both if one in told) or [path]
            told |= {one: name for one, called in told.items() if called in joined} if joined else {}
            told |= dict.fromkeys(both, name)
        modules = _first_paths((path for path, _ in pairs), self.torch.modules)
        cells = _first_paths((other for _, other in pairs), self.mindspore.modules)
        return (
            {path: told[one] for one, path in modules.items()} | {"": ""},
            {path: told[one] for one, path in cells.items()} | {"": ""},
        )

    def _pairs(self) -> list[tuple[str, str]]:
        """(PyTorch path, MindSpore path) of every layer in both, by all its paths."""
        places = ((path, self.pairs.places_of(path)) for path in self.torch.modules if path)
        found = ((path, next((x for x in others if x in self.mindspore.modules), None)) for path, others in places)
        return [(path, other) for path, other in found if other is not None]

    def ends_with(self) -> dict[str, str]:
        """PyTorch path of every layer of MindSpore's that has an activation in itself -> the activation's class."""
        found = {
            path: settings_of_module(self.mindspore.modules[other], mindspore=True).get("activation")
            for path, other in self._pairs()
        }
        return {path: activation.told for path, activation in found.items() if activation}

    def statistics(self) -> dict[str, str]:
        """PyTorch buffer -> MindSpore parameter."""
        return {name: self.pairs.tensors[name] for name in self.torch.buffers if name in self.pairs.tensors}

    def problems(self) -> tuple[Problem, ...]:
        """Every name and shape in which a network and its file differ; dtypes may, for values are cast on loading."""
        sides = (self.torch, self.values.torch_specs), (self.mindspore, self.values.mindspore_specs)
        return tuple(
            Problem(network.name, difference)
            for network, given in sides
            for difference in compare(given, network.wanted(given))
            if difference.problem != "dtype"
        )

    def only_in(self) -> dict[str, tuple[str, ...]]:
        """Layers that the other network does not have; what stands in a layer it has is that layer's own business."""
        pairs = self._pairs()
        inner = set(self.pairs.layers) | set(self.pairs.layers.values())
        sides = (self.torch, [path for path, _ in pairs]), (self.mindspore, [other for _, other in pairs])
        found = {}
        for side, paths in sides:
            known = _first_paths(["", *paths], side.modules)
            found[side.name] = tuple(
                path
                for path, module in side.modules.items()
                if id(module) not in known and path.rpartition(".")[0] not in inner
            )
        return found


def _first_paths(paths: Iterable[str], modules: Mapping[str, Any]) -> dict[int, str]:
    """The identity of each module at `paths` -> its first path."""
    found: dict[int, str] = {}
    for path in paths:
        found.setdefault(id(modules[path]), path)
    return found


def open_twins(source: Source, plan: Plan, output: Checkpoint, model: str, net: str, device: str) -> Twins:
    """Build both networks and read both files; `source` and `output` are the two sides of `plan`.

    Args:
        model, net: the PyTorch and the MindSpore network, as `porter.network` takes them.
        device: MindSpore's device target; PyTorch's network, the reference, runs on the CPU.

    Raises:
        UsageError, BackendError: a network cannot be built, or its framework is not there.
    """
    for backend in (TorchBackend(), MindSporeBackend(device)):
        reason = backend.available()
        if reason:
            raise BackendError(reason)
    module, cell = network.torch_network(model, runs=True), network.mindspore_network(net)
    values, pairs = read_values(source, plan, output), pairs_of(source, plan)
    return Twins(TorchNetwork(module), MindSporeNetwork(cell), values, pairs)
