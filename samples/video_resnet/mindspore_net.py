"""The MindSpore twin of `torch_net.py`: the same module names, so that a converted checkpoint fits as it is.

What a port by hand has to see to, and bnport cannot do for you inside a network's source:
- momentum is the weight of the old statistics here: 1 - PyTorch's;
- convolutions have no bias and pad_mode="same" by default, and padding counts both ends of every axis;
- a cell computes as in evaluation until `set_train(True)`.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn

VIDEO_NORM = {"eps": 1e-3, "momentum": 0.95}


def conv(
    inputs: int, outputs: int, kernel: tuple[int, int, int], *, stride: int | tuple[int, int, int] = 1, bias: bool
) -> nn.Conv3d:
    """A Conv3d padded by half its (odd) kernel, as PyTorch's `padding=kernel // 2`."""
    padding = tuple(size // 2 for size in kernel for _ in range(2))
    return nn.Conv3d(inputs, outputs, kernel, stride=stride, pad_mode="pad", padding=padding, has_bias=bias)


class Block(nn.Cell):
    """Two 3x3x3 convolutions around a shortcut, which is a convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, (3, 3, 3), stride=stride, bias=False)
        self.bn1 = nn.BatchNorm3d(outputs, **VIDEO_NORM)
        self.conv2 = conv(outputs, outputs, (3, 3, 3), bias=False)
        self.bn2 = nn.BatchNorm3d(outputs, **VIDEO_NORM)
        self.relu = nn.ReLU()
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.SequentialCell(
                conv(inputs, outputs, (1, 1, 1), stride=stride, bias=True), nn.BatchNorm3d(outputs, momentum=0.93)
            )

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class VideoResNet(nn.Cell):
    """Clips (N, 3, T, H, W) float32 -> logits (N, classes)."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm3d(3, affine=False)
        self.stem = nn.SequentialCell(
            conv(3, 8, (3, 5, 5), stride=(1, 2, 2), bias=True), nn.BatchNorm3d(8), nn.ReLU()
        )
        self.stage1 = nn.SequentialCell(Block(8, 8))
        self.stage2 = nn.SequentialCell(Block(8, 16, stride=2), Block(16, 16))
        self.neck = nn.SequentialCell(nn.Dense(16, 12, has_bias=False), nn.BatchNorm1d(12, momentum=0.8), nn.ReLU())
        self.head = nn.Dense(12, classes)

    def construct(self, clips: ms.Tensor) -> ms.Tensor:
        x = self.stem(self.input_norm(clips))
        x = self.stage2(self.stage1(x))
        return self.head(self.neck(x.mean((2, 3, 4))))


def build() -> VideoResNet:
    return VideoResNet()
