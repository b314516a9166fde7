"""What a user reads where the kind of a layer cannot be told: the evidence, and the option that settles it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from porter.errors import Undecided
from porter.layers.kinds import KEEP, Dialect
from porter.layers.model import Layer
from porter.layers.patterns import ROOT, matches
from porter.report.fold import NUMBER, fold

# The kind this tool exists for: where it is possible, it is the likeliest answer. A layer that owns no tensor is an
# InstanceNorm3d by default, and a BatchNorm3d only where its author has switched off everything.
_LIKELIEST = ("BatchNorm3d", "InstanceNorm3d")
# More layers than this are folded, and more lines than this are left out.
_LISTED = 9


def refuse_undecided(layers: Sequence[Layer], file: Path, dialect: Dialect) -> None:
    """Ask for the kinds of undecided layers, all in one error.

    Args:
        layers: of the checkpoint.
        file: it was read from.
        dialect: whose names it bears, which says whose network could tell.

    Raises:
        Undecided: there are any.
    """
    undecided = [layer for layer in layers if layer.certainty == "undecided"]
    if not undecided:
        return
    example = min(undecided, key=lambda layer: "BatchNorm3d" not in _choice(layer))
    own, other = ("--model", "--net") if dialect == "torch" else ("--net", "--model")
    option = f"{own} FILE.py:FACTORY"
    pattern = _pattern(example, layers)
    words = " or ".join(
        f"--layer '{word}'" for word in (f"{pattern}={_example(example)}", *_as_inner(example, pattern))
    )
    hint = (
        f"Say it with {words} (* stands for one level of names, ** for any number), or name the network with "
        f"{option}, or the one it is converted for with {other}."
    )
    uncounted = [layer.label for layer in undecided if _lacks_channels(layer)]
    if uncounted:
        hint = f"Name the network with {option}: nothing else says how many channels {uncounted[0]} has."
    raise Undecided(
        f"the kind of {len(undecided)} layer{'s' * (len(undecided) > 1)} cannot be told from the file",
        file=file,
        entry=example.label,
        expected="one kind for each layer",
        found=f"{len(undecided)} undecided",
        details=_questions(undecided),
        hint=hint,
    )


def _lacks_channels(layer: Layer) -> bool:
    """Whether parameters must be created for a layer without it being known how many."""
    return not layer.tensors and layer.channels is None and layer.kind is not KEEP


def _pattern(example: Layer, layers: Sequence[Layer]) -> str:
    """What `--layer` may call the example so that it speaks of all that may be the same, and of no other layer."""
    asked = _choice(example), _example(example)
    undecided = (layer for layer in layers if layer.certainty == "undecided")
    alike = {layer.name for layer in undecided if (_choice(layer), _example(layer)) == asked}
    others = [layer.name for layer in layers if layer.name not in alike and _may_be(layer, asked[1])]
    for pattern in (example.label, *_wider(example.name, alike), "**"):
        if all(matches(pattern, name) for name in alike) and not any(matches(pattern, name) for name in others):
            return pattern
    return example.label


def _wider(name: str, alike: Set[str]) -> Iterator[str]:
    """`name` with a * for every number that is another one in a name that differs from it in numbers alone."""
    form = NUMBER.sub("#", name)
    columns = zip(*(NUMBER.findall(other) for other in alike if NUMBER.sub("#", other) == form), strict=True)
    numbers = iter(["*" if len(set(column)) > 1 else column[0] for column in columns])
    yield NUMBER.sub(lambda _: next(numbers), name)


def _may_be(layer: Layer, kind: str) -> bool:
    """Whether `--layer` could make a `kind` of it."""
    shapes = (one.name for evidence in layer.evidence if evidence.source == "shapes" for one in evidence.kinds)
    return kind in (*_choice(layer), *shapes)


def _as_inner(layer: Layer, pattern: str) -> list[str]:
    """The other way to say it where a BatchNorm3d's inner cell may be a layer that its author called bn2d."""
    inner = f"{layer.name}.bn2d".removeprefix(".")
    if not layer.tensors or not all(name.startswith(f"{inner}.") for name in layer.tensors.values()):
        return []
    beside = (kind for evidence in layer.evidence if evidence.source == "neighbours" for kind in evidence.kinds)
    found = next((kind.name for kind in beside if kind.family == "BatchNorm" and kind.spatial != 3), "BatchNorm2d")
    return [f"{pattern.removeprefix(ROOT)}.bn2d={found}".removeprefix(".")]


def _choice(layer: Layer) -> list[str]:
    return [kind.name for kind in layer.kinds]


def _questions(undecided: Sequence[Layer]) -> list[str]:
    """A line for each layer; where they are many, one for those that differ in nothing but numbers."""
    if len(undecided) <= _LISTED:
        return [_question(layer) for layer in undecided]
    folded = fold(undecided, _question, lambda layer: layer.kinds)
    lines = [line if len(group) == 1 else f"{line}, {len(group)} layers" for line, group in folded]
    unseen = sum(len(group) for _, group in folded[_LISTED:])
    return [*lines[:_LISTED], *([f"and {unseen} more"] if unseen else [])]


def _question(layer: Layer) -> str:
    reasons = "; ".join(evidence.text for evidence in layer.evidence)
    return f"{layer.label}: {' or '.join(_choice(layer))} ({reasons})"


def _example(layer: Layer) -> str:
    choice = _choice(layer)
    likeliest = _LIKELIEST if layer.tensors else reversed(_LIKELIEST)
    return next((kind for kind in likeliest if kind in choice), choice[0])
