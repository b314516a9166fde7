"""Numbers with rounding errors: values and gradients are torch's in float64, errors cover float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ordinary_cases import SHAPES, ordinary_case

from porter.layers.kinds import KINDS
from porter.verification.arithmetic import Number, einsum, gradients
from porter.verification.elementary import reciprocal_root
from porter.verification.recipes import RECIPES

EVERY = pytest.mark.parametrize(("kind", "shapes"), SHAPES, ids=lambda v: v if isinstance(v, str) else str(len(v)))


@EVERY
def test_recipes_are_torch_in_float64(kind, shapes) -> None:
    case, recipe = ordinary_case(kind, shapes, seed=2), RECIPES[kind]
    values = recipe.assumed(shapes)
    module = getattr(torch.nn, kind)(**recipe.torch(shapes, values)).double()
    names = KINDS[kind].names_in("torch")
    own = {names[slot]: torch.from_numpy(v).double() for slot, v in case.source.parameters.items()}
    module.load_state_dict(own, strict=False)
    if kind == "MultiheadAttention":
        module.load_state_dict({"out_proj.weight": torch.eye(module.embed_dim)}, strict=False)
    random = np.random.default_rng(1)
    inputs = recipe.inputs(shapes, values, random)
    given = [
        torch.from_numpy(x).double().requires_grad_() if x.dtype.kind == "f" else torch.from_numpy(x) for x in inputs
    ]
    right = module(given[0], tuple(given[1:])) if kind == "LSTMCell" else module(*given)
    right = right[0] if isinstance(right, tuple) else right
    numbers = [Number(x) for x in inputs]
    parameters = {slot: Number(v) for slot, v in case.source.parameters.items()}
    output = recipe.forward(tuple(numbers), parameters, values)
    np.testing.assert_allclose(output.value, right.detach().numpy(), rtol=1e-10, atol=1e-12)
    upstream = random.standard_normal(output.value.shape)
    floating = [x for x in given if x.is_floating_point()]
    wanted = [n for n, x in zip(numbers, given, strict=True) if x.is_floating_point()]
    by_name = dict(module.named_parameters())
    trained = [by_name[names[slot]] for slot in parameters]
    expected = torch.autograd.grad(right, [*floating, *trained], torch.from_numpy(upstream), allow_unused=True)
    for mine, its in zip(gradients(output, upstream, [*wanted, *parameters.values()]), expected, strict=True):
        true = np.zeros_like(mine.value) if its is None else its.numpy()
        np.testing.assert_allclose(mine.value, true, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("seed", range(20))
def test_errors_cover_float32(seed) -> None:
    """A sum of products, its root's inverse, scaled and shifted: computed in float32, term after term."""
    random = np.random.default_rng(seed)
    a, b = (random.standard_normal((3, 200)).astype(np.float32) for _ in range(2))
    a, b = abs(a) + np.float32(0.1), abs(b)
    exact = reciprocal_root(einsum("ni,ni->n", Number(a), Number(b))) * 3.0 + 0.5
    summed = np.zeros(3, np.float32)
    for column in (a * b).T:
        summed += column
    found = np.float32(3) * (np.float32(1) / np.sqrt(summed)) + np.float32(0.5)
    assert (abs(found - exact.value) <= exact.error).all()
    assert (exact.error < 1e-4).all()


def test_an_element_that_is_repeated_gets_the_sum_of_its_gradients() -> None:
    x = Number(np.array([1.0, 2.0, 3.0]))
    (found,) = gradients(x.at(lambda i: i[[0, 0, 2]]), np.array([1.0, 10.0, 100.0]), [x])
    assert found.value.tolist() == [11.0, 0.0, 100.0]
