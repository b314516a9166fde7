"""Small networks, and checkpoints of them, for tests that convert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

import porter
from porter import SourceOptions, WriteOptions

REPLACE = WriteOptions(force=True)


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """`module` with every parameter and buffer different from every other, as training leaves them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        for name, buffer in module.named_buffers():
            if name.endswith("num_batches_tracked"):
                buffer.fill_(1000 + seed)
            else:
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return module


def two_norms(**settings: Any) -> nn.Module:
    """conv, norm, conv, norm: names 0, 1, 3, 4; six and four channels."""
    return randomised(
        nn.Sequential(
            nn.Conv3d(2, 6, 3),
            nn.BatchNorm3d(6, **settings),
            nn.ReLU(),
            nn.Conv3d(6, 4, 1, bias=False),
            nn.BatchNorm3d(4, **settings),
        )
    )


def there_and_back(
    folder: Path, saved: Any, options: SourceOptions | None = None, **keywords: Any
) -> tuple[porter.Conversion, dict[str, torch.Tensor]]:
    """Save, convert to .ckpt, convert back, load: the first conversion and the state dict that came back."""
    torch.save(saved, folder / "net.pth")
    there = porter.convert(
        folder / "net.pth", folder / "net.ckpt", source_options=options, write_options=REPLACE, **keywords
    )
    porter.convert(folder / "net.ckpt", folder / "back.pth", write_options=REPLACE, **keywords)
    return there, torch.load(folder / "back.pth", weights_only=True, mmap=True)


def assert_same(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> None:
    """Names, order, dtypes, shapes and bits."""
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert bits(found[name]) == bits(tensor), name


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
