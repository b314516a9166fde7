"""What the same place in a repeated module says: `blocks.0.norm1` is what `blocks.1.norm1` is.

Networks repeat their modules, and only the first or the last of them has unusual neighbours. Layers whose paths
differ in the numbers of the modules around them alone, with the same tensors, are taken for the same kind, where all
of them whose kind is known agree. The last part of a path must be equal: two layers of one nn.Sequential are no
siblings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from porter.layers.kinds import Kind
from porter.layers.model import Evidence, Layer
from porter.layers.rules import share_a_rule

_NUMBER = re.compile(r"\d+")
_Place = tuple[str, str, tuple[str, ...]]


def by_siblings(layers: Iterable[Layer]) -> dict[str, Evidence]:
    """Evidence for undecided layers that own tensors: layer name -> what its siblings are."""
    layers = [layer for layer in layers if layer.tensors]
    if all(layer.certainty != "undecided" for layer in layers):
        return {}
    known: dict[_Place, dict[str, Layer]] = {}
    for layer in layers:
        if layer.certainty != "undecided":
            known.setdefault(_place(layer), {}).setdefault(layer.kind_name, layer)
    found = {}
    for layer in layers:
        siblings = known.get(_place(layer), {})
        kinds = _agreed(siblings)
        if layer.certainty == "undecided" and kinds:
            example = next(iter(siblings.values()))
            found[layer.name] = Evidence(
                "siblings", kinds, f"at the same place as {example.label} ({example.kind_name})"
            )
    return found


def _agreed(siblings: Mapping[str, Layer]) -> tuple[Kind, ...]:
    """The kinds of all siblings, where one rule converts them."""
    kinds = tuple(dict.fromkeys(kind for layer in siblings.values() for kind in layer.kinds))
    return kinds if share_a_rule(kinds) else ()


def _place(layer: Layer) -> _Place:
    parent, _, last = layer.name.rpartition(".")
    return _NUMBER.sub("#", parent), last, tuple(layer.tensors)
