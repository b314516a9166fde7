"""Tensors gathered into the layers they could belong to, by their names and shapes alone.

A group is what stands below one dotted path: `layer1.0.bn1` with its weight, bias, running_mean, ... The kinds whose
names and shapes fit a group are its candidates: exactly, or all but some further tensors where the statistics show
what it is (a subclass of BatchNorm3d with a buffer of its own). A group without candidates is no layer bnport knows
(a position embedding, a class token). What belongs to no layer travels under its own name.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from porter.formats.model import TensorSpec
from porter.layers.kinds import KINDS, Dialect, Kind
from porter.layers.paths import Paths

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, eq=False)
class Form:
    """What groups that look alike have in common.

    Networks repeat themselves: there is one object of each form, so that identity is equality, and what follows from
    a form alone is worked out once.

    Attributes:
        shapes: (leaf, shape) of every tensor, in file order.
        is_root: whether the group is the whole network.
    """

    shapes: Shapes
    is_root: bool


_form = lru_cache(maxsize=4096)(Form)


class Group(NamedTuple):
    """The tensors directly below `name`, by the rest of their names, in file order.

    Attributes:
        name: dotted path of the layer, "" for the root.
        tensors: leaf (`weight`; `bn2d.gamma` for MindSpore's nested BatchNorm3d) -> tensor.
        form: the same with nothing but the shapes.
    """

    name: str
    tensors: Mapping[str, TensorSpec]
    form: Form

    @classmethod
    def of(cls, name: str, tensors: Mapping[str, TensorSpec]) -> Group:
        return cls(name, tensors, _form(tuple([(leaf, spec.shape) for leaf, spec in tensors.items()]), not name))


def group_tensors(specs: Iterable[TensorSpec], dialect: Dialect, own: Container[str] = ()) -> dict[str, Group]:
    """Groups by layer name, in order of their first tensor.

    A name that begins with a dot is in none: no framework lets a module have an empty name.

    Args:
        own: paths that are known to be layers by themselves, and not the inner cell of a BatchNorm3d.
    """
    by_parent: dict[str, dict[str, TensorSpec]] = {}
    for spec in specs:
        parent, _, leaf = spec.name.rpartition(".")
        if not spec.name.startswith("."):
            by_parent.setdefault(parent, {})[leaf] = spec
    if dialect == "mindspore":
        by_parent = _lift_inner_cells(by_parent, own)
    return {name: Group.of(name, tensors) for name, tensors in by_parent.items()}


def _lift_inner_cells(
    by_parent: dict[str, dict[str, TensorSpec]], own: Container[str]
) -> dict[str, dict[str, TensorSpec]]:
    """Give `X.bn2d`'s tensors to X where X is a BatchNorm3d: where it has no child but that inner cell.

    A cell that its author named bn2d stands beside other children and keeps its name. Parameters that a subclass of
    BatchNorm3d adds stay beside the inner cell's; one that has a BatchNorm3d's own name in PyTorch is none of these.
    """
    paths = Paths(by_parent)
    lifted: dict[str, dict[str, TensorSpec]] = {}
    for name, tensors in by_parent.items():
        outer, _, last = name.rpartition(".")
        is_inner = last == "bn2d" and tensors.keys() <= _INNER.keys() and name not in own
        if is_inner and paths.below(outer) == [name] and by_parent.get(outer, {}).keys().isdisjoint(_TAKEN):
            lifted.setdefault(outer, {}).update({_INNER[leaf]: spec for leaf, spec in tensors.items()})
        else:
            lifted.setdefault(name, {}).update(tensors)
    return lifted


STATISTICS = ("running_mean", "running_var", "moving_mean", "moving_variance")
_INNER = {name.removeprefix("bn2d."): name for name in KINDS["BatchNorm3d"].names_in("mindspore").values()}
_TAKEN = frozenset(KINDS["BatchNorm3d"].names_in("torch").values())


def candidates(group: Group, dialect: Dialect) -> tuple[Kind, ...]:
    """The kinds whose names and shapes fit `group` in `dialect`."""
    return _candidates(group.form, dialect, False)


def subclass_candidates(group: Group, dialect: Dialect) -> tuple[Kind, ...]:
    """The kinds of which `group` may be a subclass: one with further tensors, whatever these are."""
    return _candidates(group.form, dialect, True)


def owns_statistics(group: Group) -> bool:
    """Whether a tensor of `group` is called as running statistics are."""
    return any(leaf.rpartition(".")[2] in STATISTICS for leaf in group.tensors)


@lru_cache(maxsize=4096)
def _candidates(form: Form, dialect: Dialect, subclasses: bool) -> tuple[Kind, ...]:
    found, shapes = [], form.shapes
    # PyTorch's normalisations count their batches, which those that others write do not.
    telling = "mean" if dialect == "mindspore" else "count"
    for kind in KINDS.values():
        slot_of = {leaf: slot for slot, leaf in kind.names_in(dialect, root=form.is_root).items()}
        by_slot = {slot_of[leaf]: shape for leaf, shape in shapes if leaf in slot_of}
        complete = subclasses or len(by_slot) == len(shapes) or telling in by_slot
        if by_slot and complete and kind.accepts(by_slot, dialect):
            found.append(kind)
    return tuple(found)


class Reading(NamedTuple):
    """The tensors of a group, being of some kind.

    Attributes:
        slots: slot -> leaf; tensors that are not the kind's are left out.
        channels: length of the channel axis; None where the kind has no such axis.
    """

    slots: Mapping[str, str]
    channels: int | None


@lru_cache(maxsize=4096)
def read_as(form: Form, kind: Kind, dialect: Dialect) -> Reading:
    """A group of this form, being a `kind`."""
    present = dict(form.shapes)
    names = kind.names_in(dialect, root=form.is_root)
    slots = {slot: leaf for slot, leaf in names.items() if leaf in present}
    return Reading(slots, kind.channels({slot: present[leaf] for slot, leaf in slots.items()}))
