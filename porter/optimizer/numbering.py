"""Which parameter is which number: PyTorch's optimizers know their parameters by number alone.

The numbers count through the groups, and within a group follow the order in which the parameters were handed over,
as a rule that of `model.parameters()`: the state dict's order without its buffers, a shared tensor counted once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from porter.errors import Malformed, Undecided
from porter.formats.model import Checkpoint, OptimizerDict, TensorSpec
from porter.layers.model import Layer
from porter.plan import Plan, Step

Shape = tuple[int, ...]

_HINT = (
    "Save it again with an optimizer made from model.named_parameters() (PyTorch 2.6 and later), which keeps the "
    "names; or leave --optimizer out."
)


def parameters_of(checkpoint: Checkpoint, layers: Sequence[Layer], prefix: str) -> tuple[list[str], list[str]]:
    """The name of every parameter of the optimizer in a torch checkpoint, by number, and remarks for the user.

    Args:
        checkpoint: opened with its optimizer.
        layers: as recognised; they tell parameters from statistics.
        prefix: what a wrapper wrote in front of every name ("" if none).

    Raises:
        Undecided: neither names nor shapes settle it.
        Malformed: a shape contradicts the name.
    """
    optimizer = checkpoint.optimizer
    assert optimizer is not None
    named = _by_name(checkpoint, optimizer, prefix)
    if named is not None:
        return named, []
    candidates = _candidates(checkpoint, optimizer, layers)
    groups = [list(group["params"]) for group in optimizer.param_groups]
    shapes = {number: _shape_of_state(optimizer, number) for group in groups for number in group}
    if len(groups) == 1:
        return _one_group([shapes[n] for n in groups[0]], candidates, checkpoint), []
    return _several_groups(groups, shapes, candidates, checkpoint)


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


def _one_group(shapes: Sequence[Shape | None], candidates: list[TensorSpec], checkpoint: Checkpoint) -> list[str]:
    """The one way to find `shapes`, in their order, among the candidates; some of these may be frozen."""
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


def _embedding(shapes: Sequence[Shape | None], candidates: Iterable[TensorSpec]) -> list[str] | None:
    """The first candidates, in order, that have these shapes (None: any); None where there are not enough."""
    names: list[str] = []
    for spec in candidates:
        if len(names) < len(shapes) and shapes[len(names)] in (None, spec.shape):
            names.append(spec.name)
    return names if len(names) == len(shapes) else None


def _several_groups(
    groups: list[list[int]], shapes: dict[int, Shape | None], candidates: list[TensorSpec], checkpoint: Checkpoint
) -> tuple[list[str], list[str]]:
    """Each group a part of `model.parameters()`, in its order: parted by shape (1-D without weight decay), or one
    after the other (backbone, head)."""
    owners: dict[Shape | None, set[int]] = {}
    for i, group in enumerate(groups):
        for number in group:
            owners.setdefault(shapes[number], set()).add(i)
    same = Counter(shapes.values()) == Counter(spec.shape for spec in candidates)
    if same and all(len(parts) == 1 for parts in owners.values()):
        waiting: dict[Shape, list[str]] = {}
        for spec in reversed(candidates):
            waiting.setdefault(spec.shape, []).append(spec.name)
        ordered = (shapes[number] for group in groups for number in group)
        return [waiting[shape].pop() for shape in ordered if shape is not None], []
    if len(shapes) == len(candidates):
        names = _embedding([shapes[number] for group in groups for number in group], candidates)
        if names is not None:
            note = (
                f"the optimizer's {len(groups)} groups were taken to follow one another in the network's order, "
                "which the shapes allow and nothing proves; model.named_parameters() would keep the names"
            )
            return names, [note]
    raise _undecided(
        checkpoint, "which parameters are in which of the optimizer's groups cannot be told", f"{len(groups)} groups"
    )


def _undecided(checkpoint: Checkpoint, message: str, found: str) -> Undecided:
    assert checkpoint.optimizer is not None
    return Undecided(message, file=checkpoint.path, entry=checkpoint.optimizer.key, found=found, hint=_HINT)


def in_torch_order(plan: Plan, layers: Sequence[Layer], names: Iterable[str]) -> list[Step]:
    """The steps of these source tensors in the order in which PyTorch's network would have them as parameters.

    Layers in the plan's order, within a layer the order of PyTorch's rule: a MindSpore checkpoint saves some layers'
    parameters in another one.
    """
    wanted = set(names)
    position = {step.source.name: i for i, step in enumerate(plan.steps) if step.source}
    key: dict[str, tuple[int, int]] = {name: (at, 0) for name, at in position.items()}
    for layer in layers:
        ranks = {p.slot: rank for rank, p in enumerate(layer.kind.parameters)}
        first = min((position[name] for name in layer.tensors.values() if name in wanted), default=0)
        key |= {name: (first, ranks[slot]) for slot, name in layer.tensors.items() if name in position}
    steps = [step for step in plan.steps if step.source and step.target and step.source.name in wanted]
    return sorted(steps, key=lambda step: key[step.source.name if step.source else ""])
