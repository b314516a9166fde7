"""JSON from a stranger: one object, no key twice in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar, cast

from porter.errors import Malformed


def parse_object(raw: bytes, *, file: Path, what: str) -> dict[str, Any]:
    """The JSON object in `raw`; `what` names it in messages ("the header").

    Raises:
        Malformed: not UTF-8, not JSON, nested without end, no object, or an object in it has the same key twice.
    """

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        unique = dict(pairs)
        if len(unique) != len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise Malformed(f"{what} has the same key twice", file=file, entry=twice)
        return unique

    try:
        parsed = json.loads(raw.decode("utf-8"), object_pairs_hook=without_duplicates)
    except UnicodeDecodeError as error:
        raise Malformed(f"{what} is not UTF-8", file=file, found=f"byte {error.start} of it") from error
    # ValueError: bad JSON, or an integer of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{what} is not JSON", file=file, found=error) from error
    if not isinstance(parsed, dict):
        raise Malformed(f"{what} is not a JSON object", file=file, found=type(parsed).__name__)
    return parsed


T = TypeVar("T")


def of_type(kind: type[T], value: Any) -> T:
    """`value`, which must be a `kind`, and no bool where a number is meant; JSON may write a float as an int.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    if kind is float and type(value) is int:
        return cast(T, float(value))
    raise TypeError(f"{value!r:.60} is no {kind.__name__}")


def map_of(kind: type[T], value: Any) -> dict[str, T]:
    """`value`, which must be an object of such values; raises as `of_type`."""
    return {key: of_type(kind, entry) for key, entry in of_type(dict, value).items()}


def list_of(kind: type[T], value: Any) -> list[T]:
    """`value`, which must be a list of such values; raises as `of_type`."""
    return [of_type(kind, entry) for entry in of_type(list, value)]


def one_of(choices: Collection[T], value: Any) -> T:
    """The one of `choices` that `value` is.

    Raises:
        ValueError: it is none of them.
    """
    for choice in choices:
        if choice == value:
            return choice
    raise ValueError(f"{value!r:.60} is none of {', '.join(map(str, choices))}")
