"""Tensors that PyTorch writes under several names: tied parameters, and layers that stand in several places.

A PyTorch state dict has an entry for every name that leads to a tensor, all with one storage; a MindSpore parameter
has one name. Which one follows from how `Cell` gives names: assigning a cell to an attribute renames all parameters
below it, each after the first path that leads to it there (nn/cell.py, `_set_attr_for_cell` and
`parameters_and_names`). So for a cell in several places the attribute of the network that was assigned last decides,
and below it the first path. A parameter that was tied to another cell later keeps the name of the cell that it was
made in, usually the first. `porter.shared_modules` tells the two apart, and the target network knows in any case.
Established by running MindSpore 2.10.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from porter.formats.model import Checkpoint, TensorSpec
from porter.layers.model import Evidence, Layer
from porter.plan import Plan, Step
from porter.shared_modules import SharedModules, contents_of, places_of


class Sharing(NamedTuple):
    """What MindSpore calls tensors that have several names in PyTorch.

    Attributes:
        kept: name of a tensor -> the name of the same tensor that MindSpore keeps; only names that it does not keep.
        guessed: those of `kept` for which nothing tells whether one layer stands in several places or several layers
            share a weight, which MindSpore calls differently.
    """

    kept: Mapping[str, str]
    guessed: Set[str] = frozenset()


def shared_names(
    checkpoint: Checkpoint,
    names: Iterable[str],
    layers: Sequence[Layer],
    prefix: str = "",
    first_paths: Mapping[str, str] | None = None,
) -> Sharing:
    """Which names of a checkpoint's tensors MindSpore keeps.

    Args:
        checkpoint: PyTorch's.
        names: of the tensors that travel, in file order.
        layers, first_paths: see `SharedModules`.
        prefix: of names, no part of the network (a wrapper's that is to be removed).
    """
    names = list(names)
    extents = [checkpoint.tensors[name].extents for name in names]
    if len(set(extents)) == len(extents):
        return Sharing({})
    counters = dict(_counters(layers))
    places = places_of(checkpoint, (name for name in names if name not in counters))
    modules = SharedModules(checkpoint, places, layers, first_paths or {})
    kept: dict[str, str] = {}
    guessed: set[str] = set()
    for group in (group for group in places if len(group) > 1):
        keeper, *others = dict.fromkeys(_name_of_cell(reading, prefix) for reading in modules.readings(group))
        rest = {name: keeper for name in group if name != keeper}
        kept |= rest
        guessed |= rest.keys() if others else set()
    return Sharing(kept, guessed)


def fitted(sharing: Sharing, called: Mapping[str, str], own: Set[str]) -> Sharing:
    """`sharing` with the names that a network has: none, one or several of those of a tensor.

    Args:
        called: name of a tensor -> what it would be called in the output.
        own: names of the network's parameters.
    """
    groups: dict[str, list[str]] = {}
    for name, keeper in sharing.kept.items():
        groups.setdefault(keeper, [keeper]).append(name)
    kept: dict[str, str] = {}
    settled: set[str] = set()
    for keeper, group in groups.items():
        there = {called[name]: name for name in reversed(group) if called.get(name) in own}
        staying = set(there.values()) or {keeper}
        keeper = next(name for name in group if name in staying)
        kept |= {name: keeper for name in group if name not in staying}
        settled |= set(group) if there else set()
    return Sharing(kept, sharing.guessed - settled)


def with_counters(sharing: Sharing, layers: Iterable[Layer]) -> Sharing:
    """What MindSpore has no place for goes with the layer that it counts for, whatever its storage."""
    kept = sharing.kept
    if not kept:
        return sharing
    counters = {
        counter: _sibling(kept[tensors[0]].rpartition(".")[0], counter)
        for counter, tensors in _counters(layers)
        if tensors and all(tensor in kept for tensor in tensors)
    }
    return sharing._replace(kept={**kept, **counters})


def settle(checkpoint: Checkpoint, layers: Sequence[Layer]) -> list[Layer]:
    """`layers` with undecided ones told by what is known of the same tensors under other names."""
    if all(layer.certainty != "undecided" for layer in layers):
        return list(layers)
    counters = dict(_counters(layers))
    names = (name for layer in layers for name in layer.tensors.values() if name not in counters)
    contents = contents_of(places_of(checkpoint, names))
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
    return other._replace(
        name=layer.name,
        certainty="inferred",
        evidence=(Evidence("siblings", other.kinds, text), *layer.evidence),
        tensors=tensors,
        counterpart=layer.counterpart,
    )


def _sibling(path: str, name: str) -> str:
    """The tensor of the layer `path` that has the last part of `name`."""
    return f"{path}.{name.rpartition('.')[2]}".removeprefix(".")


def _counters(layers: Iterable[Layer]) -> Iterator[tuple[str, list[str]]]:
    """Tensors without a name in MindSpore, each with those of the same layer that have one."""
    for layer in layers:
        named = [slot for slot in layer.tensors if layer.kind.parameter(slot).mindspore is not None]
        for slot in layer.tensors.keys() - set(named):
            yield layer.tensors[slot], [layer.tensors[name] for name in named]


def _name_of_cell(group: Sequence[str], prefix: str) -> str:
    attributes = {name: name.removeprefix(prefix).partition(".")[0] for name in group}
    last = attributes[group[-1]]
    return next(name for name in group if attributes[name] == last)


def layers_kept(layers: Iterable[Layer], kept: Mapping[str, str]) -> list[Layer]:
    """`layers` without those whose tensors are all kept under another name."""
    return [x for x in layers if not x.tensors or any(name not in kept for name in x.tensors.values())]


def share(plan: Plan, sharing: Sharing) -> Plan:
    """`plan` to MindSpore with every tensor under the one name that `sharing` keeps."""
    kept = sharing.kept
    if not kept:
        return plan
    steps = {step.source.name: step for step in plan.steps if step.source}

    def shared(step: Step) -> Step:
        if step.source is None or step.target is None or step.source.name not in kept:
            return step
        keeper = kept[step.source.name]
        kept_by = steps.get(keeper)
        if kept_by is None or kept_by.target is None:
            # A counter; the layer is what the record keeps it for.
            layer = kept_by.layer if kept_by else None
            return step._replace(target=None, fate="dropped", reason=f"as {keeper}, of the same layer", layer=layer)
        reason = f"the same tensor as {keeper}: a MindSpore parameter has one name; the record brings this one back"
        return step._replace(target=None, fate="shared", reason=reason, same_as=keeper)

    notes = (*plan.notes, *_guess_note(sharing))
    return plan._replace(steps=tuple(shared(step) for step in plan.steps), notes=notes)


def _guess_note(sharing: Sharing) -> Iterator[str]:
    """What was assumed, by the first example."""
    name = next((name for name in sharing.kept if name in sharing.guessed), None)
    if name is not None:
        count, keeper = len(sharing.guessed), sharing.kept[name]
        yield (
            f"{count} second names of weights ({name} is {keeper}, ...) are of one layer in several places, or of "
            "several layers that share a weight: MindSpore calls these differently, and the file does not tell. "
            f"{keeper} is assumed; --net settles it, --model mostly does"
        )


def spread(plan: Plan, aliases: Mapping[str, str]) -> Plan:
    """`plan` to PyTorch with a tensor under every name that the network has for it.

    Args:
        aliases: of target names, one -> another one of the same tensor; pairs of which the plan has both, or neither,
            change nothing.
    """
    if not aliases:
        return plan
    steps = {step.target.name: step for step in plan.steps if step.target}
    layers = {name.rpartition(".")[0]: step.layer for name, step in steps.items()}
    more = []
    for one, other in aliases.items():
        if (one in steps) == (other in steps):
            continue
        name, step = (other, steps[one]) if one in steps else (one, steps[other])
        assert step.target is not None
        more.append(_under(name, step, step.target, layers.get(name.rpartition(".")[0])))
        steps[name] = more[-1]
    return plan._replace(steps=(*plan.steps, *more))


def _under(name: str, step: Step, target: TensorSpec, layer: str | None) -> Step:
    """`step` for the same tensor under another name, in `layer`."""
    reason = f"the same tensor as {target.name} in your network"
    target = target._replace(name=name)
    if step.source is None and step.same_as is None:
        return step._replace(target=target, reason=reason, layer=layer)
    same_as = step.source.name if step.source else step.same_as
    return Step(None, target, "shared", reason, same_as=same_as, layer=layer)
