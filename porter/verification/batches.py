"""Layers that are configured alike, run as one: their channels side by side, for channels do not meet in a batch
normalisation. A framework takes as long to start a small layer as to run a wide one."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from porter.verification.bounds import Within
from porter.verification.cases import LayerCase, Side
from porter.verification.options import Options
from porter.verification.trajectory import Inputs, Trajectory, channels_of, make_inputs

if TYPE_CHECKING:
    from porter.verification.cases import Array

# Channels that run together: memory is some hundred kilobytes for each hundred of them.
_WIDEST = 4096


@dataclass(frozen=True)
class Batch:
    """Some layers as one.

    Attributes:
        wide: all their channels, in their order.
        inputs: each layer's own, likewise.
    """

    cases: tuple[LayerCase, ...]
    wide: LayerCase
    inputs: Inputs

    @property
    def places(self) -> list[slice]:
        """Where each layer's channels stand."""
        ends = [0]
        for case in self.cases:
            ends.append(ends[-1] + channels_of(case))
        return [slice(start, end) for start, end in pairwise(ends)]


def batches(cases: Sequence[LayerCase], options: Options) -> Iterator[Batch]:
    """All cases, each in one batch; a case's parameters, if it has any, have one shape, (C,)."""
    groups: dict[Hashable, list[list[LayerCase]]] = {}
    for case in cases:
        full = groups.setdefault(_configuration(case), [[]])
        if full[-1] and sum(map(channels_of, full[-1])) + channels_of(case) > _WIDEST:
            full.append([])
        full[-1].append(case)
    for full in groups.values():
        for group in full:
            yield Batch(tuple(group), _wide(group), _side_by_side([make_inputs(case, options) for case in group]))


def part(found: Trajectory[Any], place: slice) -> Trajectory[Any]:
    """What one layer gave of what its batch gave."""
    return {check: tuple(_channels(value, place) for value in values) for check, values in found.items()}


def inputs_of(batch: Batch, place: slice) -> Inputs:
    """One layer's inputs."""
    whole = batch.inputs
    return Inputs(
        _channels(whole.evaluation, place),
        tuple(_channels(x, place) for x in whole.training),
        _channels(whole.upstream, place),
        tuple(_channels(x, place) for x in whole.edges),
    )


def _channels(value: Any, place: slice) -> Any:
    if value is None:
        return None
    if isinstance(value, Within):
        return Within(_channels(value.value, place), _channels(value.bound, place))
    return value[place] if value.ndim == 1 else value[:, place]


def _configuration(case: LayerCase) -> Hashable:
    """What layers that run together have in common; one without parameters runs alone."""

    def of(side: Side) -> Hashable:
        count = int(side.parameters.get("count", 0))
        return side.dialect, side.settings, frozenset(side.parameters), side.dtype, count

    bare = not {*case.source.parameters, *case.target.parameters} - {"count"}
    return case.kind.name, of(case.source), of(case.target), case.name if bare else None


def _wide(group: Sequence[LayerCase]) -> LayerCase:
    first = group[0]
    source = replace(first.source, parameters=_joined([case.source.parameters for case in group]))
    target = replace(first.target, parameters=_joined([case.target.parameters for case in group]))
    return replace(first, source=source, target=target)


def _joined(parameters: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    import numpy as np

    first = parameters[0]
    return {
        slot: first[slot] if slot == "count" else np.concatenate([own[slot] for own in parameters]) for slot in first
    }


def _side_by_side(inputs: Sequence[Inputs]) -> Inputs:
    import numpy as np

    def joined(arrays: Sequence[Array]) -> Array:
        return np.concatenate(arrays, axis=1)

    return Inputs(
        joined([own.evaluation for own in inputs]),
        tuple(joined(step) for step in zip(*(own.training for own in inputs), strict=True)),
        joined([own.upstream for own in inputs]),
        tuple(joined(edge) for edge in zip(*(own.edges for own in inputs), strict=True)),
    )
