"""The layer rules against the frameworks: every row is compared with parameters of real instances."""

from __future__ import annotations

from typing import Any

import mindspore
import pytest
import torch

from porter.formats.dtypes import FLOAT32
from porter.formats.model import TensorSpec
from porter.layers.groups import candidates, group_tensors
from porter.layers.kinds import KINDS, Kind

# Constructor arguments that give every parameter a kind can have; MindSpore's where they differ.
ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any], tuple[Any, ...], dict[str, Any]]] = {
    **{f"BatchNorm{d}d": ((4,), {}, (4,), {}) for d in (1, 2, 3)},
    **{f"InstanceNorm{d}d": ((4,), {"affine": True, "track_running_stats": True}, (4,), {}) for d in (1, 2, 3)},
    "LayerNorm": ((4,), {}, ((4,),), {}),
    "GroupNorm": ((2, 4), {}, (2, 4), {}),
    "PReLU": ((4,), {}, (4,), {}),
    "Embedding": ((5, 4), {}, (5, 4), {}),
    "Linear": ((4, 3), {}, (4, 3), {}),
    "Bilinear": ((4, 3, 2), {}, (4, 3, 2), {}),
    **{f"Conv{d}d": ((4, 6, 3), {}, (4, 6, 3), {"has_bias": True}) for d in (1, 2, 3)},
    **{f"ConvTranspose{d}d": ((4, 6, 3), {}, (4, 6, 3), {"has_bias": True}) for d in (1, 2, 3)},
    "SyncBatchNorm": ((4,), {}, (4,), {}),
    **{
        name: ((4, 3), {"num_layers": 16, "bidirectional": True}, (4, 3), {"num_layers": 16, "bidirectional": True})
        for name in ("LSTM", "GRU", "RNN")
    },
    **{f"{name}Cell": ((4, 3), {}, (4, 3), {}) for name in ("LSTM", "GRU", "RNN")},
}
# Attention has one or three input projections, never both; the others are made of layers: see test_zoo.py.
ELSEWHERE = {"MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer"}
ROWS = [kind for kind in KINDS.values() if kind.name not in ELSEWHERE]


def torch_specs(kind: Kind, prefix: str) -> list[TensorSpec]:
    arguments, keywords, _, _ = ARGUMENTS[kind.name]
    module = getattr(torch.nn, kind.name)(*arguments, **keywords)
    return [TensorSpec(prefix + name, FLOAT32, tuple(t.shape)) for name, t in module.state_dict().items()]


def mindspore_specs(kind: Kind, *, root: bool) -> list[TensorSpec]:
    _, _, arguments, keywords = ARGUMENTS[kind.name]
    cell = getattr(mindspore.nn, kind.mindspore)(*arguments, **keywords)

    class Net(mindspore.nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.layer = cell

    # parameters_dict holds the names that save_checkpoint writes; parameters_and_names those of the attributes.
    parameters = (cell if root else Net()).parameters_dict().items()
    return [TensorSpec(name, FLOAT32, tuple(p.shape)) for name, p in parameters]


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.name)
def test_torch_names_and_shapes_are_the_rules(kind: Kind) -> None:
    specs = torch_specs(kind, "layer.")
    assert [spec.name for spec in specs] == [f"layer.{name}" for name in kind.names_in("torch").values()]
    assert kind in candidates(group_tensors(specs, "torch")["layer"], "torch")


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("root", [False, True], ids=["nested", "root"])
def test_mindspore_names_and_shapes_are_the_rules(kind: Kind, root: bool) -> None:
    specs = mindspore_specs(kind, root=root)
    prefix = "" if root else "layer."
    names = {f"{prefix}{name}" for name in kind.names_in("mindspore", root=root).values()}
    assert {spec.name for spec in specs} == names
    order = [f"{prefix}{p.name_in('mindspore', root=root)}" for p in kind.in_order("mindspore") if p.mindspore]
    assert [spec.name for spec in specs] == order
    group = group_tensors(specs, "mindspore")[prefix.rstrip(".")]
    assert kind in candidates(group, "mindspore")


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.name)
def test_shapes_translate_into_mindspores_and_back(kind: Kind) -> None:
    by_name = {spec.name: spec.shape for spec in mindspore_specs(kind, root=False)}
    for spec in torch_specs(kind, ""):
        parameter = next(p for p in kind.parameters if p.torch == spec.name)
        if parameter.mindspore is None:
            continue
        there = parameter.shape_in("mindspore", spec.shape, came_from="torch")
        assert by_name[f"layer.{parameter.mindspore}"] == there
        assert parameter.shape_in("torch", there, came_from="mindspore") == spec.shape
        assert parameter.shape_in("mint", spec.shape, came_from="torch") == spec.shape


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        ({"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4)}, "LSTM"),
        ({"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}, "GRU"),
        ({"weight_ih_l0": (4, 3), "weight_hh_l0": (4, 4)}, "RNN"),
        ({"weight_ih_l0": (17, 3), "weight_hh_l0": (16, 4)}, None),
        ({"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_ih_l0": (12,)}, None),
        ({"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 2), "weight_hr_l0": (2, 4)}, None),  # proj_size
        ({"weight_ih": (16, 3), "weight_hh": (16, 4)}, "LSTMCell"),
        ({"in_proj_weight": (24, 8), "in_proj_bias": (24,)}, "MultiheadAttention"),
        ({"in_proj_weight": (24, 6), "in_proj_bias": (24,)}, None),
        ({"q_proj_weight": (8, 8), "k_proj_weight": (8, 3), "v_proj_weight": (8, 5)}, "MultiheadAttention"),
    ],
)
def test_sizes_tell_recurrent_and_attention_layers(shapes: dict[str, tuple[int, ...]], kind: str | None) -> None:
    specs = [TensorSpec(f"layer.{name}", FLOAT32, shape) for name, shape in shapes.items()]
    found = candidates(group_tensors(specs, "torch")["layer"], "torch")
    assert [one.name for one in found] == ([kind] if kind else [])


def test_mindspores_order_of_a_batch_norm() -> None:
    names = [spec.name for spec in mindspore_specs(KINDS["BatchNorm3d"], root=True)]
    assert names == ["bn2d.moving_mean", "bn2d.moving_variance", "bn2d.gamma", "bn2d.beta"]
    assert [p.mindspore for p in KINDS["BatchNorm3d"].in_order("mindspore")][:4] == names


@pytest.mark.parametrize("fill", ["gamma", "beta", "mean", "variance"])
def test_created_values_are_what_mindspore_starts_with(fill: str) -> None:
    cell = mindspore.nn.BatchNorm3d(4, affine=False)
    parameter = KINDS["BatchNorm3d"].parameter(fill)
    values = dict(cell.parameters_and_names())[parameter.mindspore].asnumpy()
    assert (values == parameter.fill).all()
