"""Verify a converted file: every tensor against the plan, every layer of a known kind by running it.

The plan is made anew from the source and the layer rules; what the conversion noted about itself is not trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from porter.formats.casting import Overflow
from porter.formats.model import Checkpoint, ModuleFacts
from porter.formats.transfer import TensorReader
from porter.layers.kinds import Dialect
from porter.layers.settings import Settings
from porter.plan import Plan
from porter.proof import Circumstances
from porter.source import Source
from porter.verification.cases import LayerCase, Side
from porter.verification.configured_layers import (
    TargetOptions,
    assumed_settings,
    target_modules,
    target_settings,
    without_assumptions,
)
from porter.verification.copies import TensorProblem
from porter.verification.layer_pairs import LayerPair, pair_layers
from porter.verification.network_results import NetworkResult
from porter.verification.options import Options
from porter.verification.ordinary_layers import Networks, OrdinaryLayers
from porter.verification.other_kinds import of_another_kind
from porter.verification.output_tensors import compare_tensors
from porter.verification.results import Check, LayerResult

OnLayer = Callable[[int, int], None]


@dataclass(frozen=True)
class Verification:
    """The verdict on a converted file.

    Attributes:
        from_, to: whose names the source and the output bear.
        layers: one result for each layer of a kind that is run, in order.
        compared: number of tensors compared with the source, element by element.
        cast: how many of those were compared with the source rounded to another dtype, as the plan says.
        overflow: what was finite in the source, and is infinite in the output for the cast; None where nothing is.
        circumstances: when, with what and on which bytes it ran; None where it was not asked for.
        problems: what is wrong with the output's tensors.
        network: the verdict on both networks run whole; None where that was not asked for.
        warnings: what the user must know to weigh the verdict.
    """

    from_: Dialect
    to: Dialect
    layers: tuple[LayerResult, ...]
    compared: int
    problems: tuple[TensorProblem, ...]
    warnings: tuple[str, ...] = ()
    network: NetworkResult | None = None
    cast: int = 0
    overflow: Overflow | None = None
    circumstances: Circumstances | None = None

    @property
    def not_run(self) -> list[LayerResult]:
        return [layer for layer in self.layers if layer.ok is None]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, as far as it was checked."""
        networks_agree = self.network is None or self.network.ok is not False
        return networks_agree and not self.problems and all(layer.ok is not False for layer in self.layers)

    @property
    def verified(self) -> bool | None:
        """False: something is wrong. None: nothing is, but not everything could be run. True: all was run."""
        if not self.ok:
            return False
        ran_whole = self.network is None or self.network.ok
        return True if ran_whole and not self.not_run else None

    def to_json(self) -> dict[str, object]:
        return {
            "ok": self.ok,
            "verified": self.verified,
            "from": self.from_,
            "to": self.to,
            "layers": [layer.to_json() for layer in self.layers],
            "network": self.network.to_json() if self.network else None,
            "tensors": {
                "compared": self.compared,
                "cast": self.cast,
                "overflowed": dict(self.overflow.tensors) if self.overflow else {},
                "problems": [problem.to_json() for problem in self.problems],
            },
            "warnings": list(self.warnings),
            "circumstances": self.circumstances and self.circumstances.to_json(),
        }


def verify_output(
    source: Source,
    plan: Plan,
    output: Checkpoint,
    options: Options,
    target: TargetOptions,
    on_layer: OnLayer | None = None,
) -> Verification:
    """Check a file against the plan that should have made it from `source`.

    Args:
        output: that file, opened with its optimizer where the plan has one.
        on_layer: called with (done, total) before each layer, for a progress bar.

    Raises:
        InputError: one of the files cannot be read any more.
        UsageError, BackendError: `target.network` cannot be built.
    """
    if target.network:
        source = source._replace(layers=[without_assumptions(layer) for layer in source.layers])
    with TensorReader(source.checkpoint) as theirs, TensorReader(output) as ours:
        tensors = compare_tensors(plan, theirs, ours)
        layers = tuple(map(tensors.told, _layers(source, plan, theirs, ours, options, target, on_layer)))
    # Where a layer fails for them, its diagnosis tells.
    odd = (layer for layer in layers if layer.cause != "source")
    suspect = (f"{layer.name or '(root)'}: {text}" for layer in odd for text in layer.suspect)
    assumed = assumed_settings(source) if any(layer.ok is not None for layer in layers) else ()
    return Verification(
        plan.from_,
        plan.to,
        layers,
        len(tensors.steps),
        tensors.problems,
        (*assumed, *suspect),
        cast=sum(step.fate == "cast" for step in tensors.steps),
        overflow=tensors.overflow,
    )


def _layers(
    source: Source,
    plan: Plan,
    theirs: TensorReader,
    ours: TensorReader,
    options: Options,
    target: TargetOptions,
    on_layer: OnLayer | None,
) -> list[LayerResult]:
    """The verdict on each layer of a kind that is run, in the source's order."""
    modules = target_modules(target, plan.to)
    networks = Networks(_source_modules(source), modules, agree=target.networks_agree)
    pairs, others = _sorted_out(pair_layers(source, plan, ours.checkpoint), networks, plan)
    norms = [pair for pair in pairs if pair.layer.kind.family == "BatchNorm" and pair.layer.settings]
    known = [norm for norm in norms if norm.path in modules or not target.network or target.networks_agree]
    cases = [_case(norm, plan, modules.get(norm.path), target, theirs, ours) for norm in known]
    ordinary = OrdinaryLayers(plan, theirs, ours, pairs, networks)
    results = _run(cases, ordinary, options, on_layer)
    strangers = (_not_in_the_network(norm) for norm in norms if norm not in known)
    return _in_order(source, (*results, *others, *strangers, *_undecided(source)))


def _sorted_out(
    pairs: Iterator[LayerPair], networks: Networks, plan: Plan
) -> tuple[list[LayerPair], list[LayerResult]]:
    """The layers that are of one kind in both networks, and the verdict on the others."""
    alike, others = [], []
    for pair in pairs:
        theirs, ours = networks.source.get(pair.layer.name), networks.target.get(pair.path)
        other = None if networks.agree else of_another_kind(pair, theirs, ours, plan.from_, plan.to)
        if other:
            others.append(other)
        else:
            alike.append(pair)
    return alike, others


def _run(
    cases: list[LayerCase], ordinary: OrdinaryLayers, options: Options, on_layer: OnLayer | None
) -> tuple[LayerResult, ...]:
    from porter.verification.compare import verify_layers

    total, results = len(cases) + len(ordinary), []
    for result in chain(verify_layers(cases, options), ordinary.verified(options)):
        results.append(result)
        if on_layer:
            on_layer(len(results), total)
    return tuple(results)


def _in_order(source: Source, results: Sequence[LayerResult]) -> list[LayerResult]:
    place = {layer.name: index for index, layer in enumerate(source.layers)}
    return sorted(results, key=lambda result: place[result.name])


def _undecided(source: Source) -> Iterator[LayerResult]:
    """Layers that may be batch normalisations: between PyTorch and mint they convert although nobody knows."""
    for layer in source.layers:
        if layer.certainty == "undecided" and any(kind.family == "BatchNorm" for kind in layer.kinds):
            note = f"{layer.label}: its kind is not known ({layer.kind_name}); --layer or --model settles it"
            yield LayerResult(layer.name, layer.kind_name, None, (Check("eval", None, note=note),))


def _case(
    norm: LayerPair,
    plan: Plan,
    facts: ModuleFacts | None,
    target: TargetOptions,
    theirs: TensorReader,
    ours: TensorReader,
) -> LayerCase:
    layer = norm.layer
    assert layer.settings is not None, "only batch normalisations become cases"
    settings = target_settings(layer, facts, target, plan.to)
    return LayerCase(
        layer.name,
        layer.kind,
        _side(plan.from_, layer.settings, norm.theirs, theirs),
        _side(plan.to, settings, norm.ours, ours),
    )


def _not_in_the_network(norm: LayerPair) -> LayerResult:
    """A layer that the target network has no module for: its settings there are unknown, and could be wrong."""
    note = f"{norm.layer.label}: the network has no layer {norm.path}, so that its settings there are not known"
    return LayerResult(norm.layer.name, norm.layer.kind.name, None, (Check("eval", None, note=note),))


def _side(dialect: Dialect, settings: Settings, tensors: Mapping[str, str], reader: TensorReader) -> Side:
    parameters = {slot: reader.array(name) for slot, name in tensors.items()}
    dtypes = [reader.checkpoint.tensors[name].spec.dtype.name for slot, name in tensors.items() if slot != "count"]
    return Side(dialect, settings, parameters, dtypes[0] if dtypes else "float32")


def _source_modules(source: Source) -> dict[str, ModuleFacts]:
    """By path in the file, which may have been written by a wrapper that the network does not know."""
    named = {facts.name: facts for facts in source.modules}
    return {source.wrapper + name: facts for name, facts in named.items()} | named
