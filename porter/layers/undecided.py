"""What a user reads where the kind of a layer cannot be told: the evidence, and the option that settles it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from porter.errors import Undecided
from porter.layers.kinds import Dialect
from porter.layers.model import Layer

# The kind this tool exists for: where it is possible, it is the likeliest answer.
_LIKELIEST = "BatchNorm3d"


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
    example = min(undecided, key=lambda layer: _LIKELIEST not in _choice(layer))
    option = "--model" if dialect == "torch" else "--net"
    raise Undecided(
        f"the kind of {len(undecided)} layer{'s' * (len(undecided) > 1)} cannot be told from the file",
        file=file,
        entry=example.label,
        expected="one kind for each layer",
        found=f"{len(undecided)} undecided",
        details=[_question(layer) for layer in undecided],
        hint=f"Say it with --layer '{example.label}={_example(example)}' (* stands for one level of names, ** for "
        f"any number), or name the network with {option} FILE.py:FACTORY.",
    )


def _choice(layer: Layer) -> list[str]:
    return [kind.name for kind in layer.kinds]


def _question(layer: Layer) -> str:
    reasons = "; ".join(evidence.text for evidence in layer.evidence)
    return f"{layer.label}: {' or '.join(_choice(layer)) or 'nothing bnport knows'} ({reasons})"


def _example(layer: Layer) -> str:
    choice = _choice(layer) or [_LIKELIEST]
    return _LIKELIEST if _LIKELIEST in choice else choice[0]
