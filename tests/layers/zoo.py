"""The layers that the rules of `porter.layers.kinds` are about: how each is built in PyTorch and in MindSpore.

MindSpore's arguments are its defaults' equivalents in PyTorch: epsilon of LayerNorm (1e-7 there), padding and bias of
convolutions ('same' and none there).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import nn as ms
from torch import nn


@dataclass(frozen=True)
class Row:
    """One layer on both sides.

    Attributes:
        torch, mindspore: build it.
        inputs: shapes of random float32 inputs, nested as the layer takes them; integers as they are.
        kind: what `--layer` calls it; None where parts of it are layers of their own.
        needs_class: the state dict shows nothing of it, not even its name: only its class does.
        needs_word: its class does not settle the kind, `--layer` does.
        one_way: MindSpore's layer has more parameters than PyTorch's; without a record so has what it becomes.
        no_kernel: the operator that MindSpore lacks on the CPU, as its error names it.
        scale: of the random parameters; with large ones a recurrence multiplies its own rounding errors.
    """

    torch: Callable[[], nn.Module]
    mindspore: Callable[[], ms.Cell]
    inputs: tuple[Any, ...]
    kind: str | None
    needs_class: bool = False
    needs_word: bool = False
    one_way: bool = False
    no_kernel: str = ""
    scale: float = 1.0


def _spatial(dims: int) -> tuple[int, ...]:
    return (2, 4, 7, 6, 5)[: dims + 2]


def _norms() -> dict[str, Row]:
    rows = {}
    for d in (1, 2, 3):
        batch = {"": {}, " without affine": {"affine": False}, " without statistics": {"track_running_stats": False}}
        for what, settings in batch.items():
            flag = {"use_batch_statistics": True} if "statistics" in what else {}
            rows[f"BatchNorm{d}d{what}"] = Row(
                lambda d=d, settings=settings: getattr(nn, f"BatchNorm{d}d")(4, **settings),
                lambda d=d, flag=flag: getattr(ms, f"BatchNorm{d}d")(4, **flag),
                (_spatial(d),),
                f"BatchNorm{d}d",
                one_way=bool(what),
            )
        instance = {
            "": {},
            " with affine": {"affine": True},
            " with both": {"affine": True, "track_running_stats": True},
        }
        for what, settings in instance.items():
            rows[f"InstanceNorm{d}d{what}"] = Row(
                lambda d=d, settings=settings: getattr(nn, f"InstanceNorm{d}d")(4, **settings),
                lambda d=d: getattr(ms, f"InstanceNorm{d}d")(4),
                (_spatial(d),),
                f"InstanceNorm{d}d",
                needs_class=not what,
                one_way=what != " with affine",
                no_kernel="InstanceNorm",
            )
    two_axes = {"begin_norm_axis": 1, "begin_params_axis": 1}
    return rows | {
        "SyncBatchNorm": Row(
            lambda: nn.SyncBatchNorm(4), lambda: ms.SyncBatchNorm(4), (_spatial(2),), "SyncBatchNorm", needs_word=True
        ),
        "LayerNorm": Row(lambda: nn.LayerNorm(6), lambda: ms.LayerNorm((6,), epsilon=1e-5), ((3, 6),), "LayerNorm"),
        "LayerNorm of two axes": Row(
            lambda: nn.LayerNorm((4, 6)),
            lambda: ms.LayerNorm((4, 6), epsilon=1e-5, **two_axes),
            ((3, 4, 6),),
            "LayerNorm",
        ),
        "LayerNorm of two axes without bias": Row(
            lambda: nn.LayerNorm((4, 6), bias=False),
            lambda: ms.LayerNorm((4, 6), epsilon=1e-5, **two_axes),
            ((3, 4, 6),),
            "LayerNorm",
            one_way=True,
        ),
        "LayerNorm without bias": Row(
            lambda: nn.LayerNorm(6, bias=False),
            lambda: ms.LayerNorm((6,), epsilon=1e-5),
            ((3, 6),),
            "LayerNorm",
            one_way=True,
        ),
        "LayerNorm without parameters": Row(
            lambda: nn.LayerNorm((4, 6), elementwise_affine=False),
            lambda: ms.LayerNorm((4, 6), epsilon=1e-5, **two_axes),
            ((3, 4, 6),),
            "LayerNorm",
            needs_class=True,
            one_way=True,
        ),
        "GroupNorm": Row(lambda: nn.GroupNorm(2, 4), lambda: ms.GroupNorm(2, 4), (_spatial(3),), "GroupNorm"),
        "GroupNorm without parameters": Row(
            lambda: nn.GroupNorm(2, 4, affine=False),
            lambda: ms.GroupNorm(2, 4),
            (_spatial(3),),
            "GroupNorm",
            needs_class=True,
            one_way=True,
        ),
    }


def _maps() -> dict[str, Row]:
    """Layers that mix channels, and the two that only look up or scale."""
    rows = {}
    for d in (1, 2, 3):
        for name in ("Conv", "ConvTranspose"):
            for what, settings, changed in (
                ("", {}, {"has_bias": True}),
                (" in groups without bias", {"groups": 2, "bias": False}, {"group": 2}),
            ):
                suffix = "Transpose" * (name == "ConvTranspose")
                rows[f"{name}{d}d{what}"] = Row(
                    lambda name=name, d=d, settings=settings: getattr(nn, f"{name}{d}d")(4, 6, 3, **settings),
                    lambda suffix=suffix, d=d, changed=changed: getattr(ms, f"Conv{d}d{suffix}")(
                        4, 6, 3, pad_mode="valid", **changed
                    ),
                    (_spatial(d),),
                    f"{name}{d}d",
                )
    ids = np.array([[0, 2], [4, 1]], "i4")
    return rows | {
        "Linear": Row(lambda: nn.Linear(6, 3), lambda: ms.Dense(6, 3), ((2, 6),), "Linear"),
        "Linear without bias": Row(
            lambda: nn.Linear(6, 3, bias=False), lambda: ms.Dense(6, 3, has_bias=False), ((2, 6),), "Linear"
        ),
        "Bilinear": Row(lambda: nn.Bilinear(4, 3, 2), lambda: ms.BiDense(4, 3, 2), ((5, 4), (5, 3)), "Bilinear"),
        "Embedding": Row(lambda: nn.Embedding(5, 3), lambda: ms.Embedding(5, 3), (ids,), "Embedding"),
        "PReLU": Row(lambda: nn.PReLU(4), lambda: ms.PReLU(4), (_spatial(3),), "PReLU"),
        "PReLU of one value": Row(lambda: nn.PReLU(), lambda: ms.PReLU(), (_spatial(3),), "PReLU"),
    }


def _recurrent() -> dict[str, Row]:
    rows = {}
    for name in ("LSTM", "GRU", "RNN"):
        for what, settings, changed in (
            ("", {}, {}),
            *((" of three levels, both ways", both, both) for both in [{"num_layers": 3, "bidirectional": True}]),
            (" without bias", {"bias": False}, {"has_bias": False}),
        ):
            rows[f"{name}{what}"] = Row(
                lambda name=name, settings=settings: getattr(nn, name)(3, 4, **settings),
                lambda name=name, changed=changed: getattr(ms, name)(3, 4, **changed),
                ((5, 2, 3),),
                name,
                scale=0.3,
            )
        rows[f"{name}Cell"] = Row(
            lambda name=name: getattr(nn, f"{name}Cell")(3, 4),
            lambda name=name: getattr(ms, f"{name}Cell")(3, 4),
            ((2, 3), [(2, 4), (2, 4)] if name == "LSTM" else (2, 4)),
            f"{name}Cell",
            scale=0.3,
        )
    return rows


def _attention() -> dict[str, Row]:
    same = ((5, 2, 8),) * 3
    rows = {
        f"MultiheadAttention{what}": Row(
            lambda settings=settings: nn.MultiheadAttention(8, 2, **settings),
            lambda changed=changed: ms.MultiheadAttention(8, 2, **changed),
            inputs,
            None,
        )
        for what, settings, changed, inputs in (
            ("", {}, {}, same),
            (" without bias", {"bias": False}, {"has_bias": False}, same),
            (" with bias_k", {"add_bias_kv": True}, {"add_bias_kv": True}, same),
            (" of three widths", {"kdim": 4, "vdim": 6}, {"kdim": 4, "vdim": 6}, ((5, 2, 8), (5, 2, 4), (5, 2, 6))),
        )
    }
    torch_layer, layer = (8, 2, 16), (8, 2, 16)
    return rows | {
        "TransformerEncoderLayer": Row(
            lambda: nn.TransformerEncoderLayer(*torch_layer),
            lambda: ms.TransformerEncoderLayer(*layer),
            ((5, 2, 8),),
            None,
        ),
        "TransformerDecoderLayer": Row(
            lambda: nn.TransformerDecoderLayer(*torch_layer),
            lambda: ms.TransformerDecoderLayer(*layer),
            ((5, 2, 8), (3, 2, 8)),
            None,
        ),
        "TransformerEncoder": Row(
            lambda: nn.TransformerEncoder(
                nn.TransformerEncoderLayer(*torch_layer), 2, norm=nn.LayerNorm(8), enable_nested_tensor=False
            ),
            lambda: ms.TransformerEncoder(
                ms.TransformerEncoderLayer(*layer), 2, norm=ms.LayerNorm((8,), epsilon=1e-5)
            ),
            ((5, 2, 8),),
            None,
        ),
    }


ROWS: dict[str, Row] = {**_norms(), **_maps(), **_recurrent(), **_attention()}
