"""bnport: convert 3D-network checkpoints between PyTorch and MindSpore, and prove every converted layer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from porter.api import Conversion, Inspection, convert, inspect, verify
    from porter.configs.api import ConfigTranslation, translate_config
    from porter.configs.translated import ConfigOptions
    from porter.destination import WriteOptions
    from porter.edits import Rename
    from porter.errors import BnportError
    from porter.source import SourceOptions

__version__ = "0.1.0"

# Public name -> the module it comes from, imported when it is first asked for: `bnport --help` needs none of them.
_HOMES = {
    "BnportError": "porter.errors",
    "ConfigOptions": "porter.configs.translated",
    "ConfigTranslation": "porter.configs.api",
    "Conversion": "porter.api",
    "Inspection": "porter.api",
    "Rename": "porter.edits",
    "SourceOptions": "porter.source",
    "WriteOptions": "porter.destination",
    "convert": "porter.api",
    "inspect": "porter.api",
    "translate_config": "porter.configs.api",
    "verify": "porter.api",
}

__all__ = [
    "BnportError",
    "ConfigOptions",
    "ConfigTranslation",
    "Conversion",
    "Inspection",
    "Rename",
    "SourceOptions",
    "WriteOptions",
    "convert",
    "inspect",
    "translate_config",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
