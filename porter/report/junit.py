"""A verification as the XML of JUnit, which CI systems read: a case for each layer and check, tensor and network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from porter.errors import printable
from porter.verification.copies import TensorProblem
from porter.verification.files import Verification
from porter.verification.network_results import ModeResult, NetworkResult
from porter.verification.results import Check, LayerResult


def render(verification: Verification, name: str) -> str:
    """The XML document.

    Args:
        name: of the test suites, the output's path.
    """
    root = Element("testsuites", name=printable(name))
    _suite(root, "tensors", _tensor_cases(verification))
    _suite(root, "layers", (case for layer in verification.layers for case in _layer_cases(layer)))
    if verification.network:
        _suite(root, "networks", _network_cases(verification.network))
    indent(root)
    return tostring(root, "unicode", xml_declaration=True) + "\n"


def _suite(root: Element, name: str, cases: Iterable[Element]) -> None:
    suite = SubElement(root, "testsuite", name=name)
    suite.extend(cases)
    for counted, tag in (("failures", "failure"), ("skipped", "skipped")):
        suite.set(counted, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite)))
    suite.set("errors", "0")


def _tensor_cases(verification: Verification) -> Iterator[Element]:
    yield _case("tensors", f"{verification.compared} tensors compared with the source's", True, "")
    for problem in verification.problems:
        yield _case("tensors", problem.name, False, problem.text, _told(problem))


def _told(problem: TensorProblem) -> str:
    return f"{problem.name} (from {problem.source}): {problem.text}" if problem.source else problem.text


def _layer_cases(layer: LayerResult) -> Iterator[Element]:
    """A case for each group of checks: `eval` with all its runs (`eval [graph]`)."""
    for group, checks in groupby(layer.checks, key=lambda check: check.check.partition(" [")[0]):
        found = list(checks)
        oks = {check.ok for check in found}
        ok = False if False in oks else True if True in oks else None
        note = next((check.note for check in found if check.ok is ok and check.note), "")
        message = layer.diagnosis or note if ok is False else note
        figures = "\n".join(_figures(check) for check in found)
        yield _case(f"{layer.name or '(root)'} ({layer.kind})", group, ok, message, figures)


def _figures(check: Check) -> str:
    size = "" if check.error is None else f"error {check.error:.3g}, allowed {check.bound:.3g}"
    return ": ".join(part for part in (check.check, size, check.note or "") if part)


def _network_cases(network: NetworkResult) -> Iterator[Element]:
    for problem in network.problems:
        yield _case("networks", f"{problem.side}'s network loads its file", False, str(problem.difference))
    for mode in network.modes:
        yield _case("networks", mode.mode, mode.ok, _parting(mode) or mode.not_run or "")


def _parting(mode: ModeResult) -> str | None:
    first = mode.first_divergence
    return f"the first divergence is at {first.label}: {mode.cause or 'the cause is not known'}" if first else None


def _case(classname: str, name: str, ok: bool | None, message: str, text: str = "") -> Element:
    """A test case: failed (False) or skipped (None) with the message, else passed; names are made fit for XML."""
    case = Element("testcase", classname=printable(classname), name=printable(name))
    if ok is not True:
        outcome = SubElement(case, "failure" if ok is False else "skipped", message=printable(message, 2000))
        outcome.text = "\n".join(printable(line, 2000) for line in text.splitlines()) or None
    return case
