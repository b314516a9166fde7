"""Run two whole networks on the same input, and find the first layer in which they part.

The truth is PyTorch's network in float64. No closed bound holds for a whole network, so the allowance of a layer is
taken from the network itself: how far two computations that are right, too, lie from the truth at that layer -

1. PyTorch's network in float32, its parameters rounded to the types the other file stores;
2. PyTorch's network in float64, the output of every layer disturbed at random by as much as float32 rounding may
   disturb it (`porter.verification.torch_network._Noise`), which shows how the network magnifies rounding;

the larger of the two, times `MULTIPLE`, plus `FLOOR` of the layer's largest value. Monte Carlo arithmetic (D. S.
Parker, 1997) estimates rounding errors in this way. MULTIPLE leaves room for MindSpore's other order of summation
and for the luck of three samples: on the networks of the tests a right twin uses up to a third of its allowance, an
eps of 1e-5 in place of 1e-3 exceeds it five times and more, a wrong padding or mode a thousand times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from porter.errors import BackendError, UsageError
from porter.verification.activations import Arrays, Call, Inputs, NetworkInput, make_network_inputs
from porter.verification.bounds import UNIT_ROUNDOFF
from porter.verification.cases import Options
from porter.verification.causes import Scene, likely_cause, settings_that_differ
from porter.verification.deviation import deviation, magnitude
from porter.verification.network_results import COUNT, Activation, Mode, ModeResult, NetworkResult
from porter.verification.twins import Twins

if TYPE_CHECKING:
    from porter.verification.cases import Array

MULTIPLE = 4.0
NOISE_RUNS = 2
FLOOR = 8 * UNIT_ROUNDOFF

Trace = dict[Call, Arrays]


@dataclass
class _Deviation:
    """How far each watched call lies from the truth, measured as it happens: nothing is kept."""

    truth: Trace
    arrays: Callable[[Any], Arrays]
    worst: dict[Call, list[float]] = field(default_factory=dict)
    shapes: dict[Call, list[tuple[int, ...]]] = field(default_factory=dict)

    def watch(self, call: Call, given: tuple[Any, ...], output: Any) -> None:
        if call in self.truth:
            self.compare(call, self.arrays(output))

    def compare(self, call: Call, found: Arrays) -> None:
        self.worst[call] = [deviation(a, b) for a, b in _matched(found, self.truth[call])]
        self.shapes[call] = [array.shape for array in found.values()]


def check_networks(twins: Twins, wanted: Sequence[NetworkInput], options: Options) -> NetworkResult:
    """Compare the networks in evaluation and in training mode.

    Raises:
        UsageError: the PyTorch network does not run on inputs of these shapes.
        BackendError: the MindSpore network does not, although all its layers agree as far as it comes.
    """
    problems = (*twins.torch.problems(twins.values.torch), *twins.mindspore.problems(twins.values.mindspore))
    common = twins.common()
    only_in = twins.only_in()
    shown = tuple(map(str, wanted))
    if problems:
        return NetworkResult(shown, problems, (), only_in)
    inputs = make_network_inputs(wanted, options.seed)
    notes: list[str] = []
    modes = tuple(_compare(twins, common, inputs, mode, options, notes) for mode in ("eval", "train"))
    notes += [*_settings_notes(twins, common), *_dropout_note(twins)]
    return NetworkResult(shown, (), modes, only_in, tuple(dict.fromkeys(notes)))


def _compare(
    twins: Twins, common: dict[str, str], inputs: Inputs, mode: Mode, options: Options, notes: list[str]
) -> ModeResult:
    training = mode == "train"
    try:
        truth = _truth(twins, common, inputs, training, options, notes)
    except BackendError as error:
        if training:
            hint = "; a batch of 2 or larger volumes may do" if "more than 1 value" in error.message else ""
            return ModeResult(mode, (), not_run=f"{error.message}{hint}")
        shapes = " ".join(f"--input-shape {wanted}" for wanted, _ in inputs)
        raise UsageError("the network does not run on such an input", entry=shapes, found=error.message) from error
    target = _Deviation(truth.calls, twins.mindspore.arrays)
    stopped = _run_mindspore(twins, common, inputs, training, target)
    if training and not stopped:
        found = twins.mindspore.state(dict.fromkeys(twins.statistics().values()))
        for name, other in twins.statistics().items():
            target.compare(_statistics_call(name), {"": found[other]})
    if not stopped:
        notes += _uncalled(truth, target)
    activations = tuple(_judged(twins, common, truth, target, options))
    # A tolerance that the user chose is the user's to judge.
    doubt = unproven(activations) if options.atol is None and options.rtol is None else None
    result = ModeResult(mode, activations, not_run=_not_run(stopped, truth) or doubt)
    if result.first_divergence:
        scene = Scene(twins.torch, twins.mindspore, twins.values, common, inputs, training, activations)
        return ModeResult(mode, activations, likely_cause(scene, result.first_divergence, stopped), result.not_run)
    if stopped:
        last = activations[-1].label if activations else "none"
        raise BackendError(
            stopped, expected="a network that runs", found=f"{len(activations)} layers agree, the last is {last}"
        )
    return result


@dataclass(frozen=True)
class _Truth:
    """The truth, and how far rounding takes right computations from it: one worst value per tensor of each call."""

    calls: Trace
    rounding: Mapping[Call, list[float]]
    random_from: Call | None


def _truth(
    twins: Twins, common: Mapping[str, str], inputs: Inputs, training: bool, options: Options, notes: list[str]
) -> _Truth:
    trace: Trace = {}
    paths = {path: path for path in common}

    def keep(call: Call, given: tuple[Any, ...], output: Any) -> None:
        arrays = twins.torch.arrays(output)
        if arrays:
            trace[call] = arrays

    def run(values: Mapping[str, Array], watch: Any, dtype: str, noise: int | None = None) -> Call | None:
        return twins.torch.run(values, inputs, watch, paths, training=training, dtype=dtype, noise=noise)

    dtype = "float64"
    try:
        random_from = run(twins.values.torch, keep, dtype)
    except BackendError as error:
        trace.clear()
        dtype = "float32"
        random_from = run(twins.values.torch, keep, dtype)
        notes.append(f"float32 is the reference, for in float64 {error.message}")
    if random_from:
        order = list(trace)
        for call in order[order.index(random_from) :] if random_from in trace else []:
            del trace[call]
    elif training:
        trace.update((_statistics_call(name), {"": value}) for name, value in _statistics(twins).items())
    rounding: dict[Call, list[float]] = {}
    disturbed = [(twins.values.torch, dtype, options.seed + 1 + count) for count in range(NOISE_RUNS)]
    for values, precision, noise in ((twins.values.rounded, "float32", None), *disturbed):
        deviation_of = _Deviation(trace, twins.torch.arrays)
        run(values, deviation_of.watch, precision, noise)
        if training and not random_from:
            for name, value in _statistics(twins).items():
                deviation_of.compare(_statistics_call(name), {"": value})
        for call, worst in deviation_of.worst.items():
            rounding[call] = [max(pair) for pair in zip(worst, rounding.get(call, worst), strict=True)]
    return _Truth(trace, rounding, random_from)


def _run_mindspore(
    twins: Twins, common: Mapping[str, str], inputs: Inputs, training: bool, target: _Deviation
) -> str | None:
    """Run MindSpore's network; why it stopped before its end, None where it did not."""
    paths = {other: path for path, other in common.items()}
    try:
        twins.mindspore.run(twins.values.mindspore, inputs, target.watch, paths, training=training)
    except BackendError as error:
        return error.message
    return None


def _judged(
    twins: Twins, common: Mapping[str, str], truth: _Truth, target: _Deviation, options: Options
) -> Iterator[Activation]:
    for call, expected in truth.calls.items():
        if call not in target.worst:
            continue
        layer, what = _told(call)
        rows = []
        for (place, array), error, noise, shape in zip(
            expected.items(), target.worst[call], truth.rounding.get(call, ()), target.shapes[call], strict=False
        ):
            size = magnitude(array)
            allowed = MULTIPLE * noise + FLOOR * size
            if options.atol is not None or options.rtol is not None:
                allowed = (options.atol or 0.0) + (options.rtol or 0.0) * size
            shapes = array.shape, shape
            other, number = common.get(layer, layer), max(call.number, 0)
            rows.append(
                Activation(layer, other, what + place, number, error <= allowed, error, allowed, size, shapes)
            )
        if not layer and len(target.shapes[call]) != len(expected):
            counts = float(len(expected)), float(len(target.shapes[call]))
            rows.append(Activation("", "", COUNT, 0, False, abs(counts[0] - counts[1]), 0.0, counts[0], ((), ())))
        if rows:
            yield max(rows, key=lambda row: row.share)


# Statistics are no call of a layer; they are told as one of number -1 under the buffer's name.
_STATISTICS = -1


def _statistics_call(name: str) -> Call:
    return Call(name, _STATISTICS)


def _told(call: Call) -> tuple[str, str]:
    """(layer, what) of a call."""
    if call.number != _STATISTICS:
        return call.path, "output"
    layer, _, buffer = call.path.rpartition(".")
    return layer, buffer


def _statistics(twins: Twins) -> dict[str, Array]:
    return twins.torch.state(twins.statistics())


def _matched(found: Arrays, truth: Arrays) -> Iterator[tuple[Array, Array]]:
    """Tensors of two outputs: by place where both have the same, else in order."""
    if set(found) == set(truth):
        yield from ((found[place], array) for place, array in truth.items())
    else:
        yield from zip(found.values(), truth.values(), strict=False)


def _not_run(stopped: str | None, truth: _Truth) -> str | None:
    if stopped:
        return stopped
    if truth.random_from:
        return f"{truth.random_from.path or 'the network'} draws random numbers: nothing after it can be compared"
    return None


def _uncalled(truth: _Truth, target: _Deviation) -> Iterator[str]:
    paths = dict.fromkeys(
        call.path for call in truth.calls if call not in target.worst and call.number != _STATISTICS
    )
    if paths:
        yield f"MindSpore's network has {', '.join(paths)} but does not call it as often as PyTorch's"


def unproven(activations: Sequence[Activation]) -> str | None:
    """Why agreement says nothing: an output that is all 0 or not finite, or no larger than what rounding explains."""
    for one in activations:
        if not one.layer and one.is_output and not one.allowed < one.magnitude / 10:
            return (
                f"the network's {one.what} cannot be judged on this input: its largest value is {one.magnitude:.0e}, "
                f"and rounding alone explains {one.allowed:.0e}"
            )
    return None


def _settings_notes(twins: Twins, common: Mapping[str, str]) -> Iterator[str]:
    """What the layers' own attributes say, for on one input a difference may be too small to show."""
    found: dict[str, list[str]] = {}
    for path, other in common.items():
        for text in settings_that_differ(twins.torch.modules[path], twins.mindspore.modules[other]):
            found.setdefault(text, []).append(path)
    for text, paths in found.items():
        yield f"{', '.join(paths)}: {text}; on a single input this need not show"


def _dropout_note(twins: Twins) -> Iterator[str]:
    count = len(twins.torch.dropouts)
    if count:
        yield f"dropout is switched off in both networks (in {count} layers): they would not draw the same numbers"
