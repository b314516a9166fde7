"""The bounds hold for every correct float32 algorithm and leave no room for a fault."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from layer_cases import layer_case, parameters, with_target

from porter.layers.settings import Settings
from porter.verification.bounds import parameter_errors, storage_error, stored
from porter.verification.cases import LayerCase
from porter.verification.compare import expected
from porter.verification.options import Options
from porter.verification.reference import Reference
from porter.verification.roundings import UNIT_ROUNDOFF
from porter.verification.trajectory import make_inputs, trajectory

F = np.float32


def serial_sum(columns):
    """Sum over the first axis in float32, one after the other: the least accurate order."""
    return np.cumsum(columns, axis=0, dtype=F)[-1]


def two_pass(columns):
    n = F(len(columns))
    mean = serial_sum(columns) / n
    return mean, serial_sum(np.square(columns - mean)) / n


def welford(columns):
    mean, squares = np.zeros_like(columns[0]), np.zeros_like(columns[0])
    for k, row in enumerate(columns, 1):
        step = row - mean
        mean = mean + step / F(k)
        squares = squares + step * (row - mean)
    return mean, squares / F(len(columns))


class Float32Layer:
    """A batch normalisation in float32 NumPy: any moments algorithm, fused or direct, either moving form.

    Its reciprocal root is off by two units in the last place, as vectorised ones may be.
    """

    def __init__(self, case: LayerCase, moments, fused: bool) -> None:
        self.p = {slot: np.asarray(v, F) for slot, v in case.source.parameters.items()}
        self.settings, self.moments, self.fused = case.source.settings, moments, fused

    def normalise(self, x, mean, variance):
        axes = (1, -1, 1, 1, 1)
        root = F(1) / np.sqrt(variance + F(self.settings.eps))
        alpha = self.p["gamma"] * np.nextafter(np.nextafter(root, F(np.inf)), F(np.inf))
        if self.fused:
            return alpha.reshape(axes) * x + (self.p["beta"] - mean * alpha).reshape(axes)
        return (x - mean.reshape(axes)) * alpha.reshape(axes) + self.p["beta"].reshape(axes)

    def evaluate(self, x):
        return self.normalise(x, self.p["mean"], self.p["variance"])

    def train(self, x):
        columns = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
        mean, variance = self.moments(columns)
        y = self.normalise(x, mean, variance)
        w, n = F(self.settings.momentum), len(columns)
        for slot, new in (("mean", mean), ("variance", variance * F(n / (n - 1)))):
            old = self.p[slot]
            self.p[slot] = old - w * (old - new) if self.fused else (F(1) - w) * old + w * new
        return y

    def gradients(self, x, upstream, *, training):
        columns = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
        mean, variance = self.moments(columns) if training else (self.p["mean"], self.p["variance"])
        along, axes, n = (1, -1, 1, 1, 1), (0, 2, 3, 4), F(len(columns))
        root = F(1) / np.sqrt(variance + F(self.settings.eps))
        distance = x - mean.reshape(along)
        of_beta, of_gamma = upstream.sum(axes), (upstream * distance).sum(axes) * root
        of_x = upstream * (self.p["gamma"] * root).reshape(along)
        if training and self.fused:
            normal = distance * root.reshape(along)
            through = of_beta.reshape(along) + normal * of_gamma.reshape(along)
            of_x = (upstream - through / n) * (self.p["gamma"] * root).reshape(along)
        elif training:
            slope = of_gamma * root / n
            of_x = (upstream - (of_beta / n).reshape(along) - distance * slope.reshape(along)) * (
                self.p["gamma"] * root
            ).reshape(along)
        return of_x, of_gamma, of_beta

    def statistics(self):
        return self.p["mean"], self.p["variance"]


def worst_ratio(observed, within):
    assert all(np.isfinite(w.bound).all() for check in within.values() for w in check)
    return max(
        float((np.abs(o - w.value) / w.bound).max())
        for check in within
        for o, w in zip(observed[check], within[check], strict=True)
    )


ORDINARY = parameters(11, 16)
EXTREME = {
    "mean 1e3, variance 1e-2": {**ORDINARY, "mean": np.full(16, 1e3, F), "variance": np.full(16, 1e-2, F)},
    "mean 1e4, variance 1e-6": {**ORDINARY, "mean": np.full(16, 1e4, F), "variance": np.full(16, 1e-6, F)},
    "dead channels": {**ORDINARY, "mean": np.zeros(16, F), "variance": np.full(16, 1e-30, F)},
    "variance 0": {**ORDINARY, "variance": np.zeros(16, F)},
    "variance 1e10": {**ORDINARY, "variance": np.full(16, 1e10, F)},
    "gamma 1e5": {**ORDINARY, "gamma": np.full(16, 1e5, F)},
    "subnormal": {
        "gamma": (1e-40 * np.arange(1, 17)).astype(F),
        "beta": np.zeros(16, F),
        "mean": (1e-41 * np.arange(1, 17)).astype(F),
        "variance": (1e-42 * np.arange(1, 17)).astype(F),
    },
    "gamma 0": {**ORDINARY, "gamma": np.zeros(16, F)},
    "beta 1e6": {**ORDINARY, "beta": np.full(16, 1e6, F)},
    "initial": {
        "gamma": np.ones(16, F),
        "beta": np.zeros(16, F),
        "mean": np.zeros(16, F),
        "variance": np.ones(16, F),
    },
    "ordinary": ORDINARY,
}


@pytest.mark.parametrize("values", EXTREME.values(), ids=EXTREME.keys())
@pytest.mark.parametrize("moments", [two_pass, welford])
@pytest.mark.parametrize("fused", [True, False])
def test_no_correct_algorithm_is_out_of_bound(values, moments, fused) -> None:
    for settings in (Settings(), Settings(eps=1e-3, momentum=0.003), Settings(eps=1e-12, momentum=0.9)):
        case = layer_case(values, settings)
        inputs = make_inputs(case, Options(steps=4))
        observed = trajectory(Float32Layer(case, moments, fused), inputs)
        assert worst_ratio(observed, expected(case, case.source, inputs, stored_as="float32")) < 1


def caught(case: LayerCase, unbiased: bool = True) -> bool:
    """Whether a flawless run of the target lies outside the source's bounds."""
    inputs = make_inputs(case, Options())
    right = expected(case, case.source, inputs, stored_as="float32")
    wrong = expected(case, case.target, inputs, stored_as="float32", unbiased=unbiased)
    # A float32 run of the target may err towards the source's value: its own bound is taken off.
    return any(
        bool((np.abs(w.value - r.value) > r.bound + w.bound).any())
        for check in right
        for r, w in zip(right[check], wrong[check], strict=True)
    )


@pytest.mark.parametrize("seed", range(40))
def test_faults_of_ordinary_layers_are_out_of_bound(seed: int) -> None:
    case = layer_case(parameters(seed))
    assert not caught(case)
    for slot, values in case.source.parameters.items():
        for channel in (0, 5):
            for change in (1 + 1e-4, 1 - 1e-4):
                changed = values.astype(np.float64)
                changed[channel] *= change
                assert caught(with_target(case, **{slot: changed.astype(F)})), (slot, channel)
    for settings in (
        Settings(eps=1e-3),
        Settings(eps=1e-6),
        Settings(momentum=0.11),
        Settings(momentum=0.9),
        Settings(statistics="frozen"),
    ):
        assert caught(with_target(case, settings)), settings
    assert caught(case, unbiased=False)


@pytest.mark.parametrize("variance", [1e-8, 1.0, 1e8])
def test_eps_is_caught_at_every_scale(variance) -> None:
    values = {**parameters(1), "mean": np.zeros(8, F), "variance": np.full(8, variance, F)}
    assert caught(with_target(layer_case(values), Settings(eps=1.01e-5)))


def test_a_bound_is_a_few_roundings() -> None:
    """With momentum 0 no batch enters: 3 steps of at most 4 roundings each, 13 with what lies below first order."""
    case = layer_case(parameters(1), Settings(momentum=0.0))
    inputs = make_inputs(case, Options(steps=3))
    within = expected(case, case.source, inputs, stored_as="float32")
    for moved in within["statistics"]:
        assert (moved.bound <= 13 * UNIT_ROUNDOFF * np.abs(moved.value)).all()
        assert (moved.bound > 0).all()
    # 8 for alpha, 4 for the map, each once more for the rounding of x - mean.
    p = {slot: v.reshape(1, -1, 1, 1, 1).astype(np.float64) for slot, v in case.source.parameters.items()}
    alpha = np.abs(p["gamma"]) / np.sqrt(p["variance"] + 1e-5)
    size = alpha * (np.abs(inputs.evaluation) + np.abs(p["mean"])) + np.abs(p["beta"])
    assert (within["eval"][0].bound <= 13 * UNIT_ROUNDOFF * size).all()


def test_parameters_are_as_exact_as_what_they_were_stored_and_run_in() -> None:
    wide = parameters(1, dtype="float64")
    case = layer_case(wide, dtype="float64")
    reference = Reference.of(case.kind, case.source, 8)
    for stored_as, u in (("float64", 2.0**-24), ("float32", 2.0**-23), ("bfloat16", 2.0**-8 + 2.0**-24)):
        for slot, error in parameter_errors(reference, stored_as).items():
            np.testing.assert_allclose(error, u * np.abs(wide[slot]), rtol=1e-6, err_msg=f"{slot} {stored_as}")
    single = layer_case(parameters(1))
    reference = Reference.of(single.kind, single.source, 8)
    assert all((error == 0).all() for error in parameter_errors(reference, "float32").values())


@pytest.mark.parametrize("seed", range(10))
def test_batch_statistics_are_told_from_tracked_ones(seed: int) -> None:
    tracked = layer_case(parameters(seed))
    inputs = make_inputs(tracked, Options())
    batch = replace(tracked.source, settings=Settings(statistics="batch"))
    right = expected(tracked, tracked.source, inputs, stored_as="float32")["eval"][0]
    wrong = expected(tracked, batch, inputs, stored_as="float32")["eval"][0]
    assert (np.abs(right.value - wrong.value) > right.bound + wrong.bound).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_stored_rounds_as_torch_does(dtype: str) -> None:
    random = np.random.default_rng(0)
    bits = (random.integers(0, 0x7F80, 20000) << 16).astype(np.uint32)
    values = np.concatenate(
        [
            random.normal(size=2000).astype(F),
            np.exp(random.uniform(-80, 80, 2000)).astype(F),
            (bits | 0x8000).view(F),  # halfway between two bfloat16
            np.array([0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, 65520.0, 1e-40, np.inf, -np.inf, np.nan], F),
        ]
    ).astype(np.float64)
    theirs = torch.from_numpy(values).to(getattr(torch, dtype)).double().numpy()
    np.testing.assert_array_equal(stored(values, dtype), theirs)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_storage_error_covers_the_rounding_and_is_zero_without_one(dtype: str) -> None:
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(size=5000), np.exp(random.uniform(-20, 5, 5000))])
    error = storage_error(values, dtype)
    assert (np.abs(stored(values, dtype) - values) <= error).all()
    assert (error > 0).mean() > 0.9
    assert (storage_error(stored(values, dtype), dtype) == 0).all()
    assert (storage_error(values, "float64") == 0).all()
