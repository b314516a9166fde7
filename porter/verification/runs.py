"""One side of a layer on one backend: what it gave, how that is judged, and what both sides together come to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from porter.layers.kinds import Dialect
from porter.verification.bounds import Within, storage_error
from porter.verification.cases import MindSporeMode
from porter.verification.histogram import histogram
from porter.verification.mindspore_backend import MindSporeBackend
from porter.verification.options import Options
from porter.verification.results import PARAMETERS, SETTINGS, Check
from porter.verification.torch_backend import TorchBackend
from porter.verification.trajectory import EDGES, Trajectory

if TYPE_CHECKING:
    from porter.verification.cases import Array

Backend = TorchBackend | MindSporeBackend


class Bench:
    """The backends of one verification, each asked once whether it is there."""

    def __init__(self, options: Options) -> None:
        self.options = options
        modes: tuple[MindSporeMode, ...] = ("pynative", "graph") if options.ms_mode == "both" else (options.ms_mode,)
        self._torch: dict[str, Backend] = {"": TorchBackend(options.device)}
        self._mindspore: dict[str, Backend] = {
            mode if len(modes) > 1 else "": MindSporeBackend(options.device, mode) for mode in modes
        }
        self._missing: dict[int, str | None] = {}

    def backends(self, dialect: Dialect) -> dict[str, Backend]:
        """Label -> backend; the label is empty where there is only one."""
        return self._torch if dialect == "torch" else self._mindspore

    def missing(self, backend: Backend) -> str | None:
        if id(backend) not in self._missing:
            self._missing[id(backend)] = backend.available()
        return self._missing[id(backend)]


@dataclass
class Run:
    """One side on one backend: what it gave, or why it gave nothing; `wrong` where that is a fault of the layer."""

    backend: Backend
    label: str = ""
    observed: Trajectory[Array] | None = None
    reason: str | None = None
    wrong: bool = False
    checks: list[Check] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return any(check.ok is False for check in self.checks)

    @property
    def title(self) -> str:
        return " ".join([self.backend.name, *self.backend.versions.values()])


def judge_run(run: Run, expectation: Trajectory[Within], options: Options) -> list[Check]:
    checks = []
    for name, within in expectation.items():
        title = f"{name} [{run.label}]" if run.label else name
        if run.observed is None:
            checks.append(Check(title, False if run.wrong else None, note=run.reason))
        elif name not in run.observed:
            checks.append(Check(title, False, note=f"{run.backend.name} keeps no running statistics here"))
        else:
            pairs = zip(run.observed[name], within, strict=True)
            asked = [(got, right) for got, right in pairs if got is not None and right is not None]
            errors = [Errors.of(got, right, options, extreme=name == EDGES) for got, right in asked]
            checks.append(judged(title, errors))
    return checks


@dataclass(frozen=True)
class Errors:
    """What one array is off its reference, element by element, all of one shape.

    Attributes:
        share: error / bound; a number that is not finite agrees with any other such number, for frameworks differ in
            which of them they return.
    """

    error: Array
    bound: Array
    share: Array

    @classmethod
    def of(cls, observed: Array, within: Within, options: Options, *, extreme: bool = False) -> Errors:
        """The user's tolerance replaces the bound; on `extreme` inputs, for which it is not meant, it widens it."""
        import numpy as np

        bound = within.bound
        if options.atol is not None or options.rtol is not None:
            tolerance = (options.atol or 0.0) + (options.rtol or 0.0) * np.abs(within.value)
            bound = np.maximum(bound, tolerance) if extreme else tolerance
        with np.errstate(all="ignore"):
            error = np.abs(observed - within.value)
            share = error / bound
        if not np.isfinite(share).all():
            neither_is_finite = ~np.isfinite(observed) & ~np.isfinite(within.value)
            error = np.where(neither_is_finite, 0.0, np.where(np.isfinite(error), error, np.inf))
            share = np.where(error == 0, 0.0, np.where(np.isnan(share), np.inf, share))
        return cls(error, bound, share)

    def worst(self) -> tuple[float, float, float]:
        """(share, error, bound) of the element that comes closest to its bound or exceeds it most."""
        at = int(self.share.argmax())
        return float(self.share.flat[at]), float(self.error.flat[at]), float(self.bound.flat[at])


def judged(title: str, errors: Sequence[Errors]) -> Check:
    share, error, bound = max(each.worst() for each in errors)
    return Check(title, share <= 1, error, bound, histogram=histogram(each.share for each in errors))


def blame(target: Run, source: Run) -> list[Check]:
    """The target's checks; where only the source is out of bound, the source's numbers and a note whose they are."""
    if source.observed is None:
        return target.checks
    blamed = []
    for mine, its in zip(target.checks, source.checks, strict=True):
        if mine.ok and its.ok is False:
            note = f"{source.title} itself is off the float64 reference; {target.title} is not"
            blamed.append(replace(its, check=mine.check, note=note))
        else:
            blamed.append(mine)
    return blamed


def parameters_check(source: Mapping[str, Array], target: Mapping[str, Array], dtype: str) -> Check:
    """Target parameters against the source's: equal, or correctly rounded where they are stored in a coarser `dtype`.

    Args:
        source, target: slot -> values of one shape; of the target's those that the source has.
    """
    errors = (
        Errors.of(target[slot], Within(values, storage_error(values, dtype)), Options())
        for slot, values in source.items()
    )
    share, error, bound = max(each.worst() for each in errors)
    return Check(PARAMETERS, share <= 1, error, bound)


def all_checks(
    parameters: Check, source: Run, targets: Iterable[Run], *, configured_alike: bool
) -> tuple[Check, ...]:
    """A layer's checks, in order."""
    ran = (check for target in targets for check in blame(target, source))
    return (parameters, *ran, *(() if configured_alike else (Check(SETTINGS, False),)))


def run_notes(source: Run, targets: Sequence[Run], dtypes: Iterable[str]) -> Iterator[str]:
    """What the reader must know of what ran, and in which precision.

    Args:
        dtypes: that the parameters are stored in.
    """
    if any(target.observed is not None for target in targets):
        yield from _precision_notes(dtypes)
        if source.observed is None:
            yield f"judged by the float64 reference alone: {source.reason}"
    elif source.observed is not None:
        verdict = "departs from" if source.failed else "agrees with"
        yield f"{source.title}, with the source's parameters, {verdict} the float64 reference"


def _precision_notes(dtypes: Iterable[str]) -> Iterator[str]:
    """What running in float32 does to parameters that are stored in these dtypes.

    MindSpore's CPU kernels compute with no bfloat16, its batch normalisation with no float64 (2.10), and a bound on
    float16's own arithmetic says nothing of a layer of some size: gamma of 1,000 terms is 0.95.
    """
    for dtype in sorted({*dtypes} - {"float32"}):
        how = "to which they are rounded" if dtype == "float64" else "which holds them exactly"
        yield f"{dtype} parameters: run in float32, {how}"
