"""What a rule about a kind of layer consists of. The rules themselves stand in `porter.layers.kinds`.

Dialects: `torch` (torch.nn), `mindspore` (mindspore.nn) and `mint` (mindspore.mint.nn, which uses PyTorch's
names, shapes and momentum).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

Dialect = Literal["torch", "mindspore", "mint"]
DIALECTS: tuple[Dialect, ...] = ("torch", "mindspore", "mint")
FRAMEWORKS: Mapping[Dialect, str] = {"torch": "PyTorch", "mindspore": "MindSpore", "mint": "MindSpore"}


def names_differ(from_: Dialect, to: Dialect) -> bool:
    """mint has PyTorch's names: between the two a kind makes no difference."""
    return (from_ == "mindspore") != (to == "mindspore")


_SIZE = re.compile(r"(\d*)(\D\w*)?")


class Parameter(NamedTuple):
    """One parameter (or buffer) of a kind, under its canonical slot name.

    Attributes:
        slot: the canonical name, the same in every dialect (gamma, beta, mean, variance, count; weight, bias).
        torch: its name below the layer in torch and mint.
        mindspore: its name below the layer in mindspore; None where MindSpore has no such parameter.
        mindspore_root: its name when the layer itself is the whole network; MindSpore renames only nested cells'
            parameters after their attributes, so a bare cell shows the name its constructor gave.
        fill: the value of every element when the parameter has to be created, being what the framework itself
            computes with where the parameter is absent; None where it cannot be created.
        always_in_mindspore: MindSpore's layer has it even where PyTorch's has not (affine=False).
        torch_with: PyTorch's layer has it exactly when this other slot is there.
        extra_axis: MindSpore stores it with one more axis, of length 1, at this index.
        rank: number of axes in PyTorch; None where it varies.
        sizes: length of each axis, in letters that mean the same number throughout the layer, times a factor
            ("4H", "I"), or a number ("1"); empty where nothing is said.
    """

    slot: str
    torch: str
    mindspore: str | None
    mindspore_root: str | None = None
    fill: float | None = None
    always_in_mindspore: bool = False
    torch_with: str | None = None
    extra_axis: int | None = None
    rank: int | None = None
    sizes: tuple[str, ...] = ()

    def name_in(self, dialect: Dialect, *, root: bool = False) -> str | None:
        if dialect != "mindspore":
            return self.torch
        return self.mindspore_root if root and self.mindspore_root else self.mindspore

    def shape_in(self, dialect: Dialect, shape: tuple[int, ...], *, came_from: Dialect) -> tuple[int, ...]:
        """`shape` as stored in `came_from`, restated for `dialect`; the number of elements never changes."""
        axis = self.extra_axis
        if axis is None or not names_differ(came_from, dialect):
            return shape
        if dialect == "mindspore":
            return (*shape[:axis], 1, *shape[axis:])
        return shape[:axis] + shape[axis + 1 :]

    def accepts(self, shape: tuple[int, ...], dialect: Dialect) -> bool:
        """Whether a tensor stored with `shape` in `dialect` can be this parameter."""
        if dialect == "mindspore" and self.extra_axis is not None:
            if len(shape) <= self.extra_axis or shape[self.extra_axis] != 1:
                return False
            shape = self.shape_in("torch", shape, came_from="mindspore")
        return self.rank is None or len(shape) == self.rank


class Child(NamedTuple):
    """A layer inside a layer of several: its name below it on each side, and its kind."""

    torch: str
    mindspore: str
    kind: str

    def name_in(self, dialect: Dialect) -> str:
        return self.mindspore if dialect == "mindspore" else self.torch


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of layer; there is one object of each, so that identity is equality.

    Attributes:
        name: PyTorch's class name, which is how bnport and its users write the kind.
        mindspore: the class in `mindspore.nn`.
        parameters: in PyTorch's order of declaration.
        mindspore_order: slots in MindSpore's order of declaration; empty where it is the same.
        spatial: axes of the input after batch and channel (3 for D, H, W); None where that says nothing.
        family: kinds of one family differ only in `spatial`.
        version: the `version` PyTorch's state dict `_metadata` gives the module (torch's default is 1).
        needs: slots without which the tensors at hand are not this kind.
        channel_axis: the axis of `weight` that counts output channels; None for kinds whose parameters all have one
            shape, the channels (normalisations).
        only_when_named: a choice that no file shows (SyncBatchNorm for BatchNorm3d): never inferred, it holds where
            the user, a network or a record says so.
        children: the layers that make up this one; such a kind has no parameters of its own.
    """

    name: str
    mindspore: str
    parameters: tuple[Parameter, ...]
    mindspore_order: tuple[str, ...] = ()
    spatial: int | None = None
    family: str = ""
    version: int = 1
    needs: tuple[str, ...] = ()
    channel_axis: int | None = None
    only_when_named: bool = False
    children: tuple[Child, ...] = ()

    def __reduce__(self) -> tuple[Callable[[str], Kind | None], tuple[str]]:
        from porter.layers.kinds import kind_called

        return kind_called, (self.name,)

    @cached_property
    def rule(self) -> tuple[object, ...]:
        """What conversion needs to know of the kind: kinds with equal rules are converted alike."""
        return tuple(p._replace(rank=None, sizes=()) for p in self.parameters)

    @cached_property
    def keeps_names(self) -> bool:
        """Whether its tensors are called alike on both sides."""
        return not self.children and all(p.torch == p.mindspore for p in self.parameters)

    @cached_property
    def keeps_layout(self) -> bool:
        """Whether its tensors have the same names and shapes on both sides."""
        return self.keeps_names and all(p.extra_axis is None for p in self.parameters)

    @cached_property
    def is_norm_with_statistics(self) -> bool:
        return any(p.slot == "mean" for p in self.parameters)

    def names_in(self, dialect: Dialect, *, root: bool = False) -> dict[str, str]:
        """Slot -> name below the layer, in `dialect`; slots the dialect does not have are left out."""
        named = ((p.slot, p.name_in(dialect, root=root)) for p in self.in_order(dialect))
        return {slot: name for slot, name in named if name is not None}

    def in_order(self, dialect: Dialect) -> tuple[Parameter, ...]:
        if dialect != "mindspore" or not self.mindspore_order:
            return self.parameters
        rank = {slot: i for i, slot in enumerate(self.mindspore_order)}
        return tuple(sorted(self.parameters, key=lambda p: rank.get(p.slot, len(rank))))

    @cached_property
    def _by_slot(self) -> dict[str, Parameter]:
        return {p.slot: p for p in self.parameters}

    def parameter(self, slot: str) -> Parameter:
        return self._by_slot[slot]

    def accepts(self, shapes: Mapping[str, tuple[int, ...]], dialect: Dialect) -> bool:
        """Whether tensors of these shapes (slot -> shape as stored in `dialect`) can be one layer of this kind."""
        if not set(self.needs) <= set(shapes) or ("mean" in shapes) != ("variance" in shapes):
            return False
        # What a MindSpore layer with statistics lacks is tied to another layer, under whose name it stands.
        tied = dialect == "mindspore" and "mean" in shapes
        if "beta" in shapes and "gamma" not in shapes and not tied:
            return False  # no framework has a layer that shifts and does not scale
        missing = (p.always_in_mindspore and p.slot not in shapes for p in self.parameters)
        if dialect == "mindspore" and not tied and any(missing):
            return False
        if not all(self.parameter(slot).accepts(shape, dialect) for slot, shape in shapes.items()):
            return False
        if any(p.sizes for p in self.parameters):
            return _agree([(self.parameter(slot).sizes, shape) for slot, shape in shapes.items()])
        if self.channel_axis is None:
            return len({shape for slot, shape in shapes.items() if slot != "count"}) == 1
        # A transposed convolution's weight shows its output channels divided by its groups.
        bias, channels = shapes.get("bias"), self.channels(shapes)
        return (
            bias is None
            or channels is None
            or bias == (channels,)
            or ("Transpose" in self.name and bias[0] % channels == 0)
        )

    def channels(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        """Length of the channel axis, from slot -> shape; None where these kinds have no such axis."""
        axis = 0 if self.channel_axis is None else self.channel_axis
        shape = next((shape for slot, shape in shapes.items() if slot != "count" and len(shape) > axis), None)
        return None if shape is None else shape[axis]


@lru_cache(maxsize=1024)
def share_a_rule(kinds: tuple[Kind, ...]) -> bool:
    """Whether one rule converts all of `kinds`, so that it does not matter which of them a layer is; not of none."""
    return len({kind.rule for kind in kinds}) == 1


def _agree(pairs: list[tuple[tuple[str, ...], tuple[int, ...]]]) -> bool:
    """Whether every letter of the sizes can stand for one length in all shapes; see `Parameter.sizes`."""
    lengths: dict[str, int] = {}
    for sizes, shape in pairs:
        if len(sizes) != len(shape):
            return False
        for size, length in zip(sizes, shape, strict=True):
            factor, letter = _SIZE.fullmatch(size).groups()  # type: ignore[union-attr]
            unit, rest = divmod(length, int(factor or 1))
            if rest or lengths.setdefault(letter or "", 1 if letter is None else unit) != unit:
                return False
    return True
