"""What a record has of every tensor and every layer, in short.

A checkpoint has many tensors of few types and with few fates, and many layers with few settings. Each of those stands
once; a row of a tensor names its type and fate by their places in tables. Records of the first form, which names
everything in full, are still read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, get_args

from porter.formats.dtypes import BY_NAME, DType
from porter.formats.model import TensorSpec
from porter.formats.strict_json import list_of, map_of, of_type, one_of
from porter.layers.settings import Settings
from porter.plan import Fate, Step

SCHEMA = "bnport.record/2"
SCHEMA_IN_FULL = "bnport.record/1"

# Rows that are written at a time: no more memory than that is needed for them.
_BLOCK = 4096

_Type = tuple[DType, tuple[int, ...]]
_ABSENT = (None, None)


def dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def step_texts(steps: Sequence[Step]) -> Iterator[str]:
    """The members `tensors`, `types` and `fates` of a record's JSON, without the braces around them.

    A row is [source, its type, target, its type, fate, layer] and, for a shared tensor, whose name it is.
    """
    types: dict[_Type, int] = {}
    fates: dict[tuple[Fate, str], int] = {}

    def row(step: Step) -> tuple[object, ...]:
        source, target, fate, reason, _, _, same_as, layer, _, _ = step
        cells = (
            *((source.name, types.setdefault(source[1:], len(types))) if source else _ABSENT),
            *((target.name, types.setdefault(target[1:], len(types))) if target else _ABSENT),
            fates.setdefault((fate, reason), len(fates)),
            layer,
        )
        return cells if same_as is None else (*cells, same_as)

    yield '"tensors":['
    rows, comma = map(row, steps), ""
    while block := list(islice(rows, _BLOCK)):
        yield comma + dump(block)[1:-1]
        comma = ","
    tables = {"types": [(dtype.name, shape) for dtype, shape in types], "fates": list(fates)}
    yield f"],{dump(tables)[1:-1]}"


def steps_of(document: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps in a record's document.

    Raises:
        KeyError, TypeError, ValueError: it has none.
    """
    rows = list_of(list, document["tensors"])
    if document["schema"] == SCHEMA_IN_FULL:
        return tuple(map(_step_in_full, rows))
    types = {i: _type(*entry) for i, entry in enumerate(list_of(list, document["types"]))}
    fates = {i: _fate(*entry) for i, entry in enumerate(list_of(list, document["fates"]))}

    def spec(name: Any, number: Any) -> TensorSpec | None:
        return None if name is None else TensorSpec(of_type(str, name), *types[number])

    def step(row: list[Any]) -> Step:
        source, its_type, target, type_there, fate, layer, *shared = row
        return _step(spec(source, its_type), spec(target, type_there), *fates[fate], layer, shared)

    return tuple(map(step, rows))


def _step_in_full(row: list[Any]) -> Step:
    def spec(value: Any) -> TensorSpec | None:
        if value is None:
            return None
        name, *kind = of_type(list, value)
        return TensorSpec(of_type(str, name), *_type(*kind))

    source, target, fate, reason, layer, *shared = row
    return _step(spec(source), spec(target), *_fate(fate, reason), layer, shared)


def _step(
    source: TensorSpec | None, target: TensorSpec | None, fate: Fate, reason: str, layer: Any, shared: list[Any]
) -> Step:
    if source is None and target is None:
        raise ValueError("a tensor without a name")
    same_as = of_type(str, shared[0]) if shared else None
    named = None if layer is None else of_type(str, layer)
    return Step(source, target, fate, reason, same_as=same_as, layer=named)


def _type(dtype: Any, shape: Any) -> _Type:
    if min(list_of(int, shape), default=0) < 0:
        raise ValueError("a negative length")
    return BY_NAME[of_type(str, dtype)], tuple(shape)


def _fate(fate: Any, reason: Any) -> tuple[Fate, str]:
    return one_of(get_args(Fate), fate), of_type(str, reason)


def settings_rows(settings: Mapping[str, Settings]) -> list[tuple[dict[str, object], list[str]]]:
    """Settings, each with the layers that have them."""
    layers: dict[object, list[str]] = {}
    for name, own in settings.items():
        key = own.eps, own.momentum, own.affine, own.statistics, *own.known_from.items()
        layers.setdefault(key, []).append(name)
    return [(settings[names[0]].to_json(), names) for names in layers.values()]


def settings_of(document: Mapping[str, Any]) -> dict[str, Settings]:
    """Layer -> settings in a record's document.

    Raises:
        KeyError, TypeError, ValueError: it has none.
    """
    if document["schema"] == SCHEMA_IN_FULL:
        return {name: Settings.from_json(own) for name, own in map_of(dict, document["settings"]).items()}
    rows = ((Settings.from_json(of_type(dict, own)), names) for own, names in list_of(list, document["settings"]))
    return {name: own for own, names in rows for name in list_of(str, names)}
