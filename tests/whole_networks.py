"""Networks in both frameworks, as a port by hand would have them: the same module names, each framework's own layers.

Each pair is what `--model` and `--net` name in the tests: `residual`/`residual_twin`, `u_net`/`u_net_twin`,
`attention`/`attention_twin`.
"""

import mindspore
import torch
from mindspore import nn as ms
from mindspore import ops
from torch import nn


def padded(inputs, outputs, kernel, stride=1, bias=False, group=1):
    return ms.Conv3d(inputs, outputs, kernel, stride, pad_mode="pad", padding=kernel // 2, has_bias=bias, group=group)


# A video ResNet: bottlenecks with a grouped convolution, pooling, a projected shortcut, a block that is used twice,
# and two outputs.


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride=1):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width, momentum=0.01)
        self.conv2 = nn.Conv3d(width, width, 3, stride=stride, padding=1, groups=2, bias=False)
        self.bn2 = nn.BatchNorm3d(width, eps=1e-3)
        self.conv3 = nn.Conv3d(width, 2 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(2 * width)
        self.relu = nn.ReLU(inplace=True)
        if stride != 1 or inputs != 2 * width:
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, 2 * width, 1, stride=stride, bias=False), nn.BatchNorm3d(2 * width)
            )
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 8, 5, stride=(1, 2, 2), padding=2), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d(2)
        )
        self.layer1 = Bottleneck(8, 8, stride=2)
        self.again = Bottleneck(16, 8)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(16, 5)

    def forward(self, clips):
        x = self.again(self.again(self.layer1(self.stem(clips))))
        features = x.mean((2, 3, 4))
        return {"logits": self.head(self.dropout(features)), "features": features}


class BottleneckTwin(ms.Cell):
    def __init__(self, inputs, width, stride=1):
        super().__init__()
        self.conv1 = padded(inputs, width, 1)
        self.bn1 = ms.BatchNorm3d(width, momentum=0.99)
        self.conv2 = padded(width, width, 3, stride, group=2)
        self.bn2 = ms.BatchNorm3d(width, eps=1e-3)
        self.conv3 = padded(width, 2 * width, 1)
        self.bn3 = ms.BatchNorm3d(2 * width)
        self.downsample = ms.Identity()
        if stride != 1 or inputs != 2 * width:
            self.downsample = ms.SequentialCell(padded(inputs, 2 * width, 1, stride), ms.BatchNorm3d(2 * width))

    def construct(self, x):
        y = ops.relu(self.bn1(self.conv1(x)))
        y = ops.relu(self.bn2(self.conv2(y)))
        return ops.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResidualTwin(ms.Cell):
    def __init__(self):
        super().__init__()
        stem = ms.Conv3d(3, 8, 5, (1, 2, 2), pad_mode="pad", padding=2, has_bias=True)
        self.stem = ms.SequentialCell(stem, ms.BatchNorm3d(8), ms.ReLU(), ms.MaxPool3d(2, 2))
        self.layer1 = BottleneckTwin(8, 8, 2)
        self.again = BottleneckTwin(16, 8)
        self.dropout = ms.Dropout(p=0.5)
        self.head = ms.Dense(16, 5)

    def construct(self, clips):
        x = self.again(self.again(self.layer1(self.stem(clips))))
        features = x.mean((2, 3, 4))
        return {"logits": self.head(self.dropout(features)), "features": features}


def residual():
    return Residual()


def residual_twin():
    return ResidualTwin()


# A 3-D U-Net: transposed convolutions, PReLU, GroupNorm, an interpolation, skip connections, deep supervision.


class Level(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__(nn.Conv3d(inputs, outputs, 3, padding=1), nn.BatchNorm3d(outputs), nn.PReLU(outputs))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.bottom = Level(1, 6), Level(6, 12), Level(12, 16)
        self.pool = nn.MaxPool3d(2)
        self.up2 = nn.ConvTranspose3d(16, 12, 2, stride=2)
        self.up1 = nn.ConvTranspose3d(12, 6, 3, stride=2, padding=1, output_padding=1, bias=False)
        self.right2, self.right1 = Level(24, 12), Level(12, 6)
        self.norm = nn.GroupNorm(3, 6)
        self.deep = nn.Conv3d(12, 2, 1)
        self.out = nn.Conv3d(6, 2, 1)

    def forward(self, x):
        one = self.down1(x)
        two = self.down2(self.pool(one))
        up = self.right2(torch.cat((self.up2(self.bottom(self.pool(two))), two), 1))
        deep = nn.functional.interpolate(self.deep(up), scale_factor=2, mode="nearest")
        return self.out(self.norm(self.right1(torch.cat((self.up1(up), one), 1)))), deep


class LevelTwin(ms.SequentialCell):
    def __init__(self, inputs, outputs):
        super().__init__(padded(inputs, outputs, 3, bias=True), ms.BatchNorm3d(outputs), ms.PReLU(outputs))


class UNetTwin(ms.Cell):
    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.bottom = LevelTwin(1, 6), LevelTwin(6, 12), LevelTwin(12, 16)
        self.pool = ms.MaxPool3d(2, 2)
        self.up2 = ms.Conv3dTranspose(16, 12, 2, 2, pad_mode="pad", padding=0, has_bias=True)
        self.up1 = ms.Conv3dTranspose(12, 6, 3, 2, pad_mode="pad", padding=1, output_padding=1)
        self.right2, self.right1 = LevelTwin(24, 12), LevelTwin(12, 6)
        self.norm = ms.GroupNorm(3, 6)
        self.deep = ms.Conv3d(12, 2, 1, has_bias=True)
        self.out = ms.Conv3d(6, 2, 1, has_bias=True)

    def construct(self, x):
        one = self.down1(x)
        two = self.down2(self.pool(one))
        up = self.right2(ops.cat((self.up2(self.bottom(self.pool(two))), two), 1))
        deep = self.deep(up)
        for axis in (2, 3, 4):
            deep = deep.repeat_interleave(2, axis)
        return self.out(self.norm(self.right1(ops.cat((self.up1(up), one), 1)))), deep


def u_net():
    return UNet()


def u_net_twin():
    return UNetTwin()


# Patches of a volume, attention with LayerNorm, and a second input that is added to the tokens.


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv3d(1, 16, 4, stride=4)
        self.bn = nn.BatchNorm3d(16)
        self.position = nn.Parameter(torch.zeros(1, 8, 16))
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16, eps=1e-6)
        self.attention = nn.MultiheadAttention(16, 4, dropout=0.1, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(16, 32), nn.Linear(32, 16)
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(16, 3)

    def forward(self, volume, prior):
        x = self.bn(self.patches(volume)).flatten(2).transpose(1, 2) + self.position + prior
        y = self.norm1(x)
        x = x + self.attention(y, y, y)[0]
        x = x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))
        return self.head(self.norm(x.mean(1)))


class AttentionTwin(ms.Cell):
    def __init__(self):
        super().__init__()
        self.patches = ms.Conv3d(1, 16, 4, 4, pad_mode="valid", has_bias=True)
        self.bn = ms.BatchNorm3d(16)
        self.position = mindspore.Parameter(mindspore.ops.zeros((1, 8, 16)))
        self.norm1, self.norm2 = ms.LayerNorm((16,), epsilon=1e-5), ms.LayerNorm((16,), epsilon=1e-6)
        self.attention = ms.MultiheadAttention(16, 4, dropout=0.1, batch_first=True)
        self.fc1, self.fc2 = ms.Dense(16, 32), ms.Dense(32, 16)
        self.norm, self.head = ms.BatchNorm1d(16), ms.Dense(16, 3)

    def construct(self, volume, prior):
        x = self.bn(self.patches(volume))
        x = x.reshape(x.shape[0], x.shape[1], -1).swapaxes(1, 2) + self.position + prior
        y = self.norm1(x)
        x = x + self.attention(y, y, y)[0]
        x = x + self.fc2(ops.gelu(self.fc1(self.norm2(x)), approximate="none"))
        return self.head(self.norm(x.mean(1)))


def attention():
    return Attention()


def attention_twin():
    return AttentionTwin()
