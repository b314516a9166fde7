"""Run every layer on both sides and judge each result against the float64 reference.

The truth is what the SOURCE's parameters and settings define. Each side's error is measured against it, so that a
wrong conversion (the target alone is off) and a framework's own numerics (the source is off, too) are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from porter.errors import BackendError
from porter.verification.batches import Batch, batches, inputs_of, part
from porter.verification.bounds import Bounded, Within, parameter_errors
from porter.verification.cases import LayerCase, Side
from porter.verification.diagnose import comparable_slots, diagnose, hidden_faults
from porter.verification.options import Options
from porter.verification.reference import Reference, filled, moments
from porter.verification.results import PARAMETERS, Check, Diagnosis, LayerResult, verdict
from porter.verification.runs import Backend, Bench, Run, all_checks, judge_run, parameters_check, run_notes
from porter.verification.setting_faults import are_known_to_differ
from porter.verification.suspect import weighed
from porter.verification.trajectory import Inexpressible, Inputs, Trajectory, channels_of, trajectory


def verify_layers(cases: Sequence[LayerCase], options: Options) -> Iterator[LayerResult]:
    """One result per case, in order, as soon as it is known.

    All cases are given at once so that a layer holding another's parameters can be told which.
    """
    bench = Bench(options)
    sound = [case for case in cases if len(_shapes(case)) <= 1]
    known: dict[int, LayerResult] = {id(case): _refuse_shapes(case) for case in cases if len(_shapes(case)) > 1}
    waiting = iter(batches(sound, options))
    for case in cases:
        while id(case) not in known:
            batch = next(waiting)
            judged = (_judge(trial, cases, bench) for trial in _trials(batch, bench))
            known.update(zip(map(id, batch.cases), judged, strict=True))
        yield known.pop(id(case))


@dataclass(frozen=True)
class _Trial:
    """A layer, what it was given, and what both sides made of it, judged; `reach` as for `weighed`."""

    case: LayerCase
    inputs: Inputs
    source: Run
    targets: list[Run]
    reach: float


def _trials(batch: Batch, bench: Bench) -> Iterator[_Trial]:
    wide, inputs = batch.wide, batch.inputs
    backend = next(iter(bench.backends(wide.source.dialect).values()))
    source = _run(wide, wide.source, backend, inputs, bench, "")
    targets = [
        _run(wide, wide.target, backend, inputs, bench, label)
        for label, backend in bench.backends(wide.target.dialect).items()
    ]
    right = {
        dtype: expected(wide, wide.source, inputs, stored_as=dtype)
        for dtype in {wide.source.dtype, wide.target.dtype}
    }

    def own(run: Run, side: Side, place: slice) -> Run:
        observed = None if run.observed is None else part(run.observed, place)
        alone = replace(run, observed=observed)
        alone.checks = judge_run(alone, part(right[side.dtype], place), bench.options)
        return alone

    for case, place in zip(batch.cases, batch.places, strict=True):
        mine, given = [own(target, case.target, place) for target in targets], inputs_of(batch, place)
        reach = _reach(part(right[case.source.dtype], place), given)
        yield _Trial(case, given, own(source, case.source, place), mine, reach)


def _reach(truth: Trajectory[Within], inputs: Inputs) -> float:
    """The largest absolute value that a result, or a sum of squares that a variance comes of, may have in float32."""
    import numpy as np

    with np.errstate(all="ignore"):
        arrays = [np.abs(each.value) + each.bound for within in truth.values() for each in within if each is not None]
        for x in (inputs.evaluation, *inputs.training, *inputs.edges):
            arrays.append(moments(x)[1] * (x.size // x.shape[1]))
    return max(float(np.nanmax(array, initial=0)) for array in arrays)


def _judge(trial: _Trial, cases: Sequence[LayerCase], bench: Bench) -> LayerResult:
    case, source, targets = trial.case, trial.source, trial.targets
    parameters = _check_parameters(case)
    checks = all_checks(parameters, source, targets, configured_alike=not are_known_to_differ(case))
    diagnosis = None
    if verdict(checks) is False:
        diagnosis = _diagnosis(case, cases, source, targets, trial.inputs, bench)
    text, cause = (diagnosis.text, diagnosis.cause) if diagnosis else (None, None)
    notes = tuple(_notes(case, source, targets))
    result = LayerResult(case.name, case.kind.name, verdict(checks), checks, text, notes, cause)
    return weighed(result, case.kind, case.source.parameters, trial.reach, strict=bench.options.strict)


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


def _check_parameters(case: LayerCase) -> Check:
    """As `parameters_check`, what a side lacks filled in; running statistics only where both sides use them."""
    source, target = (filled(case.kind, side, channels_of(case)) for side in (case.source, case.target))
    right = {slot: source[slot] for slot in comparable_slots(case)}
    return parameters_check(right, target, case.target.dtype)


def _run(case: LayerCase, side: Side, backend: Backend, inputs: Inputs, bench: Bench, label: str) -> Run:
    import numpy as np

    reason = bench.missing(backend)
    if reason:
        return Run(backend, label, reason=reason)
    with np.errstate(over="ignore"):
        values = {
            slot: np.ascontiguousarray(v, np.float32)
            for slot, v in filled(case.kind, side, channels_of(case)).items()
        }
    try:
        return Run(backend, label, trajectory(backend.layer(case.kind, side, values), inputs))
    except Inexpressible as error:
        return Run(backend, label, reason=error.message, wrong=True)
    except BackendError as error:
        return Run(backend, label, reason=error.message)


def _diagnosis(
    case: LayerCase, cases: Sequence[LayerCase], source: Run, targets: list[Run], inputs: Inputs, bench: Bench
) -> Diagnosis:
    failing = next((target for target in targets if target.failed), None)
    if failing is None and source.failed and not are_known_to_differ(case):
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
        return all(check.ok for check in judge_run(failing, expectation, bench.options))

    def error_of(side: Side) -> float | None:
        run = _run(case, side, (failing or targets[0]).backend, inputs, bench, "")
        expectation = expected(case, case.source, inputs, stored_as=side.dtype)
        checks = judge_run(run, expectation, bench.options)
        within = all(check.ok for check in checks)
        return next(check.error for check in checks if check.check == "eval") if within else None

    if failing is not None and failing.wrong:
        return Diagnosis("settings", failing.reason or "")
    return diagnose(case, cases, behaves_as, error_of, (failing or targets[0]).title)


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


def _notes(case: LayerCase, source: Run, targets: list[Run]) -> Iterator[str]:
    yield from hidden_faults(case)
    if case.source.settings.statistics == "batch":
        yield "the layer always uses batch statistics: running statistics mean nothing and are not compared"
    yield from run_notes(source, targets, (case.source.dtype, case.target.dtype))
