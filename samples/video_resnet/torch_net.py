"""A small residual video network in PyTorch; `mindspore_net.py` is its twin, module name for module name."""

from __future__ import annotations

import torch
from torch import nn

# Video networks are trained on few clips per device: slow-moving statistics and a larger eps than the defaults.
VIDEO_NORM = {"eps": 1e-3, "momentum": 0.05}


class Block(nn.Module):
    """Two 3x3x3 convolutions around a shortcut, which is a convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(outputs, **VIDEO_NORM)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(outputs, **VIDEO_NORM)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride=stride), nn.BatchNorm3d(outputs, momentum=0.07)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class VideoResNet(nn.Module):
    """Clips (N, 3, T, H, W) float32 -> logits (N, classes)."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        # Standardises the clips with the training set's statistics; scale and shift are left to the stem.
        self.input_norm = nn.BatchNorm3d(3, affine=False)
        self.stem = nn.Sequential(
            nn.Conv3d(3, 8, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2)), nn.BatchNorm3d(8), nn.ReLU()
        )
        self.stage1 = nn.Sequential(Block(8, 8))
        self.stage2 = nn.Sequential(Block(8, 16, stride=2), Block(16, 16))
        self.neck = nn.Sequential(nn.Linear(16, 12, bias=False), nn.BatchNorm1d(12, momentum=0.2), nn.ReLU())
        self.head = nn.Linear(12, classes)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        x = self.stem(self.input_norm(clips))
        x = self.stage2(self.stage1(x))
        return self.head(self.neck(x.mean(dim=(2, 3, 4))))


def build() -> VideoResNet:
    return VideoResNet()
