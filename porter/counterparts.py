"""Which module of the network on the other side a module of the source is: told by names alone.

The network on the other side is evidence for the kinds of layers, and names follow from kinds. There is no circle in
this: the only layers that change a path are those made of layers, and their own class there tells them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from porter.edits import Rename, rename_module
from porter.formats.model import EMPTY, ModuleFacts
from porter.layers.classes import kinds_of_class
from porter.layers.kinds import Dialect


class OutputNames(NamedTuple):
    """How names change on the way besides by the layer rules; fields as in `porter.destination.WriteOptions`.

    Attributes:
        strip_prefix: removed from all names; "auto" is the wrapper's.
        renames: applied in order.
        recorded: renames of single tensors in an earlier conversion: name by the layer rules -> the one it has.
    """

    strip_prefix: str = ""
    renames: Sequence[Rename] = ()
    recorded: Mapping[str, str] = EMPTY


def counterparts(
    modules: Sequence[ModuleFacts], dialect: Dialect, names: OutputNames, wrapper: str
) -> Callable[[str], ModuleFacts | None]:
    """A function from the path of a module in the source to the module it is in the other network, or None.

    Args:
        modules: of the network on the other side.
        dialect: whose names the source bears.
        names: how they change.
        wrapper: a prefix of all names in the source, which the network may not have.
    """
    there = _by_names_of(dialect, modules)
    moved = _moved_modules(names.recorded)
    prefix = wrapper if names.strip_prefix in ("", "auto") else f"{names.strip_prefix.rstrip('.')}."

    def counterpart(path: str) -> ModuleFacts | None:
        paths = [f"{path}.".removeprefix(prefix)[:-1]]
        if not names.strip_prefix and prefix:
            paths.insert(0, path)  # the network may be wrapped as well
        renamed = (_moved(rename_module(path, names.renames), moved) for path in paths)
        return next((there[path] for path in renamed if path in there), None)

    return counterpart


def _by_names_of(dialect: Dialect, modules: Sequence[ModuleFacts]) -> dict[str, ModuleFacts]:
    """The modules by the paths that the layer rules give them in `dialect`, the other side's."""
    ruled: dict[str, str] = {}
    renamed: dict[str, str] = {}  # of parts of layers, path there -> last level here
    for facts in modules:
        parent, _, last = facts.name.rpartition(".")
        here = f"{ruled.get(parent, parent)}.{renamed.get(facts.name, last)}".removeprefix(".")
        ruled[facts.name] = here
        for kind in kinds_of_class(facts):
            for child in kind.children:
                mine, theirs = (
                    (child.mindspore, child.torch) if dialect == "mindspore" else (child.torch, child.mindspore)
                )
                renamed[f"{facts.name}.{theirs}".removeprefix(".")] = mine
    return {ruled[facts.name]: facts for facts in modules}


def _moved_modules(tensors: Mapping[str, str]) -> dict[str, str]:
    """The outermost modules, old path -> new one, whose renaming explains that of the tensors."""
    moved: dict[str, str] = {}
    for old, new in tensors.items():
        here, there = old.split("."), new.split(".")
        while len(here) > 1 and len(there) > 1 and here[-1] == there[-1]:
            here.pop()
            there.pop()
        moved[".".join(here)] = ".".join(there)
    return moved


def _moved(path: str, moved: Mapping[str, str]) -> str:
    """`path` after the innermost module of `moved` that it is or lies in has moved."""
    around = path
    while moved and around:
        if around in moved:
            return moved[around] + path[len(around) :]
        around = around.rpartition(".")[0]
    return path
