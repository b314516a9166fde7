"""Layers made of layers: where MindSpore calls a part by another name than PyTorch.

A TransformerEncoderLayer's `linear1` is `dense1` in MindSpore. Which modules are such layers is known from the same
sources as any other kind; a checkpoint without a network shows it by the names and kinds of all parts together, which
is inference: a class of the user's own may have parts of these names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from porter.layers.kinds import KINDS, Dialect, Kind
from porter.layers.model import Certainty, Evidence, Layer

_COMPOSITES = tuple(kind for kind in KINDS.values() if kind.children)


@dataclass(frozen=True)
class Composite:
    """A layer made of layers, by the path it has in `Composites.found`."""

    kind: Kind
    certainty: Certainty
    evidence: Evidence


class Composites:
    """The layers made of layers in one checkpoint.

    Args:
        dialect: whose names the tensors bear.
        candidates: layer name -> the kinds its tensors can be.
        said: given a path and the names directly below it, the evidence of the user, a network, a pickled module or a
            record, None where nobody speaks of it; evidence for no kind, or for another one, settles it too.
    """

    def __init__(
        self,
        dialect: Dialect,
        candidates: Mapping[str, Sequence[Kind]],
        said: Callable[[str, set[str]], Evidence | None],
    ) -> None:
        self._dialect: Dialect = dialect
        self.found: dict[str, Composite] = {}
        for path, parts in _parts(candidates).items():
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
        parent, _, last = name.rpartition(".")
        composite = self.found.get(parent) if name else None
        if composite is None:
            return None
        kind = next((c.kind for c in composite.kind.children if c.name_in(self._dialect) == last), None)
        text = f"{last} of the {composite.kind.name} {parent or '(root)'}"
        return Evidence("structure", (KINDS[kind],), text) if kind else None

    def applied(self, layers: Iterable[Layer]) -> list[Layer]:
        """`layers` with the composites before their first parts, and with the paths the other side has for them."""
        shown: set[str] = set()
        result = []
        for layer in layers:
            for path in _ancestors(layer.name):
                if path in self.found and path not in shown:
                    shown.add(path)
                    found = self.found[path]
                    there = self._counterpart(path)
                    result.append(Layer(path, (found.kind,), found.certainty, (found.evidence,), {}, there))
            result.append(replace(layer, counterpart=self._counterpart(layer.name)))
        return result

    def _counterpart(self, name: str) -> str | None:
        """The path that the other side has for `name`; None where it is the same."""
        parts = name.split(".")
        there = list(parts)
        for depth in range(len(parts)):
            composite = self.found.get(".".join(parts[:depth]))
            for child in composite.kind.children if composite else ():
                if child.name_in(self._dialect) == parts[depth]:
                    there[depth] = child.torch if self._dialect == "mindspore" else child.mindspore
        return None if there == parts else ".".join(there)


def _parts(names: Iterable[str]) -> dict[str, set[str]]:
    """Path -> the first components of all names below it."""
    found: dict[str, set[str]] = {}
    for name in names:
        parts = name.split(".") if name else []
        for depth, part in enumerate(parts):
            found.setdefault(".".join(parts[:depth]), set()).add(part)
    return found


def _ancestors(name: str) -> list[str]:
    """Paths above `name`, outermost first, the root included."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts))]
