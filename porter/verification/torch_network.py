"""A whole network on PyTorch, in the precision that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from porter.errors import BackendError
from porter.formats.model import TensorSpec
from porter.network import module_parameters
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
from porter.verification.rounding_noise import RoundingNoise
from porter.verification.torch_backend import first_line

if TYPE_CHECKING:
    from porter.verification.cases import Array


class TorchNetwork:
    """A PyTorch network that runs on the CPU.

    Args:
        module: as its factory built it.

    Attributes:
        modules: every dotted path -> module; a shared module has several paths.
    """

    name = "PyTorch"

    def __init__(self, module: Any) -> None:
        self.module = module
        self.modules = dict(module.named_modules(remove_duplicate=False))
        # Their own `training` decides for dropouts; those that attention and recurrent layers do inside, this number.
        self.dropouts = [part for part in module.modules() if switches_off(part) or _drops(part)]

    def wanted(self, given: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """The parameters that a file which holds `given` has to hold.

        What PyTorch's own strict load lets pass, passes: a counter of batches that is missing, or of shape (1,). So
        does a tensor that has two names and is given under one.
        """
        own, shapes = self._state(), {spec.name: spec.shape for spec in given}
        held = {own[name].data_ptr() for name in shapes if name in own and own[name].numel()}
        return tuple(
            spec._replace(shape=shapes[spec.name]) if spec.shape == () and shapes.get(spec.name) == (1,) else spec
            for spec in module_parameters(self.module)
            if spec.name in shapes
            or not (own[spec.name].data_ptr() in held or spec.name.endswith("num_batches_tracked"))
        )

    def run(
        self,
        values: Mapping[str, Array],
        inputs: Inputs,
        watch: Watch,
        paths: Mapping[str, str],
        *,
        training: bool,
        dtype: str,
        noise: int | None = None,
    ) -> Call | None:
        """One forward pass, freshly loaded.

        Args:
            values: for `problems` to have found nothing in.
            watch: told each call of the modules at `paths`, in order of completion.
            paths: path of a module -> the name it is told under.
            dtype: `float64` or `float32`, of parameters and computation.
            noise: seed; every layer's output is disturbed by as much as float32 rounding may disturb it.

        Returns:
            The first call that came after random numbers were drawn; None where none were.

        Raises:
            BackendError: the network does not run on these inputs.
            UsageError: it has no input of a given name.
        """
        import torch

        self.prepare(values, training=training, dtype=dtype)
        positional, named = bind(self.module.forward, inputs, "--model")
        with torch.random.fork_rng(devices=[]), torch.no_grad(), _default_dtype(dtype), ExitStack() as hooks:
            torch.manual_seed(0)
            if noise is not None:
                disturb = RoundingNoise(noise)
                for module in self._computing():
                    hooks.callback(module.register_forward_hook(disturb).remove)
            seen = _Calls(watch)
            for path, told_as in paths.items():
                hooks.callback(self.modules[path].register_forward_hook(seen.of(told_as)).remove)
            try:
                self.module(*map(_tensor, positional), **{key: _tensor(value) for key, value in named.items()})
            except Exception as error:  # the user's network: anything can come out of it
                raise BackendError(f"PyTorch's network does not run: {first_line(error)}") from error
        return seen.first_random

    def prepare(self, values: Mapping[str, Array], *, training: bool, dtype: str) -> None:
        """Load `values`, and set mode and precision; dropouts are switched off in either mode."""
        import torch

        self.module.to(getattr(torch, dtype))
        for name, tensor in self._state().items():
            if name in values:
                tensor.copy_(torch.from_numpy(values[name].copy()).reshape(tensor.shape))
        self.module.train(training)
        for part in self.dropouts:
            if switches_off(part):
                part.eval()
            else:
                part.dropout = 0.0

    def apply(self, path: str, values: Mapping[str, Array], arrays: list[Array], *, training: bool) -> Arrays:
        """What the module at `path` alone makes of `arrays`, in float64.

        Raises:
            BackendError: it does not run on them.
        """
        import torch

        self.prepare(values, training=training, dtype="float64")
        with torch.random.fork_rng(devices=[]), torch.no_grad(), _default_dtype("float64"):
            try:
                return self.arrays(self.modules[path](*map(_tensor, arrays)))
            except Exception as error:
                raise BackendError(f"PyTorch's layer does not run alone: {first_line(error)}") from error

    def arrays(self, value: Any) -> Arrays:
        import torch

        return {place: _array(tensor) for place, tensor in tensors_in(value, torch.Tensor)}

    def exchanged(self, value: Any, arrays: Arrays) -> Any:
        """`value`, an output, with other numbers: `arrays`, by place, in the types its tensors have."""
        import torch

        def put(tensor: Any, array: Array) -> Any:
            return torch.from_numpy(array.copy()).to(tensor.dtype)

        return exchanged(value, torch.Tensor, arrays, put)

    def state(self, names: Mapping[str, object]) -> dict[str, Array]:
        """The present values of buffers."""
        own = self._state()
        return {name: _array(own[name]) for name in names if name in own}

    @property
    def buffers(self) -> list[str]:
        """Names of floating-point buffers that are part of a checkpoint."""
        own = self._state()
        return [name for name, buffer in self.module.named_buffers() if name in own and buffer.is_floating_point()]

    def _state(self) -> dict[str, Any]:
        import torch

        return {name: value for name, value in self.module.state_dict().items() if isinstance(value, torch.Tensor)}

    def _computing(self) -> list[Any]:
        """The modules in which numbers are made: those with parameters of their own, and those without children."""
        return [
            part
            for part in self.module.modules()
            if next(part.children(), None) is None or next(part.parameters(recurse=False), None) is not None
        ]


class _Calls:
    """Numbers the calls of modules for a `Watch`, and keeps the first that came after random numbers were drawn.

    It has to be made where the generator of random numbers stands as it will when the network begins.
    """

    def __init__(self, watch: Watch) -> None:
        import torch

        self.first_random: Call | None = None
        self._watch = watch
        self._counter = CallCounter()
        self._untouched = torch.get_rng_state()

    def of(self, path: str) -> Callable[[Any, tuple[Any, ...], Any], Any]:
        """A forward hook for the module that is told as `path`."""
        import torch

        def hook(module: Any, given: tuple[Any, ...], output: Any) -> Any:
            call = self._counter.next(path)
            if self.first_random is None and not torch.equal(torch.get_rng_state(), self._untouched):
                self.first_random = call
            return self._watch(call, given, output)

        return hook


def _drops(module: Any) -> bool:
    share = getattr(module, "dropout", None)
    return isinstance(share, float) and share > 0


def _tensor(array: Array) -> Any:
    import torch

    tensor = torch.from_numpy(array.copy())
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _array(tensor: Any) -> Array:
    tensor = tensor.detach().cpu()
    array: Array = (tensor.double() if tensor.is_floating_point() else tensor).numpy().copy()
    return array


@contextmanager
def _default_dtype(dtype: str) -> Iterator[None]:
    """Tensors that the network's own code makes have the precision of the rest."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)
