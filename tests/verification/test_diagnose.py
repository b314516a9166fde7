"""Every fault is found and named; what cannot be told apart is said to be so."""

from __future__ import annotations

import re
from dataclasses import replace

import mindspore
import numpy as np
import pytest
from layer_cases import layer_case, parameters, with_target

from porter.layers.settings import Settings
from porter.verification import mindspore_backend
from porter.verification.cases import LayerCase
from porter.verification.compare import verify_layers
from porter.verification.options import Options

P = parameters(1)
BN2 = layer_case(parameters(2), name="layer2.0.bn1")
BN3 = layer_case(parameters(3), name="layer3.0.bn1")
ROLL = {slot: np.roll(v, 3) for slot, v in P.items()}
FRESH = {"gamma": np.ones(8, np.float32), "beta": np.zeros(8, np.float32)}


def diagnosis(case: LayerCase) -> str:
    result = next(verify_layers([case, BN2, BN3], Options()))
    assert result.ok is False
    assert result.diagnosis is not None
    return without_remedy(result.diagnosis)


def without_remedy(words: str) -> str:
    """`words` without the error that the remedy leaves, which depends on the platform."""
    return re.sub(r" \((swapping them back|putting them back|the source's order) gives error [^)]+\)", "", words)


def changed(slot: str, channel: int, factor: float) -> np.ndarray:
    values = P[slot].copy()
    values[channel] *= np.float32(factor)
    return values


def exchanged(values: np.ndarray, a: int, b: int) -> np.ndarray:
    values = values.copy()
    values[[a, b]] = values[[b, a]]
    return values


NOISE = np.random.default_rng(0).normal(size=8).astype(np.float32)
HALF_FAULTS = {
    "gamma, beta swapped": ({"gamma": P["beta"], "beta": P["gamma"]}, "weight and bias are swapped"),
    "mean, variance swapped": (
        {"mean": P["variance"], "variance": P["mean"]},
        "running_mean and running_var are swapped",
    ),
    "gamma, mean swapped": ({"gamma": P["mean"], "mean": P["gamma"]}, "weight and running_mean are swapped"),
    "beta, variance swapped": ({"beta": P["variance"], "variance": P["beta"]}, "bias and running_var are swapped"),
    "three exchanged": (
        {"gamma": P["beta"], "beta": P["mean"], "mean": P["gamma"]},
        "parameters are exchanged: weight holds bias, bias holds running_mean, running_mean holds weight",
    ),
    "two pairs swapped": (
        {"gamma": P["mean"], "beta": P["variance"], "mean": P["gamma"], "variance": P["beta"]},
        "parameters are exchanged: weight holds running_mean, bias holds running_var, running_mean holds weight, "
        "running_var holds bias",
    ),
    "copied": ({"mean": P["beta"]}, "running_mean holds the values of bias"),
    "shifted": (ROLL, "the channels of weight, bias, running_mean and running_var are permuted: shifted by 3"),
    "shifted back": ({"beta": np.roll(P["beta"], -1)}, "the channels of bias are permuted: shifted by -1"),
    "reversed": ({"gamma": P["gamma"][::-1]}, "the channels of weight are permuted: in reverse order"),
    "two exchanged": (
        {"mean": exchanged(P["mean"], 2, 5)},
        "the channels of running_mean are permuted: channels 2 and 5 are exchanged",
    ),
    "permuted": (
        {"mean": P["mean"][[1, 2, 0, 3, 4, 5, 6, 7]]},
        "the channels of running_mean are permuted: in 3 of 8 places (channel 0 holds that of 1, channel 1 holds "
        "that of 2, channel 2 holds that of 0)",
    ),
    "another layer's": (BN2.source.parameters, "holds the parameters of layer2.0.bn1"),
    "another layer's weight": (
        {"gamma": BN3.source.parameters["gamma"]},
        "holds the weight of layer3.0.bn1",
    ),
    "initial": (FRESH, "weight and bias hold their initial values 1 and 0 throughout"),
    "initial variance": ({"variance": np.ones(8, np.float32)}, "running_var holds its initial value 1 throughout"),
    "sign": ({"gamma": -P["gamma"]}, "weight has the opposite sign"),
    "scale": ({"variance": P["variance"] * np.float32(1.5)}, "running_var is multiplied by 1.5"),
    "n / (n - 1)": (
        {"variance": P["variance"] * np.float32(120 / 119)},
        "running_var is multiplied by 1.0084034: for 120 values per channel, the unbiased variance in place of the "
        "biased",
    ),
    "offset": ({"beta": P["beta"] + np.float32(0.25)}, "bias is offset by 0.25"),
    "rounded": ({"gamma": P["gamma"].astype(np.float16)}, "weight looks rounded to float16"),
}


@pytest.mark.parametrize(("slots", "words"), HALF_FAULTS.values(), ids=HALF_FAULTS.keys())
def test_the_fault_is_named(slots, words) -> None:
    assert diagnosis(with_target(layer_case(P), **slots)) == words


@pytest.mark.parametrize("slot", ["gamma", "beta", "mean", "variance"])
@pytest.mark.parametrize("factor", [1.001, 1.0001, 0.5, -1.0])
def test_one_changed_value_is_found(slot, factor) -> None:
    words = diagnosis(with_target(layer_case(P), **{slot: changed(slot, 6, factor)}))
    name = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}[slot]
    assert words.startswith(f"{name}[6] is ")
    assert words.endswith(": one bit is flipped (bit 31, the sign)") is (factor == -1)
    found, right = words.removeprefix(f"{name}[6] is ").partition(" was expected")[0].split(" where ")
    assert float(found) == pytest.approx(float(changed(slot, 6, factor)[6]), rel=1e-5)
    assert float(right) == pytest.approx(float(P[slot][6]), rel=1e-5)


def test_the_smallest_change_is_shown_with_enough_digits() -> None:
    beta = P["beta"].copy()
    beta[0] = np.nextafter(beta[0], np.float32(10))
    found, right = diagnosis(with_target(layer_case(P), beta=beta)).removeprefix("bias[0] is ").split(" where ")
    assert found != right.removesuffix(" was expected")


def test_faults_of_several_slots_are_all_told() -> None:
    case = with_target(layer_case(P), gamma=-P["gamma"], mean=changed("mean", 1, 2.0))
    assert diagnosis(case).startswith("weight has the opposite sign; running_mean[1] is ")


def test_a_fault_without_a_pattern_is_measured() -> None:
    words = diagnosis(with_target(layer_case(P), beta=P["beta"] + NOISE))
    worst = int(np.abs(NOISE).argmax())
    assert words.startswith(f"bias differs in 8 of 8 channels, most in channel {worst}: ")


@pytest.mark.parametrize("slot", ["gamma", "beta"])
def test_nearly_a_scale_or_an_offset_is_not_called_one(slot) -> None:
    jitter = (1 + 1e-3 * NOISE).astype(np.float32)
    for values in (P[slot] * np.float32(1.5) * jitter, P[slot] + np.float32(5) * jitter):
        words = diagnosis(with_target(layer_case(P), **{slot: values}))
        assert "differs in 8 of 8 channels" in words


def test_nan_is_told() -> None:
    mean = P["mean"].copy()
    mean[4] = np.nan
    assert diagnosis(with_target(layer_case(P), mean=mean)).startswith("running_mean[4] is nan where ")


SETTINGS_FAULTS = [
    (Settings(), Settings(eps=1e-3), "eps is 0.001 where 1e-05 was expected"),
    (
        Settings(),
        Settings(momentum=0.9),
        "momentum is 0.1 where 0.9 was expected (in PyTorch's terms 0.9 and 0.1): it was not inverted, or inverted "
        "twice",
    ),
    (
        Settings(momentum=0.003),
        Settings(momentum=0.997),
        "momentum is 0.003 where 0.997 was expected (in PyTorch's terms 0.997 and 0.003): it was not inverted, or "
        "inverted twice",
    ),
    (
        Settings(),
        Settings(momentum=0.11),
        "momentum is 0.89 where 0.9 was expected (in PyTorch's terms 0.11 and 0.1)",
    ),
    (
        Settings(),
        Settings(statistics="frozen"),
        "running statistics frozen where running statistics tracked was expected: write use_batch_statistics=None",
    ),
    (
        Settings(statistics="frozen"),
        Settings(statistics="batch"),
        "batch statistics always (track_running_stats=False) where running statistics frozen was expected: write "
        "use_batch_statistics=False",
    ),
    (
        Settings(),
        Settings(eps=1e-3, momentum=0.9),
        "eps is 0.001 where 1e-05 was expected; momentum is 0.1 where 0.9 was expected (in PyTorch's terms 0.9 and "
        "0.1): it was not inverted, or inverted twice",
    ),
]


@pytest.mark.parametrize(("right", "found", "words"), SETTINGS_FAULTS)
def test_settings_that_differ_are_named(right, found, words) -> None:
    assert diagnosis(with_target(layer_case(P, right), found)) == words


SAID = dict.fromkeys(("eps", "momentum", "affine", "statistics"), "network")
HIDDEN = {
    "not trained": (
        Settings(known_from=SAID),
        Settings(affine=False, known_from=SAID),
        "affine is False where True was expected: weight and bias are trained in the source, but not here, which "
        "changes training alone",
    ),
    "trained": (
        Settings(affine=False, known_from=SAID),
        Settings(known_from=SAID),
        "affine is True where False was expected: weight and bias are trained here, but not in the source, which "
        "changes training alone",
    ),
    "eps nearly right": (
        Settings(known_from=SAID),
        Settings(eps=1.00001e-5, known_from=SAID),
        "eps is 1.00001e-05 where 1e-05 was expected",
    ),
    "momentum nearly right": (
        Settings(known_from=SAID),
        Settings(momentum=0.1000001, known_from=SAID),
        "momentum is 0.8999999 where 0.9 was expected (in PyTorch's terms 0.1000001 and 0.1)",
    ),
}


@pytest.mark.parametrize(("right", "found", "words"), HIDDEN.values(), ids=HIDDEN.keys())
def test_known_settings_that_differ_fail_a_check_of_their_own(right, found, words) -> None:
    """However little they change on the inputs: everything else passes, and says so."""
    case = with_target(layer_case(P, right), found)
    (result,) = verify_layers([case], Options(atol=1e9))
    assert (result.ok, result.cause, result.diagnosis) == (False, "settings", words)
    assert {check.check for check in result.checks if not check.ok} == {"settings"}


def test_a_gamma_that_mindspore_does_not_train_is_to_be_frozen_in_pytorch() -> None:
    right = layer_case(P, Settings(known_from=SAID), dialects=("mindspore", "torch"))
    case = replace(right, source=replace(right.source, settings=Settings(affine=False, known_from=SAID)))
    assert diagnosis(case) == (
        "affine is True where False was expected: weight and bias are trained here, but not in the source, which "
        "changes training alone; requires_grad_(False) on them freezes them"
    )


def test_every_known_setting_counts_within_any_tolerance() -> None:
    for found in (Settings(eps=1e-3), Settings(momentum=0.9), Settings(statistics="frozen")):
        case = with_target(layer_case(P, Settings(known_from=SAID)), found)
        (result,) = verify_layers([case], Options(atol=1e9))
        assert "settings" in {check.check for check in result.checks if check.ok is False}


@pytest.mark.parametrize("origin", ["default", "target network"])
def test_against_an_assumed_setting_only_a_run_counts(origin) -> None:
    assumed = Settings(known_from={"eps": origin, "momentum": origin})
    case = with_target(layer_case(P, assumed), Settings(eps=1e-3, known_from=SAID))
    (loose,) = verify_layers([case], Options(atol=1e9))
    assert loose.ok is True
    (strict,) = verify_layers([case], Options())
    assert (strict.cause, strict.diagnosis) == ("settings", "eps is 0.001 where 1e-05 was expected")
    assert "settings" not in {check.check for check in strict.checks}


def test_a_source_that_is_off_and_settings_that_differ_are_told_by_the_settings(monkeypatch) -> None:
    """MindSpore as the source, run with another momentum than its settings say."""
    monkeypatch.setattr(mindspore_backend, "invert_momentum", lambda momentum: momentum)
    case = layer_case(P, Settings(known_from=SAID), dialects=("mindspore", "torch"))
    found = diagnosis(with_target(case, Settings(affine=False, known_from=SAID)))
    assert found.startswith("affine is False where True was expected")


def test_settings_and_parameters_are_both_told() -> None:
    case = with_target(layer_case(P), Settings(eps=1e-3), gamma=P["beta"], beta=P["gamma"])
    assert diagnosis(case) == "weight and bias are swapped; eps is 0.001 where 1e-05 was expected"


def test_a_momentum_in_place_of_a_cumulative_average_says_what_to_type() -> None:
    case = layer_case(P, Settings(momentum=None, known_from=SAID))
    found = diagnosis(with_target(case, Settings(momentum=0.1, known_from=SAID)))
    assert found == (
        "momentum is 0.9 (0.1 in PyTorch's terms) where None was expected: MindSpore has no cumulative average, "
        "which momentum None asks for; a rules file says what takes its place: "
        '[hyperparameters] "LAYER" = { momentum = 0.1 }'
    )


IDENTITY = {slot: np.full(8, fill, np.float32) for slot, fill in (("gamma", 1), ("mean", 0), ("variance", 1))}


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_a_folded_layer_is_named(eps: float) -> None:
    gamma = P["gamma"] / np.sqrt(P["variance"] + np.float32(eps))
    folded = {**IDENTITY, "beta": P["beta"] - P["mean"] * gamma}
    case = layer_case(P, Settings(eps=eps))
    rest = "running_mean is 0 and running_var 1"
    into_itself = diagnosis(with_target(case, **{**folded, "gamma": gamma}))
    assert into_itself == f"the running statistics are folded into weight and bias: {rest}"
    into_another = diagnosis(with_target(case, **folded))
    assert into_another == f"the layer is folded, but for its bias, into the one before: weight is 1, {rest}"


def test_a_layer_that_never_trained_is_not_called_folded() -> None:
    case = layer_case({**P, "mean": IDENTITY["mean"], "variance": IDENTITY["variance"]})
    assert "folded" not in diagnosis(with_target(case, gamma=P["gamma"] * np.float32(1.001)))
    nearly = {**P, "mean": np.full(8, 1e-3, np.float32), "variance": np.full(8, 1.003, np.float32)}
    assert "folded" not in diagnosis(
        with_target(layer_case(nearly), **{k: IDENTITY[k] for k in ("mean", "variance")})
    )


def test_what_nothing_explains_is_said_so_once() -> None:
    other = parameters(7)
    found = diagnosis(with_target(layer_case(P), mean=other["mean"], variance=other["variance"]))
    assert found.startswith("running_mean differs in 8 of 8 channels")
    assert found.count("no rule explains it") == 1
    assert found.endswith("no rule explains it: the values are another checkpoint's, or damaged")


def test_an_unused_momentum_is_no_fault() -> None:
    frozen = layer_case(P, Settings(statistics="frozen"))
    (result,) = verify_layers([with_target(frozen, Settings(statistics="frozen", momentum=0.9))], Options())
    assert result.ok is True


def test_what_fits_several_faults_is_not_distinguishable() -> None:
    """All weights 1 and all running variances 1: a bias of ones may be a copy of either."""
    values = {**P, "gamma": np.ones(8, np.float32), "variance": np.ones(8, np.float32)}
    assert diagnosis(with_target(layer_case(values), beta=np.ones(8, np.float32))) == (
        "not distinguishable from the values: bias holds the values of weight, "
        "or bias holds the values of running_var"
    )


def test_initial_values_are_not_taken_for_another_layers() -> None:
    fresh = layer_case({**parameters(9), **FRESH}, name="fresh")
    case = with_target(layer_case(P), gamma=FRESH["gamma"])
    result = next(verify_layers([case, fresh], Options()))
    assert result.diagnosis == "weight holds its initial value 1 throughout"


def test_twin_layers_are_both_named() -> None:
    twins = [replace(BN2, name=name) for name in ("a", "b", "c", "d")]
    case = with_target(layer_case(P), **BN2.source.parameters)
    result = next(verify_layers([case, *twins], Options()))
    assert result.diagnosis == "holds the parameters of a or b or c or 1 more"


def test_layers_exchanged_with_each_other_name_each_other() -> None:
    first, second = layer_case(P, name="first"), layer_case(parameters(2), name="second")
    crossed = [
        with_target(first, **second.source.parameters),
        with_target(second, **first.source.parameters),
    ]
    words = [result.diagnosis for result in verify_layers(crossed, Options())]
    assert words == ["holds the parameters of second", "holds the parameters of first"]


def test_one_channel_reports_its_value() -> None:
    one = {slot: v[:1] for slot, v in P.items()}
    assert diagnosis(with_target(layer_case(one), gamma=one["gamma"] * 2)).startswith("weight[0] is ")


def test_a_cast_target_is_compared_with_the_rounded_source() -> None:
    half = {slot: v.astype(np.float16) for slot, v in P.items()}
    case = layer_case(P)
    case = replace(case, target=replace(case.target, dtype="float16", parameters=half))
    assert diagnosis(with_target(case, gamma=half["beta"], beta=half["gamma"])) == "weight and bias are swapped"


AGREED = "parameters and settings agree with the source"


def test_a_framework_that_does_not_invert_is_found_by_hypothesis(monkeypatch) -> None:
    monkeypatch.setattr(mindspore_backend, "invert_momentum", lambda momentum: momentum)
    assert diagnosis(layer_case(P)) == (
        f"{AGREED}, but in MindSpore {mindspore.__version__} it runs with momentum 0.1 where 0.9 was expected "
        "(in PyTorch's terms 0.9 and 0.1): not inverted"
    )


def test_a_framework_with_another_flag_is_found_by_hypothesis(monkeypatch) -> None:
    monkeypatch.setattr(mindspore_backend, "USE_BATCH_STATISTICS", {"tracked": False})
    assert "it runs with running statistics frozen" in diagnosis(layer_case(P))


def test_a_framework_with_the_biased_variance_is_found_by_hypothesis(monkeypatch) -> None:
    """As MindSpore 2.0.0 did: the batch enters with n in place of n - 1."""
    run = mindspore_backend.MindSporeLayer._run

    def biased(self, x, *, training):
        old = self._parameters["variance"].asnumpy().astype(np.float64)
        output = run(self, x, training=training)
        if training:
            new = self._parameters["variance"].asnumpy()
            batch = (new - 0.9 * old) / 0.1 * 119 / 120
            moved = (0.9 * old + 0.1 * batch).astype(np.float32)
            self._parameters["variance"].set_data(mindspore.Tensor(moved))
        return output

    monkeypatch.setattr(mindspore_backend.MindSporeLayer, "_run", biased)
    assert "its running variance takes in the biased variance of the batch" in diagnosis(layer_case(P))


def test_a_framework_that_is_simply_inaccurate_is_not_blamed_on_the_conversion(monkeypatch) -> None:
    run = mindspore_backend.MindSporeLayer._run
    monkeypatch.setattr(
        mindspore_backend.MindSporeLayer, "_run", lambda self, x, training: run(self, x, training=training) * 1.01
    )
    assert diagnosis(layer_case(P)) == (
        f"{AGREED}: MindSpore {mindspore.__version__} itself departs from the float64 reference, not the conversion"
    )
    case = with_target(layer_case(P), gamma=-P["gamma"])
    assert diagnosis(case).startswith("weight has the opposite sign; besides, MindSpore")


def test_settings_with_a_float32_residue_are_the_same_setting() -> None:
    residue = Settings(eps=float(np.float32(1e-5)), momentum=1 - 0.9)
    (result,) = verify_layers([with_target(layer_case(P), residue)], Options())
    assert result.ok is True
    case = with_target(layer_case(P), residue, gamma=-P["gamma"])
    assert diagnosis(case) == "weight has the opposite sign"


def test_a_layer_that_fits_whole_comes_before_one_that_fits_in_part() -> None:
    theirs = BN2.source.parameters
    half = layer_case({**parameters(8), "gamma": theirs["gamma"]}, name="half")
    same_but_gamma = layer_case({**P, "gamma": theirs["gamma"]}, name="whole")
    case = with_target(layer_case(P), gamma=theirs["gamma"])
    result = next(verify_layers([case, half, same_but_gamma], Options()))
    assert result.diagnosis == "holds the parameters of whole"


def test_another_layers_values_are_known_after_a_cast() -> None:
    half = {slot: v.astype(np.float16) for slot, v in BN2.source.parameters.items()}
    case = layer_case(P)
    case = replace(case, target=replace(case.target, dtype="float16", parameters=half))
    assert diagnosis(case) == "holds the parameters of layer2.0.bn1"


def test_a_swap_tells_the_error_that_swapping_back_leaves() -> None:
    (result,) = verify_layers([with_target(layer_case(P), mean=P["variance"], variance=P["mean"])], Options())
    words = re.fullmatch(
        r"running_mean and running_var are swapped \(swapping them back gives error (\S+)\)", result.diagnosis or ""
    )
    assert words, result.diagnosis
    (right,) = verify_layers([layer_case(P)], Options())
    evaluation = next(check for check in right.checks if check.check == "eval")
    assert evaluation.bound is not None
    assert 0 < float(words[1]) <= evaluation.bound


def test_a_remedy_that_does_not_help_is_not_told(monkeypatch) -> None:
    run = mindspore_backend.MindSporeLayer._run
    monkeypatch.setattr(
        mindspore_backend.MindSporeLayer, "_run", lambda self, x, training: run(self, x, training=training) * 1.01
    )
    (result,) = verify_layers([with_target(layer_case(P), gamma=P["beta"], beta=P["gamma"])], Options())
    assert (result.diagnosis or "").startswith("weight and bias are swapped; besides, MindSpore")


ONES = np.ones(8, np.float32)


@pytest.mark.parametrize(
    ("values", "settings", "notes"),
    [
        (P, Settings(), ()),
        (
            {**P, "gamma": ONES, "variance": ONES},
            Settings(),
            ("not distinguishable, for they hold the same values: weight with running_var exchanged",),
        ),
        (
            {"gamma": ONES, "beta": 0 * ONES, "mean": 0 * ONES, "variance": ONES},
            Settings(),
            (
                "not distinguishable, for they hold the same values: weight with running_var or bias with "
                "running_mean exchanged",
            ),
        ),
        (P, Settings(momentum=0.5), ("not distinguishable: momentum 0.5 inverted or not",)),
        (P, Settings(momentum=0.5, statistics="frozen"), ()),
    ],
)
def test_a_layer_that_would_hide_a_fault_says_so(values, settings, notes) -> None:
    (result,) = verify_layers([layer_case(values, settings)], Options())
    assert result.ok is True
    assert tuple(note for note in result.notes if note.startswith("not distinguishable")) == notes
