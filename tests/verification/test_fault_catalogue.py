"""A part of the fault catalogue (tests/benchmarks/faults.py has all of it): every fault found, and named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import faults
from fault_parts import Choice


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_faults_are_found_and_named_and_right_conversions_pass() -> None:
    score = faults.score(Choice(reduced=True), jobs=2)
    assert [finding for finding in score.findings if finding.verdict == "missed"] == []
    assert score.named >= 0.95, [finding for finding in score.findings if finding.verdict == "detected"]
    assert len(score.findings) > 600
    assert [finding.verdict for finding in score.commands] == ["detected"] * 3
    assert score.false_alarms == []
    assert score.layers.total() > 600
