"""Layers on PyTorch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from porter.errors import BackendError
from porter.layers.kinds import Kind
from porter.verification.cases import Side
from porter.verification.torch_gradients import differentiate

if TYPE_CHECKING:
    from porter.verification.cases import Array

# MindSpore's device targets in PyTorch's spelling; PyTorch has no Ascend of its own, its side then runs on the CPU.
_DEVICES = {"CPU": "cpu", "GPU": "cuda"}

# Parameter -> slot of those that are trained.
_TRAINED = {"weight": "gamma", "bias": "beta"}


class TorchBackend:
    """torch.nn's batch normalisations, in float32.

    Args:
        device: the device target in MindSpore's spelling.
    """

    name = "PyTorch"

    def __init__(self, device: str = "CPU") -> None:
        self.torch_device = _DEVICES.get(device, "cpu")

    def available(self) -> str | None:
        """Why no layer can run here; None when it can."""
        if find_spec("torch") is None:
            return "PyTorch is not installed (pip install 'bnport[torch]')"
        try:
            import torch
        except Exception as error:
            return f"PyTorch does not import: {first_line(error)}"
        if self.torch_device == "cuda" and not torch.cuda.is_available():
            return "PyTorch sees no GPU"
        return None

    @property
    def versions(self) -> dict[str, str]:
        return installed("torch")

    def layer(self, kind: Kind, side: Side, values: dict[str, Array]) -> TorchLayer:
        """The layer of `side` with gamma, beta, mean and variance from `values`, shape (C,), float32.

        Raises:
            BackendError: the installed PyTorch refuses the settings.
        """
        try:
            return TorchLayer(kind, side, values, self.torch_device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise BackendError(f"PyTorch refuses the layer: {first_line(error)}") from error


class TorchLayer:
    """One torch.nn batch normalisation (`porter.verification.trajectory.Layer`); a frozen one is kept in eval()."""

    def __init__(self, kind: Kind, side: Side, values: dict[str, Array], device: str) -> None:
        import torch

        self._device = device
        self._trains = side.settings.statistics != "frozen"
        cls = getattr(torch.nn, kind.name)
        self._module = cls(len(values["gamma"]), **torch_arguments(cls, side)).to(device)
        own = dict(self._module.named_parameters()) | dict(self._module.named_buffers())
        for slot, name in kind.names_in("torch").items():
            given = side.parameters.get("count", 0) if slot == "count" else values[slot]
            if own.get(name) is not None:
                own[name].detach().copy_(torch.as_tensor(given, dtype=own[name].dtype))

    def evaluate(self, x: Array) -> Array:
        return self._run(x, training=False)

    def train(self, x: Array) -> Array:
        return self._run(x, training=self._trains)

    def gradients(self, x: Array, upstream: Array, *, training: bool) -> tuple[Array | None, ...]:
        self._module.train(training and self._trains)
        with one_thread():
            try:
                found = differentiate(self._module, _TRAINED, [x], upstream, self._device)
            except (RuntimeError, ValueError) as error:
                raise BackendError(f"PyTorch cannot run the layer: {first_line(error)}") from error
        return found.inputs[0], found.parameters.get("gamma"), found.parameters.get("beta")

    def statistics(self) -> tuple[Array, Array] | None:
        if self._module.running_mean is None:
            return None
        return self._module.running_mean.cpu().numpy().copy(), self._module.running_var.cpu().numpy().copy()

    def _run(self, x: Array, *, training: bool) -> Array:
        import torch

        self._module.train(training)
        with torch.no_grad(), one_thread():
            try:
                output = self._module(torch.from_numpy(x).to(self._device))
            except (RuntimeError, ValueError) as error:
                raise BackendError(f"PyTorch cannot run the layer: {first_line(error)}") from error
        result: Array = output.cpu().numpy()
        return result


@contextmanager
def one_thread() -> Iterator[None]:
    """Inputs are small: more threads only wait for each other, for long where other processes use the processors."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def torch_arguments(cls: type, side: Side) -> dict[str, Any]:
    """Keyword arguments of a torch-like batch normalisation (torch.nn, mindspore.mint.nn) for `side`.

    `bias=False` came with torch 2.13; where the class has no such argument, a bias of 0 (the fill) gives the same.
    """
    has_gamma, has_beta = "gamma" in side.parameters, "beta" in side.parameters
    arguments: dict[str, Any] = {
        "eps": side.settings.eps,
        "momentum": side.settings.momentum,
        "affine": has_gamma or has_beta,
        "track_running_stats": side.settings.statistics != "batch",
    }
    if has_gamma and not has_beta and "bias" in inspect.signature(cls).parameters:
        arguments["bias"] = False
    return arguments


def installed(distribution: str) -> dict[str, str]:
    """The distribution and its version; empty where it is not installed under this name."""
    try:
        return {distribution: version(distribution)}
    except PackageNotFoundError:
        return {}


def first_line(error: BaseException) -> str:
    """A framework's message without the stack traces it appends, and without the headings above it."""
    lines = [line for line in str(error).splitlines() if line.strip(" -")]
    texts = [line for line in lines if not line.startswith("- ")]
    return (texts or lines or [type(error).__name__])[0].strip()
