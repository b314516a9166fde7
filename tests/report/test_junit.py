"""JUnit's XML as a CI system reads it: what is counted, what a failure says."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from verifications import check, layer, network, verification

from porter.report.junit import render
from porter.verification.copies import TensorProblem
from porter.verification.network_results import ModeResult, NetworkResult
from porter.verification.results import LayerResult

SWAPPED = "running_mean and running_var are swapped"


def suites(text: str) -> dict[str, ElementTree.Element]:
    return {suite.get("name", ""): suite for suite in ElementTree.fromstring(text)}


def counts(suite: ElementTree.Element) -> tuple[str | None, ...]:
    return tuple(suite.get(name) for name in ("tests", "failures", "skipped", "errors"))


def test_a_case_for_each_layer_and_check() -> None:
    found = suites(render(verification(network(3)), "net.ckpt"))
    assert {name: counts(suite) for name, suite in found.items()} == {
        "tensors": ("1", "0", "0", "0"),
        "layers": ("12", "0", "0", "0"),
    }
    case = found["layers"][1]
    assert (case.get("classname"), case.get("name")) == ("stage1.0.bn1 (BatchNorm3d)", "eval")


def test_a_failure_says_the_diagnosis_and_the_figures() -> None:
    problem = TensorProblem("a.gamma", "a.weight", "values", "3 of 4 values differ")
    found = suites(render(verification([layer("a", 20.0, 0.5, diagnosis=SWAPPED)], [problem]), "net.ckpt"))
    assert counts(found["layers"]) == ("3", "2", "0", "0")
    failure = found["layers"][1][0]
    assert failure.get("message") == SWAPPED
    assert failure.text == "eval: error 2e-05, allowed 1e-06"
    assert [case.get("name") for case in found["layers"] if len(case)] == ["parameters", "eval"]
    assert counts(found["tensors"]) == ("2", "1", "0", "0")
    assert found["tensors"][1][0].get("message") == "3 of 4 values differ"


def test_several_runs_of_a_check_are_one_case_and_the_worst_counts() -> None:
    checks = (check("eval [pynative]", 0.5), check("eval [graph]", 2.0), check("train", None, "no kernel"))
    found = suites(render(verification([LayerResult("a", "BatchNorm3d", False, checks, "x")]), "net.ckpt"))
    assert counts(found["layers"]) == ("2", "1", "1", "0")
    assert found["layers"][0][0].text == (
        "eval [pynative]: error 5e-07, allowed 1e-06\neval [graph]: error 2e-06, allowed 1e-06"
    )
    assert found["layers"][1][0].get("message") == "no kernel"


def test_whole_networks_that_could_not_be_compared_are_skipped() -> None:
    result = NetworkResult(("1x3",), (), (ModeResult("eval", ()), ModeResult("train", (), not_run="why")), {})
    found = suites(render(replace(verification([]), network=result), "net.ckpt"))
    assert counts(found["networks"]) == ("2", "0", "1", "0")
    assert found["networks"][1][0].get("message") == "why"


def test_names_that_xml_cannot_hold_are_escaped() -> None:
    name = "a\x00<b>&\"'\x1b\ud800"
    found = suites(render(verification([layer(name, 5.0, diagnosis=name)]), name))
    assert found["layers"][0].get("classname") == "a\\x00<b>&\"'\\x1b\\ud800 (BatchNorm3d)"
