"""Run every layer on both sides and judge each result against the float64 reference.

The truth is what the SOURCE's parameters and settings define. Each side's error is measured against it, so that a
wrong conversion (the target alone is off) and a framework's own numerics (the source is off, too) are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from porter.errors import BackendError
from porter.verification.bounds import Bounded, Within, parameter_errors, storage_error
from porter.verification.cases import LayerCase, MindSporeMode, Options, Side
from porter.verification.diagnose import comparable_slots, diagnose
from porter.verification.histogram import histogram
from porter.verification.mindspore_backend import MindSporeBackend
from porter.verification.reference import SLOTS, Reference, filled
from porter.verification.results import PARAMETERS, Check, Diagnosis, LayerResult, verdict
from porter.verification.torch_backend import TorchBackend
from porter.verification.trajectory import Inexpressible, Inputs, Trajectory, channels_of, make_inputs, trajectory

if TYPE_CHECKING:
    from porter.verification.cases import Array

Backend = TorchBackend | MindSporeBackend


def verify_layers(cases: Sequence[LayerCase], options: Options) -> Iterator[LayerResult]:
    """One result per case, in order, as soon as it is known.

    All cases are given at once so that a layer holding another's parameters can be told which.
    """
    bench = _Bench(options)
    for case in cases:
        yield _verify(case, cases, bench)


class _Bench:
    """The backends of one verification, each asked once whether it is there."""

    def __init__(self, options: Options) -> None:
        self.options = options
        modes: tuple[MindSporeMode, ...] = ("pynative", "graph") if options.ms_mode == "both" else (options.ms_mode,)
        self._torch: dict[str, Backend] = {"": TorchBackend(options.device)}
        self._mindspore: dict[str, Backend] = {
            mode if len(modes) > 1 else "": MindSporeBackend(options.device, mode) for mode in modes
        }
        self._missing: dict[int, str | None] = {}

    def backends(self, side: Side) -> dict[str, Backend]:
        """Label -> backend; the label is empty where there is only one."""
        return self._torch if side.dialect == "torch" else self._mindspore

    def missing(self, backend: Backend) -> str | None:
        if id(backend) not in self._missing:
            self._missing[id(backend)] = backend.available()
        return self._missing[id(backend)]


@dataclass
class _Run:
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


def _verify(case: LayerCase, cases: Sequence[LayerCase], bench: _Bench) -> LayerResult:
    if len(_shapes(case)) > 1:
        return _refuse_shapes(case)
    parameters = check_parameters(case)
    inputs = make_inputs(case, bench.options)
    backend = next(iter(bench.backends(case.source).values()))
    source = _run(case, case.source, backend, inputs, bench, "")
    targets = [
        _run(case, case.target, backend, inputs, bench, label)
        for label, backend in bench.backends(case.target).items()
    ]
    right = {
        dtype: expected(case, case.source, inputs, stored_as=dtype)
        for dtype in {case.source.dtype, case.target.dtype}
    }
    source.checks = _judge_run(source, right[case.source.dtype], bench.options)
    for target in targets:
        target.checks = _judge_run(target, right[case.target.dtype], bench.options)
    suspect = tuple(_odd_values(case))
    checks = (
        parameters,
        *(check for target in targets for check in _blame(target, source)),
        *(Check("values", False, note=text) for text in suspect if bench.options.strict),
    )
    diagnosis = None
    if verdict(checks) is False:
        diagnosis = _diagnosis(case, cases, source, targets, inputs, bench.options)
        if bench.options.strict and suspect:
            diagnosis = Diagnosis("parameters", f"{'; '.join(suspect)} (--strict)")
    text, cause = (diagnosis.text, diagnosis.cause) if diagnosis else (None, None)
    notes = _notes(case, source, targets)
    return LayerResult(case.name, case.kind.name, verdict(checks), checks, text, notes, cause, suspect)


def expected(
    case: LayerCase, side: Side, inputs: Inputs, *, stored_as: str, unbiased: bool = True
) -> Trajectory[Within]:
    """What a correct layer with `side`'s parameters and settings gives, and how far float32 may lie from it.

    Args:
        stored_as: dtype the running layer's parameters were stored in, rounded from `side`'s.
        unbiased: see `Reference`.
    """
    import numpy as np

    reference = Reference.of(case.kind, side, channels_of(case), unbiased=unbiased)
    # Parameters may be anything a file can hold: a variance below 0, infinities.
    with np.errstate(all="ignore"):
        return trajectory(Bounded(reference, parameter_errors(reference, stored_as)), inputs)


def check_parameters(case: LayerCase) -> Check:
    """Target parameters against the source's: equal, or correctly rounded where stored in a coarser dtype."""
    channels = channels_of(case)
    source, target = filled(case.kind, case.source, channels), filled(case.kind, case.target, channels)
    exact = Options()
    errors = (
        _Errors.of(target[slot], Within(source[slot], storage_error(source[slot], case.target.dtype)), exact)
        for slot in comparable_slots(case)
    )
    share, error, bound = max(each.worst() for each in errors)
    return Check(PARAMETERS, share <= 1, error, bound)


def _run(case: LayerCase, side: Side, backend: Backend, inputs: Inputs, bench: _Bench, label: str) -> _Run:
    import numpy as np

    reason = bench.missing(backend)
    if reason:
        return _Run(backend, label, reason=reason)
    with np.errstate(over="ignore"):
        values = {
            slot: np.ascontiguousarray(v, np.float32)
            for slot, v in filled(case.kind, side, channels_of(case)).items()
        }
    try:
        return _Run(backend, label, trajectory(backend.layer(case.kind, side, values), inputs))
    except Inexpressible as error:
        return _Run(backend, label, reason=error.message, wrong=True)
    except BackendError as error:
        return _Run(backend, label, reason=error.message)


def _judge_run(run: _Run, expectation: Trajectory[Within], options: Options) -> list[Check]:
    checks = []
    for name, within in expectation.items():
        title = f"{name} [{run.label}]" if run.label else name
        if run.observed is None:
            checks.append(Check(title, False if run.wrong else None, note=run.reason))
        elif name not in run.observed:
            checks.append(Check(title, False, note=f"{run.backend.name} keeps no running statistics here"))
        else:
            pairs = zip(run.observed[name], within, strict=True)
            checks.append(_judged(title, [_Errors.of(got, right, options) for got, right in pairs]))
    return checks


@dataclass(frozen=True)
class _Errors:
    """What one array is off its reference, element by element, all of one shape.

    Attributes:
        share: error / bound; a number that is not finite agrees with any other such number, for frameworks differ in
            which of them they return.
    """

    error: Array
    bound: Array
    share: Array

    @classmethod
    def of(cls, observed: Array, within: Within, options: Options) -> _Errors:
        import numpy as np

        bound = within.bound
        if options.atol is not None or options.rtol is not None:
            bound = (options.atol or 0.0) + (options.rtol or 0.0) * np.abs(within.value)
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


def _judged(title: str, errors: Sequence[_Errors]) -> Check:
    share, error, bound = max(each.worst() for each in errors)
    return Check(title, share <= 1, error, bound, histogram=histogram(each.share for each in errors))


def _blame(target: _Run, source: _Run) -> list[Check]:
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


def _diagnosis(
    case: LayerCase, cases: Sequence[LayerCase], source: _Run, targets: list[_Run], inputs: Inputs, options: Options
) -> Diagnosis:
    failing = next((target for target in targets if target.failed), None)
    if failing is None and source.failed:
        return Diagnosis(
            "framework",
            f"{source.title} itself departs from the float64 reference, {targets[0].title} does not: a matter of "
            f"{source.backend.name}'s numerics, or of settings the source does not have, not of the conversion",
        )

    def behaves_as(side: Side, unbiased: bool = True) -> bool | None:
        """Whether the failing target runs as `side` would; None where it did not run."""
        if failing is None or failing.observed is None:
            return None
        expectation = expected(case, side, inputs, stored_as=side.dtype, unbiased=unbiased)
        return all(check.ok for check in _judge_run(failing, expectation, options))

    if failing is not None and failing.wrong:
        return Diagnosis("settings", failing.reason or "")
    return diagnose(case, cases, behaves_as, (failing or targets[0]).title)


def _shapes(case: LayerCase) -> set[tuple[int, ...]]:
    sides = (case.source, case.target)
    return {values.shape for side in sides for slot, values in side.parameters.items() if slot != "count"}


def _refuse_shapes(case: LayerCase) -> LayerResult:
    def told(side: Side) -> str:
        return ", ".join(
            f"{name} {list(side.parameters[slot].shape)}"
            for slot, name in case.kind.names_in(side.dialect, root=True).items()
            if slot in side.parameters and slot != "count"
        )

    diagnosis = f"the shapes differ: {told(case.source)} became {told(case.target)}"
    wrong = Check(PARAMETERS, False, note="the shapes differ")
    return LayerResult(case.name, case.kind.name, False, (wrong,), diagnosis, cause="parameters")


def _notes(case: LayerCase, source: _Run, targets: list[_Run]) -> tuple[str, ...]:
    notes = []
    if "float64" in (case.source.dtype, case.target.dtype):
        notes.append("float64 parameters: run in float32, for MindSpore's batch normalisation has no float64 kernel")
    if case.source.settings.statistics == "batch":
        notes.append("the layer always uses batch statistics: running statistics mean nothing and are not compared")
    if source.observed is None and any(target.observed is not None for target in targets):
        notes.append(f"judged by the float64 reference alone: {source.reason}")
    return tuple(notes)


def _odd_values(case: LayerCase) -> Iterator[str]:
    """Values no training gives a sound layer; both sides may still agree on what they do."""
    import numpy as np

    for slot in (slot for slot in SLOTS if slot in case.source.parameters):
        values, what = case.source.parameters[slot], "values that are not finite"
        odd = ~np.isfinite(values)
        if slot == "variance":
            odd, what = odd | (values < 0), "values that are negative or not finite"
        channels = np.flatnonzero(odd)
        if len(channels):
            listed = ", ".join(map(str, channels[:5])) + (", ..." if len(channels) > 5 else "")
            name = case.kind.names_in("torch")[slot]
            yield f"{name} holds {what} in {len(channels)} of {len(odd)} channels ({listed})"
