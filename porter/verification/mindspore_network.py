"""A whole network on MindSpore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from porter.errors import BackendError, UsageError
from porter.formats.model import TensorSpec
from porter.network import cell_parameters, every_cell
from porter.verification.activations import (
    Arrays,
    Call,
    CallCounter,
    Inputs,
    Watch,
    bind,
    exchanged,
    switches_off,
    tensors_in,
)
from porter.verification.cases import MindSporeMode
from porter.verification.mindspore_backend import execution

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
        self.modules = dict(every_cell(cell))

    def wanted(self, given: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """The parameters that a file has to hold."""
        return cell_parameters(self.cell)

    def run(
        self,
        values: Mapping[str, Array],
        inputs: Inputs,
        watch: Watch,
        paths: Mapping[str, str],
        *,
        training: bool,
        mode: MindSporeMode = "pynative",
    ) -> None:
        """One forward pass, freshly loaded; as `TorchNetwork.run`.

        Inputs are given by name where `construct` has all the names, else one after the other.

        Args:
            mode: cells have no hooks in graph mode: there, only the call of the whole network is told.

        Raises:
            BackendError: the network does not run on these inputs; the calls before were watched.
        """
        import mindspore

        self._prepare(values, training=training)
        try:
            positional, named = bind(self.cell.construct, inputs, "--net")
        except UsageError:
            positional, named = [array for _, array in inputs], {}
        given = tuple(map(mindspore.Tensor, positional))
        with execution(mode), self._watched(watch, paths if mode == "pynative" else {}):
            try:
                output = self.cell(*given, **{name: mindspore.Tensor(array) for name, array in named.items()})
            except Exception as error:  # the user's network, or a kernel that is missing
                raise BackendError(f"MindSpore's network does not run: {_message(error)}") from error
        watch(Call(""), given, output)

    @contextmanager
    def _watched(self, watch: Watch, paths: Mapping[str, str]) -> Iterator[None]:
        counter = CallCounter()
        hooks = []
        try:
            for path, told_as in paths.items():
                if path:
                    told = lambda c, given, out, path=told_as: watch(counter.next(path), given, out)  # noqa: E731
                    hooks.append(self.modules[path].register_forward_hook(told))
            yield
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

    def exchanged(self, value: Any, arrays: Arrays) -> Any:
        """`value`, an output, with other numbers: `arrays`, by place, in the types its tensors have."""
        import mindspore

        def put(tensor: Any, array: Array) -> Any:
            return mindspore.Tensor(array).astype(tensor.dtype)

        return exchanged(value, mindspore.Tensor, arrays, put)

    def state(self, names: Mapping[str, object]) -> dict[str, Array]:
        """The present values of parameters."""
        own = self.cell.parameters_dict()
        return {name: own[name].asnumpy().copy() for name in names if name in own}


def _is_bf16(tensor: Any) -> bool:
    return str(tensor.dtype) == "BFloat16"


def _message(error: Exception) -> str:
    """MindSpore's message without its frames of dashes and the stack that follows."""
    lines = [line.strip("- ") for line in str(error).partition("C++ Call Stack")[0].splitlines()]
    return " ".join([line for line in lines if line][:2]) or type(error).__name__
