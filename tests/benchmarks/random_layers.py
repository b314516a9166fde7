"""Networks of random layers, converted rightly: `verify` must object to none of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from porter import SourceOptions

PER_FILE = 50

Random = np.random.Generator
Make = Callable[[Random], list[nn.Module]]


def save(make: Make, seed: int, folder: Path) -> tuple[Path, SourceOptions]:
    """A checkpoint of `PER_FILE` layers, in half precision now and then, and what verify needs to know of it."""
    random = np.random.default_rng([seed, len(make.__name__)])
    torch.manual_seed(seed)
    eps, momentum = float(10 ** random.uniform(-8, -2)), float(round(random.uniform(0.001, 0.999), 3))
    layers = make(random)
    network = nn.Sequential(*layers)
    dtype = random.choice(["float32", "float16", "bfloat16", "float64"], p=[0.7, 0.15, 0.1, 0.05])
    network = network.to(getattr(torch, str(dtype)))
    kinds = tuple((str(i), type(layer).__name__) for i, layer in enumerate(layers))
    path = folder / f"{make.__name__}-{seed}.pth"
    torch.save(network.state_dict(), path)
    return path, SourceOptions(layers=kinds, eps=eps, momentum=momentum)


def norms(random: Random) -> list[nn.Module]:
    """Batch normalisations in 1, 2 and 3 dimensions.

    Values range over what trained and untrained layers hold: means up to 1,000 standard deviations, variances from
    0 to 1e6, gammas of both signs and 0.
    """
    return [_norm(random) for _ in range(PER_FILE)]


def others(random: Random) -> list[nn.Module]:
    """Layers of the other kinds, of random sizes; values from denormal to 1e15, most as training leaves them."""
    return [_filled(OTHERS[i % len(OTHERS)](random), random) for i in range(PER_FILE)]


def _norm(random: Random) -> nn.Module:
    cls: Any = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[random.integers(3)]
    layer = cls(int(random.integers(1, 65)), affine=bool(random.random() < 0.9))
    if random.random() < 0.05:
        return layer
    variance = 10.0 ** random.uniform(-12, 6, layer.num_features) * (random.random(layer.num_features) < 0.98)
    mean = random.normal(size=layer.num_features) * np.sqrt(variance) * 10.0 ** random.uniform(-2, 3)
    _fill(layer.running_var, variance)
    _fill(layer.running_mean, mean)
    if layer.affine:
        _fill(layer.weight, random.normal(size=layer.num_features) * 10.0 ** random.uniform(-3, 1))
        _fill(layer.bias, random.normal(size=layer.num_features) * 10.0 ** random.uniform(-3, 1))
    return layer


def _conv(dims: int) -> Callable[[Random], nn.Module]:
    def make(random: Random) -> nn.Module:
        groups = _size(random, 4)
        into, out = groups * _size(random, 24), groups * _size(random, 24)
        return getattr(nn, f"Conv{dims}d")(
            into, out, _kernel(random, dims), groups=groups, bias=_now_and_then(random)
        )

    return make


def _transposed(dims: int) -> Callable[[Random], nn.Module]:
    def make(random: Random) -> nn.Module:
        cls = getattr(nn, f"ConvTranspose{dims}d")
        return cls(_size(random, 32), _size(random, 32), _kernel(random, dims), bias=_now_and_then(random))

    return make


def _recurrent(cls: Any) -> Callable[[Random], nn.Module]:
    def make(random: Random) -> nn.Module:
        sizes = _size(random, 32), _size(random, 24), _size(random, 2)
        return cls(*sizes, bias=_now_and_then(random), bidirectional=_now_and_then(random))

    return make


def _cell(cls: Any) -> Callable[[Random], nn.Module]:
    return lambda random: cls(_size(random, 32), _size(random, 24), bias=_now_and_then(random))


def _layer_norm(random: Random) -> nn.Module:
    return nn.LayerNorm([_size(random, 48) for _ in range(_size(random, 2))])


def _group_norm(random: Random) -> nn.Module:
    groups = _size(random, 4)
    return nn.GroupNorm(groups, groups * _size(random, 16))


def _instance_norm(random: Random) -> nn.Module:
    cls = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[random.integers(3)]
    return cls(_size(random, 48), affine=True)


def _attention(random: Random) -> nn.Module:
    heads = _size(random, 4)
    width, own = heads * _size(random, 12), bool(random.random() < 0.3)
    return nn.MultiheadAttention(
        width,
        heads,
        bias=_now_and_then(random),
        add_bias_kv=not _now_and_then(random),
        kdim=_size(random, 24) if own else None,
        vdim=_size(random, 24) if own else None,
    )


OTHERS: tuple[Callable[[Random], nn.Module], ...] = (
    lambda random: nn.Linear(_size(random, 300), _size(random, 100), bias=_now_and_then(random)),
    lambda random: nn.Bilinear(_size(random, 12), _size(random, 12), _size(random, 12), bias=_now_and_then(random)),
    lambda random: nn.Embedding(_size(random, 200), _size(random, 48)),
    lambda random: nn.PReLU(1 if random.random() < 0.5 else _size(random, 48)),
    *(_conv(dims) for dims in (1, 2, 3)),
    *(_transposed(dims) for dims in (1, 2, 3)),
    _layer_norm,
    _group_norm,
    _instance_norm,
    *(_recurrent(cls) for cls in (nn.LSTM, nn.GRU, nn.RNN)),
    *(_cell(cls) for cls in (nn.LSTMCell, nn.GRUCell, nn.RNNCell)),
    _attention,
)


def _size(random: Random, most: int) -> int:
    """From 1 to `most`."""
    return int(random.integers(1, most + 1))


def _kernel(random: Random, dims: int) -> tuple[int, ...]:
    return tuple(_size(random, 4) for _ in range(dims))


def _now_and_then(random: Random) -> bool:
    return bool(random.random() < 0.8)


def _filled(layer: nn.Module, random: Random) -> nn.Module:
    """Each parameter at a scale of its own; some as the framework begins with them, some with zeros in them."""
    if random.random() < 0.2:
        return layer
    for parameter in layer.parameters():
        exponent = random.choice(
            [random.uniform(-2, 1), random.uniform(-6, 4), random.uniform(-44, 15)], p=[0.7, 0.2, 0.1]
        )
        values = random.standard_normal(tuple(parameter.shape)) * 10.0**exponent
        if random.random() < 0.2:
            values = values * (random.random(values.shape) < 0.5)
        _fill(parameter, values)
    return layer


def _fill(tensor: torch.Tensor, values: np.ndarray[Any, Any]) -> None:
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.asarray(values)))
