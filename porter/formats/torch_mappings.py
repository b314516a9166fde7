"""Dictionaries and sets of a pickle, whichever of the many ways a Python version spells them."""

from __future__ import annotations

from typing import Any

from porter.errors import Malformed
from porter.formats.pickle_records import Record

# Python 2 wrote `__builtin__` for `builtins`.
_MAPPINGS = (
    "builtins.dict",
    "__builtin__.dict",
    "collections.OrderedDict",
    "collections.defaultdict",
)
_SETS = ("builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset")


def mapping_entries(value: Any) -> list[tuple[Any, Any]] | None:
    """The (key, value) pairs of a dictionary, or of a subclass of one; None where `value` is neither.

    Raises:
        Malformed: a dictionary made from something that is no list of pairs.
    """
    if not isinstance(value, Record):
        return None
    if value.path not in _MAPPINGS:
        return value.entries or None
    pairs = value.args[0] if isinstance(value.args, tuple) and value.args else None
    if isinstance(pairs, list):
        _take_pairs(value, pairs)
    return value.entries


def _take_pairs(mapping: Record, pairs: list[Any]) -> None:
    """Python 2's OrderedDict hands its pairs to the constructor, as a list of lists: make them its entries.

    They are moved, not copied: a hostile pickle may show the same long list to any number of dictionaries.
    """
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise Malformed("a dictionary made from something that is no list of pairs")
    mapping.entries = [(pair[0], pair[1]) for pair in pairs] + mapping.entries
    mapping.args = ()
    pairs.clear()


def entry_of(value: Any, key: str) -> Any:
    """The value under `key` where `value` is a dictionary that has it, else None."""
    entries = mapping_entries(value)
    if entries is None:
        return None
    if value.by_text is None:
        value.by_text = {k: v for k, v in entries if type(k) is str}
    return value.by_text.get(key)


def elements(value: Any) -> list[Any]:
    """The elements of a set; none where `value` is no set."""
    if not isinstance(value, Record) or value.path not in _SETS:
        return []
    first = value.args[0] if isinstance(value.args, tuple) and value.args else None
    return (first if isinstance(first, list) else []) + value.items
