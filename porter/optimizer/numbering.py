"""Which parameter is which number: PyTorch's optimizers know their parameters by number alone.

The numbers count through the groups, and within a group follow the order in which the parameters were handed over,
as a rule that of `model.parameters()`: the state dict's order without its buffers, a shared tensor counted once.
Where nothing speaks against that rule it is taken for granted, and said; what it leaves open is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from porter.errors import Malformed, Undecided
from porter.formats.model import Checkpoint, OptimizerDict, TensorSpec
from porter.layers.model import Layer
from porter.plan import Plan, Step

Shape = tuple[int, ...]
# The shapes of a group's parameters, in its order; None of one that has no state yet.
Group = Sequence[Shape | None]

_HINT = (
    "Save it again with an optimizer made from model.named_parameters() (PyTorch 2.6 and later), which keeps the "
    "names; or leave --optimizer out."
)


# What the search for the ways to part a network's parameters into groups may touch; more is a network of like layers.
_MAX_STEPS = 10_000_000


def parameters_of(
    checkpoint: Checkpoint, layers: Sequence[Layer], prefix: str, declared: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The name of every parameter of the optimizer in a torch checkpoint, by number, and remarks for the user.

    Args:
        checkpoint: opened with its optimizer.
        layers: as recognised; they tell parameters from statistics.
        prefix: what a wrapper wrote in front of every name ("" if none).
        declared: the names in the network's own order; empty where it is not given, and the file's order counts.

    Raises:
        Undecided: neither names nor shapes settle it.
        Malformed: a shape contradicts the name.
    """
    optimizer = checkpoint.optimizer
    assert optimizer is not None
    named = _by_name(checkpoint, optimizer, prefix)
    if named is not None:
        return named, []
    place = {prefix + name: i for i, name in enumerate(declared)} | {name: i for i, name in enumerate(declared)}
    candidates = _candidates(checkpoint, optimizer, layers)
    candidates.sort(key=lambda spec: place.get(spec.name, len(place)))
    groups = [[_shape_of_state(optimizer, number) for number in group["params"]] for group in optimizer.param_groups]
    names = (_one_group if len(groups) == 1 else _several_groups)(groups, candidates, checkpoint)
    return names, list(_assumed([spec.shape for spec in candidates]))


def _assumed(shapes: Sequence[Shape]) -> Iterator[str]:
    """What was taken for granted where parameters could change places without a shape that tells."""
    alike = sum(count for count in Counter(shapes).values() if count > 1)
    if alike:
        yield (
            "the optimizer knows its parameters by number alone: each group was taken to follow the order of "
            f"model.parameters(), which the shapes allow but, as {alike} of {len(shapes)} are another's too, do not "
            "prove; an optimizer made from model.named_parameters() keeps the names"
        )


def _by_name(checkpoint: Checkpoint, optimizer: OptimizerDict, prefix: str) -> list[str] | None:
    """From `param_names`, where every group has them."""
    names: list[str] = []
    for group in optimizer.param_groups:
        given = group.get("param_names")
        if not isinstance(given, list) or len(given) != len(group["params"]):
            return None
        names += given
    found = [name if name in checkpoint.tensors else prefix + name for name in names]
    lost = next((name for name in found if name not in checkpoint.tensors), None)
    if lost is not None:
        raise Malformed("the optimizer has a parameter that the network has not", file=checkpoint.path, entry=lost)
    for number, name in enumerate(found):
        shape, spec = _shape_of_state(optimizer, number), checkpoint.tensors[name].spec
        if shape not in (None, spec.shape):
            raise Malformed(
                "the optimizer's state has another shape", file=checkpoint.path, entry=name, expected=spec.shape,
                found=shape,
            )  # fmt: skip
    return found


def _candidates(checkpoint: Checkpoint, optimizer: OptimizerDict, layers: Sequence[Layer]) -> list[TensorSpec]:
    """What `model.parameters()` may give: floating-point tensors that are no statistics, each storage once."""
    statistics = {layer.tensors.get(slot) for layer in layers for slot in ("mean", "variance")}
    state = set(optimizer.tensor_names)
    seen: set[object] = set()
    found = []
    for name, tensor in checkpoint.tensors.items():
        place = (tensor.extents, tensor.view, tensor.spec.shape) if tensor.extents else name
        if tensor.spec.dtype.is_floating and name not in statistics | state and place not in seen:
            seen.add(place)
            found.append(tensor.spec)
    return found


def _shape_of_state(optimizer: OptimizerDict, number: int) -> Shape | None:
    """The shape of parameter `number`, which its moments share; None where it has none yet."""
    slots = optimizer.state.get(number, {})
    return next((v.shape for slot, v in slots.items() if slot != "step" and isinstance(v, TensorSpec)), None)


def _one_group(groups: Sequence[Group], candidates: list[TensorSpec], checkpoint: Checkpoint) -> list[str]:
    """The one way to find the group's shapes, in their order, among the candidates; some of these may be frozen."""
    (shapes,) = groups
    first = _embedding(shapes, candidates)
    last = _embedding(shapes[::-1], candidates[::-1])
    if first is None or last is None:
        found = f"{len(shapes)} parameters in the optimizer, {len(candidates)} in the network"
        raise _undecided(checkpoint, "the optimizer's parameters are not those of the network, in its order", found)
    if first != last[::-1]:
        place = next(i for i, (a, b) in enumerate(zip(first, last[::-1], strict=True)) if a != b)
        found = f"parameter {place} may be {first[place]} or {last[::-1][place]}"
        raise _undecided(checkpoint, "the optimizer knows only a part of the parameters, and not by name", found)
    return first


def _embedding(shapes: Group, candidates: Iterable[TensorSpec]) -> list[str] | None:
    """The first candidates, in order, that have these shapes (None: any); None where there are not enough."""
    names: list[str] = []
    for spec in candidates:
        if len(names) < len(shapes) and shapes[len(names)] in (None, spec.shape):
            names.append(spec.name)
    return names if len(names) == len(shapes) else None


def _several_groups(groups: Sequence[Group], candidates: list[TensorSpec], checkpoint: Checkpoint) -> list[str]:
    """The one way to deal the candidates, in their order, out to the groups."""
    found = _ways_to_part(groups, candidates)
    if found is None or not found.is_only:
        told = f"{len(groups)} groups of {', '.join(str(len(group)) for group in groups)} parameters"
        why = "none" if found is None else "several" if found.dealt else "too many"
        raise _undecided(
            checkpoint,
            "which parameters are in which of the optimizer's groups cannot be told by their shapes",
            f"{told}; {why} of the ways to part the network's {len(candidates)}, in its order, fit",
        )
    return [
        spec.name for i in range(len(groups)) for at, spec in zip(found.dealt, candidates, strict=True) if at == i
    ]


class _Ways(NamedTuple):
    """One way to deal parameters out, the group of each; and whether there is no other."""

    dealt: tuple[int, ...]
    is_only: bool


def _ways_to_part(groups: Sequence[Group], candidates: Sequence[TensorSpec]) -> _Ways | None:
    """How the candidates, each given to the group whose next shape it has, fill the groups; None: in no way.

    All ways are followed at once, those that have given each group equally many as one; where they are too many, an
    empty one that is not the only one stands for them.
    """
    steps = 0
    # Of how many each group has been given -> the groups in reverse order of their being given, linked, is it the
    # only way?
    ways: dict[tuple[int, ...], tuple[Any, bool]] = {(0,) * len(groups): (None, True)}
    for spec in candidates:
        steps += len(ways) * len(groups) ** 2
        if steps > _MAX_STEPS:
            return _Ways((), is_only=False)
        following: dict[tuple[int, ...], tuple[Any, bool]] = {}
        for given, (dealt, is_only) in ways.items():
            for i, group in enumerate(groups):
                if given[i] < len(group) and group[given[i]] in (None, spec.shape):
                    more = (*given[:i], given[i] + 1, *given[i + 1 :])
                    following[more] = ((dealt, i), is_only and more not in following)
        ways = following
    found = ways.get(tuple(map(len, groups)))
    if found is None:
        return None
    linked, is_only = found
    dealt_back: list[int] = []
    while linked is not None:
        linked, group_number = linked
        dealt_back.append(group_number)
    return _Ways(tuple(reversed(dealt_back)), is_only)


def _undecided(checkpoint: Checkpoint, message: str, found: str) -> Undecided:
    assert checkpoint.optimizer is not None
    return Undecided(message, file=checkpoint.path, entry=checkpoint.optimizer.key, found=found, hint=_HINT)


def in_torch_order(plan: Plan, layers: Sequence[Layer], names: Iterable[str], declared: Sequence[str]) -> list[Step]:
    """The steps of these source tensors in the order in which PyTorch's network would have them as parameters.

    That of the network's names, `declared`. Where it is not given: layers in the plan's order, within a layer the
    order of PyTorch's rule, for a MindSpore checkpoint saves some layers' parameters in another one.
    """
    wanted = set(names)
    steps = [step for step in plan.steps if step.source and step.target and step.source.name in wanted]
    if declared:
        place = {name: i for i, name in enumerate(declared)}
        return sorted(steps, key=lambda step: place.get(step.target.name if step.target else "", len(place)))
    position = {step.source.name: i for i, step in enumerate(plan.steps) if step.source}
    key: dict[str, tuple[int, int]] = {name: (at, 0) for name, at in position.items()}
    for layer in layers:
        ranks = {p.slot: rank for rank, p in enumerate(layer.kind.parameters)}
        first = min((position[name] for name in layer.tensors.values() if name in wanted), default=0)
        key |= {name: (first, ranks[slot]) for slot, name in layer.tensors.items() if name in position}
    return sorted(steps, key=lambda step: key[step.source.name if step.source else ""])
