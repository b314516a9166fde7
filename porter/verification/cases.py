"""What verification is asked: a layer as it stands on both sides of a conversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from porter.layers.kinds import Dialect, Kind
from porter.layers.ordinary_settings import Settings as OrdinarySettings
from porter.layers.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

T = TypeVar("T")

MindSporeMode = Literal["pynative", "graph"]


@dataclass(frozen=True)
class Side:
    """A layer as one framework holds it.

    Attributes:
        dialect: which framework, in which of its namespaces.
        settings: as the layer on this side is really configured, in PyTorch's terms in every dialect.
        parameters: slot name -> its values, shape (C,) (`count`: shape ()); only the slots this side has. float16,
            float32 or float64; bfloat16 arrives widened to float32, which is exact.
        dtype: the stored dtype's name (`porter.formats.dtypes`): it says how far the values were rounded.
    """

    dialect: Dialect
    settings: Settings
    parameters: Mapping[str, Array]
    dtype: str = "float32"


@dataclass(frozen=True)
class LayerCase:
    """One layer to verify: `target` is right when it behaves as `source` does.

    Attributes:
        name: the layer's name in the source checkpoint; "" when the layer is the whole network.
        kind: a kind of the BatchNorm family.
    """

    name: str
    kind: Kind
    source: Side
    target: Side


# What instance normalisations may have and never read in training, MindSpore's never at all.
_STATISTICS = ("mean", "variance", "count")


def computed_with(slots: Mapping[str, T]) -> dict[str, T]:
    """Of the parameters of a layer that is no batch normalisation, those that its results depend on."""
    return {slot: value for slot, value in slots.items() if slot not in _STATISTICS}


@dataclass(frozen=True)
class Stored:
    """A layer of another kind than the batch normalisations, as one framework holds it.

    Attributes:
        parameters: slot name -> values, float16, float32 or float64, in the shape of its dialect.
        dtype: as for `Side`.
        settings: as its own network says them; empty where no network is known.
    """

    dialect: Dialect
    parameters: Mapping[str, Array]
    dtype: str = "float32"
    settings: OrdinarySettings = field(default_factory=dict)


@dataclass(frozen=True)
class OrdinaryCase:
    """One layer to verify of another kind than the batch normalisations; as `LayerCase`."""

    name: str
    kind: Kind
    source: Stored
    target: Stored
