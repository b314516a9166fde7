"""Renames that would make a conversion fit its target network, proposed from the structure of both.

`porter.structure` says which module is which; here that becomes renames as a person would write them: outer modules
first, repeated ones as one wildcard, in an order in which each of them can be read backwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from porter.edits import Rename, rename_all
from porter.errors import UsageError
from porter.formats.model import TensorSpec
from porter.namesakes import CONFIDENCE, Told
from porter.structure import Node, Pair, Signature, pair_up, tree

# From this confidence on nothing but the renames proposed fits the structure.
UNIQUE = 0.9
# Below it a person, or a run of both networks, has to confirm a rename.
_CREDIBLE = 0.6

# What a free name ends with, by way of which modules exchange theirs.
_ASIDE = "_aligned"

_REASONS: Mapping[Told, str] = {
    "only one": "the only one of its structure",
    "names": "told from its likes by its name",
    "numbers": "told from its likes by their numbers",
    "like names": "told from its likes by names that are alike",
    "only one left": "the only one of its likes that is left",
    "crossed names": "told from its likes by names that are alike, against the order of declaration: check it",
    "order": "told from its likes by the order of declaration alone: check it",
}


@dataclass(frozen=True)
class Proposal:
    """One rename, how much to believe it (0 to 1, see `porter.namesakes.CONFIDENCE`), and why, in words."""

    rename: Rename
    confidence: float
    reason: str

    @property
    def remark(self) -> str:
        return f"{self.confidence:.0%}: {self.reason}"

    def __str__(self) -> str:
        return f"{self.rename.pattern} -> {self.rename.replacement} ({self.remark})"

    def to_json(self) -> dict[str, object]:
        pair = {"pattern": self.rename.pattern, "replacement": self.rename.replacement}
        return {**pair, "confidence": self.confidence, "reason": self.reason}


@dataclass(frozen=True)
class Alignment:
    """What is proposed.

    Attributes:
        proposals: in the order in which they have to be applied.
        unmatched: parameters of the network for which the output has nothing, as far as the structure tells.
    """

    proposals: tuple[Proposal, ...]
    unmatched: tuple[str, ...]

    @property
    def is_unique(self) -> bool:
        """Whether the structure leaves no other choice."""
        return not self.unmatched and all(proposal.confidence >= UNIQUE for proposal in self.proposals)

    def to_json(self) -> dict[str, object]:
        return {"renames": [p.to_json() for p in self.proposals], "unmatched": list(self.unmatched)}


@dataclass(frozen=True)
class _Move:
    """A module or tensor that shall be called `new`; `told` is the weakest of what told it and those around it."""

    old: str
    new: str
    told: Told

    @property
    def general(self) -> tuple[str, str]:
        """Both paths with a wildcard for every number, as far as both count alike from the left."""
        numbers = (re.findall(r"\d+", self.old), re.findall(r"\d+", self.new))
        alike = next((i for i, (a, b) in enumerate(zip(*numbers, strict=False)) if a != b), min(map(len, numbers)))
        if not alike:
            return self.old, self.new
        return re.sub(r"\d+", "*", self.old, count=alike), re.sub(r"\d+", "*", self.new, count=alike)


def align(output: Sequence[TensorSpec], parameters: Sequence[TensorSpec]) -> Alignment:
    """Renames from the names of an output to those of a network's parameters, both in order of declaration."""
    signatures: dict[Signature, int] = {}
    source, target = tree(output, signatures), tree(parameters, signatures)
    pairs, _, missing = pair_up(source, target, signatures)
    names = [spec.name for spec in output]
    proposals: list[Proposal] = []
    level = [(pair, "", "", pair.told) for pair in pairs]
    while level:
        moves = [move for pair, old, new, told in level for move in _moves(pair, old, new, told)]
        for found, told in _scheduled(moves, names):
            rename = replace(found, unchecked=CONFIDENCE[told] < _CREDIBLE)
            proposals.append(Proposal(rename, CONFIDENCE[told], _REASONS[told]))
            names = [rename.apply(name) for name in names]
        level = [
            (inner, pair.source.path, pair.target.path, _weaker(told, inner.told))
            for pair, _, _, told in level
            for inner in pair.inner
        ]
    return Alignment(tuple(proposals), tuple(_join(node.path, leaf) for node in missing for leaf in node.own))


def _weaker(one: Told, other: Told) -> Told:
    return min(one, other, key=lambda told: CONFIDENCE[told])


def _moves(pair: Pair, old_base: str, new_base: str, told: Told) -> Iterator[_Move]:
    """What a pair has to be renamed, given that what lies around it bears its new name already."""
    old = _join(new_base, pair.source.path.removeprefix(old_base).removeprefix("."))
    new = pair.target.path
    if pair.source.partial or pair.target.partial:
        yield from (_Move(_join(old, leaf), _join(new, leaf), told) for leaf in pair.source.own if old != new)
    elif old != new:
        wrapped = min(_depth_of_wrapping(pair.source), _depth_of_wrapping(pair.target))
        yield _Move(*_without_common_end(old, new, wrapped), told)


def _depth_of_wrapping(node: Node) -> int:
    return node.path.count(".") - node.top.count(".") if node.top else node.path.count(".") + bool(node.path)


def _without_common_end(old: str, new: str, levels: int) -> tuple[str, str]:
    """Both paths less the last levels that they share, at most `levels`: those that wrap nothing else."""
    a, b = old.split("."), new.split(".")
    while levels and len(a) > 1 and len(b) > 1 and a[-1] == b[-1]:
        a, b, levels = a[:-1], b[:-1], levels - 1
    return ".".join(a), ".".join(b)


def _join(path: str, rest: str) -> str:
    return f"{path}.{rest}" if path and rest else path or rest


def _scheduled(moves: Sequence[_Move], names: Sequence[str]) -> Iterator[tuple[Rename, Told]]:
    """Renames that carry out `moves`, repeated ones as one, each when the names it makes are free."""
    groups: dict[tuple[str, str], list[_Move]] = {}
    for move in moves:
        groups.setdefault(move.general, []).append(move)
    pending = list(groups.values())
    while pending:
        waiting = []
        for group in pending:
            found = _rename_of(group, names)
            if found is None:
                waiting.append(group)
                continue
            yield found, reduce(_weaker, (move.told for move in group))
            names = [found.apply(name) for name in names]
        if len(waiting) == len(pending):
            waiting = _untangled(waiting)
        pending = waiting


def _rename_of(group: Sequence[_Move], names: Sequence[str]) -> Rename | None:
    """The one rename that does to `names` what `group` says and no more; None where there is none as yet."""
    first = group[0]
    pattern, replacement = first.general if len(group) > 1 else (first.old, first.new)
    rename = Rename(pattern or "**", replacement or "**") if pattern and replacement else _whole(pattern, replacement)
    news = {move.old: move.new for move in group}
    try:
        return rename if rename_all(names, [rename]) == [_moved(name, news) for name in names] else None
    except UsageError:
        return None


def _whole(pattern: str, replacement: str) -> Rename:
    """The rename that puts everything into a module, or takes everything out of one."""
    return Rename(f"{pattern}.**".removeprefix("."), f"{replacement}.**".removeprefix("."))


def _moved(name: str, news: Mapping[str, str]) -> str:
    levels = name.split(".")
    for depth in range(len(levels), -1, -1):
        old = ".".join(levels[:depth])
        if old in news:
            return _join(news[old], ".".join(levels[depth:]))
    return name


def _untangled(waiting: list[list[_Move]]) -> list[list[_Move]]:
    """Groups of which each waits for another: taken apart; and single moves in a circle by way of a free name."""
    largest = max(waiting, key=len)
    if len(largest) > 1:
        return [part for group in waiting for part in ([[m] for m in group] if group is largest else [group])]
    (move,) = waiting[0]
    if _ASIDE in (move.old[-len(_ASIDE) :], move.new[-len(_ASIDE) :]):
        return waiting[1:]  # not even a free name helps: left to be reported as a difference
    aside = f"{move.new}{_ASIDE}"
    return [[_Move(move.old, aside, move.told)], *waiting[1:], [_Move(aside, move.new, move.told)]]
