"""What the names and shapes of a group's tensors say, whatever stands around it and whoever speaks of it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from porter.layers.groups import Form, Reading, read_as
from porter.layers.kinds import Dialect, Kind
from porter.layers.model import Evidence
from porter.layers.rules import share_a_rule
from porter.layers.weighing import likely

# Names in MindSpore's layers that any cell may give its own parameters.
_ANYBODYS = {"weight", "bias", "w", "a", "gamma", "beta"}


class Look(NamedTuple):
    """A group as it looks.

    Attributes:
        fitting: the kinds that names and shapes allow.
        likely: these, less those that are never meant where another one fits.
        names: evidence that MindSpore's names are.
        shapes: evidence that names and shapes together are; None where there is no tensor.
        norm: the group read as a normalisation with statistics; None where it is not likely to be one.
        may_be_norm: whether a normalisation with statistics is among the likely kinds.
    """

    fitting: tuple[Kind, ...]
    likely: tuple[Kind, ...]
    names: Evidence | None = None
    shapes: Evidence | None = None
    norm: Reading | None = None
    may_be_norm: bool = False


@lru_cache(maxsize=4096)
def look_of(form: Form, fitting: tuple[Kind, ...], dialect: Dialect, is_embedding: bool) -> Look:
    """How a group of this form looks.

    Args:
        form: of a group that owns tensors.
        fitting: the kinds that names and shapes allow.
        dialect: whose names it bears.
        is_embedding: see `porter.layers.weighing.sounds_like_an_embedding`.
    """
    possible = likely(fitting, form, is_embedding)
    norm = next((kind for kind in possible if kind.is_norm_with_statistics), None)
    names = _by_names(form, fitting, possible) if dialect == "mindspore" else None
    read = read_as(form, norm, dialect) if norm else None
    return Look(fitting, possible, names, by_shapes(form, fitting), read, norm is not None)


def by_shapes(form: Form, kinds: tuple[Kind, ...]) -> Evidence:
    return Evidence("shapes", kinds, ", ".join(f"{leaf} {list(shape)}" for leaf, shape in form.shapes))


def _by_names(form: Form, fitting: tuple[Kind, ...], possible: tuple[Kind, ...]) -> Evidence | None:
    """MindSpore's names, where nobody else would choose them and they leave one rule.

    Those of BatchNorm2d are InstanceNorm3d's as well.
    """
    if not share_a_rule(possible):
        return None
    if len(read_as(form, possible[0], "mindspore").slots) < len(form.shapes):
        return None  # a subclass
    own = sorted({leaf for leaf, _ in form.shapes} - _ANYBODYS)
    return Evidence("names", fitting, f"MindSpore's names: {', '.join(own)}") if own else None
