"""What a user reads where the kind of a layer cannot be told: the evidence, and the option that settles it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from porter.errors import Undecided
from porter.layers.kinds import KEEP, Dialect
from porter.layers.model import Layer

# The kind this tool exists for: where it is possible, it is the likeliest answer. A layer that owns no tensor is an
# InstanceNorm3d by default, and a BatchNorm3d only where its author has switched off everything.
_LIKELIEST = ("BatchNorm3d", "InstanceNorm3d")


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
    option = f"{'--model' if dialect == 'torch' else '--net'} FILE.py:FACTORY"
    hint = (
        f"Say it with --layer '{example.label}={_example(example)}' (* stands for one level of names, ** for any "
        f"number), or name the network with {option}."
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
        details=[_question(layer) for layer in undecided],
        hint=hint,
    )


def _lacks_channels(layer: Layer) -> bool:
    """Whether parameters must be created for a layer without it being known how many."""
    return not layer.tensors and layer.channels is None and layer.kind is not KEEP


def _choice(layer: Layer) -> list[str]:
    return [kind.name for kind in layer.kinds]


def _question(layer: Layer) -> str:
    reasons = "; ".join(evidence.text for evidence in layer.evidence)
    return f"{layer.label}: {' or '.join(_choice(layer))} ({reasons})"


def _example(layer: Layer) -> str:
    choice = _choice(layer)
    likeliest = _LIKELIEST if layer.tensors else reversed(_LIKELIEST)
    return next((kind for kind in likeliest if kind in choice), choice[0])
