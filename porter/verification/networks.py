"""Run two whole networks on the same input, and find the first layer in which they part.

The truth is PyTorch's network in float64. MindSpore's is held against it twice:

- whole: it runs as it is, which says how far its outputs are from PyTorch's;
- layer by layer: the output of every layer that both networks have is compared and then exchanged for PyTorch's, so
  that what a layer does is seen on PyTorch's own numbers. (Training recurrent networks so is called teacher forcing.)
  No error adds up, none hides behind what an earlier layer did, and every wrong layer shows, not only the first.

No closed bound holds for a whole network, so the allowance of a layer is taken from the network itself: how far two
computations that are right, too, lie from the truth at that layer, run in the same of the two ways -

1. PyTorch's network in float32, its parameters rounded to the types the other file stores;
2. PyTorch's network in float64, the output of every layer disturbed at random by as much as float32 rounding may
   disturb it (`porter.verification.rounding_noise`), which shows how the network magnifies rounding;

the larger of the two, times `MULTIPLE`, plus `FLOOR` of the layer's largest value. Monte Carlo arithmetic (D. S.
Parker, 1997) estimates rounding errors in this way. MULTIPLE leaves room for MindSpore's other order of summation
and for the luck of three samples: on the networks of the tests a right twin uses up to 36% of its allowance; layer by
layer, an eps of 1e-5 in place of 1e-3 exceeds it a hundred times, a wrong padding or mode ten thousand times.

A network that magnifies rounding without limit (a very deep one in training, one that takes an argmax) has outputs
that no two right computations agree on. Then the layers are the proof: every one agrees, and the network is
nothing but its layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from porter.errors import BackendError, UsageError
from porter.verification.activations import Arrays, Call, Inputs, make_network_inputs
from porter.verification.causes import Scene, likely_cause
from porter.verification.deviation import magnitude
from porter.verification.network_notes import (
    activation_notes,
    dropout_note,
    graph_note,
    settings_notes,
    shape_notes,
)
from porter.verification.network_results import COUNT, OUTPUT, Activation, Mode, ModeResult, NetworkResult, unproven
from porter.verification.options import NetworkInput, Options
from porter.verification.roundings import UNIT_ROUNDOFF
from porter.verification.traces import STATISTICS, Comparison, Measured, Recorder, Trace
from porter.verification.twins import Twins

if TYPE_CHECKING:
    from porter.verification.activations import Watch
    from porter.verification.cases import Array, MindSporeMode

MULTIPLE = 4.0
NOISE_RUNS = 2
FLOOR = 8 * UNIT_ROUNDOFF


def check_networks(twins: Twins, wanted: Sequence[NetworkInput], options: Options) -> NetworkResult:
    """Compare the networks in evaluation and in training mode.

    Raises:
        UsageError: the PyTorch network does not run on inputs of these shapes.
        BackendError: the MindSpore network does not, although all its layers agree as far as it comes.
    """
    problems = twins.problems()
    only_in = twins.only_in()
    shown = tuple(map(str, wanted))
    if problems:
        return NetworkResult(shown, problems, (), only_in)
    inputs = make_network_inputs(wanted, options.seed)
    notes: list[str] = []
    common = twins.common()
    modes = tuple(_Check(twins, common, inputs, training, options, notes).result() for training in (False, True))
    notes += [*settings_notes(twins, common), *activation_notes(twins), *dropout_note(twins), *graph_note(options)]
    return NetworkResult(shown, (), modes, only_in, tuple(dict.fromkeys(notes)))


@dataclass(frozen=True)
class _Truth:
    """Every call of PyTorch's network, up to the first that came after random numbers were drawn."""

    trace: Trace
    dtype: str
    random_from: Call | None


@dataclass(frozen=True)
class _Run:
    """MindSpore's network held against the truth, and why it stopped before its end, if it did.

    `called` is MindSpore's order of the calls, statistics left out.
    """

    activations: tuple[Activation, ...] = ()
    called: tuple[Call, ...] = ()
    uncalled: tuple[str, ...] = ()
    stopped: str | None = None

    @property
    def ok(self) -> bool:
        return all(activation.ok for activation in self.activations)


@dataclass(frozen=True)
class _Check:
    """The check in one mode; `notes` collects what the reader must know."""

    twins: Twins
    common: Mapping[str, str]
    inputs: Inputs
    training: bool
    options: Options
    notes: list[str]

    def result(self) -> ModeResult:
        mode: Mode = "train" if self.training else "eval"
        try:
            truth = self._truth()
            rounding = self._rounding(truth, forced=False)
        except BackendError as error:
            if not self.training:
                raise self._no_such_input(error) from error
            hint = "; a batch of 2 or larger volumes may do" if "more than 1 value" in error.message else ""
            return ModeResult("train", (), not_run=f"{error.message}{hint}")
        whole = self._run(truth, rounding)
        by_layer = self._by_layer(truth)
        if by_layer.stopped and not whole.stopped:
            self.notes.append(f"not everything could be compared layer by layer in {mode}: {by_layer.stopped}")
        graph = self._run(truth, rounding, mode="graph") if self.options.ms_mode != "pynative" else _Run()
        self.notes.extend(shape_notes(by_layer.activations))
        if whole.uncalled and not whole.stopped:
            told = ", ".join(whole.uncalled)
            self.notes.append(f"MindSpore's network has {told} but does not call it as often as PyTorch's")
        if whole.stopped and whole.ok and by_layer.ok:
            last = whole.activations[-1].label if whole.activations else "none"
            found = f"{len(whole.activations)} results agree, the last is {last}"
            raise BackendError(whole.stopped, expected="a network that runs", found=found)
        result = ModeResult(mode, whole.activations, by_layer.activations, graph.activations)
        return replace(result, not_run=self._not_run(result, truth, whole, graph), cause=self._cause(result, whole))

    def _truth(self) -> _Truth:
        recorder = Recorder(self.twins.torch)
        dtype = "float64"
        try:
            random_from = self._run_torch(recorder.watch, self.twins.values.torch, dtype)
        except BackendError as error:
            dtype, recorder = "float32", Recorder(self.twins.torch)
            random_from = self._run_torch(recorder.watch, self.twins.values.torch, dtype)
            self.notes.append(f"float32 is the reference, for in float64 {error.message}")
        trace = recorder.trace
        if random_from:
            order = list(trace)
            for call in order[order.index(random_from) :] if random_from in trace else []:
                del trace[call]
        elif self.training:
            for name, value in self.twins.torch.state(self.twins.statistics()).items():
                recorder.keep(Call(name, STATISTICS), {"": value})
        return _Truth(trace, dtype, random_from)

    def _rounding(self, truth: _Truth, *, forced: bool) -> dict[Call, list[float]]:
        """How far rounding takes right computations from the truth: one worst value for each tensor of a call."""
        values, dtype = self.twins.values, truth.dtype
        disturbed = [(values.torch, dtype, self.options.seed + 1 + count) for count in range(NOISE_RUNS)]
        found: dict[Call, list[float]] = {}
        for given, precision, noise in ((values.rounded, "float32", None), *disturbed):
            comparison = Comparison(truth.trace, self.twins.torch, forced)
            self._run_torch(comparison.watch, given, precision, noise)
            if self.training and not truth.random_from:
                for name, value in self.twins.torch.state(self.twins.statistics()).items():
                    comparison.compare(Call(name, STATISTICS), {"": value})
            for call, measured in comparison.measured.items():
                before = found.get(call, measured.errors)
                found[call] = [max(pair) for pair in zip(measured.errors, before, strict=False)]
        return found

    def _by_layer(self, truth: _Truth) -> _Run:
        try:
            rounding = self._rounding(truth, forced=True)
        except BackendError as error:
            return _Run(stopped=error.message)
        return self._run(truth, rounding, forced=True)

    def _run(
        self,
        truth: _Truth,
        rounding: Mapping[Call, list[float]],
        *,
        forced: bool = False,
        mode: MindSporeMode = "pynative",
    ) -> _Run:
        network = self.twins.mindspore
        comparison = Comparison(truth.trace, network, forced)
        _, paths = self.twins.watched()
        stopped = None
        try:
            values = self.twins.values.mindspore
            network.run(values, self.inputs, comparison.watch, paths, training=self.training, mode=mode)
        except BackendError as error:
            stopped = error.message
        if self.training and not stopped and not truth.random_from:
            moved = network.state(dict.fromkeys(self.twins.statistics().values()))
            for name, other in self.twins.statistics().items():
                comparison.compare(Call(name, STATISTICS), {"": moved[other]})
        measured = comparison.measured
        rows = (
            self._judged(c, truth.trace[c], measured[c], rounding.get(c, [])) for c in truth.trace if c in measured
        )
        uncalled = dict.fromkeys(c.path for c in truth.trace if c not in measured and c.number != STATISTICS)
        called = tuple(call for call in measured if call.number != STATISTICS)
        return _Run(tuple(row for group in rows for row in group), called, tuple(uncalled), stopped)

    def _run_torch(
        self, watch: Watch, values: Mapping[str, Array], dtype: str, noise: int | None = None
    ) -> Call | None:
        paths, _ = self.twins.watched()
        return self.twins.torch.run(
            values, self.inputs, watch, paths, training=self.training, dtype=dtype, noise=noise
        )

    def _judged(
        self, call: Call, expected: Arrays, found: Measured, rounding: Sequence[float]
    ) -> Iterator[Activation]:
        layer, what = _told(call)
        target, number = self.common.get(layer, layer), max(call.number, 0)
        measured = zip(expected.items(), found.errors, found.shapes, rounding, strict=False)
        for (place, array), error, shape, noise in measured:
            size = magnitude(array)
            allowed = MULTIPLE * noise + FLOOR * size
            if self.options.atol is not None or self.options.rtol is not None:
                allowed = (self.options.atol or 0.0) + (self.options.rtol or 0.0) * size
            shapes = array.shape, shape
            yield Activation(layer, target, what + place, number, error <= allowed, error, allowed, size, shapes)
        if not layer and found.count != len(expected):
            counts = len(expected), found.count
            error = float(abs(counts[0] - counts[1]))
            yield Activation("", "", COUNT, 0, False, error, 0.0, counts[0], ((counts[0],), (counts[1],)))

    def _not_run(self, result: ModeResult, truth: _Truth, whole: _Run, graph: _Run) -> str | None:
        """Why nothing, or not everything, was proven."""
        if whole.stopped:
            return whole.stopped
        if truth.random_from:
            return f"{truth.random_from.path or 'the network'} draws random numbers: nothing after it can be compared"
        if graph.stopped:
            return f"in graph mode {graph.stopped}"
        # A tolerance that the user chose is the user's to judge.
        given = self.options.atol is not None or self.options.rtol is not None
        return None if given else unproven(result.activations, result.by_layer)

    def _cause(self, result: ModeResult, whole: _Run) -> str | None:
        first = result.first_divergence
        if first is None:
            return None
        if result.where == "graph":
            return _IN_GRAPH_MODE
        if result.where == "activations" and first.label in (row.label for row in result.by_layer):
            return _ADDS_UP
        scene = Scene(self.twins, self.common, self.inputs, self.training, result.diverging, whole.called)
        told = likely_cause(scene, first)
        return f"{told}; then {whole.stopped}" if whole.stopped else told

    def _no_such_input(self, error: BackendError) -> UsageError:
        shapes = " ".join(f"--input-shape {wanted}" for wanted, _ in self.inputs)
        return UsageError("the network does not run on such an input", entry=shapes, found=error.message)


_ADDS_UP = (
    "on PyTorch's own numbers every single layer agrees: either the network magnifies rounding more than was "
    "measured, or a small difference in settings adds up (the notes tell those that bnport reads); --atol and --rtol "
    "set a tolerance of your own"
)
_IN_GRAPH_MODE = "in PyNative mode the networks agree: what MindSpore compiles in graph mode computes something else"


def _told(call: Call) -> tuple[str, str]:
    """(layer, what) of a call."""
    if call.number != STATISTICS:
        return call.path, OUTPUT
    layer, _, buffer = call.path.rpartition(".")
    return layer, buffer
