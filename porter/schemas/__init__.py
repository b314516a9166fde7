"""JSON Schemas (draft 2020-12) of the documents that commands print with `--json`, one file each.

They are open: a document may gain properties without another version. What one document has in common with another
stands in one of the two files; the other refers to it by its `$id`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

NAMES = ("verify", "recheck", "convert", "inspect", "config", "error")


def schema(name: str) -> dict[str, Any]:
    """The schema of a document, with every other that it refers to inside, under `$defs`.

    Args:
        name: one of `NAMES`.
    """
    found = _read(name)
    parts: dict[str, Any] = {}
    todo = [found]
    while todo:
        for other in _referred(todo.pop()):
            if other != found["$id"] and other not in parts:
                parts[other] = _read(other.split(":")[2])
                todo.append(parts[other])
    return {**found, "$defs": {**found.get("$defs", {}), **parts}} if parts else found


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files(__name__).joinpath(f"{name}.json").read_text("utf-8"))
    return document


def _referred(value: Any) -> Iterator[str]:
    """The `$id` of every other schema that `value` refers to."""
    if isinstance(value, dict):
        target = value.get("$ref", "")
        if target.startswith("urn:"):
            yield target.partition("#")[0]
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _referred(part)
