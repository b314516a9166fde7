"""What a pickle describes, as inert facts: nothing in it is imported, called or built.

Numbers, strings, bytes, None, lists and tuples are themselves; everything else is one of these. Whoever walks them
must visit each object once: a short pickle can describe a graph with 2^40 paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final


class Global:
    """The name of a class or function; `path` is `module.name`."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Global({self.path!r})"


class PersistentId:
    """A reference to something outside the pickle: PyTorch's storages, `("storage", class, key, location, numel)`."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Record:
    """An object the pickle describes and nobody built.

    Dictionaries and sets are Records too (of the Globals `builtins.dict`, `builtins.set`): their keys stay in
    lists, so a key needs not to be hashable and a key set twice stays visible.

    Attributes:
        cls: what would be called: a Global, or whatever else the pickle put there.
        args: positional arguments; anything a stranger put there, a tuple as a rule.
        kwargs: keyword arguments (NEWOBJ_EX), a Record of a dictionary; None where there are none.
        state: what BUILD would have handed to `__setstate__`.
        items: what would have been appended or added.
        entries: (key, value) pairs that would have been set, in order.
        by_text: `entries` by those keys that are text, once somebody has looked one up.
        path: `module.name` of `cls`; "" where that is no plain name.
    """

    __slots__ = ("args", "by_text", "cls", "entries", "items", "kwargs", "path", "state")

    def __init__(self, cls: Any, args: Any = (), kwargs: Any = None) -> None:
        self.cls = cls
        self.args = args
        self.kwargs = kwargs
        self.state: Any = None
        self.items: list[Any] = []
        self.entries: list[tuple[Any, Any]] = []
        self.by_text: dict[str, Any] | None = None
        self.path: str = cls.path if isinstance(cls, Global) else ""

    def __repr__(self) -> str:
        return f"<Record of {self.path or 'no plain class'}>"


class TensorKind:
    """What tensors that are alike have in common; the numbers count elements, and none is negative.

    Attributes:
        storage_class: `module.name` of the class of the storage.
        location: the device the storage was on.
        numel: elements in the storage.
    """

    __slots__ = ("location", "numel", "offset", "shape", "storage_class", "strides")

    def __init__(
        self,
        storage_class: str,
        location: str,
        numel: int,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> None:
        self.storage_class = storage_class
        self.location = location
        self.numel = numel
        self.offset = offset
        self.shape = shape
        self.strides = strides


@final
class TensorCall:
    """A call of `torch._utils._rebuild_tensor_v2` as PyTorch writes it for nearly all tensors, in one small object.

    It stands for a Record whose arguments are the PersistentId `("storage", storage_class, key, location, numel)`,
    `offset`, `shape`, `strides`, a boolean and an empty OrderedDict.
    """

    __slots__ = ("key", "kind")

    path = "torch._utils._rebuild_tensor_v2"

    def __init__(self, key: str, kind: TensorKind) -> None:
        self.key = key
        self.kind = kind


DICT = Global("builtins.dict")
SET = Global("builtins.set")
FROZENSET = Global("builtins.frozenset")


def objects_in(value: Any) -> Iterator[Global | PersistentId | Record]:
    """Every Global, PersistentId and Record anywhere in `value`, each once."""
    seen, pending = set(), [value]
    while pending:
        node = pending.pop()
        if not isinstance(node, (Global, PersistentId, Record, list, tuple)) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, (list, tuple)):
            pending += node
            continue
        yield node
        if isinstance(node, PersistentId):
            pending.append(node.value)
        elif isinstance(node, Record):
            pending += (node.cls, node.args, node.kwargs, node.state, node.items)
            pending += [part for pair in node.entries for part in pair]


def globals_in(value: Any) -> list[str]:
    """Every global that `value` names, sorted; Python's own dictionaries and sets left out."""
    own = (DICT, SET, FROZENSET)
    return sorted({node.path for node in objects_in(value) if isinstance(node, Global) and node not in own})
