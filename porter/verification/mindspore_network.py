"""A whole network on MindSpore, in PyNative mode: cells have no hooks in graph mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from porter.errors import BackendError, UsageError
from porter.verification.activations import Arrays, CallCounter, Inputs, Watch, bind, switches_off, tensors_in
from porter.verification.mindspore_backend import execution
from porter.verification.network_results import Problem

if TYPE_CHECKING:
    from porter.verification.cases import Array


class MindSporeNetwork:
    """A MindSpore network.

    Args:
        cell: as its factory built it.

    Attributes:
        modules: every dotted path -> cell; a shared cell has several paths.
    """

    name = "MindSpore"

    def __init__(self, cell: Any) -> None:
        self.cell = cell
        self.modules = dict(_paths(cell, ""))

    def problems(self, values: Mapping[str, Array]) -> list[Problem]:
        """Every name and shape in which the network and `values` differ; MindSpore's own check is not strict."""
        own = self.cell.parameters_dict()
        found = [
            Problem(self.name, name, "missing", f"{list(parameter.shape)} is not in the file")
            for name, parameter in own.items()
            if name not in values
        ]
        for name, value in values.items():
            if name not in own:
                found.append(
                    Problem(self.name, name, "unexpected", f"{list(value.shape)} has no place in the network")
                )
            elif own[name].shape != value.shape:
                text = f"{list(value.shape)} in the file, {list(own[name].shape)} in the network"
                found.append(Problem(self.name, name, "shape", text))
        return found

    def run(
        self, values: Mapping[str, Array], inputs: Inputs, watch: Watch, paths: Mapping[str, str], *, training: bool
    ) -> None:
        """One forward pass, freshly loaded; as `TorchNetwork.run`.

        Inputs are given by name where `construct` has all the names, else one after the other.

        Raises:
            BackendError: the network does not run on these inputs; the calls before were watched.
        """
        import mindspore

        self._prepare(values, training=training)
        counter = CallCounter()
        try:
            positional, named = bind(self.cell.construct, inputs, "--net")
        except UsageError:
            positional, named = [array for _, array in inputs], {}
        hooks = []
        with execution("pynative"):
            try:
                for path, told_as in paths.items():
                    told = lambda c, given, out, path=told_as: watch(counter.next(path), given, out)  # noqa: E731
                    hooks.append(self.modules[path].register_forward_hook(told))
                tensors = {name: mindspore.Tensor(array) for name, array in named.items()}
                self.cell(*map(mindspore.Tensor, positional), **tensors)
            except Exception as error:  # the user's network, or a kernel that is missing
                raise BackendError(f"MindSpore's network does not run: {_message(error)}") from error
            finally:
                for registered in hooks:
                    registered.remove()

    def _prepare(self, values: Mapping[str, Array], *, training: bool) -> None:
        import mindspore

        for name, parameter in self.cell.parameters_dict().items():
            parameter.set_data(mindspore.Tensor(values[name], parameter.dtype))
        self.cell.set_train(training)
        for part in self.modules.values():
            if switches_off(part):
                part.set_train(False)
            elif isinstance(getattr(part, "dropout", None), float):
                part.dropout = 0.0

    def arrays(self, value: Any) -> Arrays:
        import mindspore
        import numpy as np

        return {
            place: np.array(tensor.astype(mindspore.float32).asnumpy() if _is_bf16(tensor) else tensor.asnumpy())
            for place, tensor in tensors_in(value, mindspore.Tensor)
        }

    def state(self, names: Mapping[str, object]) -> dict[str, Array]:
        """The present values of parameters."""
        own = self.cell.parameters_dict()
        return {name: own[name].asnumpy().copy() for name in names if name in own}


def _paths(cell: Any, path: str) -> Iterator[tuple[str, Any]]:
    # The public cells_and_names() and name_cells() tell a shared cell under one of its names only.
    yield path, cell
    for name, child in cell._cells.items():
        if child is not None:
            yield from _paths(child, f"{path}.{name}".removeprefix("."))


def _is_bf16(tensor: Any) -> bool:
    return str(tensor.dtype) == "BFloat16"


def _message(error: Exception) -> str:
    """MindSpore's message without its frames of dashes and the stack that follows."""
    lines = [line.strip("- ") for line in str(error).partition("C++ Call Stack")[0].splitlines()]
    return " ".join([line for line in lines if line][:2]) or type(error).__name__
