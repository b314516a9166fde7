"""Which signature the installed mindspore.nn has, read from its source: importing MindSpore takes seconds."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from porter.configs.terms import TRACK, Signature

_HOME = Path("nn", "layer", "normalization.py")


def installed_signature() -> Signature:
    """The signature of the installed mindspore.nn.BatchNorm3d; "classic" where no MindSpore is installed.

    The announced one takes `track_running_stats` and means PyTorch's momentum (`porter.configs.terms`).
    """
    spec = importlib.util.find_spec("mindspore")
    for folder in (spec and spec.submodule_search_locations) or ():
        source = Path(folder) / _HOME
        if source.is_file() and _takes_track(source.read_bytes()):
            return "announced"
    return "classic"


def _takes_track(source: bytes) -> bool:
    classes = (
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "BatchNorm3d"
    )
    functions = (node for cls in classes for node in cls.body if isinstance(node, ast.FunctionDef))
    return any(
        argument.arg == TRACK
        for function in functions
        if function.name == "__init__"
        for argument in (*function.args.args, *function.args.kwonlyargs)
    )
