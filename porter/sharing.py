"""Tensors that PyTorch writes under several names: tied parameters, and layers that stand in several places.

A PyTorch state dict has an entry for every name that leads to a tensor, all with one storage; a MindSpore parameter
has one name. Which one follows from how `Cell` gives names: assigning a cell to an attribute renames all parameters
below it, each after the first path that leads to it there (nn/cell.py, `_set_attr_for_cell` and
`parameters_and_names`). So the attribute of the network that was assigned last decides, and below it the first path.
A parameter that two layers share (an embedding that is also the output's weight) is no cell: it keeps the name of the
layer that it was made in, which nothing in a file tells; usually that is the first one. Established by running
MindSpore 2.10.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from porter.formats.model import Checkpoint, TensorSpec
from porter.layers.model import Evidence, Layer
from porter.plan import Plan, Step


def shared_names(
    checkpoint: Checkpoint, names: Iterable[str], layers: Sequence[Layer], prefix: str = ""
) -> dict[str, str]:
    """Name of a tensor -> the name of the same tensor that MindSpore keeps; only names that it does not keep.

    Args:
        checkpoint: PyTorch's.
        names: of the tensors that travel, in file order.
        layers: as recognised; layers of different kinds may share a parameter, but are not one layer.
        prefix: of names, no part of the network (a wrapper's that is to be removed).
    """
    counters = dict(_counters(layers))
    places = _places(checkpoint, (name for name in names if name not in counters))
    contents = _contents(places)
    by_name = {layer.name: layer for layer in layers}
    kept: dict[str, str] = {}
    for group in (group for group in places if len(group) > 1):
        one_layer = _are_one_layer([name.rpartition(".")[0] for name in group], contents, by_name)
        keeper = _name_of_cell(group, prefix) if one_layer else group[0]
        kept |= {name: keeper for name in group if name != keeper}
    # What MindSpore has no place for goes with the layer that it counts for, whatever its storage.
    return kept | {
        counter: _sibling(kept[tensor].rpartition(".")[0], counter)
        for counter, tensor in counters.items()
        if tensor in kept
    }


def settle(checkpoint: Checkpoint, layers: Sequence[Layer]) -> list[Layer]:
    """`layers` with undecided ones told by what is known of the same tensors under other names."""
    counters = dict(_counters(layers))
    names = (name for layer in layers for name in layer.tensors.values() if name not in counters)
    contents = _contents(_places(checkpoint, names))
    known: dict[frozenset[tuple[str, int]], Layer] = {}
    for layer in layers:
        if layer.name in contents and layer.certainty != "undecided":
            known.setdefault(frozenset(contents[layer.name].items()), layer)
    return [_told_by(layer, known.get(frozenset(contents.get(layer.name, {}).items()))) for layer in layers]


def _told_by(layer: Layer, other: Layer | None) -> Layer:
    if (
        other is None
        or layer.certainty != "undecided"
        or not {kind.name for kind in other.kinds} <= {kind.name for kind in layer.kinds}
    ):
        return layer
    text = f"its tensors are those of {other.label} ({other.kind_name})"
    tensors = {slot: _sibling(layer.name, name) for slot, name in other.tensors.items()}
    return replace(
        other,
        name=layer.name,
        certainty="inferred",
        evidence=(Evidence("siblings", other.kinds, text), *layer.evidence),
        tensors=tensors,
        counterpart=layer.counterpart,
    )


def _sibling(path: str, name: str) -> str:
    """The tensor of the layer `path` that has the last part of `name`."""
    return f"{path}.{name.rpartition('.')[2]}".removeprefix(".")


def _places(checkpoint: Checkpoint, names: Iterable[str]) -> list[list[str]]:
    """`names` of non-empty tensors, those that have the same bytes of the file in one list."""
    places: dict[object, list[str]] = {}
    for name in names:
        tensor = checkpoint.tensors[name]
        if tensor.extents:
            place = (tensor.extents, tensor.view, tensor.spec.dtype, tensor.spec.shape)
            places.setdefault(place, []).append(name)
    return list(places.values())


def _contents(places: Iterable[Iterable[str]]) -> dict[str, dict[str, int]]:
    """Module -> last part of a tensor's name -> number of its place."""
    contents: dict[str, dict[str, int]] = {}
    for number, group in enumerate(places):
        for name in group:
            parent, _, leaf = name.rpartition(".")
            contents.setdefault(parent, {})[leaf] = number
    return contents


def _counters(layers: Iterable[Layer]) -> Iterator[tuple[str, str]]:
    """Tensors without a name in MindSpore, each with a tensor of the same layer that has one."""
    for layer in layers:
        named = [slot for slot in layer.tensors if layer.kind.parameter(slot).mindspore is not None]
        for slot in layer.tensors.keys() - set(named):
            yield layer.tensors[slot], layer.tensors[named[0]] if named else ""


def _are_one_layer(paths: list[str], contents: Mapping[str, Mapping[str, int]], layers: Mapping[str, Layer]) -> bool:
    """Whether the modules at `paths` hold the same tensors under the same names, and can be of one kind."""
    if any(contents[path] != contents[paths[0]] for path in paths):
        return False
    kinds = [{kind.name for kind in layers[path].kinds} for path in paths if path in layers]
    return not kinds or bool(set.intersection(*kinds))


def _name_of_cell(group: Sequence[str], prefix: str) -> str:
    attributes = {name: name.removeprefix(prefix).partition(".")[0] for name in group}
    last = attributes[group[-1]]
    return next(name for name in group if attributes[name] == last)


def layers_kept(layers: Iterable[Layer], kept: Mapping[str, str]) -> list[Layer]:
    """`layers` without those whose tensors are all kept under another name."""
    return [x for x in layers if not x.tensors or any(name not in kept for name in x.tensors.values())]


def share(plan: Plan, kept: Mapping[str, str]) -> Plan:
    """`plan` to MindSpore with every tensor of `kept` (see `shared_names`) left to the one that keeps its name."""

    steps = {step.source.name: step for step in plan.steps if step.source}

    def shared(step: Step) -> Step:
        if step.source is None or step.target is None or step.source.name not in kept:
            return step
        keeper = kept[step.source.name]
        kept_by = steps.get(keeper)
        if kept_by is None or kept_by.target is None:
            # A counter; the layer is what the record keeps it for.
            layer = kept_by.layer if kept_by else None
            return replace(step, target=None, fate="dropped", reason=f"as {keeper}, of the same layer", layer=layer)
        reason = f"the same tensor as {keeper}: a MindSpore parameter has one name; the record brings this one back"
        return replace(step, target=None, fate="shared", reason=reason, same_as=keeper)

    return replace(plan, steps=tuple(shared(step) for step in plan.steps))


def spread(plan: Plan, aliases: Mapping[str, str]) -> Plan:
    """`plan` to PyTorch with a tensor under every name that the network has for it.

    Args:
        aliases: of target names, one -> another one of the same tensor; pairs of which the plan has both, or neither,
            change nothing.
    """
    steps = {step.target.name: step for step in plan.steps if step.target}
    more = []
    for one, other in aliases.items():
        if (one in steps) == (other in steps):
            continue
        name, step = (other, steps[one]) if one in steps else (one, steps[other])
        assert step.target is not None
        more.append(_under(name, step, step.target))
        steps[name] = more[-1]
    return replace(plan, steps=(*plan.steps, *more))


def _under(name: str, step: Step, target: TensorSpec) -> Step:
    """`step` for the same tensor under another name."""
    reason = f"the same tensor as {target.name} in your network"
    target = replace(target, name=name)
    if step.source is None and step.same_as is None:
        return replace(step, target=target, reason=reason)
    same_as = step.source.name if step.source else step.same_as
    return Step(None, target, "shared", reason, same_as=same_as)
