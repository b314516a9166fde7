"""Layers made of layers: where MindSpore calls a part by another name than PyTorch.

A TransformerEncoderLayer's `linear1` is `dense1` in MindSpore. Which modules are such layers is known from the same
sources as any other kind; a checkpoint without a network shows it by the names and kinds of all parts together, which
is inference: a class of the user's own may have parts of these names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from porter.layers.kinds import DIALECTS, KINDS, Dialect, Kind
from porter.layers.model import Certainty, Evidence, Layer
from porter.layers.paths import Paths

_COMPOSITES = tuple(kind for kind in KINDS.values() if kind.children)


class Composite(NamedTuple):
    """A layer made of layers, by the path it has in `Composites.found`."""

    kind: Kind
    certainty: Certainty
    evidence: Evidence


class Composites:
    """The layers made of layers in one checkpoint.

    Args:
        dialect: whose names the tensors bear.
        candidates: layer name -> the kinds its tensors can be.
        said: given a path and the levels directly below it, the evidence of the user, a network, a pickled module or
            a record, None where nobody speaks of it; evidence for no kind, or for another one, settles it too.
    """

    def __init__(
        self,
        dialect: Dialect,
        candidates: Mapping[str, Sequence[Kind]],
        said: Callable[[str, set[str]], Evidence | None],
    ) -> None:
        self._dialect: Dialect = dialect
        self.found: dict[str, Composite] = {}
        paths = Paths(candidates)
        for path in dict.fromkeys(match[1] or "" for name in candidates if (match := _RENAMED[dialect].match(name))):
            parts = paths.children(path)
            composite = self._composite(path, parts, candidates, said(path, parts))
            if composite:
                self.found[path] = composite

    def _composite(
        self, path: str, parts: set[str], candidates: Mapping[str, Sequence[Kind]], said: Evidence | None
    ) -> Composite | None:
        if said:
            kind = next((kind for kind in said.kinds if kind.children), None)
            return Composite(kind, "certain", said) if kind else None
        for kind in _COMPOSITES:
            names = {child.name_in(self._dialect): KINDS[child.kind] for child in kind.children}
            if parts == set(names) and all(
                wanted in candidates.get(f"{path}.{name}".removeprefix("."), ()) for name, wanted in names.items()
            ):
                text = f"has exactly the parts of one: {', '.join(names)}"
                return Composite(kind, "inferred", Evidence("structure", (kind,), text))
        return None

    def part(self, name: str) -> Evidence | None:
        """What a layer's place among the parts of another says about it."""
        if not self.found:
            return None
        parent, _, last = name.rpartition(".")
        composite = self.found.get(parent) if name else None
        if composite is None:
            return None
        kind = next((c.kind for c in composite.kind.children if c.name_in(self._dialect) == last), None)
        text = f"{last} of the {composite.kind.name} {parent or '(root)'}"
        return Evidence("structure", (KINDS[kind],), text) if kind else None

    def applied(self, layers: Sequence[Layer]) -> list[Layer]:
        """`layers` with the composites before their first parts, and with the paths the other side has for them."""
        if not self.found:
            return list(layers)
        there = _Counterparts(self._dialect, self.found, [layer.name for layer in layers])
        result = []
        shown: set[str] = set()
        for layer in layers:
            for path in there.around.get(layer.name, ()):
                if path not in shown:
                    shown.add(path)
                    found = self.found[path]
                    result.append(Layer(path, (found.kind,), found.certainty, (found.evidence,), {}, there.of(path)))
            result.append(layer._replace(counterpart=there.of(layer.name)))
        return result


class _Counterparts:
    """The paths that the other side has for layers that lie in composites.

    Attributes:
        around: name of a layer -> the composites it lies in, outermost first.
    """

    def __init__(self, dialect: Dialect, found: Mapping[str, Composite], names: Iterable[str]) -> None:
        self.around: dict[str, list[str]] = {}
        self._levels: dict[str, dict[int, str]] = {}
        paths = Paths({*names, *found})
        for path in sorted(found, key=len):
            for name in paths.below(path):
                self.around.setdefault(name, []).append(path)
            depth = path.count(".") + 1 if path else 0
            for child in found[path].kind.children:
                here, there = child.name_in(dialect), child.torch if dialect == "mindspore" else child.mindspore
                if here != there:
                    renamed = f"{path}.{here}".removeprefix(".")
                    for name in (renamed, *paths.below(renamed)):
                        self._levels.setdefault(name, {})[depth] = there

    def of(self, name: str) -> str | None:
        """The path that the other side has for `name`; None where it is the same."""
        if name not in self._levels:
            return None
        levels = name.split(".")
        for depth, level in self._levels[name].items():
            levels[depth] = level
        return ".".join(levels)


def _renamed(dialect: Dialect) -> re.Pattern[str]:
    """For names that lie in a part which the two sides call differently: the path around it is the first group."""
    parts = {c.name_in(dialect) for kind in _COMPOSITES for c in kind.children if c.torch != c.mindspore}
    return re.compile(rf"(?:(.*)\.)?(?:{'|'.join(map(re.escape, sorted(parts)))})(?:\.|$)", re.DOTALL)


_RENAMED: Mapping[Dialect, re.Pattern[str]] = {dialect: _renamed(dialect) for dialect in DIALECTS}
