"""Networks made to mislead recognition: habits of real 3-D networks in which names, shapes or order say little.

Each says, where a file cannot tell the truth, why it cannot; a layer that is inferred wrongly without such a reason
is a fault of recognition. They are never run, so a layer need not fit the next one where the real network pools,
flattens or concatenates between them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

FRAMES = "the 4-D convolution runs on single frames, the norm on the clip: no tensor shows the reshape between them"
POOLED = "the 5-D convolution's output is pooled and flattened before the norm: no tensor shows it"


@dataclass(frozen=True)
class Misleading:
    """A network, and what a file cannot tell about it.

    Attributes:
        name: for the table.
        build: the factory.
        why: layer name -> why the file cannot tell its kind.
    """

    name: str
    build: Callable[[], nn.Module]
    why: dict[str, str]


class SparseConvolution(nn.Module):
    """Parameters as spconv 2 (O, kD, kH, kW, I) and 1 (kD, kH, kW, I, O) or MinkowskiEngine (K, I, O) keep them."""

    def __init__(self, layout: str, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        cube = (kernel,) * 3
        if layout == "points":
            self.kernel = nn.Parameter(torch.zeros(kernel**3, inputs, outputs))
        else:
            shape = (outputs, *cube, inputs) if layout == "2.x" else (*cube, inputs, outputs)
            self.weight = nn.Parameter(torch.zeros(shape))


class SplitNorm(nn.Module):
    """A norm whose statistics sit in children and whose weight sits on itself, as in PySlowFast."""

    def __init__(self, channels: int, splits: int = 2) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.bn = nn.BatchNorm3d(channels, affine=False)
        self.split_bn = nn.BatchNorm3d(channels * splits, affine=False)


class WrappedNorm(nn.Module):
    """A norm that sits in a child with everything it has, as point-cloud networks wrap it."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.bn = norm


def _net(**layers: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(layers))


def _sparse(layout: str) -> nn.Module:
    layers: dict[str, nn.Module] = {}
    for i, (inputs, outputs) in enumerate(((4, 16), (16, 16), (16, 32), (32, 64))):
        layers[f"conv{i}"] = SparseConvolution(layout, inputs, outputs)
        norm: nn.Module = nn.BatchNorm1d(outputs)
        layers[f"norm{i}"] = WrappedNorm(norm) if layout == "points" else norm
    layers["bev"] = nn.Sequential(nn.Conv2d(128, 64, 3), nn.BatchNorm2d(64), nn.ReLU())
    return _net(**layers)


def _declared_first() -> nn.Module:
    layers: dict[str, nn.Module] = {f"conv{i}": nn.Conv3d(8, 8, 3) for i in range(4)}
    return _net(**layers, **{f"bn{i}": nn.BatchNorm3d(8) for i in range(4)}, fc=nn.Linear(8, 2))


def _norms_declared_first() -> nn.Module:
    layers: dict[str, nn.Module] = {f"bn{i}": nn.BatchNorm3d(8) for i in range(3)}
    return _net(stem=nn.Conv3d(1, 8, 3), **layers, **{f"conv{i}": nn.Conv3d(8, 8, 3) for i in range(3)})


def _pre_activation() -> nn.Module:
    def block(inputs: int, outputs: int) -> nn.Module:
        first = {"norm1": nn.BatchNorm3d(inputs), "conv1": nn.Conv3d(inputs, outputs, 3, bias=False)}
        return _net(**first, norm2=nn.BatchNorm3d(outputs), conv2=nn.Conv3d(outputs, outputs, 3, bias=False))

    return _net(b0=block(4, 8), b1=block(8, 16), b2=block(16, 16), last=nn.BatchNorm3d(16), fc=nn.Linear(16, 2))


def _mixed() -> nn.Module:
    video = nn.Sequential(nn.Conv3d(3, 16, 3), nn.BatchNorm3d(16), nn.Conv3d(16, 16, 3), nn.BatchNorm3d(16))
    image = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16))
    audio = nn.Sequential(nn.Conv1d(3, 16, 3), nn.BatchNorm1d(16))
    head = nn.Sequential(nn.Linear(48, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    return _net(video=video, image=image, audio=audio, head=head)


def _heads() -> nn.Module:
    trunk = nn.Sequential(nn.Conv3d(1, 16, 3), nn.BatchNorm3d(16), nn.Conv3d(16, 32, 3), nn.BatchNorm3d(32))
    neck = nn.Sequential(nn.BatchNorm1d(32), nn.Linear(32, 16, bias=False), nn.BatchNorm1d(16), nn.Linear(16, 2))
    return _net(trunk=trunk, neck=neck)


def _linear() -> nn.Module:
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Linear(16, 2)
    )


def _layer_norm_and_group_norm() -> nn.Module:
    def block(channels: int) -> nn.Module:
        convolution = nn.Sequential(nn.Conv3d(channels, channels, 3), nn.GroupNorm(4, channels))
        attention = _net(norm=nn.LayerNorm(channels), qkv=nn.Linear(channels, 3 * channels))
        return _net(convolution=convolution, attention=attention)

    stem = nn.Sequential(nn.Conv3d(1, 8, 3), nn.BatchNorm3d(8))
    return _net(stem=stem, a=block(8), b=block(8), norm=nn.LayerNorm(8), head=nn.Linear(8, 2))


def _tracking_instance_norm() -> nn.Module:
    norm = nn.InstanceNorm3d(8, affine=True, track_running_stats=True)
    return _net(conv=nn.Conv3d(1, 8, 3), norm=norm, conv2=nn.Conv3d(8, 4, 1), norm2=nn.BatchNorm3d(4))


def _frames() -> nn.Module:
    return _net(conv=nn.Conv2d(3, 8, 3), norm=nn.BatchNorm3d(8), conv2=nn.Conv2d(8, 4, 3), norm2=nn.BatchNorm3d(4))


def _lone_weights() -> nn.Module:
    """A weight and nothing else: an activation behind a norm, and two normalisations beside linear layers."""
    volume = {"conv": nn.Conv3d(1, 8, 3), "bn": nn.BatchNorm3d(8), "act": nn.PReLU(8), "one": nn.PReLU()}
    tokens = {
        "fc": nn.Linear(8, 8),
        "norm": nn.LayerNorm(8, bias=False),
        "fc2": nn.Linear(8, 8),
        "rms": nn.RMSNorm(8),
    }
    return _net(**volume, conv2=nn.Conv3d(8, 8, 3), **tokens)


def _settings() -> nn.Module:
    """Every combination of affine and statistics, bias=False included."""
    layers: dict[str, nn.Module] = {}
    for i, (affine, tracked) in enumerate(((True, True), (False, True), (True, False), (False, False))):
        layers[f"conv{i}"] = nn.Conv3d(6, 6, 3)
        layers[f"norm{i}"] = nn.BatchNorm3d(6, affine=affine, track_running_stats=tracked)
    return _net(**layers, conv4=nn.Conv3d(6, 6, 3), norm4=nn.BatchNorm3d(6, bias=False))


def _split() -> nn.Module:
    fast = _net(conv=nn.Conv3d(3, 8, 3), norm=SplitNorm(8), conv2=nn.Conv3d(8, 8, 3), norm2=SplitNorm(8))
    slow = _net(
        conv=nn.Conv3d(3, 16, 3), norm=SplitNorm(16), lateral=nn.Conv3d(8, 16, (5, 1, 1)), norm2=SplitNorm(16)
    )
    return _net(
        fast=fast, slow=slow, image=nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), head=nn.Linear(8, 2)
    )


def _wrapped() -> nn.Module:
    first = _net(conv=nn.Conv3d(3, 8, 3), norm=WrappedNorm(nn.BatchNorm3d(8)))
    return _net(first=first, second=_net(conv=nn.Conv2d(8, 8, 3), norm=WrappedNorm(nn.BatchNorm2d(8))))


def _transposed() -> nn.Module:
    up = _net(conv=nn.ConvTranspose3d(8, 4, 2), norm=nn.BatchNorm3d(4))
    return _net(down=_net(conv=nn.Conv3d(1, 8, 3), norm=nn.BatchNorm3d(8)), up=up, image=nn.Conv2d(4, 4, 1))


def _asymmetric() -> nn.Module:
    """Separated 2-D kernels beside 3-D ones: in MindSpore (O, I, 1, 3) may be a Conv1d."""
    pair = nn.Sequential(nn.Conv2d(8, 8, (1, 3)), nn.BatchNorm2d(8), nn.Conv2d(8, 8, (3, 1)), nn.BatchNorm2d(8))
    video = nn.Sequential(
        nn.Conv3d(3, 8, (1, 7, 7)), nn.BatchNorm3d(8), nn.Conv3d(8, 8, (3, 1, 1)), nn.BatchNorm3d(8)
    )
    return _net(video=video, pair=pair, last=nn.Conv2d(8, 4, 1))


def _squeeze() -> nn.Module:
    """Linear layers with the norm's channels between a convolution and its norm."""

    def block(channels: int) -> nn.Module:
        gate = nn.Sequential(nn.Linear(channels, 4), nn.ReLU(), nn.Linear(4, channels))
        project = _net(conv=nn.Conv3d(channels, channels, 1), norm=nn.BatchNorm3d(channels))
        return _net(conv=nn.Conv3d(channels, channels, 3), norm=nn.BatchNorm3d(channels), se=gate, project=project)

    return _net(stem=nn.Conv3d(1, 8, 3), layer1=block(8), layer2=block(8))


def _repeated() -> nn.Module:
    """Transformer blocks: the first one's norm stands behind the convolution that cuts the volume into patches."""

    def block() -> nn.Module:
        attention = _net(qkv=nn.Linear(8, 24), proj=nn.Linear(8, 8))
        mlp = _net(fc1=nn.Linear(8, 32), fc2=nn.Linear(32, 8))
        return _net(norm1=nn.LayerNorm(8), attn=attention, norm2=nn.LayerNorm(8), mlp=mlp)

    stem = nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Conv3d(4, 8, 2))
    return _net(stem=stem, blocks=nn.Sequential(block(), block(), block()), head=nn.Linear(8, 2))


def misleading_networks() -> Iterator[Misleading]:
    for layout in ("2.x", "1.x", "points"):
        yield Misleading(f"sparse convolutions, {layout} layout", lambda layout=layout: _sparse(layout), {})
    yield Misleading("convolutions declared before their norms", _declared_first, {})
    yield Misleading("norms declared before their convolutions", _norms_declared_first, {})
    yield Misleading("pre-activation", _pre_activation, {})
    yield Misleading("mixed 3-D, 2-D, 1-D", _mixed, {})
    yield Misleading("heads with BatchNorm1d", _heads, {"neck.0": POOLED})
    yield Misleading("linear layers", _linear, {})
    yield Misleading("LayerNorm beside GroupNorm", _layer_norm_and_group_norm, {})
    yield Misleading("tracking InstanceNorm3d", _tracking_instance_norm, {})
    yield Misleading("BatchNorm3d behind 4-D weights", _frames, {"norm": FRAMES, "norm2": FRAMES})
    yield Misleading("lone weights", _lone_weights, {})
    yield Misleading("every setting of BatchNorm3d", _settings, {})
    yield Misleading("statistics in .bn and .split_bn", _split, {})
    yield Misleading("norms wrapped as .bn", _wrapped, {})
    yield Misleading("transposed convolutions", _transposed, {})
    yield Misleading("asymmetric kernels", _asymmetric, {})
    yield Misleading("squeeze and excitation", _squeeze, {})
    yield Misleading("repeated modules", _repeated, {})
