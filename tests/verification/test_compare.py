"""verify_layers on the real frameworks: right layers pass, within bounds that are not vacuous."""

from __future__ import annotations

import json
from dataclasses import replace

import mindspore
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import Values, as_stored, layer_case, parameters, with_target

from porter.layers.settings import NO_CUMULATIVE_AVERAGE, Settings
from porter.verification import mindspore_backend, torch_backend
from porter.verification.cases import LayerCase
from porter.verification.compare import verify_layers
from porter.verification.options import Options
from porter.verification.results import Check, LayerResult, verdict
from porter.verification.trajectory import make_inputs, trajectory

CHECKS = [
    *("parameters", "eval", "train", "statistics", "eval after training"),
    *("eval gradients", "train gradients", "edge inputs"),
]
KINDS = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"]


def verify(case: LayerCase, options: Options | None = None) -> LayerResult:
    (result,) = verify_layers([case], options or Options())
    return result


def assert_right(result: LayerResult) -> None:
    assert result.ok, result
    assert result.diagnosis is None
    for check in result.checks:
        assert check.ok
        assert check.error is not None
        assert check.bound is not None
        assert check.error <= check.bound < float("inf")


wild = st.builds(
    lambda seed, mean, variance, gamma, beta, channels: {
        slot: (10.0**scale * values[:channels]).astype(np.float32)
        for (slot, values), scale in zip(parameters(seed, 48).items(), (gamma, beta, mean, variance), strict=True)
    },
    seed=st.integers(0, 2**32 - 1),
    mean=st.floats(-3, 2),
    variance=st.floats(-5, 4),
    gamma=st.floats(-3, 3),
    beta=st.floats(-3, 3),
    channels=st.integers(1, 48),
)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    values=wild,
    kind=st.sampled_from(KINDS),
    dialects=st.sampled_from([("torch", "mindspore"), ("mindspore", "torch")]),
    eps=st.sampled_from([1e-5, 1e-3, 1e-6, 1e-12, 0.1]),
    momentum=st.sampled_from([0.1, 0.0, 1.0, 0.003, 0.01, 0.5]),
    statistics=st.sampled_from(["tracked", "tracked", "batch", "frozen"]),
    affine=st.booleans(),
)
def test_right_layers_pass(values: Values, kind, dialects, eps, momentum, statistics, affine) -> None:
    configured = Settings(eps=eps, momentum=momentum, statistics=statistics, affine=affine)
    result = verify(layer_case(values, configured, kind=kind, dialects=dialects))
    assert_right(result)
    compared = [check.check for check in result.checks]
    assert compared == [name for name in CHECKS if name != "statistics" or statistics != "batch"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("dialects", [("torch", "mindspore"), ("mindspore", "torch")])
def test_every_stored_dtype_passes(dtype, dialects) -> None:
    for seed in range(5):
        result = verify(layer_case(parameters(seed, 16, dtype), dialects=dialects, dtype=dtype))
        assert_right(result)
        how = "to which they are rounded" if dtype == "float64" else "which holds them exactly"
        told = f"{dtype} parameters: run in float32, {how}"
        assert result.notes == (() if dtype == "float32" else (told,))


@pytest.mark.parametrize("source", ["float32", "float64"])
@pytest.mark.parametrize("target", ["float16", "bfloat16", "float32"])
def test_a_cast_passes_and_a_fault_beside_it_does_not(source, target) -> None:
    values = parameters(7, 16, source)
    case = layer_case(values, dtype=source)
    cast = {slot: as_stored(v.astype(np.float64), target) for slot, v in values.items()}
    right = replace(case, target=replace(case.target, parameters=cast, dtype=target))
    assert_right(verify(right))
    off = cast["gamma"].copy()
    off[2] *= 1.03
    assert verify(with_target(right, gamma=off)).ok is False


def test_a_cast_that_cuts_off_instead_of_rounding_is_found() -> None:
    between = np.full(8, 1 + 0.75 * 2.0**-10, np.float32)
    case = layer_case({**parameters(1), "gamma": between, "beta": np.zeros(8, np.float32)})
    cast = {slot: as_stored(v.astype(np.float64), "float16") for slot, v in case.source.parameters.items()}
    case = replace(case, target=replace(case.target, parameters=cast, dtype="float16"))
    assert_right(verify(case))
    cut = verify(with_target(case, gamma=np.ones(8, np.float16)))
    assert cut.ok is False
    assert cut.checks[0].ok is False


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_steps_and_graph_mode(steps) -> None:
    result = verify(layer_case(parameters(1)), Options(steps=steps, ms_mode="graph"))
    assert_right(result)
    assert [check.check for check in result.checks] == CHECKS


def test_both_modes_are_named() -> None:
    result = verify(layer_case(parameters(1)), Options(ms_mode="both"))
    assert_right(result)
    assert [check.check for check in result.checks] == [
        "parameters",
        *(f"{name} [{mode}]" for mode in ("pynative", "graph") for name in CHECKS[1:]),
    ]


@pytest.mark.parametrize("ms_mode", ["pynative", "graph"])
def test_a_fault_in_one_of_many_fails_that_one_alone(ms_mode) -> None:
    cases = [layer_case(parameters(seed), name=f"layer{seed}") for seed in range(4)]
    cases[2] = with_target(cases[2], Settings(momentum=0.9))
    results = list(verify_layers(cases, Options(ms_mode=ms_mode)))
    assert [result.ok for result in results] == [True, True, False, True]
    failed = [check.check for check in results[2].checks if not check.ok]
    assert failed == ["statistics", "eval after training", "edge inputs", "settings"]


def test_atol_and_rtol_replace_the_bound() -> None:
    case = layer_case(parameters(1))
    assert verify(case, Options(atol=1e-12)).ok is False
    assert verify(case, Options(rtol=0.0, atol=1.0)).checks[1].bound == 1.0
    assumed = layer_case(parameters(1), Settings(known_from={"eps": "default"}))
    off = with_target(assumed, Settings(eps=1.01e-5))
    assert verify(off).ok is False
    assert verify(off, Options(rtol=0.1, atol=0.1)).ok is True


def test_atol_does_not_excuse_a_parameter() -> None:
    case = layer_case(parameters(1))
    off = with_target(case, gamma=case.target.parameters["gamma"] * np.float32(1.0001))
    assert [check.ok for check in verify(off, Options(atol=1.0)).checks] == [False, *[True] * 6, False]


def test_one_framework_alone_is_judged_by_the_reference(monkeypatch) -> None:
    monkeypatch.setattr(torch_backend, "find_spec", lambda name: None)
    result = verify(layer_case(parameters(1)))
    assert_right(result)
    assert result.notes == (
        "judged by the float64 reference alone: PyTorch is not installed (pip install 'bnport[torch]')",
    )
    wrong = with_target(layer_case(parameters(1)), Settings(eps=1e-3))
    assert verify(wrong).ok is False


def test_without_the_target_framework_nothing_is_proven(monkeypatch) -> None:
    monkeypatch.setattr(mindspore_backend, "find_spec", lambda name: None)
    monkeypatch.setattr(mindspore_backend, "installed", lambda distribution: {})
    result = verify(layer_case(parameters(1)))
    assert result.ok is None
    assert [check.ok for check in result.checks] == [True, *[None] * 7]
    assert "bnport[mindspore]" in (result.checks[1].note or "")
    assert result.notes == (
        f"PyTorch {torch.__version__}, with the source's parameters, agrees with the float64 reference",
    )
    wrong = with_target(layer_case(parameters(1)), gamma=parameters(2)["gamma"])
    assert verify(wrong).ok is False


def test_mint_is_not_run_but_its_parameters_are_compared() -> None:
    values = {**parameters(1), "count": np.array(3)}
    right = layer_case(values, dialects=("torch", "mint"))
    result = verify(right)
    assert result.ok is None
    assert "BatchNormExt" in (result.checks[1].note or "")
    swapped = with_target(right, gamma=values["beta"], beta=values["gamma"])
    result = verify(swapped)
    assert (result.ok, result.diagnosis) == (False, "weight and bias are swapped")


@pytest.mark.parametrize(
    ("configured", "words"),
    [
        (Settings(eps=2.0), "MindSpore accepts eps in (0, 1] only: 2 cannot be expressed"),
        (Settings(momentum=None), NO_CUMULATIVE_AVERAGE),
        (Settings(momentum=1.5), "MindSpore accepts momentum in [0, 1] only: 1.5 cannot be expressed"),
    ],
)
def test_what_mindspore_cannot_express_fails_in_words(configured, words) -> None:
    result = verify(layer_case(parameters(1), configured))
    assert result.ok is False
    assert result.diagnosis == words
    assert {check.note for check in result.checks[1:]} == {words}


def test_bias_false_passes_with_a_shift_of_0_and_fails_with_another() -> None:
    values = {**parameters(1), "beta": np.zeros(8, np.float32)}
    case = layer_case(values)
    source = replace(case.source, parameters={slot: v for slot, v in values.items() if slot != "beta"})
    case = replace(case, source=source)
    assert_right(verify(case))
    result = verify(with_target(case, beta=np.full(8, 0.5, np.float32)))
    assert (result.ok, result.diagnosis) == (False, "bias is 0.5 where 0 was expected in every channel")


def test_batch_statistics_leave_running_ones_out_and_say_so() -> None:
    case = layer_case(parameters(1), Settings(statistics="batch"))
    moved = with_target(case, mean=np.full(8, 5.0, np.float32))
    result = verify(moved)
    assert_right(result)
    assert "running statistics mean nothing" in result.notes[0]


@pytest.mark.parametrize(
    ("slot", "value", "told"),
    [
        ("variance", np.nan, "running_var holds values that are negative or not finite in 1 of 8 channels (3)"),
        ("variance", -1.0, "running_var holds values that are negative or not finite in 1 of 8 channels (3)"),
        ("variance", np.inf, "running_var holds values that are negative or not finite in 1 of 8 channels (3)"),
        ("mean", np.nan, "running_mean holds values that are not finite in 1 of 8 channels (3)"),
        ("mean", np.inf, "running_mean holds values that are not finite in 1 of 8 channels (3)"),
        ("gamma", np.nan, "weight holds values that are not finite in 1 of 8 channels (3)"),
    ],
)
def test_odd_values_are_noted_and_agree_when_both_have_them(slot, value, told) -> None:
    values = parameters(1)
    values[slot] = values[slot].copy()
    values[slot][3] = value
    case = layer_case(values)
    result = verify(case)
    assert_right(result)
    assert result.suspect == (told,)
    lost = with_target(case, **{slot: np.nan_to_num(np.abs(values[slot]), nan=1.0, posinf=1.0)})
    assert verify(lost).ok is False


def beyond_float32(slot: str, size: float) -> Values:
    values = parameters(1)
    return {**values, slot: (np.sign(values[slot]) * size).astype(np.float32)}


BEYOND = [("gamma", 3e38), ("gamma", 1e37), ("mean", 1e30), ("mean", 3e38), ("variance", 1e30), ("variance", 3e38)]


@pytest.mark.parametrize(("slot", "size"), BEYOND)
def test_what_float32_cannot_hold_is_charged_to_nobody(slot, size) -> None:
    case = layer_case(beyond_float32(slot, size))
    result = verify(case)
    assert (result.ok, result.diagnosis, result.cause, result.suspect) == (None, None, None, ())
    assert {check.ok for check in result.checks} == {True, None}
    assert all(
        "float32, in which both frameworks ran it, ends at 3.4e+38" in (c.note or "") for c in result.checks[1:]
    )
    assert verify(case, Options(strict=True)).ok is None
    wrong = verify(with_target(case, beta=-case.source.parameters["beta"]))
    assert (wrong.ok, wrong.cause) == (False, "parameters")


@pytest.mark.parametrize("slot", ["gamma", "beta", "mean", "variance"])
def test_large_values_within_float32_are_judged(slot, monkeypatch) -> None:
    case = layer_case(beyond_float32(slot, 1e15))
    assert verify(case).ok is True
    run = mindspore_backend.MindSporeLayer._run
    monkeypatch.setattr(
        mindspore_backend.MindSporeLayer, "_run", lambda self, x, training: run(self, x, training=training) * 1.01
    )
    assert (verify(case).ok, verify(case).cause) == (False, "framework")


def test_shapes_that_differ_are_told_without_a_run() -> None:
    case = layer_case(parameters(1, 8))
    result = verify(replace(case, target=replace(case.target, parameters=parameters(1, 4))))
    assert result.ok is False
    assert "weight [8], bias [8], running_mean [8], running_var [8] became bn2d.moving_mean [4]" in (
        result.diagnosis or ""
    )


def test_a_layer_without_any_parameter_runs() -> None:
    case = layer_case(parameters(1), Settings(statistics="batch", affine=False))
    bare = replace(case, target=replace(case.target, parameters={}))
    assert_right(verify(bare))


def test_a_source_that_is_itself_off_is_told_from_a_wrong_conversion(monkeypatch) -> None:
    monkeypatch.setattr(
        mindspore_backend, "invert_momentum", lambda momentum: momentum
    )  # MindSpore as the source, run with another momentum than the settings say
    result = verify(layer_case(parameters(1), dialects=("mindspore", "torch")))
    assert result.ok is False
    note = f"MindSpore {mindspore.__version__} itself is off the float64 reference; PyTorch"
    assert note in (result.checks[3].note or "")
    assert "not of the conversion" in (result.diagnosis or "")


def test_inputs_depend_on_the_seed_and_the_name_alone() -> None:
    case = layer_case(parameters(1))
    inputs = make_inputs(case, Options())
    again = make_inputs(replace(case, target=replace(case.target, settings=Settings(eps=1e-3))), Options())
    assert all((a == b).all() for a, b in zip(inputs.training, again.training, strict=True))
    for other, options in ((replace(case, name="layer1.0.bn2"), Options()), (case, Options(seed=1))):
        assert (make_inputs(other, options).evaluation != inputs.evaluation).any()
    assert (inputs.training[0] != inputs.training[2]).all()
    assert len({*inputs.evaluation.shape} - {8}) == 4
    assert inputs.evaluation.dtype == np.float32


def test_inputs_lie_at_the_layers_own_scale_but_off_its_centre() -> None:
    case = layer_case(parameters(4, 64))
    inputs = make_inputs(case, Options())
    spread = np.sqrt(case.source.parameters["variance"] + 1e-5)
    for x, shift, width in ((inputs.evaluation, 0.25, 1.0), (inputs.training[0], 0.5, 1.25)):
        wide = x.astype(np.float64)
        distance = (wide.mean((0, 2, 3, 4)) - case.source.parameters["mean"]) / spread
        assert distance.mean() == pytest.approx(shift, abs=0.06)
        assert (wide.std((0, 2, 3, 4)) / spread).mean() == pytest.approx(width, rel=0.06)


def test_the_experiment_is_eval_then_every_step_then_eval() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.seen: list[tuple[str, float]] = []

        def evaluate(self, x):
            self.seen.append(("evaluate", float(x.flat[0])))
            return len(self.seen)

        def train(self, x):
            self.seen.append(("train", float(x.flat[0])))
            return len(self.seen)

        def gradients(self, x, upstream, *, training):
            self.seen.append(("gradients", float(x.flat[0])))
            return (training,)

        def statistics(self):
            return None

    inputs = make_inputs(layer_case(parameters(1)), Options(steps=5))
    recorder = Recorder()
    assert trajectory(recorder, inputs) == {
        "eval": (1,),
        "train": (3, 4, 5, 6, 7),
        "eval after training": (8,),
        "eval gradients": (False,),
        "train gradients": (True,),
        "edge inputs": (9, 10, 11, 12, 13, 14, 15),
    }
    first = [float(x.flat[0]) for x in inputs.training]
    at_rest = ("evaluate", float(inputs.evaluation.flat[0]))
    in_between = [("train", value) for value in first]
    assert recorder.seen[:8] == [at_rest, ("gradients", at_rest[1]), *in_between, at_rest]
    assert recorder.seen[-1] == ("gradients", first[0])
    assert len(set(first)) == 5


def test_results_are_valid_json_even_where_errors_are_infinite() -> None:
    values = parameters(1)
    case = with_target(layer_case(values), variance=-values["variance"])
    result = verify(case)
    assert result.checks[1].error == float("inf")
    document = result.to_json()
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text)["checks"][1] == {
        "check": "eval",
        "ok": False,
        "error": None,
        "bound": pytest.approx(document["checks"][1]["bound"]),
        "note": None,
        "histogram": list(result.checks[1].histogram or ()),
    }
    assert sum(json.loads(text)["checks"][1]["histogram"]) == make_inputs(case, Options()).evaluation.size


@pytest.mark.parametrize(
    ("oks", "verdict_expected"),
    [((True, True), True), ((True, False), False), ((True, None), None), ((False, None), False)],
)
def test_the_verdict(oks, verdict_expected) -> None:
    assert verdict((Check("parameters", oks[0]), Check("eval", oks[1]))) is verdict_expected
