"""Layers of both frameworks, each configured as its own network has it: real modules, from which all is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mindspore
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import nn as ms
from torch import nn

from porter.errors import BackendError
from porter.layers.kinds import KINDS
from porter.layers.ordinary_settings import settings_of_module
from porter.verification import mindspore_gradients, torch_gradients
from porter.verification.cases import OrdinaryCase, Stored
from porter.verification.options import Options
from porter.verification.ordinary import verify_ordinary
from porter.verification.results import LayerResult
from porter.verification.runs import Bench


def case_of(kind: str, module: nn.Module, cell: ms.Cell | None, *, back: bool = False) -> OrdinaryCase:
    """The layer `module` rightly converted, configured as `cell` is; without one nothing is known of MindSpore's."""
    slots = {name: slot for slot, name in KINDS[kind].names_in("torch").items()}
    values = {slots[name]: p.detach().numpy() for name, p in module.named_parameters() if name in slots}
    ours = {
        slot: v.reshape(KINDS[kind].parameter(slot).shape_in("mindspore", v.shape, came_from="torch"))
        for slot, v in values.items()
    }
    said = {} if cell is None else settings_of_module(cell, mindspore=True)
    sides = (
        Stored("torch", values, settings=settings_of_module(module, mindspore=False)),
        Stored("mindspore", ours, settings=said),
    )
    return OrdinaryCase("layer", KINDS[kind], *(reversed(sides) if back else sides))


def verify(case: OrdinaryCase, seed: int = 0) -> LayerResult:
    return verify_ordinary(case, Bench(Options(seed=seed)))


RIGHT: dict[str, tuple[str, nn.Module, ms.Cell]] = {
    "same, strided, alone": ("Conv3d", nn.Conv3d(4, 6, 1, stride=2), ms.Conv3d(4, 6, 1, 2, has_bias=True)),
    "same, of an even kernel": (
        "Conv1d",
        nn.Conv1d(4, 6, 4, padding="same", bias=False),
        ms.Conv1d(4, 6, 4),
    ),
    "depthwise": (
        "Conv3d",
        nn.Conv3d(4, 8, 3, padding=1, groups=4),
        ms.Conv3d(4, 8, 3, pad_mode="pad", padding=1, group=4, has_bias=True),
    ),
    "a patch embedding": (
        "Conv2d",
        nn.Conv2d(3, 5, 16, stride=16),
        ms.Conv2d(3, 5, 16, stride=16, pad_mode="valid", has_bias=True),
    ),
    "reflected": (
        "Conv2d",
        nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"),
        ms.Conv2d(3, 5, 3, pad_mode="valid", has_bias=True),
    ),
    "doubling": (
        "ConvTranspose2d",
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        ms.Conv2dTranspose(4, 6, 3, stride=2, pad_mode="pad", padding=(1, 0, 1, 0), has_bias=True),
    ),
    "a stride beyond the kernel": (
        "ConvTranspose1d",
        nn.ConvTranspose1d(4, 6, 2, stride=3, output_padding=1),
        ms.Conv1dTranspose(4, 6, 2, stride=3, pad_mode="valid", has_bias=True),
    ),
    "three groups": ("GroupNorm", nn.GroupNorm(3, 6, eps=1e-3), ms.GroupNorm(3, 6, eps=1e-3)),
    "an eps": ("LayerNorm", nn.LayerNorm(8, eps=1e-2), ms.LayerNorm((8,), epsilon=1e-2)),
    "heads": ("MultiheadAttention", nn.MultiheadAttention(12, 4), ms.MultiheadAttention(12, 4)),
    "batch first": (
        "MultiheadAttention",
        nn.MultiheadAttention(12, 3, batch_first=True),
        ms.MultiheadAttention(12, 3, batch_first=True),
    ),
    "a zero among the keys": (
        "MultiheadAttention",
        nn.MultiheadAttention(12, 3, add_zero_attn=True),
        ms.MultiheadAttention(12, 3, add_zero_attn=True),
    ),
    "a batch-first LSTM": (
        "LSTM",
        nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True),
        ms.LSTM(3, 4, 2, batch_first=True, bidirectional=True),
    ),
    "rectified": ("RNNCell", nn.RNNCell(3, 4, nonlinearity="relu"), ms.RNNCell(3, 4, nonlinearity="relu")),
    "rectified, which MindSpore's layer says by its inner cell": (
        "RNN",
        nn.RNN(3, 4, nonlinearity="relu"),
        ms.RNN(3, 4, nonlinearity="relu"),
    ),
}


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("layer", RIGHT)
def test_layers_configured_alike_pass_as_they_are(layer, back):
    kind, module, cell = RIGHT[layer]
    result = verify(case_of(kind, module, cell, back=back))
    assert result.ok is True, result
    assert result.notes == ()


WRONG: dict[str, tuple[str, nn.Module, ms.Cell, str]] = {
    "stride": (
        "Conv3d",
        nn.Conv3d(4, 6, 3, stride=2, padding=1),
        ms.Conv3d(4, 6, 3, stride=1, pad_mode="pad", padding=1, has_bias=True),
        "stride is (2, 2, 2) in PyTorch and (1, 1, 1) in MindSpore",
    ),
    "padding": (
        "Conv1d",
        nn.Conv1d(4, 6, 3, padding=1),
        ms.Conv1d(4, 6, 3, pad_mode="valid", has_bias=True),
        "padding is (1,) in PyTorch and pad_mode='valid' in MindSpore",
    ),
    "pad_mode left at its default": (
        "Conv2d",
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        ms.Conv2d(4, 6, 3, stride=2, has_bias=True),
        "padding is (1, 1) in PyTorch and pad_mode='same' in MindSpore",
    ),
    "dilation": (
        "Conv2d",
        nn.Conv2d(4, 6, 3, dilation=2),
        ms.Conv2d(4, 6, 3, pad_mode="valid", has_bias=True),
        "dilation is (2, 2) in PyTorch and (1, 1) in MindSpore",
    ),
    "groups": (
        "Conv3d",
        nn.Conv3d(4, 6, 3, groups=2),
        ms.Conv3d(2, 6, 3, pad_mode="valid", has_bias=True),
        "groups is 2 in PyTorch and 1 in MindSpore",
    ),
    "zeros appended": (
        "ConvTranspose2d",
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        ms.Conv2dTranspose(4, 6, 3, stride=2, pad_mode="pad", padding=1, output_padding=1, has_bias=True),
        "appended zeros is 0 in PyTorch and 1 (its output_padding) in MindSpore",
    ),
    "eps": (
        "GroupNorm",
        nn.GroupNorm(2, 6, eps=1e-3),
        ms.GroupNorm(2, 6),
        "eps is 0.001 in PyTorch and 1e-05 in MindSpore",
    ),
    "an eps that is nearly right": (
        "InstanceNorm2d",
        nn.InstanceNorm2d(6, affine=True),
        ms.InstanceNorm2d(6, eps=1.1e-5),
        "eps is 1e-05 in PyTorch and 1.1e-05 in MindSpore",
    ),
    "a LayerNorm's eps that is nearly right": (
        "LayerNorm",
        nn.LayerNorm(8),
        ms.LayerNorm((8,), epsilon=1.1e-5),
        "eps is 1e-05 in PyTorch and 1.1e-05 in MindSpore",
    ),
    "MindSpore's own eps": (
        "LayerNorm",
        nn.LayerNorm(8),
        ms.LayerNorm((8,)),
        "eps is 1e-05 in PyTorch and 1e-07 in MindSpore",
    ),
    "number of groups": (
        "GroupNorm",
        nn.GroupNorm(3, 6),
        ms.GroupNorm(2, 6),
        "number of groups is 3 in PyTorch and 2 in MindSpore",
    ),
    "axes": (
        "LayerNorm",
        nn.LayerNorm((3, 4)),
        ms.LayerNorm((3, 4), epsilon=1e-5),
        "number of normalised axes is 2 in PyTorch and 1 in MindSpore",
    ),
    "heads": (
        "MultiheadAttention",
        nn.MultiheadAttention(12, 4),
        ms.MultiheadAttention(12, 3),
        "number of heads is 4 in PyTorch and 3 in MindSpore",
    ),
    "batch first": (
        "GRU",
        nn.GRU(3, 4, batch_first=True),
        ms.GRU(3, 4),
        "batch first is True in PyTorch and False in MindSpore",
    ),
    "nonlinearity": (
        "RNNCell",
        nn.RNNCell(3, 4, nonlinearity="relu"),
        ms.RNNCell(3, 4),
        "nonlinearity is relu in PyTorch and tanh in MindSpore",
    ),
    "nonlinearity of several steps": (
        "RNN",
        nn.RNN(3, 4, nonlinearity="relu"),
        ms.RNN(3, 4),
        "nonlinearity is relu in PyTorch and tanh in MindSpore",
    ),
}


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("setting", WRONG)
def test_a_setting_of_another_value_fails_and_is_named(setting, back):
    kind, module, cell, told = WRONG[setting]
    result = verify(case_of(kind, module, cell, back=back))
    assert (result.ok, result.cause) == (False, "settings")
    assert told in result.diagnosis
    assert result.checks[0].ok is True, "the parameters are right"


@pytest.mark.parametrize("setting", [setting for setting in WRONG if setting != "an eps that is nearly right"])
def test_running_shows_it_too(setting):
    """All but that of an InstanceNorm, which MindSpore does not run on a CPU."""
    kind, module, cell, _ = WRONG[setting]
    ran = {check.check: check.ok for check in verify(case_of(kind, module, cell)).checks}
    assert ran["eval"] is False
    assert ran["eval gradients"] is False


def test_an_output_of_another_shape_is_refused_even_where_it_could_be_repeated():
    x, upstream = np.ones((5, 2), np.float32), np.ones((5, 3), np.float32)
    told = r"its output has shape \[5, 1\] where \[5, 3\] was expected"
    with pytest.raises(BackendError, match=told):
        torch_gradients.differentiate(nn.Linear(2, 1), {}, [x], upstream, "cpu")
    with pytest.raises(BackendError, match=told):
        mindspore_gradients.differentiate(ms.Dense(2, 1), {}, [x], upstream)


@pytest.mark.parametrize("back", [False, True])
def test_what_one_network_alone_says_holds_for_both_sides_and_is_said(back):
    module = nn.Conv3d(4, 6, 3, stride=2, padding=1, groups=2)
    result = verify(case_of("Conv3d", module, None, back=back))
    assert result.ok is True
    told = "run with the PyTorch network's stride, padding and the like on both sides; --net says MindSpore's"
    assert result.notes == (told,)


def test_the_parameters_are_told_first():
    kind, module, cell, told = WRONG["stride"]
    case = case_of(kind, module, cell)
    swapped = {**case.target.parameters, "weight": case.target.parameters["weight"][::-1].copy()}
    result = verify(replace(case, target=replace(case.target, parameters=swapped)))
    assert result.cause == "parameters"
    assert told in result.diagnosis


@st.composite
def convolutions(draw) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    per_axis = {name: st.tuples(*[st.integers(1, most)] * rank) for name, most in (("kernel", 4), ("dilation", 2))}
    return {
        "rank": rank,
        "groups": groups,
        "kernel_size": draw(per_axis["kernel"]),
        "stride": draw(st.tuples(*[st.integers(1, 3)] * rank)),
        "dilation": draw(per_axis["dilation"]),
        "padding": draw(st.tuples(*[st.integers(0, 2)] * rank)),
        "bias": draw(st.booleans()),
    }


@settings(max_examples=40, deadline=None)
@given(convolutions(), st.integers(0, 2**31))
def test_convolutions_of_any_settings_agree_with_the_reference(drawn, seed):
    rank, groups = drawn.pop("rank"), drawn["groups"]
    torch.manual_seed(seed)
    module = getattr(nn, f"Conv{rank}d")(2 * groups, 3 * groups, **drawn)
    result = verify(case_of(f"Conv{rank}d", module, None), seed)
    assert result.ok is True, (drawn, result)


@settings(max_examples=40, deadline=None)
@given(convolutions(), st.data(), st.integers(0, 2**31))
def test_transposed_convolutions_of_any_settings_agree_with_the_reference(drawn, data, seed):
    rank, groups = drawn.pop("rank"), drawn["groups"]
    longer = [st.integers(0, max(s, d) - 1) for s, d in zip(drawn["stride"], drawn["dilation"], strict=True)]
    drawn["output_padding"] = data.draw(st.tuples(*longer))
    torch.manual_seed(seed)
    module = getattr(nn, f"ConvTranspose{rank}d")(2 * groups, 3 * groups, **drawn)
    result = verify(case_of(f"ConvTranspose{rank}d", module, None, back=False), seed)
    assert result.ok is not False, (drawn, result)
    # MindSpore's has no dilation in 3-D, and no way to make a 1-D or 2-D output longer than its windows reach.
    longest = any(op > p for op, p in zip(drawn["output_padding"], drawn["padding"], strict=True))
    lopsided = rank == 1 and drawn["output_padding"] != (0,)
    if not (rank == 3 and drawn["dilation"] != (1, 1, 1)) and not (rank < 3 and (longest or lopsided)):
        assert result.ok is True, (drawn, result)


def test_mindspore_appends_zeros_in_two_dimensions_only():
    """What `porter.layers.ordinary_settings` rests on."""
    x = mindspore.Tensor(np.ones((1, 1, 2, 2), np.float32))
    flat = ms.Conv2dTranspose(1, 1, 3, 2, "pad", 0, 1, weight_init="ones")(x).asnumpy()
    assert (flat[0, 0, -1] == 0).all(), "PyTorch's last row is computed; here it is 0"
    kernel = nn.ConvTranspose2d(1, 1, 3, 2, padding=1, output_padding=1, bias=False)
    kernel.weight.data.fill_(1.0)
    assert (kernel(torch.ones(1, 1, 2, 2))[0, 0, -1] != 0).all()
