"""Layers on PyTorch that have no settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from porter.errors import BackendError
from porter.layers.kinds import Kind
from porter.verification.differentiation import Passes
from porter.verification.recipes import Recipe
from porter.verification.torch_backend import first_line, one_thread
from porter.verification.torch_gradients import differentiate

if TYPE_CHECKING:
    from porter.verification.cases import Array


def run_recipe(
    kind: Kind, recipe: Recipe, values: Mapping[str, Array], inputs: Sequence[Array], upstream: Array, device: str
) -> Passes[Array]:
    """Build the layer, with parameters (slot -> values in PyTorch's shape) in float32, and run it.

    Raises:
        BackendError: PyTorch refuses the layer, or cannot run it.
    """
    try:
        with one_thread():
            return differentiate(_built(kind, recipe, values, device), _slots(kind), inputs, upstream, device)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise BackendError(f"PyTorch cannot run the layer: {first_line(error)}") from error


def _slots(kind: Kind) -> dict[str, str]:
    return {name: slot for slot, name in kind.names_in("torch").items()}


def _built(kind: Kind, recipe: Recipe, values: Mapping[str, Array], device: str) -> Any:
    import torch

    shapes = {slot: v.shape for slot, v in values.items()}
    with torch.device("meta"):
        module = getattr(torch.nn, kind.name)(**recipe.torch(shapes))
    slots, state = _slots(kind), {}
    for name, parameter in module.state_dict().items():
        state[name] = torch.from_numpy(values[slots[name]]) if name in slots else _neutral(name, parameter)
    module.load_state_dict(state, assign=True)
    return module.to(device).eval()


def _neutral(name: str, parameter: Any) -> Any:
    """Of a layer inside, which is a layer of its own (`out_proj` of an attention): it shall pass on what it gets."""
    import torch

    if name.endswith(".weight"):
        return torch.eye(*parameter.shape)
    return torch.zeros(parameter.shape, dtype=parameter.dtype)
