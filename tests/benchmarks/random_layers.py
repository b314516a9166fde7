"""Networks of random layers, converted rightly: `verify` must object to none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from porter import SourceOptions

PER_FILE = 50


def random_network(seed: int) -> tuple[nn.Module, SourceOptions]:
    """A sequence of batch normalisations in 1, 2 and 3 dimensions, and what verify needs to know of them.

    Values range over what trained and untrained layers hold: means up to 1,000 standard deviations, variances from
    0 to 1e6, gammas of both signs and 0, half precision now and then.
    """
    random = np.random.default_rng(seed)
    eps, momentum = float(10 ** random.uniform(-8, -2)), float(round(random.uniform(0.001, 0.999), 3))
    layers = [_norm(random) for _ in range(PER_FILE)]
    network = nn.Sequential(*layers)
    if random.random() < 0.2:
        network = network.half()
    kinds = tuple((str(i), type(layer).__name__) for i, layer in enumerate(layers))
    return network, SourceOptions(layers=kinds, eps=eps, momentum=momentum)


def save(seed: int, folder: Path) -> tuple[Path, SourceOptions]:
    network, options = random_network(seed)
    torch.save(network.state_dict(), folder / f"random-{seed}.pth")
    return folder / f"random-{seed}.pth", options


def _norm(random: np.random.Generator) -> nn.Module:
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


def _fill(tensor: torch.Tensor, values: np.ndarray[Any, Any]) -> None:
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.asarray(values)))
