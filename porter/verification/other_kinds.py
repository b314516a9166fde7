"""Layers that are of one kind in the source's network, and of another in the output's."""

from __future__ import annotations

from porter.formats.model import ModuleFacts
from porter.layers.classes import kinds_of_class
from porter.layers.kinds import Dialect, Kind
from porter.layers.rules import FRAMEWORKS
from porter.verification.layer_pairs import LayerPair
from porter.verification.results import Check, LayerResult


def of_another_kind(
    pair: LayerPair, theirs: ModuleFacts | None, ours: ModuleFacts | None, from_: Dialect, to: Dialect
) -> LayerResult | None:
    """The failure of a layer whose module in the output's network is another layer than the source's.

    Its parameters fit all the same, so that it loads: nothing is learnt by running it. Nothing is said of a class
    that is none of a framework's own, whatever it derives from: it may compute anything.

    Args:
        theirs, ours: the layer's module in the source's and in the output's network, where they are known.
    """
    source, target = _own_kind(theirs), _own_kind(ours)
    if not (theirs and ours and source and target) or _alike(source, target):
        return None
    classes = {FRAMEWORKS[to]: ours.class_name, FRAMEWORKS[from_]: theirs.class_name}
    text = "is " + ", ".join(f"{name.rpartition('.')[2]} in {where}" for where, name in classes.items())
    checks = (Check("settings", False, note="the networks have layers of different kinds here"),)
    return LayerResult(pair.layer.name, pair.layer.kind.name, False, checks, text, cause="settings")


def _own_kind(facts: ModuleFacts | None) -> Kind | None:
    return next(iter(kinds_of_class(facts._replace(bases=()))), None) if facts else None


def _alike(one: Kind, other: Kind) -> bool:
    """Whether they compute the same but for the number of axes: a 1-D layer may be a 2-D one over a height of 1."""
    return _dimensionless(one) == _dimensionless(other)


def _dimensionless(kind: Kind) -> str:
    return kind.family or (kind.name.removesuffix(f"{kind.spatial}d") if kind.spatial else kind.name)
