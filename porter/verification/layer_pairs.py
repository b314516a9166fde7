"""Which layer of the source is which of the output, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from porter.formats.model import Checkpoint
from porter.layers.model import Layer
from porter.plan import Plan, Step
from porter.source import Source
from porter.verification.pairing import layer_path


@dataclass(frozen=True)
class LayerPair:
    """A layer on both sides: slot -> its tensor in the source and in the output, and its path there.

    A tensor that it shares with another layer stands under the other's name on MindSpore's side.
    """

    layer: Layer
    theirs: Mapping[str, str]
    ours: Mapping[str, str]
    path: str


def pair_layers(source: Source, plan: Plan, output: Checkpoint) -> Iterator[LayerPair]:
    """The layers of known kind on both sides; one that lacks a tensor is a matter for `check_structure`."""
    steps: dict[str | None, list[Step]] = {}
    for step in plan.steps:
        steps.setdefault(step.layer, []).append(step)
    written = {step.source.name: step.target.name for step in plan.steps if step.source and step.target}
    for layer in source.layers:
        if layer.certainty == "undecided":
            continue
        own = steps.get(layer.name, [])
        names = _target_names(layer, own, plan)
        if layer.tensors and not names:
            continue  # it was left out on request, or is run under the name that its tensors have in the output
        theirs, ours = dict(layer.tensors), dict(names)
        for step in own:
            if step.same_as is not None:
                slot = _slot(layer, step, plan)
                theirs[slot] = step.source.name if step.source else step.same_as
                ours[slot] = step.target.name if step.target else written[step.same_as]
        if all(name in output.tensors for name in ours.values()):
            tensor = next(iter(names.values()), None)
            yield LayerPair(layer, theirs, ours, layer_path(tensor, layer.kind, plan.to) if tensor else layer.name)


def _target_names(layer: Layer, steps: list[Step], plan: Plan) -> dict[str, str]:
    """Slot -> name in the output, of the tensors that have one in this layer."""
    return {_slot(layer, step, plan): step.target.name for step in steps if step.target}


def _slot(layer: Layer, step: Step, plan: Plan) -> str:
    if step.target is None:
        return next(slot for slot, name in layer.tensors.items() if step.source and name == step.source.name)
    leaves = layer.kind.names_in(plan.to, root=not layer.name)
    ruled = step.ruled or step.target.name
    return next(slot for slot, leaf in leaves.items() if f".{ruled}".endswith(f".{leaf}"))
