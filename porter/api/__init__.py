"""The library: what the commands do, as functions that take paths and return facts."""

from __future__ import annotations

from porter.api.converting import Align, Conversion, Refuted, convert
from porter.api.inspecting import Inspection, inspect
from porter.api.verifying import recorded_options, verify

__all__ = ["Align", "Conversion", "Inspection", "Refuted", "convert", "inspect", "recorded_options", "verify"]
