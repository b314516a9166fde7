"""Run layers that have no state in both frameworks, forwards and backwards.

Every kind that `porter.verification.recipes` knows. The truth is what the SOURCE's parameters and settings define, in
float64 with a bound on float32's rounding error (`porter.verification.arithmetic`). Each side is run as its own
network is configured; what one network does not say is taken from the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from porter.errors import BackendError
from porter.layers.ordinary_settings import Settings, differing, said_by_one_alone
from porter.verification import mindspore_recipes, torch_recipes
from porter.verification.arithmetic import Number, gradients, reach
from porter.verification.bounds import Within, storage_error
from porter.verification.cases import OrdinaryCase, Stored, computed_with
from porter.verification.differentiation import Passes
from porter.verification.mindspore_backend import MindSporeBackend
from porter.verification.options import Options
from porter.verification.recipes import RECIPES
from porter.verification.recipes.recipe import Setup, Values
from porter.verification.results import PARAMETERS, Check, Diagnosis, LayerResult, verdict
from porter.verification.runs import Backend, Bench, Run, all_checks, judge_run, parameters_check, run_notes
from porter.verification.suspect import weighed
from porter.verification.trajectory import Trajectory

if TYPE_CHECKING:
    from porter.verification.cases import Array


@dataclass(frozen=True)
class _Experiment:
    """What a layer is given, and what it must give.

    Attributes:
        truth: the dtype of its parameters -> what it must give.
        reach: the largest absolute value on the way there.
    """

    inputs: tuple[Array, ...]
    upstream: Array
    truth: Mapping[str, Trajectory[Within]]
    slots: tuple[str, ...]
    reach: float


def verify_ordinary(case: OrdinaryCase, bench: Bench) -> LayerResult:
    """The verdict on one layer whose kind has a recipe."""
    parameters = _check_parameters(case)
    if parameters.note:
        return LayerResult(case.name, case.kind.name, False, (parameters,), parameters.note, cause="parameters")
    try:
        experiment = _experiment(case, bench.options)
    except KeyError as error:
        lacking = Check("eval", None, note=f"{case.name}: {error} is not among its parameters")
        return LayerResult(case.name, case.kind.name, verdict((parameters, lacking)), (parameters, lacking))
    source, *_ = _run_side(case, case.source, bench, experiment)
    targets = _run_side(case, case.target, bench, experiment)
    differences = _differences(case)
    checks = all_checks(parameters, source, targets, configured_alike=not differences)
    ok = verdict(checks)
    found = _diagnosis(parameters, source, targets, differences) if ok is False else None
    text, cause, besides = (found.text, found.cause, found.besides) if found else (None, None, None)
    notes = tuple(_notes(case, source, targets))
    result = LayerResult(case.name, case.kind.name, ok, checks, text, notes, cause, besides=besides)
    return weighed(result, case.kind, case.source.parameters, experiment.reach, strict=bench.options.strict)


def _differences(case: OrdinaryCase) -> list[str]:
    """What the two networks say differently of the layer, in words."""
    return differing(*_torch_first(case))


def _torch_first(case: OrdinaryCase) -> tuple[Settings, Settings]:
    torch, mindspore = (case.source, case.target) if case.source.dialect == "torch" else (case.target, case.source)
    return torch.settings, mindspore.settings


def _other(case: OrdinaryCase, side: Stored) -> Stored:
    return case.target if side is case.source else case.source


def _settings(case: OrdinaryCase, side: Stored) -> Values:
    """All settings of the layer on one side."""
    shapes = {slot: values.shape for slot, values in _as_torch(case, case.source).items()}
    known = {**_other(case, side).settings, **side.settings}
    assumed = RECIPES[case.kind.name].assumed(shapes)
    return {name: known[name].value if name in known else value for name, value in assumed.items()}


def _experiment(case: OrdinaryCase, options: Options) -> _Experiment:
    import numpy as np

    recipe, values = RECIPES[case.kind.name], _as_torch(case, case.source)
    random = np.random.default_rng(list(sha256(f"{options.seed}:{case.name}".encode()).digest()))
    settings = _settings(case, case.source)
    inputs = recipe.inputs({slot: v.shape for slot, v in values.items()}, settings, random)
    slots = tuple(values)
    with np.errstate(all="ignore"):  # parameters may be anything a file can hold
        upstream: Array | None = None
        truth, largest = {}, 0.0
        for dtype in dict.fromkeys((case.source.dtype, case.target.dtype)):
            numbers = [Number(x) for x in inputs]
            # Whatever they are stored in, the layer gets them in float32.
            rounded = {slot: storage_error(v, dtype) + storage_error(v, "float32") for slot, v in values.items()}
            parameters = {slot: Number(v, rounded[slot]) for slot, v in values.items()}
            output = recipe.forward(tuple(numbers), parameters, settings)
            if upstream is None:
                upstream = random.standard_normal(output.value.shape).astype(np.float32)
            trained = [n for n, x in zip(numbers, inputs, strict=True) if x.dtype.kind == "f"]
            found = gradients(output, upstream, [*trained, *parameters.values()])
            largest = max(largest, reach([output, *found]))
            truth[dtype] = {
                "eval": (_within(output),),
                "eval gradients": tuple(_within(gradient) for gradient in found),
            }
    assert upstream is not None, "there is at least one dtype"
    return _Experiment(inputs, upstream, truth, slots, largest)


def _within(number: Number) -> Within:
    return Within(number.value, number.error)


def _run_side(case: OrdinaryCase, side: Stored, bench: Bench, experiment: _Experiment) -> list[Run]:
    """One run for each backend of its framework, judged."""
    runs = []
    for label, backend in bench.backends(side.dialect).items():
        run = Run(backend, label, reason=bench.missing(backend))
        if run.reason is None:
            try:
                run.observed = _observed(_passes(case, side, backend, experiment), experiment.slots)
            except BackendError as error:
                # With settings of its own it need not fit what the source's network takes and gives.
                run.reason, run.wrong = error.message, side is case.target and bool(_differences(case))
        run.checks = judge_run(run, experiment.truth[side.dtype], bench.options)
        runs.append(run)
    return runs


def _passes(case: OrdinaryCase, side: Stored, backend: Backend, experiment: _Experiment) -> Passes[Array]:
    import numpy as np

    with np.errstate(over="ignore"):
        values = {slot: np.ascontiguousarray(v, np.float32) for slot, v in _as_torch(case, side).items()}
    recipe, settings = RECIPES[case.kind.name], _settings(case, side)
    setup = Setup(case.kind, recipe, settings, values, experiment.inputs, experiment.upstream)
    if isinstance(backend, MindSporeBackend):
        return mindspore_recipes.run_recipe(setup, side.dialect, backend.mode)
    return torch_recipes.run_recipe(setup, backend.torch_device)


def _observed(passes: Passes[Array], slots: tuple[str, ...]) -> Trajectory[Array]:
    trained = tuple(passes.parameters.get(slot) for slot in slots)
    return {"eval": (passes.output,), "eval gradients": (*passes.inputs, *trained)}


def _as_torch(case: OrdinaryCase, side: Stored) -> dict[str, Array]:
    """Slot -> float64 values in PyTorch's shape; a scale or shift that the side lacks is filled in."""
    import numpy as np

    # Of a normalisation all have one shape, and a side that has none of them is filled in as the other.
    lacking = computed_with(side.parameters) or computed_with(_other(case, side).parameters)
    found = {}
    for parameter in computed_with({parameter.slot: parameter for parameter in case.kind.parameters}).values():
        if parameter.slot in side.parameters:
            values = np.asarray(side.parameters[parameter.slot], np.float64)
            shape = parameter.shape_in("torch", values.shape, came_from=side.dialect)
            found[parameter.slot] = values.reshape(shape)
        elif parameter.fill is not None:
            found[parameter.slot] = np.full(next(iter(lacking.values())).shape, parameter.fill)
    return found


def _check_parameters(case: OrdinaryCase) -> Check:
    source, target = _as_torch(case, case.source), _as_torch(case, case.target)
    if {slot: v.shape for slot, v in source.items()} != {slot: v.shape for slot, v in target.items()}:
        return Check(PARAMETERS, False, note="the parameters differ in name or shape")
    return parameters_check(source, target, case.target.dtype)


def _diagnosis(parameters: Check, source: Run, targets: list[Run], differences: list[str]) -> Diagnosis:
    if parameters.ok is False:
        text = "; ".join(["the parameters are not the source's", *differences])
        return Diagnosis("parameters", text, tuple(differences))
    if differences:
        return Diagnosis("settings", "; ".join(differences))
    wrong = next((run for run in targets if run.failed), source)
    departs = f"the parameters agree with the source's: {wrong.title} departs from the float64 reference"
    return Diagnosis("framework", departs)


def _notes(case: OrdinaryCase, source: Run, targets: list[Run]) -> Iterator[str]:
    if any(target.observed is not None for target in targets):
        yield from _assumptions(case)
        yield from said_by_one_alone(*_torch_first(case))
    yield from run_notes(source, targets, (case.source.dtype, case.target.dtype))


def _assumptions(case: OrdinaryCase) -> Iterator[str]:
    """Which settings that can change the result are known of one network alone, or of none."""
    assumes = RECIPES[case.kind.name].assumes
    silent = [side for side in (case.source, case.target) if not side.settings]
    if not assumes or not silent:
        return
    if len(silent) == 2:
        yield f"{case.kind.name} layers were run with {assumes}, which says nothing of the network's own settings"
        return
    names = {"torch": ("PyTorch", "--model"), "mindspore": ("MindSpore", "--net"), "mint": ("MindSpore", "--net")}
    (name, option), known = names[silent[0].dialect], case.target if silent[0] is case.source else case.source
    yield (
        f"run with the {names[known.dialect][0]} network's stride, padding and the like on both sides; {option} says "
        f"{name}'s"
    )
