"""Settings read off the layers of both frameworks: what says the same is not told, what differs is."""

import pytest
from mindspore import nn as ms
from torch import nn

from porter.verification.causes import settings_that_differ

SAME = {
    "padding in numbers": (nn.Conv3d(2, 2, 3, padding=1), ms.Conv3d(2, 2, 3, pad_mode="pad", padding=1)),
    "padding of every axis": (
        nn.Conv3d(2, 2, (3, 5, 5), padding=(1, 2, 2)),
        ms.Conv3d(2, 2, (3, 5, 5), pad_mode="pad", padding=(1, 1, 2, 2, 2, 2)),
    ),
    "same, without a stride": (nn.Conv2d(2, 2, 5, padding=2), ms.Conv2d(2, 2, 5)),
    "same, dilated": (nn.Conv2d(2, 2, 3, padding=2, dilation=2), ms.Conv2d(2, 2, 3, dilation=2)),
    "same, of one element": (nn.Conv3d(2, 2, 1, stride=2), ms.Conv3d(2, 2, 1, stride=2)),
    "valid": (nn.Conv3d(2, 2, 3), ms.Conv3d(2, 2, 3, pad_mode="valid")),
    "a 1-D convolution is 2-D": (
        nn.Conv1d(2, 4, 3, stride=2, padding=1, groups=2),
        ms.Conv1d(2, 4, 3, stride=2, pad_mode="pad", padding=1, group=2),
    ),
    "a transposed one": (
        nn.ConvTranspose3d(2, 2, 3, stride=2, padding=1, output_padding=1),
        ms.Conv3dTranspose(2, 2, 3, stride=2, pad_mode="pad", padding=1, output_padding=1),
    ),
    "same in both": (nn.Conv3d(2, 2, 4, padding="same"), ms.Conv3d(2, 2, 4)),
    "a transposed one that doubles": (nn.ConvTranspose3d(2, 2, 4, 2, padding=1), ms.Conv3dTranspose(2, 2, 4, 2)),
    "a transposed one in another spelling": (
        nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1, output_padding=1),
        ms.Conv2dTranspose(2, 2, 3, stride=2, pad_mode="pad", padding=(1, 0, 1, 0)),
    ),
    "a stride beyond the kernel": (
        nn.ConvTranspose1d(2, 2, 2, stride=3, output_padding=1),
        ms.Conv1dTranspose(2, 2, 2, stride=3, pad_mode="valid"),
    ),
    "reflection, which a layer before it does": (
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        ms.Conv2d(2, 2, 3, pad_mode="valid"),
    ),
    "both axes": (nn.LayerNorm((3, 4), eps=1e-7), ms.LayerNorm((3, 4), begin_norm_axis=1)),
    "momentum and its complement": (nn.BatchNorm3d(2, momentum=0.003), ms.BatchNorm3d(2, momentum=0.997)),
    "a gamma that is not trained": (nn.BatchNorm3d(2).requires_grad_(False), ms.BatchNorm3d(2, affine=False)),
    "no gamma in PyTorch": (nn.BatchNorm2d(2, affine=False), ms.BatchNorm2d(2, affine=False)),
    "batch statistics": (
        nn.BatchNorm1d(2, track_running_stats=False),
        ms.BatchNorm1d(2, use_batch_statistics=True),
    ),
    "eps under another name": (nn.LayerNorm(4, eps=1e-6), ms.LayerNorm((4,), epsilon=1e-6)),
    "pooling": (nn.MaxPool3d(2), ms.MaxPool3d(2, 2)),
    "a slope": (nn.LeakyReLU(0.2), ms.LeakyReLU(0.2)),
    "an activation": (nn.GELU(), ms.GELU(approximate=False)),
    "nothing in common": (nn.ReLU(), ms.ReLU()),
}

DIFFERENT = {
    "MindSpore's default padding with a stride": (
        nn.Conv3d(2, 2, 3, stride=2, padding=1),
        ms.Conv3d(2, 2, 3, stride=2),
        "padding is (1, 1, 1) in PyTorch and pad_mode='same' in MindSpore",
    ),
    "padding on one axis": (
        nn.Conv3d(2, 2, 3, padding=1),
        ms.Conv3d(2, 2, 3, pad_mode="pad", padding=(1, 1, 1, 1, 0, 0)),
        "padding is (1, 1, 1) in PyTorch and pad_mode='pad', padding=(1, 1, 1, 1, 0, 0) in MindSpore",
    ),
    "MindSpore's pooling has stride 1 by default": (
        nn.MaxPool3d(2),
        ms.MaxPool3d(2),
        "stride is 2 in PyTorch and 1 in MindSpore",
    ),
    "MindSpore's LayerNorm adds 1e-7 by default": (
        nn.LayerNorm(4),
        ms.LayerNorm((4,)),
        "eps is 1e-05 in PyTorch and 1e-07 in MindSpore",
    ),
    "MindSpore's leaky slope is 0.2 by default": (
        nn.LeakyReLU(),
        ms.LeakyReLU(),
        "negative slope is 0.01 in PyTorch and 0.2 in MindSpore",
    ),
    "MindSpore's GELU is approximate by default": (
        nn.GELU(),
        ms.GELU(),
        "approximation is none in PyTorch and tanh in MindSpore",
    ),
    "MindSpore's LayerNorm has one axis by default": (
        nn.LayerNorm((3, 4), eps=1e-7),
        ms.LayerNorm((3, 4)),
        "number of normalised axes is 2 in PyTorch and 1 in MindSpore",
    ),
    "MindSpore's output_padding in 2-D": (
        nn.ConvTranspose2d(2, 2, 3, stride=2, output_padding=1),
        ms.Conv2dTranspose(2, 2, 3, stride=2, pad_mode="pad", padding=(0, 0, 0, 0), output_padding=1),
        "padding is (0, 0), output_padding=(1, 1) in PyTorch and pad_mode='pad', padding=(0, 0, 0, 0) in MindSpore",
        "appended zeros is 0 in PyTorch and 1 (its output_padding) in MindSpore",
    ),
    "reflection lost": (
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        ms.Conv2d(2, 2, 3, pad_mode="pad", padding=1),
        "padding is (1, 1) by 'reflect' (a layer of its own in MindSpore) in PyTorch and pad_mode='pad', padding=1 "
        "in MindSpore",
    ),
    "momentum that was not inverted": (
        nn.BatchNorm3d(2),
        ms.BatchNorm3d(2, momentum=0.1),
        "momentum is 0.1 in PyTorch, which is 0.9 in MindSpore's terms, and 0.1 in MindSpore",
    ),
    "eps of the inner cell": (
        nn.BatchNorm3d(2, eps=1e-3),
        ms.BatchNorm3d(2),
        "eps is 0.001 in PyTorch and 1e-05 in MindSpore",
    ),
    "no trained gamma": (
        nn.BatchNorm3d(2),
        ms.BatchNorm3d(2, affine=False),
        "affine is True in PyTorch and False in MindSpore",
    ),
    "cumulative average": (
        nn.BatchNorm2d(2, momentum=None),
        ms.BatchNorm2d(2),
        "momentum is None in PyTorch and 0.9 in MindSpore",
    ),
    "eps nearly right": (
        nn.BatchNorm2d(2),
        ms.BatchNorm2d(2, eps=1.00001e-5),
        "eps is 1e-05 in PyTorch and 1.00001e-05 in MindSpore",
    ),
    "frozen": (
        nn.BatchNorm2d(2),
        ms.BatchNorm2d(2, use_batch_statistics=False),
        "use_batch_statistics is False in MindSpore where track_running_stats=True asks for None",
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_what_says_the_same(case):
    assert settings_that_differ(*SAME[case]) == []


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_differs(case):
    module, cell, *told = DIFFERENT[case]
    assert settings_that_differ(module, cell) == told
