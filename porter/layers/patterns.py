"""Wildcards over dotted names: `*` is any part of one level, `**` is any number of whole levels, none included.

`layer1.*.bn1` matches `layer1.0.bn1` but not `layer1.0.sub.bn1`; `**.norm` matches `norm` and `a.b.norm`; the
layer that is the whole network has the empty name, which `**` matches and `(root)` spells.
"""

from __future__ import annotations

import re
from functools import lru_cache

ROOT = "(root)"


def matches(pattern: str, name: str) -> bool:
    """Whether the whole of `name` (a dotted path, "" for the root) fits `pattern`."""
    return compiled(pattern).fullmatch(f"{name}.") is not None


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of `pattern`, for names that end with one dot more."""
    if pattern in ("", ROOT):
        return re.compile(r"\.")
    # Every level carries its own dot, so that `**` can stand for no level at all.
    levels = (r"(?:[^.]*\.)*" if level == "**" else f"{_level(level)}\\." for level in pattern.split("."))
    expression = "".join(levels)
    # `**` alone must also take the root, whose name is one bare dot here.
    return re.compile(expression)


def _level(level: str) -> str:
    return "[^.]*".join(re.escape(part) for part in level.split("*"))
