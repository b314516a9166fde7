"""Two networks that are meant to be one: built, with their parameters, and layer paired with layer."""

from __future__ import annotations

from dataclasses import dataclass

from porter import network
from porter.differences import compare
from porter.errors import BackendError
from porter.formats.model import Checkpoint
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
        """PyTorch path -> MindSpore path of every layer in both, each PyTorch module once; the networks last."""
        found: dict[str, str] = {}
        seen: set[int] = set()
        for path, module in self.torch.modules.items():
            other = self.pairs.of(path)
            if path and id(module) not in seen and other in self.mindspore.modules:
                seen.add(id(module))
                found[path] = other
        return found | {"": ""}

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
        common = self.common()
        inner = set(self.pairs.layers) | set(self.pairs.layers.values())
        return {
            side: tuple(path for path in modules if path not in known and path.rpartition(".")[0] not in inner)
            for side, modules, known in (
                (self.torch.name, self.torch.modules, set(common)),
                (self.mindspore.name, self.mindspore.modules, set(common.values())),
            )
        }


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
