"""What the reader of a check of two networks must know to weigh it, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from porter.layers.classes import kinds_of_class
from porter.network import facts_of
from porter.verification.causes import settings_that_differ
from porter.verification.network_results import Activation
from porter.verification.options import Options
from porter.verification.twins import Twins


def settings_notes(twins: Twins, common: Mapping[str, str]) -> Iterator[str]:
    """What the layers' own attributes say, for on one input a difference may be too small to show.

    Batch normalisations are left out: their settings are a check of each such layer (`setting_faults`).
    """
    found: dict[str, list[str]] = {}
    for path, other in common.items():
        module = twins.torch.modules[path]
        if any(kind.family == "BatchNorm" for kind in kinds_of_class(facts_of(path, module))):
            continue
        for text in settings_that_differ(module, twins.mindspore.modules[other]):
            found.setdefault(text, []).append(path)
    for text, paths in found.items():
        yield f"{', '.join(paths)}: {text}; on a single input this need not show"


def activation_notes(twins: Twins) -> Iterator[str]:
    """Which layers are left out, for MindSpore's end with an activation that PyTorch's network has beside them."""
    found: dict[str, list[str]] = {}
    for path, activation in twins.ends_with().items():
        found.setdefault(activation, []).append(path)
    for activation, paths in found.items():
        yield (
            f"{', '.join(paths)}: MindSpore's layer ends with {activation}, PyTorch's does not; what follows is "
            "compared instead of its output"
        )


def shape_notes(activations: Sequence[Activation]) -> Iterator[str]:
    for row in activations:
        mine, other = row.shapes
        if row.ok and mine != other:
            shapes = f"{list(mine)} in PyTorch and {list(other)} in MindSpore"
            yield f"{row.label} has shape {shapes}, with the same numbers"


def dropout_note(twins: Twins) -> Iterator[str]:
    count = sum(getattr(part, "p", None) != 0 for part in twins.torch.dropouts)
    if count:
        layers = f"{count} layer{'s' * (count > 1)}"
        yield f"dropout is switched off in both networks (in {layers}): they would not draw the same numbers"


def graph_note(options: Options) -> Iterator[str]:
    if options.ms_mode != "pynative":
        yield (
            "in graph mode the networks' outputs and statistics were compared; layers in PyNative mode alone, for "
            "cells have no hooks in graph mode"
        )
