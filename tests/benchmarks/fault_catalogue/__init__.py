"""The faults that `verify` must find."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fault_catalogue import bits, layouts, settings, values
from fault_catalogue.model import Fault, Scene

__all__ = ["BITS", "EVERY_BIT", "SETTINGS", "SETTINGS_OF_ONE", "VALUES", "Fault", "Make", "Scene"]

Make = Callable[[Scene], Iterator[Fault]]

# Wrong numbers, and right ones in the wrong place.
VALUES: tuple[Make, ...] = (
    values.of_norms,
    values.of_others,
    values.of_another_checkpoint,
    layouts.of_weights,
    layouts.of_parts,
    layouts.of_layers,
)
BITS, EVERY_BIT = bits.bits_of_layers, bits.bits_of_every_tensor
SETTINGS, SETTINGS_OF_ONE = settings.settings_of_all, settings.settings_of_one
