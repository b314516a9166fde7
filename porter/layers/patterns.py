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
    """The regular expression of a layer's pattern, for names that end with one dot more."""
    # The root's name is one bare dot then.
    return re.compile(r"\." if pattern in ("", ROOT) else expression_of(pattern))


def expression_of(pattern: str) -> str:
    """What `pattern` means as a regular expression, for names that end with one dot more.

    Every level carries its own dot, so that `**` can stand for no level at all. Groups take what the wildcards match:
    `one0`, `one1`, ... for `*` and `many0`, ... for `**`, in their order.
    """
    numbers = iter(range(len(pattern)))
    return "".join(
        rf"(?P<many{next(numbers)}>(?:[^.]*\.)*)"
        if level == "**"
        else re.sub(r"\\\*", lambda _: rf"(?P<one{next(numbers)}>[^.]*)", re.escape(level)) + r"\."
        for level in levels_of(pattern)
    )


def levels_of(pattern: str) -> list[str]:
    return pattern.split(".") if pattern else []
