"""The kinds of layers bnport knows, and what each framework calls their parameters.

This is the one place where names, created values and extra axes stand. Both directions read the same row: the
inverse of a rule is the rule read from right to left.

Dialects: `torch` (torch.nn), `mindspore` (mindspore.nn) and `mint` (mindspore.mint.nn, which uses PyTorch's
names, shapes and momentum). Sources: parameter names read off instances of each class in torch 2.13 and
mindspore 2.7-2.10; see also MindSpore's API mapping notes (mindspore/source/note/api_mapping/pytorch_diff).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    """

    slot: str
    torch: str
    mindspore: str | None
    mindspore_root: str | None = None
    fill: float | None = None
    always_in_mindspore: bool = False
    torch_with: str | None = None
    extra_axis: int | None = None

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
    """

    name: str
    mindspore: str
    parameters: tuple[Parameter, ...]
    mindspore_order: tuple[str, ...] = ()
    spatial: int | None = None
    family: str = ""
    version: int = 1

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


def _batch_norm(dims: int) -> Kind:
    # BatchNorm3d hides its parameters in an inner cell: nn/layer/normalization.py, class BatchNorm3d, self.bn2d.
    inner = "bn2d." if dims == 3 else ""
    bare = (lambda name: None) if dims == 3 else (lambda name: name)
    return Kind(
        name=f"BatchNorm{dims}d",
        mindspore=f"BatchNorm{dims}d",
        parameters=(
            Parameter("gamma", "weight", f"{inner}gamma", fill=1.0, always_in_mindspore=True),
            Parameter("beta", "bias", f"{inner}beta", fill=0.0, always_in_mindspore=True),
            Parameter("mean", "running_mean", f"{inner}moving_mean", bare("mean"), 0.0, True),
            Parameter("variance", "running_var", f"{inner}moving_variance", bare("variance"), 1.0, True),
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


def _convolution(name: str, dims: int) -> Kind:
    # MindSpore's 1-D convolutions are 2-D ones over a height of 1.
    weight = Parameter("weight", "weight", "weight", extra_axis=2 if dims == 1 else None)
    mindspore = name if "Transpose" not in name else f"Conv{dims}dTranspose"
    return Kind(name, mindspore, (weight, Parameter("bias", "bias", "bias")), spatial=dims, family=name[:-2])


def _affine_map(name: str, mindspore: str) -> Kind:
    return Kind(name, mindspore, (Parameter("weight", "weight", "weight"), Parameter("bias", "bias", "bias")))


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        *(_batch_norm(dims) for dims in (1, 2, 3)),
        *(_instance_norm(dims) for dims in (1, 2, 3)),
        _scale_and_shift("LayerNorm"),
        _scale_and_shift("GroupNorm"),
        Kind("Embedding", "Embedding", (Parameter("weight", "weight", "embedding_table"),)),
        Kind("PReLU", "PReLU", (Parameter("weight", "weight", "w", mindspore_root="a"),)),
        _affine_map("Linear", "Dense"),
        _affine_map("Bilinear", "BiDense"),
        *(_convolution(f"Conv{dims}d", dims) for dims in (1, 2, 3)),
        *(_convolution(f"ConvTranspose{dims}d", dims) for dims in (1, 2, 3)),
    )
}

BATCH_NORMS = tuple(kind for kind in KINDS.values() if kind.family == "BatchNorm")
