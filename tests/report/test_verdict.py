"""The terminal's report says on one screen which layer is wrong, why, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from verifications import CIRCUMSTANCES, check, layer, verification

from porter.formats.casting import Overflow
from porter.formats.dtypes import FLOAT16, FLOAT32
from porter.report.summary import Call, summary
from porter.report.verdict import show_verification
from porter.verification.copies import TensorProblem
from porter.verification.files import Verification
from porter.verification.results import Check, LayerResult

CALL = Call("bnport verify 'my net.pth' net.ckpt --net net.py:build", "my net.pth", "net.ckpt")
SWAPPED = "running_mean and running_var are swapped (swapping them back gives error 2e-07)"
PROBLEM = TensorProblem("stage1.0.bn1.bn2d.gamma", "stage1.0.bn1.weight", "values", "differs", layer="stage1.0.bn1")


def network(*others: LayerResult) -> list[LayerResult]:
    right = [layer(f"stage{1 + i // 4}.{i % 4}.bn1", 0.3, 0.02, 0.1) for i in range(16)]
    convolution = LayerResult("stage1.0.shortcut.conv1", "Conv3d", True, (check("eval gradients", 0.31),))
    return [*right, convolution, *others]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def show(found: Verification, width: int = 80, *, verbose: bool = False, call: Call | None = CALL) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        show_verification(found, call, verbose=verbose)
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return show


def wrong(cause: Any, diagnosis: str = SWAPPED, name: str = "stage1.0.shortcut.bn") -> LayerResult:
    return replace(layer(name, 3e5, 0.02, 20.0, diagnosis=diagnosis), cause=cause)


def test_a_setting_has_no_figures(shown: Any) -> None:
    checks = (check("eval", 0.1), Check("settings", False))
    lines = shown(verification([LayerResult("a", "BatchNorm3d", False, checks, "eps is 1e-3", cause="settings")]))
    assert lines[2].split() == ["NO", "a", "BatchNorm3d", "settings", "wrong"]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_one_wrong_layer_reads_on_one_screen(shown: Any, width: int) -> None:
    lines = shown(verification(network(wrong("parameters"))), width)
    assert len(lines) <= 24
    assert lines.pop(0) == "my net.pth (PyTorch) -> net.ckpt (MindSpore)"
    assert lines[0].split() == ["Layer", "Kind", "closest", "check", "error/bound"]
    assert lines[1].split() == ["ok", "stage{1..4}.{0..3}.bn1", "x16", "BatchNorm3d", "eval", "30%"]
    assert lines[3].split() == ["NO", "stage1.0.shortcut.bn", "BatchNorm3d", "eval", "3e+05x"]
    failed = lines.index("FAILED stage1.0.shortcut.bn (BatchNorm3d)")
    assert " ".join(" ".join(lines[failed + 1 :]).split()) == (
        f"{SWAPPED} fails parameters, eval, statistics VERIFICATION FAILED 1 layer wrong in the output. Write it "
        "anew, with the options of its conversion. Next: bnport convert 'my net.pth' -o net.ckpt --force"
    )
    assert lines[-1].startswith("Next:")


def test_every_check_is_shown_where_that_is_asked_for(shown: Any) -> None:
    lines = shown(verification(network(wrong("parameters"))), 100, verbose=True)[1:]
    assert lines[0].split() == ["Layer", "Kind", "eval", "train", "stats", "grad", "error/bound"]
    assert lines[1].split() == ["ok", "stage1.0.bn1", "BatchNorm3d", "30%", "2%", "10%", "3e-07/1e-06"]
    assert [line.strip() for line in lines if "allowed" in line] == [
        "parameters: error 0.5, allowed 0",
        "eval: error 0.3, allowed 1e-06",
        "statistics: error 2e-05, allowed 1e-06",
    ]


def test_where_it_is_narrow_names_fold_and_nothing_else(shown: Any) -> None:
    name = "encoder.stages.3.blocks.1.bn"
    first, *rest = shown(verification([layer(name, 0.1, 0.2, 0.3)]), 58, verbose=True)[2:]
    assert first.split()[2:] == ["BatchNorm3d", "10%", "20%", "30%", "3e-07/1e-06"]
    folded = [line.strip() for line in rest[: rest.index(next(line for line in rest if line.startswith("Error")))]]
    assert first.split()[1] + "".join(folded) == name


@pytest.mark.parametrize(
    ("layers", "problems", "options", "sentence"),
    [
        ([wrong("parameters")], [PROBLEM], {}, "1 tensor and 1 layer wrong in the output. "),
        ([wrong("parameters")], [], {}, "1 layer wrong in the output. "),
        ([layer("a", 0.1)], [PROBLEM] * 2, {}, "2 tensors wrong in the output. "),
        ([wrong("settings")], [], {}, "Mend the target network and verify again."),
        ([wrong("settings")], [], {"output_config": "ms.yaml"}, "Mend the target network or its config and verify"),
        ([wrong("source")], [], {}, "1 layer with values that the source has, too, and that --strict refuses"),
        ([wrong("source"), wrong("settings")], [], {}, "1 layer configured otherwise"),
        ([wrong("framework")], [], {}, "1 layer off although parameters and settings are right: no fault of"),
    ],
)
def test_the_verdict_says_what_is_wrong_and_no_more(
    layers: Sequence[LayerResult], problems: Sequence[TensorProblem], options: dict[str, Any], sentence: str
) -> None:
    found = replace(verification(layers, problems), circumstances=replace(CIRCUMSTANCES, options=options))
    head, told = summary(found)
    assert head == "VERIFICATION FAILED"
    assert sentence in told
    assert "0 " not in told


def test_what_was_mended_is_verified_as_it_was_before(shown: Any) -> None:
    assert shown(verification([wrong("settings")]))[-1] == f"Next:  {CALL.command}"


@pytest.mark.parametrize("found", [verification([layer("a", 0.1)]), verification([layer("a", None)])])
def test_where_nothing_is_wrong_nothing_is_to_do(shown: Any, found: Verification) -> None:
    assert not any(line.startswith("Next:") for line in shown(found))


def test_a_conversion_that_failed_left_nothing_to_verify(shown: Any) -> None:
    assert not any(line.startswith("Next:") for line in shown(verification([wrong("settings")]), call=None))


def test_layers_that_no_framework_can_judge_are_no_matter_for_the_doctor() -> None:
    unjudged = layer("odd", None)
    checks = (check("eval", None, note="not judged: frameworks differ in how they spread such values"),)
    head, told = summary(verification([replace(unjudged, checks=checks), layer("b", 0.1)]))
    assert head == "NOT VERIFIED"
    assert (
        "but 1 of 2 layers could not be judged (odd): frameworks differ in how they spread such values. Nothing"
        in told
    )
    assert "doctor" not in told
    _, told = summary(verification([replace(unjudged, checks=checks), unjudged]))
    assert "but 1 of 2 layers was not run: MindSpore is not installed. bnport doctor says" in told


def test_what_no_machine_could_run_is_no_matter_for_the_doctor() -> None:
    reason = "odd: int8 parameters are compared, but not computed with"
    unrun = replace(layer("odd", None), checks=(check("eval", None, note=reason),))
    _, told = summary(verification([unrun, unrun]))
    assert told.endswith(f"but 2 of 2 layers were not run: {reason}.")


def test_layers_that_were_not_run_hide_none_that_were_not_judged() -> None:
    unjudged = replace(layer("odd", None), checks=(check("eval", None, note="not judged: it is odd"),))
    _, told = summary(verification([layer("a", None), unjudged]))
    assert told.endswith("bnport doctor says what runs here. Of the others 1 could not be judged.")


def test_a_file_that_is_wrong_throughout_in_one_way_is_told_in_one_sentence() -> None:
    rounded = [replace(PROBLEM, name=f"{place}.weight", fault="looks rounded to float16") for place in range(6)]
    _, told = summary(verification([wrong("parameters")], [*rounded, PROBLEM]))
    assert "7 tensors and 1 layer wrong in the output, 6 of the tensors in one way: each looks rounded to" in told
    _, told = summary(verification([wrong("parameters")], rounded[:5]))
    assert "in one way" not in told


def test_what_the_record_does_not_keep_is_left_to_the_user_in_words(shown: Any) -> None:
    lines = shown(verification([wrong("parameters")]), call=CALL._replace(conversion=("--rename", "...")))
    assert lines[-2].endswith("--rename ...")
    assert lines[-1].strip() == "... stands for what it was given then: the record keeps no patterns"


def test_a_note_names_the_layer_it_is_about(shown: Any) -> None:
    noted = replace(layer("a", 0.1), notes=("it is odd",))
    told = "".join(shown(verification([noted, layer("b", 0.1)])))
    assert "note it is odd (a)" in told
    told = "".join(shown(verification([noted, replace(noted, name="b")])))
    assert "note it is odd (2 layers)" in told


OVERFLOW = Overflow(FLOAT16, {"a.weight": 3, "b.weight": 1})


def test_a_cast_that_overflowed_is_made_with_another_dtype(shown: Any) -> None:
    found = replace(verification([wrong("dtype")]), overflow=OVERFLOW)
    assert summary(found)[1] == "float16 is too small for 1 layer. Convert with --dtype bfloat16 or float32."
    call = CALL._replace(conversion=("--to", "mint", "--dtype", "float16", "--eps", "1"))
    proposed = shown(found, call=call)[-1]
    assert proposed.endswith(" -o net.ckpt --force --to mint --eps 1 --dtype bfloat16")
    assert "--dtype float64" in str(OVERFLOW._replace(dtype=FLOAT32))
