"""What verification answers: checks with their error and bound, and a layer's verdict in words."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal

PARAMETERS, SETTINGS = "parameters", "settings"


@dataclass(frozen=True)
class Check:
    """One comparison of a layer with the float64 reference.

    Attributes:
        check: "parameters", "eval", "train", "statistics", "eval after training" or "values"; with several runs of
            the target the run in brackets behind it ("eval [graph]"). "settings" where a layer is known to be
            configured differently on the two sides, whatever that changes on the inputs it was run on: then alone
            it fails where evaluation is the same, and training is not (affine).
        ok: whether every element lies within its bound; None where it was not run, `note` says why.
        error: absolute error of the element that comes closest to its bound, or exceeds it most; inf where one of
            the two numbers is not finite and the other is another.
        bound: what that element was allowed.
        note: whose error it is where it is not the target's, or why the check was not run.
        histogram: how the elements are spread over error / bound (`porter.verification.histogram`); None where
            nothing was run.
    """

    check: str
    ok: bool | None
    error: float | None = None
    bound: float | None = None
    note: str | None = None
    histogram: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, object]:
        """JSON has no inf: an error that is not finite becomes null, `ok` is false beside it."""
        return {
            "check": self.check,
            "ok": self.ok,
            "error": finite(self.error),
            "bound": finite(self.bound),
            "note": self.note,
            "histogram": self.histogram and list(self.histogram),
        }


# What a failure comes from: the values in the file, the dtype that they were cast to, the source's own values
# (--strict), the settings of the layer, or the framework that ran it.
Cause = Literal["parameters", "dtype", "source", "settings", "framework"]


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a layer: where it comes from, and in words.

    Attributes:
        besides: what is wrong besides the parameters, where `text` says no more of these than that they are wrong:
            the comparison of the tensors may say how. None where `text` is all there is to say.
    """

    cause: Cause
    text: str
    besides: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LayerResult:
    """A layer's verdict.

    Attributes:
        ok: False when a check failed, None when nothing could be run, else True.
        diagnosis: what is wrong, in words; None unless a check failed.
        cause: where that comes from; None likewise.
        suspect: what is odd about the source's own values (NaN, a negative variance), in words.
        notes: what the reader must know to weigh the verdict (rounded parameters, a framework that is missing).
        besides: as in `Diagnosis`.
    """

    name: str
    kind: str
    ok: bool | None
    checks: tuple[Check, ...]
    diagnosis: str | None = None
    notes: tuple[str, ...] = ()
    cause: Cause | None = None
    suspect: tuple[str, ...] = ()
    besides: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "kind": self.kind,
            "ok": self.ok,
            "checks": [check.to_json() for check in self.checks],
            "diagnosis": self.diagnosis,
            "cause": self.cause,
            "suspect": list(self.suspect),
            "notes": list(self.notes),
        }


def verdict(checks: tuple[Check, ...]) -> bool | None:
    """A layer's `ok` from its checks: one failure fails it; right parameters alone prove nothing."""
    if any(check.ok is False for check in checks):
        return False
    return True if any(check.ok for check in checks if check.check != PARAMETERS) else None


def finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
