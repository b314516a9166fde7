"""Layers on MindSpore of other kinds than the batch normalisations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from porter.errors import BackendError
from porter.layers.kinds import Dialect
from porter.verification.cases import MindSporeMode
from porter.verification.differentiation import Passes
from porter.verification.mindspore_backend import execution
from porter.verification.mindspore_gradients import differentiate
from porter.verification.recipes.recipe import Setup
from porter.verification.torch_backend import first_line

if TYPE_CHECKING:
    from porter.verification.cases import Array


def run_recipe(setup: Setup, dialect: Dialect, mode: MindSporeMode) -> Passes[Array]:
    """Build the layer and run it in float32.

    Raises:
        BackendError: MindSpore has no such layer, refuses it, or cannot run it.
    """
    try:
        with execution(mode):
            found = differentiate(*_built(setup, dialect), setup.inputs, setup.upstream)
    except BackendError:
        raise
    except Exception as error:
        raise BackendError(f"MindSpore cannot run the layer: {first_line(error)}") from error
    gradients = {slot: gradient.reshape(setup.shapes[slot]) for slot, gradient in found.parameters.items()}
    return replace(found, parameters=gradients)


def _built(setup: Setup, dialect: Dialect) -> tuple[Any, dict[str, Any]]:
    """A cell, and slot -> parameter, in the cell's own shape."""
    import mindspore
    import numpy as np

    kind, recipe, values = setup.kind, setup.recipe, setup.parameters
    if dialect == "mint":
        cell = getattr(mindspore.mint.nn, kind.name)(**recipe.torch(setup.shapes, setup.settings))
    else:
        cell = getattr(mindspore.nn, kind.mindspore)(**recipe.mindspore(setup.shapes, setup.settings))
    own = cell.parameters_dict()
    slots = {name: slot for slot, name in kind.names_in(dialect, root=True).items()}
    for name, parameter in own.items():
        if slots.get(name) in values:
            given = values[slots[name]]
            shape = kind.parameter(slots[name]).shape_in(dialect, given.shape, came_from="torch")
            parameter.set_data(mindspore.Tensor(given.reshape(shape)))
        elif "." in name:  # a layer inside, which is a layer of its own; it shall pass on what it gets
            neutral = np.eye if parameter.ndim == 2 else np.zeros
            parameter.set_data(mindspore.Tensor(neutral(parameter.shape[0], dtype=np.float32)))
    cell.set_train(False)
    return cell, {slots[name]: parameter for name, parameter in own.items() if slots.get(name) in values}
