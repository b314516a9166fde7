"""The kinds of layers bnport knows, and what each framework calls their parameters.

This is the one place where names, created values and extra axes stand. Both directions read the same row: the
inverse of a rule is the rule read from right to left.

Dialects: `torch` (torch.nn), `mindspore` (mindspore.nn) and `mint` (mindspore.mint.nn, which uses PyTorch's
names, shapes and momentum). Sources: parameter names read off instances of each class in torch 2.13 and
mindspore 2.7-2.10; see also MindSpore's API mapping notes (mindspore/source/note/api_mapping/pytorch_diff).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Dialect = Literal["torch", "mindspore", "mint"]
DIALECTS: tuple[Dialect, ...] = ("torch", "mindspore", "mint")


@dataclass(frozen=True)
class Parameter:
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

    def name_in(self, dialect: Dialect, *, root: bool = False) -> str | None:
        if dialect != "mindspore":
            return self.torch
        return self.mindspore_root if root and self.mindspore_root else self.mindspore

    def shape_in(self, dialect: Dialect, shape: tuple[int, ...], *, came_from: Dialect) -> tuple[int, ...]:
        """`shape` as stored in `came_from`, restated for `dialect`; the number of elements never changes."""
        axis = self.extra_axis
        if axis is None or (dialect == "mindspore") == (came_from == "mindspore"):
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


@dataclass(frozen=True)
class Kind:
    """A kind of layer.

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

    @property
    def rule(self) -> tuple[object, ...]:
        """What conversion needs to know of the kind: kinds with equal rules are converted alike."""
        return tuple(replace(p, rank=None) for p in self.parameters)

    @property
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

    def parameter(self, slot: str) -> Parameter:
        return next(p for p in self.parameters if p.slot == slot)

    def accepts(self, shapes: Mapping[str, tuple[int, ...]], dialect: Dialect) -> bool:
        """Whether tensors of these shapes (slot -> shape as stored in `dialect`) can be one layer of this kind."""
        if not set(self.needs) <= set(shapes) or ("mean" in shapes) != ("variance" in shapes):
            return False
        if not all(self.parameter(slot).accepts(shape, dialect) for slot, shape in shapes.items()):
            return False
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


def _batch_norm(dims: int) -> Kind:
    # BatchNorm3d hides its parameters in an inner cell: nn/layer/normalization.py, class BatchNorm3d, self.bn2d.
    inner = "bn2d." if dims == 3 else ""
    bare_mean, bare_variance = (None, None) if dims == 3 else ("mean", "variance")
    return Kind(
        name=f"BatchNorm{dims}d",
        mindspore=f"BatchNorm{dims}d",
        parameters=(
            Parameter("gamma", "weight", f"{inner}gamma", None, 1.0, True, rank=1),
            Parameter("beta", "bias", f"{inner}beta", None, 0.0, True, rank=1),
            Parameter("mean", "running_mean", f"{inner}moving_mean", bare_mean, 0.0, True, rank=1),
            Parameter("variance", "running_var", f"{inner}moving_variance", bare_variance, 1.0, True, rank=1),
            # A scalar; files written before PyTorch 1.0 hold shape (1,) or a float, and PyTorch coerces them.
            Parameter("count", "num_batches_tracked", None, fill=0.0, torch_with="mean"),
        ),
        mindspore_order=("mean", "variance", "gamma", "beta"),
        spatial=dims,
        family="BatchNorm",
        version=2,
    )


def _instance_norm(dims: int) -> Kind:
    batch_norm = _batch_norm(1)
    return Kind(
        name=f"InstanceNorm{dims}d",
        mindspore=f"InstanceNorm{dims}d",
        parameters=batch_norm.parameters,
        mindspore_order=batch_norm.mindspore_order,
        spatial=dims,
        family="InstanceNorm",
        version=2,
    )


def _scale_and_shift(name: str) -> Kind:
    parameters = (
        Parameter("gamma", "weight", "gamma", fill=1.0),
        Parameter("beta", "bias", "beta", fill=0.0),
    )
    return Kind(name, name, parameters)


def _linear_map(
    name: str, mindspore: str, rank: int, *, channel_axis: int = 0, extra_axis: int | None = None
) -> Kind:
    weight = Parameter("weight", "weight", "weight", rank=rank, extra_axis=extra_axis)
    bias = Parameter("bias", "bias", "bias", rank=1)
    spatial = int(name[-2]) if name.startswith("Conv") else None
    return Kind(name, mindspore, (weight, bias), spatial=spatial, needs=("weight",), channel_axis=channel_axis)


def _convolutions(dims: int) -> tuple[Kind, Kind]:
    # MindSpore's 1-D convolutions are 2-D ones over a height of 1: nn/layer/conv.py, class Conv1d.
    axis = 2 if dims == 1 else None
    return (
        _linear_map(f"Conv{dims}d", f"Conv{dims}d", dims + 2, extra_axis=axis),
        _linear_map(f"ConvTranspose{dims}d", f"Conv{dims}dTranspose", dims + 2, channel_axis=1, extra_axis=axis),
    )


def _single(name: str, mindspore: str, rank: int, *, root: str | None = None) -> Kind:
    return Kind(name, name, (Parameter("weight", "weight", mindspore, root, rank=rank),), needs=("weight",))


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        *(_batch_norm(dims) for dims in (1, 2, 3)),
        *(_instance_norm(dims) for dims in (1, 2, 3)),
        _scale_and_shift("LayerNorm"),
        _scale_and_shift("GroupNorm"),
        _single("PReLU", "w", 1, root="a"),
        _single("Embedding", "embedding_table", 2),
        _linear_map("Linear", "Dense", 2),
        _linear_map("Bilinear", "BiDense", 3),
        *(kind for dims in (1, 2, 3) for kind in _convolutions(dims)),
    )
}

BATCH_NORMS = tuple(kind for kind in KINDS.values() if kind.family == "BatchNorm")
