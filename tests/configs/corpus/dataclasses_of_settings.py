"""Config of a point cloud network."""
from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn as nn


@dataclass
class NormConfig:
    type: str = "BatchNorm3d"
    eps: float = 1e-5
    momentum: float = 0.1
    track_running_stats: bool = True


@dataclass
class OptimConfig:
    lr: float = 1e-3
    momentum: float = 0.9


@dataclass
class Config:
    norm: NormConfig = field(default_factory=NormConfig)
    head_norm: NormConfig = field(default_factory=lambda: NormConfig(momentum=0.05))
    optim: OptimConfig = field(default_factory=OptimConfig)
    bn_momentum: float = field(default=0.1, metadata={"help": "batch norm"})


def build(cfg: Config, channels: int) -> nn.Module:
    kwargs = {key: value for key, value in vars(cfg.norm).items() if key != "type"}
    return nn.BatchNorm3d(channels, **kwargs)
