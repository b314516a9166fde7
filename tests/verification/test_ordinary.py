"""Layers of every kind with a recipe, on the real frameworks, forwards and backwards."""

from __future__ import annotations

from dataclasses import replace

import mindspore
import numpy as np
import pytest
from ordinary_cases import SHAPES, ordinary_case

from porter.layers.kinds import KINDS
from porter.layers.ordinary_settings import Setting, Settings
from porter.verification import mindspore_backend
from porter.verification.bounds import stored
from porter.verification.cases import OrdinaryCase, Stored
from porter.verification.options import Options
from porter.verification.ordinary import verify_ordinary
from porter.verification.recipes import RECIPES
from porter.verification.results import LayerResult
from porter.verification.runs import Bench

EVERY = pytest.mark.parametrize(("kind", "shapes"), SHAPES, ids=lambda v: v if isinstance(v, str) else str(len(v)))


def verify(case: OrdinaryCase, options: Options | None = None) -> LayerResult:
    return verify_ordinary(case, Bench(options or Options()))


def with_target(case: OrdinaryCase, **slots: np.ndarray) -> OrdinaryCase:
    return replace(case, target=replace(case.target, parameters={**case.target.parameters, **slots}))


def test_every_kind_but_those_of_other_layers_has_a_recipe() -> None:
    others = {kind for kind in KINDS if "BatchNorm" in kind or "Transformer" in kind}
    assert set(KINDS) - set(RECIPES) == others
    tried = {kind for kind, _ in SHAPES}
    assert set(RECIPES) - tried == {f"InstanceNorm{dims}d" for dims in (1, 2, 3)}


@EVERY
@pytest.mark.parametrize("dialects", [("torch", "mindspore"), ("mindspore", "torch")])
def test_right_layers_pass_at_every_scale(kind, shapes, dialects) -> None:
    for seed, scale in enumerate((1.0, 0.01, 30.0)):
        result = verify(ordinary_case(kind, shapes, seed, scale, dialects), Options(seed=seed))
        assert result.ok is True, result
        assert [check.check for check in result.checks] == ["parameters", "eval", "eval gradients"]
        assert result.diagnosis is None


@EVERY
def test_layouts_that_are_wrong_are_found_by_running_alone(kind, shapes) -> None:
    """The largest parameter turned upside down, with both sides' copies agreeing that it should be."""
    case = ordinary_case(kind, shapes)
    slot = max(shapes, key=lambda s: np.prod(shapes[s]))
    values = case.target.parameters[slot]
    result = verify(with_target(case, **{slot: np.ascontiguousarray(values.ravel()[::-1].reshape(values.shape))}))
    if values.size == 1:
        assert result.ok is True
        return
    assert result.ok is False
    assert result.cause == "parameters"
    assert [check.ok for check in result.checks][:2] == [False, False], "the output shows it, too"


@EVERY
def test_the_bound_is_small_beside_the_output(kind, shapes) -> None:
    """One element of each parameter off by 1% is beyond the bound of the output or of the gradients."""
    case = ordinary_case(kind, shapes, seed=4)
    for slot, values in case.target.parameters.items():
        off = values.copy()
        off.flat[int(abs(off).argmax())] *= np.float32(1.01)
        run = verify(with_target(case, **{slot: off})).checks[1:]
        # Rows that are not drawn; gates that are saturated, where MindSpore's tanh is off by 1e-4.
        if kind not in ("Embedding", "RNN", "GRU", "LSTM", "RNNCell"):
            assert any(check.ok is False for check in run), (slot, run)


LONG = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "of one sign": lambda random, shape: abs(random.standard_normal(shape)),
    "constant": lambda random, shape: np.full(shape, 0.1),
    "wide": lambda random, shape: random.standard_normal(shape) * 10.0 ** random.uniform(-6, 3, shape),
    "ascending": lambda random, shape: np.sort(random.standard_normal(shape), axis=1),
}


@pytest.mark.parametrize("values", LONG)
@pytest.mark.parametrize("seed", range(3))
def test_long_inner_products_stay_far_below_the_bound(values, seed) -> None:
    """Measured over 150 layers of 100 to 20,000 terms: at most 6% of it, 2% from 1,000 terms on."""
    case = ordinary_case("Linear", {"weight": (8, 20_000)})
    weight = LONG[values](np.random.default_rng(seed), (8, 20_000)).astype(np.float32)
    sides = {side: replace(getattr(case, side), parameters={"weight": weight}) for side in ("source", "target")}
    evaluation = verify(replace(case, **sides), Options(seed=seed)).checks[1]
    assert (evaluation.error or 0) < 0.1 * (evaluation.bound or 0)


def test_one_wrong_element_of_a_long_inner_product_shows_in_the_output() -> None:
    case = ordinary_case("Linear", {"weight": (4, 6912)})
    off = case.target.parameters["weight"].copy()
    off[2, 3456] += np.float32(1)  # one standard deviation; gamma_n allows 1.8
    assert verify(with_target(case, weight=off)).checks[1].ok is False


def test_a_cast_to_float16_passes_within_its_own_bound() -> None:
    case = ordinary_case("Conv3d", {"weight": (7, 5, 3, 2, 4), "bias": (7,)})
    cast = {slot: v.astype(np.float16) for slot, v in case.target.parameters.items()}
    result = verify(replace(case, target=Stored("mindspore", cast, "float16")))
    assert result.ok is True, result
    unmarked = verify(replace(case, target=Stored("mindspore", cast, "float32")))
    assert unmarked.ok is False, "in float32 it is no rounding, but a fault"
    assert (result.checks[1].bound or 0) > 10 * (unmarked.checks[1].bound or 0)


def stored_as(dtype: str, values: np.ndarray) -> np.ndarray:
    """As a file gives them: bfloat16 arrives widened to float32."""
    return stored(values, dtype).astype("float32" if dtype == "bfloat16" else dtype)


HALF = [(kind, shapes) for kind, shapes in SHAPES if kind in ("Conv3d", "GRU", "LayerNorm", "Embedding")]


@pytest.mark.parametrize(
    ("dtype", "kind", "shapes"),
    [
        *(("float64", kind, shapes) for kind, shapes in dict(SHAPES).items()),
        *((dtype, kind, shapes) for dtype in ("float16", "bfloat16") for kind, shapes in dict(HALF).items()),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_layers_stored_in_other_dtypes_run_in_float32(kind, shapes, dtype) -> None:
    random = np.random.default_rng(5)
    values = {slot: stored_as(dtype, random.standard_normal(shape)) for slot, shape in shapes.items()}
    case = ordinary_case(kind, shapes)
    ours = {slot: v.reshape(case.target.parameters[slot].shape) for slot, v in values.items()}
    result = verify(replace(case, source=Stored("torch", values, dtype), target=Stored("mindspore", ours, dtype)))
    assert result.ok is True, result
    how = "to which they are rounded" if dtype == "float64" else "which holds them exactly"
    assert f"{dtype} parameters: run in float32, {how}" in result.notes


def test_a_beta_that_only_mindspore_has_is_0() -> None:
    case = ordinary_case("LayerNorm", {"gamma": (6,)})
    assert verify(with_target(case, beta=np.zeros(6, np.float32))).ok is True
    assert verify(with_target(case, beta=np.full(6, 0.1, np.float32))).ok is False


def test_shapes_that_differ_are_told() -> None:
    case = with_target(ordinary_case("Linear", {"weight": (4, 3)}), weight=np.zeros((3, 4), np.float32))
    result = verify(case)
    assert (result.ok, result.cause, result.diagnosis) == (
        False,
        "parameters",
        "the parameters differ in name or shape",
    )


def test_an_instance_norm_is_not_run_and_the_reason_given() -> None:
    result = verify(ordinary_case("InstanceNorm3d", {"gamma": (6,), "beta": (6,)}))
    assert result.ok is None
    assert result.checks[0].ok is True
    assert "MindSpore cannot run the layer: Unsupported op [InstanceNorm] on CPU" in (result.checks[1].note or "")
    assert any("agrees with the float64 reference" in note for note in result.notes)


def test_without_mindspore_nothing_is_proven(monkeypatch) -> None:
    monkeypatch.setattr(mindspore_backend, "find_spec", lambda name: None)
    result = verify(ordinary_case("Linear", {"weight": (4, 3)}))
    assert [check.ok for check in result.checks] == [True, None, None]


def test_assumptions_are_stated() -> None:
    (note,) = verify(ordinary_case("Conv3d", {"weight": (2, 1, 1, 1, 1)})).notes
    assert note.startswith("Conv3d layers were run with stride 1, no padding and one group")


def test_graph_mode() -> None:
    assert verify(ordinary_case("Linear", {"weight": (4, 3)}), Options(ms_mode="graph")).ok is True


def configured(case: OrdinaryCase, source: Settings, target: Settings) -> OrdinaryCase:
    return replace(case, source=replace(case.source, settings=source), target=replace(case.target, settings=target))


def padding(size: int) -> Settings:
    return {"padding": Setting(((size, size),) * 3, str(size))}


def test_another_shape_is_told_as_such() -> None:
    case = configured(ordinary_case("Conv3d", {"weight": (7, 5, 3, 3, 3)}), padding(1), padding(0))
    note = verify(case).checks[1].note
    assert note == "its output has shape [2, 7, 0, 1, 0] where [2, 7, 2, 3, 2] was expected"


def test_a_layer_that_mindspore_refuses_does_not_spoil_the_next() -> None:
    def batch_first(value: bool) -> Settings:
        return {"number of heads": Setting(4, "4"), "batch first": Setting(value, str(value))}

    attention = ordinary_case("MultiheadAttention", {"in_proj_weight": (24, 8), "in_proj_bias": (24,)})
    for _ in range(2):
        refused = verify(configured(attention, batch_first(True), batch_first(False)))
        assert "MindSpore cannot run the layer" in (refused.checks[1].note or "")
    assert verify(ordinary_case("LayerNorm", {"gamma": (8,), "beta": (8,)})).ok is True
    assert mindspore.Tensor(np.ones((2, 3, 4), np.float32))[0].shape == (3, 4)


def test_wrong_parameters_and_settings_leave_room_for_what_the_tensors_tell() -> None:
    case = configured(ordinary_case("Conv3d", {"weight": (7, 5, 3, 3, 3)}), padding(1), padding(0))
    mirrored = np.ascontiguousarray(case.target.parameters["weight"][..., ::-1])
    result = verify(with_target(case, weight=mirrored))
    assert result.besides == ("padding is 1 in PyTorch and 0 in MindSpore",)
    assert result.cause == "parameters"


def with_nan(case: OrdinaryCase, slot: str) -> OrdinaryCase:
    """One NaN on both sides, at the first place."""
    sides = {}
    for name in ("source", "target"):
        side = getattr(case, name)
        values = side.parameters[slot].copy()
        values.flat[0] = np.nan
        sides[name] = replace(side, parameters={**side.parameters, slot: values})
    return replace(case, **sides)


NAN = with_nan(ordinary_case("MultiheadAttention", {"in_proj_weight": (18, 6)}), "in_proj_weight")


def test_nan_of_the_sources_own_is_not_charged_to_the_conversion() -> None:
    result = verify(NAN)
    assert result.suspect == ("in_proj_weight holds values that are not finite in 1 of 108 elements ([0, 0])",)
    assert (result.ok, result.cause, result.diagnosis) == (None, None, None)
    assert [check.ok for check in result.checks] == [True, None, None]


@pytest.mark.parametrize("case", [NAN, with_nan(ordinary_case("Linear", {"weight": (4, 3)}), "weight")])
def test_strict_fails_nan_in_a_layer_of_any_kind(case) -> None:
    result = verify(case, Options(strict=True))
    assert (result.ok, result.cause) == (False, "source")
    assert (result.diagnosis or "").endswith("elements ([0, 0]) (--strict)")


def test_nan_hides_no_setting_that_differs() -> None:
    case = with_nan(ordinary_case("Conv3d", {"weight": (7, 5, 3, 3, 3)}), "weight")
    assert verify(configured(case, padding(1), padding(0))).cause == "settings"


@pytest.mark.parametrize("kind", ["Linear", "Conv3d", "LayerNorm", "MultiheadAttention"])
def test_what_float32_cannot_hold_is_charged_to_nobody(kind) -> None:
    shapes = next(shapes for name, shapes in SHAPES if name == kind)
    case = ordinary_case(kind, shapes, scale=8e37)
    result = verify(case)
    assert (result.ok, result.diagnosis, result.suspect) == (None, None, ())
    assert any("float32, in which both frameworks ran it, ends at 3.4e+38" in (c.note or "") for c in result.checks)
    slot = next(iter(shapes))
    wrong = verify(with_target(case, **{slot: -case.target.parameters[slot]}))
    assert (wrong.ok, wrong.cause) == (False, "parameters")
