"""The kinds of layers bnport knows, and what each framework calls their parameters.

This is the one place where names, created values and extra axes stand. Both directions read the same row: the
inverse of a rule is the rule read from right to left.

Sources: parameter names read off instances of each class in torch 2.13 and mindspore 2.7-2.10; see also MindSpore's
API mapping notes (mindspore/source/note/api_mapping/pytorch_diff). Where a rule rests on more, it says on what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from porter.layers.rules import DIALECTS, Child, Dialect, Kind, Parameter

__all__ = ["BATCH_NORMS", "DIALECTS", "KEEP", "KINDS", "Child", "Dialect", "Kind", "Parameter", "kind_called"]


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


def _sync_batch_norm() -> Kind:
    # mindspore.nn.SyncBatchNorm has no inner cell, so its names are BatchNorm2d's; it takes 2-D and 4-D data only.
    batch_norm = _batch_norm(2)
    return replace(batch_norm, name="SyncBatchNorm", mindspore="SyncBatchNorm", spatial=None, only_when_named=True)


def _instance_norm(dims: int) -> Kind:
    # MindSpore's normalises by each sample's own statistics in training and evaluation alike and never reads
    # moving_mean and moving_variance: nn/layer/normalization.py, class _InstanceNorm.
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
        Parameter("gamma", "weight", "gamma", fill=1.0, always_in_mindspore=True),
        Parameter("beta", "bias", "beta", fill=0.0, always_in_mindspore=True),
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


# Deeper recurrent layers are no kind; their parameters keep their names, which are the same on both sides.
_RECURRENT_DEPTH = 16


def _recurrent(name: str, gates: int) -> tuple[Kind, Kind]:
    """A recurrent layer of up to 16 levels in one or both directions, and its cell, which is one step of it.

    PyTorch declares them level by level, MindSpore all input weights first, then the hidden ones, then the biases
    (nn/layer/rnns.py, class _RNNBase); gates stand in the same order in both.
    """
    rows = f"{gates}H"
    sizes: dict[str, tuple[str, ...]] = {
        "weight_ih": (rows, "I"),
        "weight_hh": (rows, "H"),
        "bias_ih": (rows,),
        "bias_hh": (rows,),
    }
    cell = tuple(Parameter(slot, slot, slot, rank=len(size), sizes=size) for slot, size in sizes.items())
    ends = [f"_l{level}{way}" for level in range(_RECURRENT_DEPTH) for way in ("", "_reverse")]
    layer = tuple(_at_level(parameter, end) for end in ends for parameter in cell)
    order = tuple(f"{slot}{end}" for slot in sizes for end in ends)
    return (
        Kind(name, name, layer, order, needs=("weight_ih_l0", "weight_hh_l0")),
        Kind(f"{name}Cell", f"{name}Cell", cell, needs=("weight_ih", "weight_hh")),
    )


def _at_level(parameter: Parameter, end: str) -> Parameter:
    """A cell's parameter at one level of the layer; every level has an input size of its own."""
    name = parameter.slot + end
    level = end.removesuffix("_reverse")
    sizes = tuple(f"I{level}" if size == "I" else size for size in parameter.sizes)
    return parameter._replace(slot=name, torch=name, mindspore=name, sizes=sizes)


def _attention() -> Kind:
    """Its three input projections are one tensor or three; the output's, `out_proj`, is a Linear of its own."""
    sizes: dict[str, tuple[str, ...]] = {
        "in_proj_weight": ("3E", "E"),
        "q_proj_weight": ("E", "E"),
        "k_proj_weight": ("E", "K"),
        "v_proj_weight": ("E", "V"),
        "in_proj_bias": ("3E",),
        "bias_k": ("1", "1", "E"),
        "bias_v": ("1", "1", "E"),
    }
    parameters = tuple(Parameter(slot, slot, slot, rank=len(size), sizes=size) for slot, size in sizes.items())
    return Kind("MultiheadAttention", "MultiheadAttention", parameters)


def _transformer_layers() -> Iterator[Kind]:
    """MindSpore calls the linear layers dense: nn/layer/transformer.py, the classes of these names."""
    children = (
        Child("self_attn", "self_attn", "MultiheadAttention"),
        Child("linear1", "dense1", "Linear"),
        Child("linear2", "dense2", "Linear"),
        Child("norm1", "norm1", "LayerNorm"),
        Child("norm2", "norm2", "LayerNorm"),
    )
    more = (Child("multihead_attn", "multihead_attn", "MultiheadAttention"), Child("norm3", "norm3", "LayerNorm"))
    for name, parts in (("TransformerEncoderLayer", children), ("TransformerDecoderLayer", children + more)):
        yield Kind(name, name, (), children=parts)


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
        _sync_batch_norm(),
        *(kind for name, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)) for kind in _recurrent(name, gates)),
        _attention(),
        *_transformer_layers(),
    )
}

# A layer that no rule is for: its tensors keep their names. It is what remains, so that it is not among KINDS, out of
# which names and shapes choose.
KEEP = Kind("keep", "", ())

BATCH_NORMS = tuple(kind for kind in KINDS.values() if kind.family == "BatchNorm" and kind.spatial)


def kind_called(name: str) -> Kind | None:
    """The kind that a user or a record calls `name`, `keep` included; None where there is none."""
    return KEEP if name == KEEP.name else KINDS.get(name)
