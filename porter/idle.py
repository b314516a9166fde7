"""Gains of 1 and shifts of 0: MindSpore's normalisations always have them, PyTorch's may have none.

MindSpore applies other values although it may not train them (affine=False), so that such a layer is PyTorch's
affine=True, whatever the network calls it. Only where they do nothing can they be left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from porter.formats.transfer import TensorReader
from porter.layers.kinds import Dialect
from porter.layers.model import Layer
from porter.plan import Plan, Step
from porter.source import Source


def untrained(source: Source, to: Dialect) -> dict[str, str]:
    """Idle tensors of MindSpore layers with affine=False, which PyTorch's such layers lack: name -> what it is."""
    if source.dialect != "mindspore" or to == "mindspore":
        return {}
    layers = [_fills(layer) for layer in source.layers if _says_affine_false(layer)]
    idle = _idle(source, {name: fill for fills in layers for name, fill in fills.items()})
    return {
        name: f"{fill:g} throughout, in a layer with affine=False"
        for fills in layers
        if fills.keys() <= idle
        for name, fill in fills.items()
    }


def without_idle(plan: Plan, source: Source, names: Sequence[str]) -> Plan:
    """`plan` from MindSpore to PyTorch without idle tensors that the network there has not.

    Args:
        names: of the network's parameters. Where they differ from the plan's in more than idle tensors, the names do
            not fit yet, and none of them says that the network has no gain.
    """
    own = set(names)
    left_over = [step for step in plan.steps if step.target and step.target.name not in own]
    if {spec.name for spec in plan.targets} - {step.target.name for step in left_over if step.target} != own:
        return plan
    strange = {step.source.name for step in left_over if step.source}
    decided = (layer for layer in source.layers if layer.certainty != "undecided")
    fills = {name: fill for layer in decided for name, fill in _fills(layer).items() if name in strange}
    idle = _idle(source, fills)

    def kept(step: Step) -> Step:
        if step.source is None or step.source.name not in idle:
            return step
        reason = f"{fills[step.source.name]:g} throughout, and PyTorch's network has none there"
        return step._replace(target=None, fate="dropped", reason=reason)

    return plan._replace(steps=tuple(map(kept, plan.steps))) if idle else plan


def _says_affine_false(layer: Layer) -> bool:
    return layer.certainty == "certain" and layer.settings is not None and not layer.settings.affine


def _fills(layer: Layer) -> dict[str, float]:
    """Names of the gain and the shift of a normalisation -> the value with which they do nothing."""
    parameters = {slot: layer.kind.parameter(slot) for slot in ("gamma", "beta") if slot in layer.tensors}
    return {
        layer.tensors[slot]: parameter.fill
        for slot, parameter in parameters.items()
        if parameter.always_in_mindspore and parameter.fill is not None
    }


def _idle(source: Source, fills: Mapping[str, float]) -> set[str]:
    """Out of `fills` (name -> value), the tensors that have nothing but that value."""
    if not fills:
        return set()
    with TensorReader(source.checkpoint) as reader:
        return {name for name, fill in fills.items() if (reader.array(name) == fill).all()}
