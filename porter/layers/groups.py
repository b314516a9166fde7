"""Tensors gathered into the layers they could belong to, by their names and shapes alone.

A group is what stands below one dotted path: `layer1.0.bn1` with its weight, bias, running_mean, ... The kinds whose
names and shapes fit a group exactly are its candidates; a group without candidates is no layer bnport knows (a
position embedding, a class token), and its tensors travel under their own names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from porter.formats.model import TensorSpec
from porter.layers.kinds import KINDS, Dialect, Kind


@dataclass(frozen=True)
class Group:
    """The tensors directly below `name`, by the rest of their names, in file order.

    Attributes:
        name: dotted path of the layer, "" for the root.
        tensors: leaf (`weight`; `bn2d.gamma` for MindSpore's nested BatchNorm3d) -> tensor.
    """

    name: str
    tensors: Mapping[str, TensorSpec]

    def tensor_name(self, leaf: str) -> str:
        return self.tensors[leaf].name


def group_tensors(specs: Iterable[TensorSpec], dialect: Dialect) -> dict[str, Group]:
    """Groups by layer name, in order of their first tensor."""
    by_parent: dict[str, dict[str, TensorSpec]] = {}
    for spec in specs:
        parent, _, leaf = spec.name.rpartition(".")
        by_parent.setdefault(parent, {})[leaf] = spec
    if dialect == "mindspore":
        by_parent = _lift_inner_cells(by_parent)
    return {name: Group(name, tensors) for name, tensors in by_parent.items()}


def _lift_inner_cells(by_parent: dict[str, dict[str, TensorSpec]]) -> dict[str, dict[str, TensorSpec]]:
    """Give `X.bn2d`'s tensors to X where X is a BatchNorm3d: where it has nothing but that inner cell.

    A cell that its author named bn2d stands beside other children and keeps its name.
    """
    inner = set(_BATCH_NORM_3D_INNER)
    children: dict[str, set[str]] = {}
    for name in by_parent:
        parts = name.split(".")
        for depth in range(len(parts)):
            children.setdefault(".".join(parts[:depth]), set()).add(parts[depth])
    lifted = {}
    for name, tensors in by_parent.items():
        outer, _, last = name.rpartition(".")
        alone = children.get(outer) == {"bn2d"} and outer not in by_parent and name not in children
        if last == "bn2d" and alone and set(tensors) <= inner:
            lifted[outer] = {f"bn2d.{leaf}": spec for leaf, spec in tensors.items()}
        else:
            lifted[name] = tensors
    return lifted


_BATCH_NORM_3D_INNER = [name.removeprefix("bn2d.") for name in KINDS["BatchNorm3d"].names_in("mindspore").values()]


def candidates(group: Group, dialect: Dialect) -> tuple[Kind, ...]:
    """The kinds whose names and shapes fit `group` in `dialect`."""
    shapes = tuple((leaf, spec.shape) for leaf, spec in group.tensors.items())
    return _candidates(shapes, dialect, root=not group.name)


# Networks repeat themselves: the same names and shapes come again and again.
@lru_cache(maxsize=4096)
def _candidates(shapes: tuple[tuple[str, tuple[int, ...]], ...], dialect: Dialect, *, root: bool) -> tuple[Kind, ...]:
    found = []
    for kind in KINDS.values():
        slot_of = {leaf: slot for slot, leaf in kind.names_in(dialect, root=root).items()}
        by_slot = {slot_of[leaf]: shape for leaf, shape in shapes if leaf in slot_of}
        if len(by_slot) == len(shapes) and kind.accepts(by_slot, dialect):
            found.append(kind)
    return tuple(found)


def slots_of(group: Group, kind: Kind, dialect: Dialect) -> dict[str, str]:
    """Slot -> leaf for the tensors of `group`, being those of `kind`; other tensors are left out."""
    names = kind.names_in(dialect, root=not group.name)
    return {slot: leaf for slot, leaf in names.items() if leaf in group.tensors}


def shapes_of(group: Group, slots: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """Slot -> shape, for slot -> leaf."""
    return {slot: group.tensors[leaf].shape for slot, leaf in slots.items()}
