"""The way back: what the record of a conversion makes of the file that it wrote, possibly trained since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from porter.errors import Malformed, UsageError
from porter.formats.casting import filled
from porter.formats.dtypes import INT64
from porter.formats.transfer import TensorReader
from porter.layers.kinds import Parameter
from porter.layers.model import Layer
from porter.plan import Plan, Step, leave_out
from porter.plan_proof import must, prove
from porter.planning import make_plan
from porter.record import Record
from porter.source import Source

# Slots that a layer has together or not at all: PyTorch's affine, and its track_running_stats.
_TOGETHER = (("gamma", "beta"), ("mean", "variance"))


def plan_back(source: Source, recorded: Record) -> Plan:
    """The proven plan of `recorded` read backwards, for the file that it wrote.

    What that conversion created is dropped again where it still has the values it was created with, and goes by the
    layer rules where training has changed them. Tensors that the file has gained since are left out.

    Raises:
        Malformed: the record contradicts the layer rules or the file.
    """
    try:
        plan = leave_out(invert(recorded.plan, recorded.dropped), source.checkpoint.specs, source.left_out)
        plan = _with_trained(plan, source, recorded)
        prove(plan, source.checkpoint.specs, source.layers, restored=recorded.strip_prefix)
        _prove_restored(plan, source.layers, recorded.strip_prefix)
    except (AssertionError, UsageError) as fault:
        hint = "Remove the .bnport.json beside it to convert without a record."
        message = "the record of the conversion that wrote this file contradicts the layer rules"
        raise Malformed(message, file=source.checkpoint.path, found=str(fault), hint=hint) from fault
    return plan


def invert(plan: Plan, recorded: Mapping[str, bytes]) -> Plan:
    """The way back: every step read from right to left, in the same order.

    Args:
        plan: the way there.
        recorded: name -> bytes of tensors that the way there dropped; those not recorded stay dropped.
    """
    steps = []
    counterpart = {step.source.name: step.target.name for step in plan.steps if step.source and step.target}
    for step in plan.steps:
        if step.source and step.target:
            steps.append(Step(step.target, step.source, step.fate, f"back: {step.reason}", layer=step.layer))
        elif step.fate == "shared":
            # A record may be damaged: where it names no counterpart, `prove` says so.
            same = counterpart.get(step.same_as or "", "")
            reason = f"the same tensor as {step.same_as if step.source else same}, under another name"
            steps.append(Step(step.target, step.source, "shared", reason, same_as=same, layer=step.layer))
        elif step.target:
            steps.append(Step(step.target, None, "dropped", "the conversion had created it", layer=step.layer))
        elif step.source and step.source.name in recorded:
            data, reason = recorded[step.source.name], "restored from the record of the conversion"
            steps.append(Step(None, step.source, "created", reason, data=data, layer=step.layer))
    return Plan(plan.to, plan.from_, tuple(steps))


def _prove_restored(plan: Plan, layers: Sequence[Layer], prefix: str) -> None:
    """What comes back out of a record must be missing in a layer, or in another name of one (`porter.sharing`)."""
    shared = {step.target.name.rpartition(".")[0] for step in plan.steps if step.fate == "shared" and step.target}
    paths = {
        layer.path_in(plan.to, came_from=plan.from_): layer for layer in layers if layer.certainty != "undecided"
    }
    missing = {
        before + (f"{path}.{leaf}" if path else leaf)
        for path, layer in paths.items()
        for slot, leaf in layer.kind.names_in(plan.to, root=not path).items()
        if slot not in layer.tensors
        for before in ("", prefix)
    }
    for step in plan.steps:
        if step.data is not None and step.target:
            name = step.target.name
            must(name in missing or name.rpartition(".")[0] in shared, f"{name} has no place in a layer")


def trained_since(source: Source, recorded: Record) -> set[str]:
    """The tensors that `recorded` created and that no longer have only the values it gave them."""
    created = {step.target.name for step in recorded.plan.steps if step.fate == "created" and step.target}
    place = {
        name: (layer, layer.kind.parameter(slot))
        for layer in source.layers
        if layer.certainty != "undecided"
        for slot, name in layer.tensors.items()
        if name in created
    }
    with TensorReader(source.checkpoint) as reader:
        return {
            name
            for layer, parameter in place.values()
            if _is_changed(layer, parameter, reader)
            for name in _with_it(layer, parameter)
            if name in created
        }


def _is_changed(layer: Layer, parameter: Parameter, reader: TensorReader) -> bool:
    spec = reader.checkpoint.tensors[layer.tensors[parameter.slot]].spec
    return b"".join(bytes(chunk) for chunk in reader.chunks(spec.name)) != filled(spec, parameter.fill or 0.0)


def _with_it(layer: Layer, parameter: Parameter) -> Iterator[str]:
    together = next((slots for slots in _TOGETHER if parameter.slot in slots), (parameter.slot,))
    return (layer.tensors[slot] for slot in together if slot in layer.tensors)


def _with_trained(plan: Plan, source: Source, recorded: Record) -> Plan:
    """`plan` with the layer rules' step for every tensor of `trained_since`."""
    trained = trained_since(source, recorded)
    if not trained:
        return plan
    by_rules = make_plan(source.checkpoint.specs, source.layers, plan.from_, plan.to, source.left_out)
    ruled = {step.source.name: step for step in by_rules.steps if step.source and step.source.name in trained}

    def carried(step: Step) -> Step:
        if step.source is None or step.source.name not in ruled:
            return step
        step = ruled[step.source.name]
        name = step.target and step.target._replace(name=recorded.strip_prefix + step.target.name)
        return step._replace(target=name, reason=f"{step.reason}; trained since the conversion created it")

    return plan._replace(steps=tuple(carried(step) for step in plan.steps))


def remarks_on_the_way_back(source: Source, plan: Plan) -> Iterator[str]:
    """What the user should know where `plan` leads back, or would, had the first conversion left its record."""
    restarted = [
        step.target.name for step in plan.steps if step.target and step.target.dtype is INT64 and _is_new(step)
    ]
    if restarted:
        yield (
            f"{len(restarted)} counters ({restarted[0]}, ...) restart at 0: no record of an earlier conversion lies "
            f"beside {source.checkpoint.path.name}; --record names one that lies elsewhere"
        )
    recorded = source.record
    if recorded and recorded.plan.from_ == plan.to and recorded.plan.to == plan.from_:
        trained = trained_since(source, recorded)
        kept = [
            step.source.name for step in plan.steps if step.source and step.target and step.source.name in trained
        ]
        if kept:
            yield (
                f"{len(kept)} tensors ({kept[0]}, ...), which {plan.to} had not, are carried: they have been trained "
                "since. The layer they belong to must have them there, too (affine=True)"
            )


def _is_new(step: Step) -> bool:
    return step.fate == "created" and step.source is None and step.data is None
