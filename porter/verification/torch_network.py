"""A whole network on PyTorch, in the precision that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from porter.errors import BackendError
from porter.verification.activations import Arrays, Call, CallCounter, Inputs, Watch, bind, switches_off, tensors_in
from porter.verification.bounds import UNIT_ROUNDOFF
from porter.verification.network_results import Problem
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

    def problems(self, values: Mapping[str, Array]) -> list[Problem]:
        """Every name and shape in which the network and `values` differ.

        What PyTorch's own strict load lets pass, passes: a counter of batches that is missing, or of shape (1,). So
        does a tensor that has two names and is given under one.
        """
        own = self._state()
        given = {own[name].data_ptr() for name in values if name in own and own[name].numel()}
        found = []
        for name, tensor in own.items():
            if name not in values and tensor.data_ptr() not in given and not name.endswith("num_batches_tracked"):
                found.append(Problem(self.name, name, "missing", f"{list(tensor.shape)} is not in the file"))
        for name, value in values.items():
            if name not in own:
                found.append(
                    Problem(self.name, name, "unexpected", f"{list(value.shape)} has no place in the network")
                )
            elif own[name].shape != value.shape and (own[name].dim() or value.size != 1):
                text = f"{list(value.shape)} in the file, {list(own[name].shape)} in the network"
                found.append(Problem(self.name, name, "shape", text))
        return found

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
        counter = CallCounter()
        first_random: list[Call] = []
        hooks = [] if noise is None else [m.register_forward_hook(_Noise(noise)) for m in self._computing()]
        positional, named = bind(self.module.forward, inputs, "--model")

        def hook(module: Any, given: tuple[Any, ...], output: Any, path: str) -> None:
            call = counter.next(path)
            if not first_random and not torch.equal(torch.get_rng_state(), untouched):
                first_random.append(call)
            watch(call, given, output)

        with torch.random.fork_rng(devices=[]), torch.no_grad(), _default_dtype(dtype):
            torch.manual_seed(0)
            untouched = torch.get_rng_state()
            try:
                for path, told_as in paths.items():
                    told = lambda m, given, out, path=told_as: hook(m, given, out, path)  # noqa: E731
                    hooks.append(self.modules[path].register_forward_hook(told))
                self.module(*map(_tensor, positional), **{key: _tensor(value) for key, value in named.items()})
            except Exception as error:  # the user's network: anything can come out of it
                raise BackendError(f"PyTorch's network does not run: {first_line(error)}") from error
            finally:
                for registered in hooks:
                    registered.remove()
        return first_random[0] if first_random else None

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


class _Noise:
    """A forward hook that disturbs a layer's output by as much as rounding to float32 may.

    A sum of n products in float32, in whatever order, has an error of about u sqrt(n) of its size (Higham and Mary,
    A New Approach to Probabilistic Rounding Error Analysis, 2019, theorem 3.1), measured here channel by channel;
    results that are no sums are off by u of themselves. Running statistics are sums over their input.
    """

    def __init__(self, seed: int) -> None:
        import torch

        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, module: Any, given: tuple[Any, ...], output: Any) -> Any:
        import torch

        if module.training and getattr(module, "running_mean", None) is not None:
            self._disturb_statistics(module, given[0])
        if isinstance(output, tuple):
            return tuple(self._disturbed(module, part) if isinstance(part, torch.Tensor) else part for part in output)
        return self._disturbed(module, output) if isinstance(output, torch.Tensor) else output

    def _disturbed(self, module: Any, output: Any) -> Any:
        if not output.is_floating_point() or not output.numel():
            return output
        terms = _summed(module, output)
        return output + self._noise(output.abs() if terms == 1 else _size(output), output, terms)

    def _disturb_statistics(self, module: Any, x: Any) -> None:
        terms, weight = x.numel() // x.shape[1], module.momentum or 1.0
        axes = [axis for axis in range(x.dim()) if axis != 1]
        square = x.square().mean(axes)
        for buffer, size in ((module.running_mean, square.sqrt()), (module.running_var, square)):
            buffer += weight * self._noise(size, buffer, terms)

    def _noise(self, size: Any, like: Any, terms: int) -> Any:
        import torch

        random = torch.randn(like.shape, generator=self._random, dtype=like.dtype)
        return random * size * UNIT_ROUNDOFF * terms**0.5


def _size(output: Any) -> Any:
    """Root mean square of every channel, to be broadcast: axis 1 of volumes, the last axis of sequences."""
    if output.dim() < 2:
        return output.abs()
    channel = 1 if output.dim() > 3 or output.dim() == 2 else output.dim() - 1
    axes = [axis for axis in range(output.dim()) if axis != channel]
    return output.square().mean(axes, keepdim=True).sqrt()


def _summed(module: Any, output: Any) -> int:
    """How many numbers a layer adds up for one of its own."""
    fan_in: list[int] = [p.numel() // len(p) for p in module.parameters(recurse=False) if p.dim() > 1 and len(p)]
    if fan_in:
        return max(fan_in)
    # Normalisations have an eps: they sum over what they normalise, at most all elements of a channel.
    per_channel: int = output.numel() // output.shape[1] if output.dim() > 1 else 1
    return per_channel if hasattr(module, "eps") else 1


def _drops(module: Any) -> bool:
    return isinstance(getattr(module, "dropout", None), float)


def _tensor(array: Array) -> Any:
    import torch

    tensor = torch.from_numpy(array.copy())
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _array(tensor: Any) -> Array:
    array: Array = tensor.detach().cpu().double().numpy().copy()
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
