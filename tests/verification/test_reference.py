"""The reference against PyTorch in float64: two independent float64 computations agree to 1e-12."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from layer_cases import layer_case, parameters

from porter.layers.settings import Settings
from porter.verification.options import Options
from porter.verification.reference import Reference
from porter.verification.trajectory import make_inputs, trajectory


class Float64Layer:
    """torch.nn in float64, built by hand: shares nothing with the backend."""

    def __init__(self, kind: str, settings: Settings, values: dict, count: int) -> None:
        self.settings = settings
        self.module = getattr(torch.nn, kind)(
            8,
            settings.eps,
            settings.momentum,
            affine=settings.affine,
            track_running_stats=settings.statistics != "batch",
            dtype=torch.float64,
        )
        names = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
        state = {names[slot]: torch.from_numpy(v.astype(np.float64)) for slot, v in values.items() if slot in names}
        if "running_mean" in state:
            state["num_batches_tracked"] = torch.tensor(count)
        self.module.load_state_dict(state, strict=True)

    def evaluate(self, x):
        return self.module.eval()(torch.from_numpy(x).double()).detach().numpy()

    def train(self, x):
        self.module.train(self.settings.statistics != "frozen")
        return self.module(torch.from_numpy(x).double()).detach().numpy()

    def gradients(self, x, upstream, *, training):
        self.module.train(training and self.settings.statistics != "frozen")
        given = torch.from_numpy(x).double().requires_grad_()
        parameters = list(self.module.parameters())
        output = self.module(given)
        found = torch.autograd.grad(output, [given, *parameters], torch.from_numpy(upstream).double())
        return tuple(gradient.numpy() for gradient in found) if parameters else (found[0].numpy(), None, None)

    def statistics(self):
        if self.module.running_mean is None:
            return None
        return self.module.running_mean.numpy().copy(), self.module.running_var.numpy().copy()


@pytest.mark.parametrize("kind", ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"])
@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(momentum=0.003, eps=1e-3),
        Settings(momentum=0.0),
        Settings(momentum=1.0),
        Settings(momentum=None),
        Settings(affine=False),
        Settings(statistics="batch"),
        Settings(statistics="batch", affine=False),
        Settings(statistics="frozen"),
    ],
    ids=lambda s: f"{s.momentum}-{s.eps}-{s.affine}-{s.statistics}",
)
def test_the_reference_is_torch_in_float64(kind: str, settings: Settings) -> None:
    values = {**parameters(3), "count": np.array(4)}
    case = layer_case(values, settings, kind=kind)
    inputs = make_inputs(case, Options(steps=4))
    ours = trajectory(Reference.of(case.kind, case.source, 8), inputs)
    theirs = trajectory(Float64Layer(kind, settings, dict(case.source.parameters), 4), inputs)
    assert set(ours) == set(theirs)
    assert ("statistics" in ours) == (settings.statistics != "batch")
    for check, values_of_check in theirs.items():
        # A mean of a thousand standard deviations and more costs float64, too, some of its digits.
        rounding = 1e-8 if check == "edge inputs" else 1e-12
        for mine, right in zip(ours[check], values_of_check, strict=True):
            if right is not None:
                np.testing.assert_allclose(mine, right, rtol=rounding, atol=rounding, err_msg=check)


def test_a_missing_parameter_counts_as_the_frameworks_fill() -> None:
    case = layer_case(parameters(1), Settings(affine=False, statistics="batch"))
    reference = Reference.of(case.kind, replace(case.source, parameters={}), 5)
    assert [float(v[0]) for v in (reference.gamma, reference.beta, reference.mean, reference.variance)] == [
        1,
        0,
        0,
        1,
    ]


def test_the_biased_variant_divides_by_n() -> None:
    case = layer_case(parameters(2), Settings(momentum=1.0))
    x = make_inputs(case, Options()).training[0]
    right, biased = (Reference.of(case.kind, case.source, 8, unbiased=flag) for flag in (True, False))
    right.train(x)
    biased.train(x)
    np.testing.assert_allclose(biased.variance, x.astype(np.float64).var((0, 2, 3, 4)), rtol=1e-12)
    np.testing.assert_allclose(right.variance, biased.variance * 120 / 119, rtol=1e-12)
