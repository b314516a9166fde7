"""What a checkpoint holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.api.preparing import StrPath, output_names, with_rules
from porter.layers.model import Layer
from porter.source import Source, SourceOptions, open_source


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint holds."""

    source: Source

    @property
    def rules(self) -> str:
        """What was recognised as the text of a rules file; used unchanged, it leads to the same conversion."""
        from porter import port_rules

        return port_rules.text_of(self.source)

    def to_json(self) -> dict[str, Any]:
        checkpoint = self.source.checkpoint
        return {
            "schema": "bnport.inspect/1",
            "file": str(checkpoint.path),
            "format": checkpoint.format,
            "framework": self.source.dialect,
            "container": checkpoint.container,
            "other_containers": list(checkpoint.other_containers),
            "prefix": self.source.wrapper or None,
            "layers": [layer_to_json(layer) for layer in self.source.layers],
            "tensors": [
                {"name": spec.name, "dtype": spec.dtype.name, "shape": list(spec.shape)} for spec in checkpoint.specs
            ],
            "left_out": [
                *({"name": entry.name, "what": entry.what} for entry in checkpoint.left_out),
                *({"name": name, "what": what} for name, what in self.source.left_out.items()),
            ],
            "warnings": list(self.source.notes),
        }


def layer_to_json(layer: Layer) -> dict[str, Any]:
    settings = layer.settings
    return {
        "name": layer.name,
        "kind": layer.kind_name,
        "channels": layer.channels,
        "certainty": layer.certainty,
        "evidence": [{"source": evidence.source, "text": evidence.text} for evidence in layer.evidence],
        "hyperparameters": None if settings is None else settings.to_json(),
    }


def inspect(path: StrPath, options: SourceOptions | None = None, rules: Sequence[StrPath] = ()) -> Inspection:
    """What a checkpoint holds: its format, its tensors, and its layers with the evidence for their kind.

    Args:
        path: the checkpoint.
        options: what to know about it beyond what it says itself.
        rules: rules files (`porter.port_rules`), of which only what they say of the source counts here.

    Raises:
        InputError: it cannot be read, or must not be trusted.
        Undecided: several state dicts, or names that may be either framework's.
    """
    given, write = with_rules(rules, options, None)
    return Inspection(open_source(Path(path), given, names=output_names(write)))
