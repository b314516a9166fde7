"""What recognition finds: layers, and why they are believed to be what they are.

Of both a checkpoint may have tens of thousands: they are NamedTuples, which are made without running Python code.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

from porter.layers.kinds import Dialect, Kind
from porter.layers.rules import names_differ
from porter.layers.settings import Settings

Certainty = Literal["certain", "inferred", "undecided"]

# Strongest first. The first six can settle a kind for certain; the others only narrow it down.
EvidenceSource = Literal[
    "user",
    "network",
    "pickled module",
    "record",
    "target network",
    "names",
    "siblings",
    "structure",
    "metadata",
    "neighbours",
    "shapes",
]


class Evidence(NamedTuple):
    """One reason to believe something about a layer.

    Attributes:
        source: where it comes from.
        kinds: the kinds it leaves possible.
        text: the same in words, for people.
    """

    source: EvidenceSource
    kinds: tuple[Kind, ...]
    text: str


class Layer(NamedTuple):
    """One recognised layer of a checkpoint.

    Attributes:
        name: dotted path, "" for a layer that is the whole network.
        kinds: the kinds it may be, at least one. One, or several that share every name and shape (Conv3d and
            ConvTranspose3d), so that the conversion is the same; undecided layers list what the evidence leaves,
            `keep` where that is nothing.
        certainty: `certain`, `inferred` or `undecided`.
        evidence: strongest first.
        tensors: slot -> name of the tensor in the checkpoint; slots that are absent there are absent here.
        counterpart: its path on the other side of PyTorch and MindSpore, where a layer around it changes that
            (`linear1` of a TransformerEncoderLayer is `dense1`); None where it is the same.
        channels: length of the layer's channel axis; None where the kind has none.
        shape: of the parameters of a LayerNorm that owns no tensor; None elsewhere.
        settings: a batch normalisation's settings as far as the source knows them; None for other kinds.
    """

    name: str
    kinds: tuple[Kind, ...]
    certainty: Certainty
    evidence: tuple[Evidence, ...]
    tensors: Mapping[str, str]
    counterpart: str | None = None
    channels: int | None = None
    shape: tuple[int, ...] | None = None
    settings: Settings | None = None

    @property
    def kind(self) -> Kind:
        """The kind whose rule converts this layer (any of `kinds`: they share it)."""
        return self.kinds[0]

    @property
    def kind_name(self) -> str:
        """`BatchNorm3d`, or `Conv3d|ConvTranspose3d` where names and shapes cannot tell and need not."""
        return _joined_names(self.kinds)

    def path_in(self, to: Dialect, *, came_from: Dialect) -> str:
        """Its path in `to`, being called `name` in `came_from`."""
        return self.counterpart if self.counterpart is not None and names_differ(came_from, to) else self.name

    @property
    def label(self) -> str:
        return self.name or "(root)"


@lru_cache(maxsize=1024)
def _joined_names(kinds: tuple[Kind, ...]) -> str:
    return "|".join(kind.name for kind in kinds)
