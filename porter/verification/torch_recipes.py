"""Layers on PyTorch of other kinds than the batch normalisations."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from porter.errors import BackendError
from porter.layers.kinds import Kind
from porter.verification.differentiation import Passes
from porter.verification.recipes.recipe import Setup
from porter.verification.torch_backend import first_line, one_thread
from porter.verification.torch_gradients import differentiate

if TYPE_CHECKING:
    from porter.verification.cases import Array


def run_recipe(setup: Setup, device: str) -> Passes[Array]:
    """Build the layer and run it in float32.

    Raises:
        BackendError: PyTorch refuses the layer, or cannot run it.
    """
    try:
        with one_thread(), warnings.catch_warnings():
            # It is about the cost of an even kernel.
            warnings.filterwarnings("ignore", "Using padding='same'")
            module, slots = _built(setup, device), _slots(setup.kind)
            return differentiate(module, slots, setup.inputs, setup.upstream, device)
    except (AssertionError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise BackendError(f"PyTorch cannot run the layer: {first_line(error)}") from error


def _slots(kind: Kind) -> dict[str, str]:
    return {name: slot for slot, name in kind.names_in("torch").items()}


def _built(setup: Setup, device: str) -> Any:
    import torch

    with torch.device("meta"), _unfilled():
        module = getattr(torch.nn, setup.kind.name)(**setup.recipe.torch(setup.shapes, setup.settings))
    slots, state = _slots(setup.kind), {}
    for name, parameter in module.state_dict().items():
        state[name] = torch.from_numpy(setup.parameters[slots[name]]) if name in slots else _neutral(name, parameter)
    module.load_state_dict(state, assign=True)
    return module.to(device).eval()


def _unfilled() -> Any:
    """Within it modules draw no normal numbers: on the meta device, which keeps none, that imports 800 modules."""
    from torch.overrides import TorchFunctionMode

    class Unfilled(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            # Both torch.nn.init's and the tensor's own; nobody looks at what they return.
            return None if function.__name__ == "normal_" else function(*args, **(kwargs or {}))

    return Unfilled()


def _neutral(name: str, parameter: Any) -> Any:
    """Of a layer inside, which is a layer of its own (`out_proj` of an attention): it shall pass on what it gets."""
    import torch

    if name.endswith(".weight"):
        return torch.eye(*parameter.shape)
    return torch.zeros(parameter.shape, dtype=parameter.dtype)
