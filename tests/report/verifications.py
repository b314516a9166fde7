"""Verifications for the tests of reports, of any size and outcome, without running anything."""

from __future__ import annotations

from collections.abc import Sequence

from porter.proof import Circumstances, FileHash
from porter.verification.copies import TensorProblem
from porter.verification.files import Verification
from porter.verification.histogram import BINS
from porter.verification.results import Check, LayerResult, verdict

CIRCUMSTANCES = Circumstances(
    "2026-01-02T03:04:05+00:00",
    {"bnport": "0.1.0", "torch": "2.13.0", "mindspore": None},
    {"seed": 7, "device": "CPU", "atol": None},
    (FileHash("net.pth", 1234, "a" * 64),),
    (FileHash("net.ckpt", 5678, "b" * 64),),
)


def check(name: str, share: float | None, note: str | None = None) -> Check:
    """A check whose error is `share` of its bound 1e-6; None for one that was not run."""
    if share is None:
        return Check(name, None, note=note or "MindSpore is not installed")
    counts = [0] * BINS
    counts[BINS // 2] = 100
    return Check(name, share <= 1, share * 1e-6, 1e-6, note, tuple(counts))


def layer(name: str, *shares: float | None, kind: str = "BatchNorm3d", diagnosis: str | None = None) -> LayerResult:
    """A layer with the checks eval, train and statistics, as many as there are shares."""
    checks = (
        Check("parameters", diagnosis is None, 0.0 if diagnosis is None else 0.5, 0.0),
        *(check(title, share) for title, share in zip(("eval", "train", "statistics"), shares, strict=False)),
    )
    return LayerResult(name, kind, verdict(checks), checks, diagnosis, cause="parameters" if diagnosis else None)


def verification(layers: Sequence[LayerResult], problems: Sequence[TensorProblem] = ()) -> Verification:
    told = ("a warning",)
    return Verification("torch", "mindspore", tuple(layers), 53, tuple(problems), told, circumstances=CIRCUMSTANCES)


def network(count: int) -> list[LayerResult]:
    """Right layers, in stages of some length."""
    return [layer(f"stage{1 + 5 * i // count}.{i}.bn1", 0.05 + 0.002 * (i % 97), 0.02, 0.3) for i in range(count)]
