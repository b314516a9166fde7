"""What is known of a checkpoint's layers besides the file: from the user, networks, an earlier conversion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from porter.formats.model import EMPTY, ModuleFacts
from porter.layers.kinds import Kind
from porter.layers.settings import Settings


def _nothing(path: str) -> ModuleFacts | None:
    return None


class Hints(NamedTuple):
    """What the user, or an earlier conversion, adds to the file's own evidence.

    Attributes:
        layers: (pattern, kind) pairs of `--layer`, the last match wins.
        network: the modules of the network on the file's side, in order; empty where none is given.
        counterpart: path of a module in the file -> that module in the network on the other side; None where that
            network has none, or none is given.
        recorded: layer name -> kind name, from the record of the conversion that wrote the file.
        recorded_settings: layer name -> settings, from the same record.
        wrapper: a prefix of all names that `network` does not have (`module.`).
        eps, momentum: settings for batch normalisations whose own are not known, momentum in PyTorch's terms.
    """

    layers: tuple[tuple[str, Kind], ...] = ()
    network: tuple[ModuleFacts, ...] = ()
    counterpart: Callable[[str], ModuleFacts | None] = _nothing
    recorded: Mapping[str, str] = EMPTY
    recorded_settings: Mapping[str, Settings] = EMPTY
    wrapper: str = ""
    eps: float | None = None
    momentum: float | None = None

    @property
    def are_silent(self) -> bool:
        """Whether nothing is said of any layer by itself."""
        said = self.layers or self.network or self.recorded or self.recorded_settings
        return not said and self.counterpart is _nothing
