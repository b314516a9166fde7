"""Where everything stands in the picture: layers from left to right, error / bound upwards on a log scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor, inf, log10

from porter.report.shares import share_of, worst
from porter.verification.results import LayerResult

WIDTH, HEIGHT = 1000.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 8.0, 18.0, 26.0

# Decades shown whatever the figures are, and at most: a layer outside stands at the edge.
_USUAL = (-4, 1)
_EXTREME = (-7, 9)
# A module's name is written where its layers leave this much room per character.
_PER_CHARACTER = 6.6


@dataclass(frozen=True)
class Mark:
    """A layer: its place, and the reach of its checks above and below.

    Attributes:
        verdict: `ok`, `failed` or `not-run`.
        share: error / bound of the check closest to its bound; None where none was run.
        low, high: y of the smallest and of the largest share among its checks.
    """

    index: int
    x: float
    y: float
    low: float
    high: float
    verdict: str
    share: float | None
    layer: LayerResult


@dataclass(frozen=True)
class Tick:
    y: float
    exponent: int


@dataclass(frozen=True)
class Band:
    """Neighbouring layers of one module at the top of the network; without a name where it would not fit."""

    x: float
    width: float
    name: str
    shaded: bool


@dataclass(frozen=True)
class Picture:
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    bands: tuple[Band, ...]
    bound: float
    radius: float
    step: float


def picture(layers: Sequence[LayerResult]) -> Picture:
    """Lay the layers out in their order.

    Args:
        layers: at least one.
    """
    shares = [worst_share(layer) for layer in layers]
    scale = _Scale.holding([share for share in shares if share is not None])
    step = (WIDTH - LEFT - RIGHT) / len(layers)
    marks = tuple(
        _mark(index, layer, share, LEFT + step * (index + 0.5), scale)
        for index, (layer, share) in enumerate(zip(layers, shares, strict=True))
    )
    ticks = tuple(Tick(scale.y(10.0**exponent), exponent) for exponent in range(scale.low, scale.high + 1))
    return Picture(marks, ticks, _bands(layers, step), scale.y(1.0), min(max(step * 0.36, 2.0), 5.0), step)


def verdict(ok: bool | None) -> str:
    return {True: "ok", False: "failed", None: "not-run"}[ok]


def worst_share(layer: LayerResult) -> float | None:
    found = worst(layer)
    return None if found is None else share_of(found)


@dataclass(frozen=True)
class _Scale:
    """log10(share) from `low` at the bottom to `high` at the top."""

    low: int
    high: int

    @classmethod
    def holding(cls, shares: Sequence[float]) -> _Scale:
        exponents = [log10(share) for share in shares if 0 < share < inf]
        low = min([_USUAL[0], *(floor(exponent) for exponent in exponents)])
        high = max([_USUAL[1], *(ceil(exponent) for exponent in exponents)])
        if inf in shares:
            high += 1
        return cls(max(low, _EXTREME[0]), min(high, _EXTREME[1]))

    def y(self, share: float) -> float:
        exponent = -inf if share == 0 else inf if share == inf else log10(share)
        at = (min(max(exponent, self.low), self.high) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - at * (HEIGHT - BOTTOM - TOP)


def _mark(index: int, layer: LayerResult, share: float | None, x: float, scale: _Scale) -> Mark:
    reach = [share_of(check) for check in layer.checks if check.ok is not None and check.bound]
    y = scale.y(1e-300 if share is None else share)
    low, high = scale.y(min(reach, default=share or 0.0)), scale.y(max(reach, default=share or 0.0))
    return Mark(index, x, y, low, high, verdict(layer.ok), share, layer)


def _bands(layers: Sequence[LayerResult], step: float) -> tuple[Band, ...]:
    bands: list[Band] = []
    start = 0
    for module, group in groupby(layers, key=lambda layer: layer.name.partition(".")[0]):
        count = len(list(group))
        width = count * step
        name = module if len(module) * _PER_CHARACTER <= width else ""
        bands.append(Band(LEFT + start * step, width, name, len(bands) % 2 == 1))
        start += count
    return tuple(bands)
