"""Layers for the tests of verification: random but seeded, right or with one fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porter.layers.kinds import KINDS, Dialect
from porter.layers.settings import Settings
from porter.verification.bounds import stored
from porter.verification.cases import LayerCase, Side

Values = dict[str, NDArray[Any]]


def parameters(seed: int, channels: int = 8, dtype: str = "float32") -> Values:
    """An ordinary trained layer: |mean| is 0.05 to 30 standard deviations, |beta| 0.4 to 4 times |gamma|."""
    random = np.random.default_rng(seed)

    def signed(low: float, high: float) -> NDArray[Any]:
        return random.choice([-1.0, 1.0], channels) * np.exp(random.uniform(np.log(low), np.log(high), channels))

    variance = np.exp(random.uniform(np.log(1e-3), np.log(1e2), channels))
    gamma = signed(0.05, 5)
    return {
        "gamma": as_stored(gamma, dtype),
        "beta": as_stored(gamma * signed(0.4, 4), dtype),
        "mean": as_stored(signed(0.05, 30) * np.sqrt(variance), dtype),
        "variance": as_stored(variance, dtype),
    }


def as_stored(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Values of `dtype` as verification gets them: bfloat16 widened to float32."""
    return stored(values, dtype).astype({"bfloat16": "float32"}.get(dtype, dtype))


def layer_case(
    values: Values,
    settings: Settings | None = None,
    *,
    name: str = "layer1.0.bn1",
    kind: str = "BatchNorm3d",
    dialects: tuple[Dialect, Dialect] = ("torch", "mindspore"),
    dtype: str = "float32",
) -> LayerCase:
    """A right conversion: MindSpore's side has all four parameters, PyTorch's those its settings bring."""
    settings = settings or Settings()
    sides = []
    for dialect in dialects:
        own = dict(values)
        if dialect != "mindspore":
            if settings.statistics == "batch":
                own = {slot: v for slot, v in own.items() if slot not in ("mean", "variance", "count")}
            if not settings.affine:
                own = {slot: v for slot, v in own.items() if slot not in ("gamma", "beta")}
        elif not settings.affine:
            own |= {"gamma": np.ones_like(values["gamma"]), "beta": np.zeros_like(values["gamma"])}
        sides.append(Side(dialect, settings, own, dtype))
    return LayerCase(name, KINDS[kind], *sides)


def with_target(case: LayerCase, settings: Settings | None = None, **slots: NDArray[Any]) -> LayerCase:
    """The same layer with other settings or values in its target."""
    target = replace(
        case.target, settings=settings or case.target.settings, parameters={**case.target.parameters, **slots}
    )
    return replace(case, target=target)
