"""Dotted names as the tree of modules that they stand for.

Names are a stranger's and may be of any depth: no question here takes more than the length of a name times the
logarithm of their number, besides the answer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

# The character after the dot: what begins with `path.` sorts before `path/`.
_AFTER_DOT = chr(ord(".") + 1)


class Paths:
    """The modules that some names lie in.

    Args:
        names: dotted paths of tensors or of layers, "" for the root.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names)

    def __contains__(self, path: str) -> bool:
        """Whether `path` is one of the names or a module around one; the root always is, where there are names."""
        start, end = self._range(path)
        return start < end or bisect_left(self._names, path) < bisect_right(self._names, path)

    def below(self, path: str) -> list[str]:
        """The names that lie in the module `path`, itself left out, sorted."""
        start, end = self._range(path)
        return self._names[start:end]

    def children(self, path: str) -> set[str]:
        """The levels that follow `path` in the names below it."""
        place, end = self._range(path)
        prefix = f"{path}." if path else ""
        found = set()
        while place < end:
            level, dot, _ = self._names[place][len(prefix) :].partition(".")
            found.add(level)
            place = bisect_left(self._names, f"{prefix}{level}{_AFTER_DOT}", place) if dot else place + 1
        return found

    def _range(self, path: str) -> tuple[int, int]:
        if not path:
            return bisect_right(self._names, ""), len(self._names)
        return bisect_left(self._names, f"{path}."), bisect_left(self._names, f"{path}{_AFTER_DOT}")
