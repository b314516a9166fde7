"""Values in a config that stand for other values of it: `${model.bn.momentum}`, `@network#norm`, `bn_momentum`.

They are looked up, never evaluated.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal

from porter.configs.terms import number
from porter.configs.tree import Document, Expression, ListNode, Mapping, Node, Scalar

Path = tuple[str, ...]

# How many references may stand behind each other.
_CHAIN = 20
# Longer texts are no arithmetic that a person wrote as a momentum.
_LONGEST = 200


class References:
    """What the references of one document mean."""

    def __init__(self, document: Document) -> None:
        self._roots = [root.node for root in document.roots]
        self._named: dict[str, list[Scalar]] = {}
        self._written: Counter[int] = Counter()
        for node in _inner(self._roots):
            if isinstance(node, ListNode):
                self._written.update(id(item) for item in node.items)
                continue
            for entry in node.entries:
                self._written[id(entry.value)] += 1
                if isinstance(entry.value, Scalar) and document.names_are_text:
                    self._named.setdefault(entry.name, []).append(entry.value)

    def resolved(self, node: Node, at: Path) -> Node | None:
        """What `node`, at the path `at`, stands for: itself unless it is a reference; None where that is not here."""
        for _ in range(_CHAIN):
            path = _path_in(node.value, at) if isinstance(node, Scalar) else None
            if path is None:
                return self._symbol(node)
            found = self._at(path)
            if found is None:
                return None
            node, at = found, path
        return None

    def is_elsewhere(self, node: Node, value: Node | None) -> bool:
        """Whether `value`, which `node` stands for, is written or repeated in another place, too."""
        return value is not node or self._written[id(node)] > 1

    def mentioned(self, scalar: Scalar, at: Path) -> Iterator[Scalar]:
        """The values that a text refers to in parts: `$@net#m / 2`, `${mul:2,${m}}`."""
        text = scalar.value
        if not isinstance(text, str) or _path_in(text, at) is not None:
            return
        parts = re.findall(_BRACES, text) + (re.findall(_AT, text) if text.lstrip()[:1] in ("$", "@") else [])
        for part in parts:
            path = _path_in(part, at)
            value = self.resolved(found, path) if path and (found := self._at(path)) else None
            if isinstance(value, Scalar):
                yield value

    def _at(self, path: Path) -> Node | None:
        """The first node at `path` in any of the trees."""
        found = (_descend(root, path) for root in self._roots)
        return next((node for node in found if node is not None), None)

    def _symbol(self, node: Node) -> Node | None:
        """The one number that carries the name `node`; `node` itself where it is none."""
        if not isinstance(node, Scalar) or not isinstance(node.value, str) or not node.value.isidentifier():
            return node
        values = {id(scalar): scalar for scalar in self._named.get(node.value, ()) if is_number(scalar)}
        return next(iter(values.values())) if len(values) == 1 else node


def is_number(scalar: Scalar) -> bool:
    """Whether a value is a number, or the text of one."""
    if isinstance(scalar.value, str):
        return number(scalar.value.strip()) is not None
    return isinstance(scalar.value, int | float) and not isinstance(scalar.value, bool)


def decimal_of(scalar: Scalar) -> str | None:
    """The number from 0 to 1 that a value means, as text: its own where that is decimal; None for others."""
    if not is_number(scalar):
        return None
    if isinstance(scalar.value, str):
        own = scalar.value.strip()
        return own if 0 <= Decimal(own) <= 1 else None
    assert isinstance(scalar.value, int | float)
    if not 0 <= scalar.value <= 1:
        return None
    own_value = number(scalar.text)
    # YAML and JSON5 know hexadecimal and other notations, too.
    return scalar.text if own_value is not None and float(own_value) == scalar.value else str(scalar.value)


def is_symbolic(text: str) -> bool:
    """Whether `text` computes or names a value; prose, such as a help text, does neither.

    >>> is_symbolic("2*bn_momentum"), is_symbolic("${mul:2,${m}}"), is_symbolic("BN momentum, default: 0.9")
    (True, True, False)
    """
    if "${" in text or re.match(r"[@%$]\S", text):
        return True
    if len(text) > _LONGEST:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


# As OmegaConf and as MONAI write a path.
_BRACES = r"\$\{\.*[^\s{}:$,]+\}"
_AT = r"[@%][\w#:./-]*\w"


def _path_in(text: object, at: Path) -> Path | None:
    """The path that the whole of a text value refers to; None where it is no such."""
    match = re.fullmatch(r"\$\{(\.*)([^\s{}:$,]+)\}|[@%]([^\s@%$]+)", text.strip()) if isinstance(text, str) else None
    if not match:
        return None
    if match[3]:
        return tuple(re.split(r"#|::", match[3]))
    # One dot is the mapping that the value itself stands in, each further one the next around it.
    base = at[: max(0, len(at) - len(match[1]))] if match[1] else ()
    return (*base, *(part for part in re.split(r"[.\[\]]", match[2]) if part))


def _descend(node: Node, path: Sequence[str]) -> Node | None:
    for part in path:
        if isinstance(node, Mapping):
            entry = node.entry(part)
            if entry is None:
                return None
            node = entry.value
        elif isinstance(node, ListNode) and part.isdecimal() and int(part) < len(node.items):
            node = node.items[int(part)]
        else:
            return None
    return node


def _inner(roots: Sequence[Node]) -> Iterator[Mapping | ListNode]:
    """Every mapping and list, once."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if id(node) in seen or isinstance(node, Scalar):
            continue
        seen.add(id(node))
        yield node
        waiting += (entry.value for entry in node.entries) if isinstance(node, Mapping) else node.items


def text_of(scalar: Scalar) -> str:
    """What a value says as text; for a name in Python, or behind MONAI's `$`, the dotted name it stands for."""
    if isinstance(scalar.value, Expression):
        return scalar.value.name or scalar.value.text
    if not isinstance(scalar.value, str):
        return scalar.text
    name = re.fullmatch(r"\$\s*([\w.]+)\s*", scalar.value)
    return name[1] if name else scalar.value
