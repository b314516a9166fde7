"""Rounding to float32, played by random disturbances of a PyTorch network's layers."""

from __future__ import annotations

from typing import Any

from porter.verification.roundings import UNIT_ROUNDOFF


class RoundingNoise:
    """A forward hook that disturbs a layer's output by as much as rounding to float32 may.

    A sum of n products in float32, in whatever order, has an error of about u sqrt(n) of its size (Higham and Mary,
    A New Approach to Probabilistic Rounding Error Analysis, 2019, theorem 3.1), measured here channel by channel;
    results that are no sums are off by u of themselves. Running statistics are sums over their input.
    """

    def __init__(self, seed: int) -> None:
        import torch

        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, module: Any, given: tuple[Any, ...], output: Any) -> Any:
        import torch

        if module.training and getattr(module, "running_mean", None) is not None:
            self._disturb_statistics(module, given[0])
        if isinstance(output, tuple):
            return tuple(self._disturbed(module, part) if isinstance(part, torch.Tensor) else part for part in output)
        return self._disturbed(module, output) if isinstance(output, torch.Tensor) else output

    def _disturbed(self, module: Any, output: Any) -> Any:
        if not output.is_floating_point() or not output.numel():
            return output
        terms = _summed(module, output)
        return output + self._noise(output.abs() if terms == 1 else _size(output), output, terms)

    def _disturb_statistics(self, module: Any, x: Any) -> None:
        terms, weight = x.numel() // x.shape[1], module.momentum or 1.0
        axes = [axis for axis in range(x.dim()) if axis != 1]
        square = x.square().mean(axes)
        for buffer, size in ((module.running_mean, square.sqrt()), (module.running_var, square)):
            buffer += weight * self._noise(size, buffer, terms)

    def _noise(self, size: Any, like: Any, terms: int) -> Any:
        import torch

        random = torch.randn(like.shape, generator=self._random, dtype=like.dtype)
        return random * size * UNIT_ROUNDOFF * terms**0.5


def _size(output: Any) -> Any:
    """Root mean square of every channel, to be broadcast: axis 1 of volumes, the last axis of sequences."""
    if output.dim() < 2:
        return output.abs()
    channel = 1 if output.dim() > 3 or output.dim() == 2 else output.dim() - 1
    axes = [axis for axis in range(output.dim()) if axis != channel]
    return output.square().mean(axes, keepdim=True).sqrt()


def _summed(module: Any, output: Any) -> int:
    """How many numbers a layer adds up for one of its own."""
    fan_in: list[int] = [p.numel() // len(p) for p in module.parameters(recurse=False) if p.dim() > 1 and len(p)]
    if fan_in:
        return max(fan_in)
    # Normalisations have an eps: they sum over what they normalise, at most all elements of a channel.
    per_channel: int = output.numel() // output.shape[1] if output.dim() > 1 else 1
    return per_channel if hasattr(module, "eps") else 1
