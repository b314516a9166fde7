"""What a user may say of the settings of batch normalisations: on the command line, in a rules file, from Python."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import get_args

from porter.errors import UsageError
from porter.layers.settings import Statistics

CUMULATIVE = "cumulative"

_NUMBER = (float, int)
# Name -> the types it may have, and the values, in words.
_MAY_BE: Mapping[str, tuple[tuple[type, ...], str]] = {
    "eps": (_NUMBER, "a finite number, 0 or more"),
    "momentum": ((*_NUMBER, str), f'a number from 0 to 1 ("{CUMULATIVE}" in a rules file)'),
    "affine": ((bool,), "true or false"),
    "statistics": ((str,), " or ".join(get_args(Statistics))),
}


def check_hyperparameters(entry: str, values: object) -> None:
    """Check the settings that a user gives, momentum in either framework's terms.

    Args:
        entry: where they stand, for the error.
        values: of each name as in `porter.source.SourceOptions.hyperparameters`.

    Raises:
        UsageError: no mapping, an unknown name, or a value of another type or beyond its range.
    """
    if not isinstance(values, Mapping):
        raise _refused(entry, "a table such as { eps = 1e-3, momentum = 0.05 }", values)
    for name, value in values.items():
        if name not in _MAY_BE:
            raise _refused(entry, ", ".join(_MAY_BE), name)
        types, expected = _MAY_BE[name]
        is_of_type = isinstance(value, types) and (not isinstance(value, bool) or bool in types)
        if not is_of_type or not _is_in_range(name, value):
            raise _refused(entry, f"{name}: {expected}", value)


def _is_in_range(name: str, value: float | str) -> bool:
    if name == "statistics":
        return value in get_args(Statistics)
    if isinstance(value, str):
        return value == CUMULATIVE
    return math.isfinite(value) and 0 <= value <= (1 if name == "momentum" else math.inf)


def _refused(entry: str, expected: str, found: object) -> UsageError:
    return UsageError("says what cannot be", entry=entry, expected=expected, found=repr(found))
