"""A PyTorch network, and MindSpore networks that others could have written for it: the same layers, other names."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import torch
from mindspore import nn as mn
from torch import nn

EPS = 1e-3


def norm(channels: int) -> nn.Module:
    return nn.BatchNorm3d(channels, eps=EPS, momentum=0.05)


class TorchBlock(nn.Module):
    """As torchvision's video networks: conv1.0, conv1.1, ..."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv3d(inputs, outputs, 3, padding=1, bias=False), norm(outputs), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv3d(outputs, outputs, 3, padding=1, bias=False), norm(outputs))
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv3d(inputs, outputs, 1, bias=False), norm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(self.conv1(x))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchNet(nn.Module):
    """(N, 3, T, H, W) -> (N, 5); 62 entries in its state dict, 52 parameters in MindSpore."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1, bias=False), norm(4), nn.ReLU())
        self.layer1 = nn.Sequential(TorchBlock(4, 4), TorchBlock(4, 4))
        self.layer2 = nn.Sequential(TorchBlock(4, 6), TorchBlock(6, 6))
        self.fc = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer2(self.layer1(self.stem(x))).mean((2, 3, 4)))


def conv(inputs: int, outputs: int, kernel: int = 3) -> mn.Conv3d:
    return mn.Conv3d(inputs, outputs, kernel, pad_mode="pad", padding=kernel // 2, has_bias=False)


def cell_norm(channels: int) -> mn.BatchNorm3d:
    return mn.BatchNorm3d(channels, eps=EPS, momentum=0.95)


class Unit(mn.Cell):
    """Wrapped cells: `conv1.conv`, `conv1.bn`."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, *, active: bool = True) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs, kernel)
        self.bn = cell_norm(outputs)
        self.active = active
        self.relu = mn.ReLU()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        y = self.bn(self.conv(x))
        return self.relu(y) if self.active else y


class WrappedBlock(mn.Cell):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = Unit(inputs, outputs)
        self.conv2 = Unit(outputs, outputs, active=False)
        self.down_sample = Unit(inputs, outputs, 1, active=False) if inputs != outputs else None
        self.relu = mn.ReLU()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        y = self.conv2(self.conv1(x))
        return self.relu(y + (x if self.down_sample is None else self.down_sample(x)))


class Wrapped(mn.Cell):
    """Every convolution and its norm in a cell; stages in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(3, 4)
        self.stages = mn.CellList(
            [
                mn.SequentialCell(WrappedBlock(4, 4), WrappedBlock(4, 4)),
                mn.SequentialCell(WrappedBlock(4, 6), WrappedBlock(6, 6)),
            ]
        )
        self.head = mn.Dense(6, 5)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((2, 3, 4)))


class FlatBlock(mn.Cell):
    """No wrappers: conv_a, bn_a, conv_b, bn_b; the shortcut is declared first."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = None
        if inputs != outputs:
            self.shortcut = mn.SequentialCell(conv(inputs, outputs, 1), cell_norm(outputs))
        self.conv_a = conv(inputs, outputs)
        self.bn_a = cell_norm(outputs)
        self.conv_b = conv(outputs, outputs)
        self.bn_b = cell_norm(outputs)
        self.relu = mn.ReLU()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        y = self.bn_b(self.conv_b(self.relu(self.bn_a(self.conv_a(x)))))
        return self.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Flat(mn.Cell):
    """Blocks called otherwise, the head declared before the body."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = mn.Dense(6, 5)
        self.conv0 = conv(3, 4)
        self.bn0 = cell_norm(4)
        self.relu = mn.ReLU()
        self.stage1 = mn.SequentialCell(FlatBlock(4, 4), FlatBlock(4, 4))
        self.stage2 = mn.SequentialCell(FlatBlock(4, 6), FlatBlock(6, 6))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        x = self.stage2(self.stage1(self.relu(self.bn0(self.conv0(x)))))
        return self.classifier(x.mean((2, 3, 4)))


class Body(mn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.stem = mn.SequentialCell(conv(3, 4), cell_norm(4), mn.ReLU())
        self.layer1 = mn.SequentialCell(WrappedBlock(4, 4), WrappedBlock(4, 4))
        self.layer2 = mn.SequentialCell(WrappedBlock(4, 6), WrappedBlock(6, 6))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.layer2(self.layer1(self.stem(x)))


class Recogniser(mn.Cell):
    """All but the head in a backbone, as in model libraries."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Body()
        self.head = mn.SequentialCell(mn.Dropout(p=0.0), mn.Dense(6, 5))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.head(self.backbone(x).mean((2, 3, 4)))


def half() -> mn.Cell:
    return Wrapped().to_float(ms.float16)


class TorchPair(nn.Module):
    """Two convolutions that only their names and their order tell apart."""

    def __init__(self, first: str = "left", second: str = "right") -> None:
        super().__init__()
        self.names = (first, second)
        for name in self.names:
            setattr(self, name, nn.Conv3d(2, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = (getattr(self, name) for name in self.names)
        return second(torch.relu(first(x)))


class Pair(mn.Cell):
    """`TorchPair` declared in the order `declared` and used in that order, or in the other one."""

    def __init__(self, *declared: str, swapped: bool = False) -> None:
        super().__init__()
        self.names = declared[::-1] if swapped else declared
        for name in declared:
            setattr(self, name, mn.Conv3d(2, 2, 1, has_bias=True))
        self.relu = mn.ReLU()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        first, second = (getattr(self, name) for name in self.names)
        return second(self.relu(first(x)))


def torch_numbered() -> Any:
    return TorchPair("conv1", "conv2")


def other_words() -> Any:
    return Pair("top", "bottom")


def numbered_swapped() -> Any:
    """Counted like PyTorch's, but used the other way round: the structure cannot know."""
    return Pair("unit1", "unit2", swapped=True)
