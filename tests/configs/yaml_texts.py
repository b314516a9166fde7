"""YAML in every style, for hypothesis: block and flow, anchors, aliases, merge keys, tags, comments, line ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

NAMES = ["momentum", "eps", "type", "gamma_init", "affine", "bn", "x1", "é", "12", "yes"]
PLAIN = ["0.1", "1", "1e-3", "1.0e-5", "0x1F", "010", "1_000", ".5", "true", "False", "no", "On", "null", "~", "Null"]
PLAIN += [
    "BN3d",
    "torch.nn.BatchNorm3d",
    "a b",
    "a#b",
    "http://x",
    "${model.bn}",
    "1:30",
    ".inf",
    "-x",
    "it's",
    "=",
    "é😀",
]
QUOTED = ['"0.1"', "'0.1'", '"a, b: c # d"', "'it''s'", '"\\u00e9\\n"', '""', "''", '"{"', "'true'"]
TAGGED = ["!!str 0.1", "!!float 1e-3", '!!float "2"', "!!null ''", "! 0.1"]
BLOCKS = ["|", ">", "|-", ">-", "|+", "|2"]


@st.composite
def yaml_texts(draw: st.DrawFn) -> str:
    """One or two documents; every comment is unique and says whether it stands above an entry or on its line."""
    texts = [_Writer(draw).document() for _ in range(draw(st.sampled_from([1, 1, 1, 2])))]
    start = draw(st.sampled_from(["", "", "# above0\n", "---\n", "%YAML 1.1\n---\n"]))
    text = start + "---\n".join(texts)
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    if draw(st.integers(0, 4)) == 0:
        text = text.rstrip("\r\n")
    return ("\ufeff" if draw(st.integers(0, 4)) == 0 else "") + text


class _Writer:
    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self._draw = draw
        self._scalars: list[str] = []
        self._mappings: list[str] = []
        self._count = 0

    def document(self) -> str:
        kind = self._pick("block", "block", "block", "flow", "list")
        if kind == "flow":
            return self._flow(2, 0) + "\n"
        lines = self._mapping(0, 3) if kind == "block" else self._list(0, 3)
        return "".join(f"{line}\n" for line in lines)

    def _pick(self, *options: Any) -> Any:
        return self._draw(st.sampled_from(options))

    def _often(self, one_in: int) -> bool:
        return bool(self._draw(st.integers(1, one_in)) == 1)

    def _new(self, word: str) -> str:
        self._count += 1
        return f"{word}{self._count}"

    def _line_comment(self) -> str:
        return f"{self._pick(' ', '   ')}# {self._new('line')}" if self._often(3) else ""

    def _above(self, indent: int) -> list[str]:
        return [" " * indent + f"# {self._new('above')}"] if self._often(4) else [""] if self._often(5) else []

    def _keys(self) -> list[str]:
        names = self._draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
        return [self._pick(name, name, f"'{name}'", f'"{name}"') for name in names]

    def _anchor(self, known: list[str]) -> str:
        """Perhaps an anchor, known only to what follows."""
        if not self._often(4):
            return ""
        known.append(self._new("a"))
        return f"&{known[-1]} "

    def _scalar(self) -> str:
        if self._scalars and self._often(5):
            return "*" + self._pick(*self._scalars)
        return self._anchor(self._scalars) + self._pick(*PLAIN, *QUOTED, *TAGGED)

    def _flow(self, depth: int, indent: int) -> str:
        if not depth or self._often(2):
            return self._scalar()
        if self._mappings and self._often(4):
            return "*" + self._pick(*self._mappings) + " "
        is_mapping = self._often(2)
        known: list[str] = []
        anchor = self._anchor(known) if is_mapping else ""
        if is_mapping:
            keys = self._keys()
            items = [key if self._often(8) else f"{key}: {self._flow(depth - 1, indent + 2)}" for key in keys]
            items += self._merge()
        else:
            items = [self._flow_item(depth, indent) for _ in range(self._draw(st.integers(0, 3)))]
        self._mappings += known
        opening, closing = "{}" if is_mapping else "[]"
        return anchor + opening + self._separated(items, indent) + closing

    def _flow_item(self, depth: int, indent: int) -> str:
        item = self._flow(depth - 1, indent + 2)
        return f"{self._pick('gamma_init', 'eps')}: {item}" if self._often(4) else item

    def _merge(self) -> list[str]:
        if not self._mappings or self._often(2):
            return []
        one, two = self._pick(*self._mappings), self._pick(*self._mappings)
        return ["<<: " + self._pick(f"*{one}", f"[*{one}, *{two} ]", "{bn: 1}")]

    def _separated(self, items: list[str], indent: int) -> str:
        """Items with commas: on one line, on a line each, or anyhow."""
        new_line = "\n" + " " * (indent + 2)
        text = "" if self._often(2) else self._pick(" ", new_line, f" # {self._new('open')}{new_line}")
        for at, item in enumerate(items):
            comma = "," if at < len(items) - 1 or self._often(3) else ""
            comment = self._line_comment()
            blank = self._pick(" ", " ", new_line, f"{new_line}# {self._new('above')}{new_line}")
            text += item + self._pick("", "", " ") + comma + (comment + new_line if comment else blank)
        return text

    def _value(self, indent: int, depth: int) -> list[str]:
        """What follows `key:` or a dash, from the rest of that line on."""
        kind = self._pick(
            "scalar", "scalar", "scalar", "flow", "empty", "block", "mapping", "mapping", "list", "alias"
        )
        if kind == "empty":
            return [self._line_comment()]
        if kind == "alias" and self._mappings:
            return [f" *{self._pick(*self._mappings)}{self._line_comment()}"]
        if kind == "block":
            return [" " + self._pick(*BLOCKS) + self._line_comment(), *self._text(indent)]
        if kind in ("mapping", "list") and depth:
            known: list[str] = []
            anchor = self._anchor(known) if kind == "mapping" else ""
            deeper = indent + self._pick(1, 2, 4)
            lines = self._mapping(deeper, depth - 1) if kind == "mapping" else self._list(deeper, depth - 1)
            self._mappings += known
            return [f" {anchor}".rstrip() + self._line_comment(), *lines]
        return [" " + (self._flow(2, indent) if kind == "flow" else self._scalar()) + self._line_comment()]

    def _text(self, indent: int) -> list[str]:
        lines = self._pick(["some text"], ["0.1"], ["a # b", "", "c: d"])
        return [" " * (indent + 2) + line if line else "" for line in lines]

    def _mapping(self, indent: int, depth: int) -> list[str]:
        lines = []
        items = [(key, self._value(indent, depth)) for key in self._keys()]
        items += [("<<", [merge[3:] + self._line_comment()]) for merge in self._merge()]
        for key, (first, *rest) in items:
            lines += self._above(indent)
            if self._often(8) and key != "<<":
                lines += [f"{' ' * indent}? {key}", f"{' ' * indent}:{first}", *rest]
            else:
                lines += [f"{' ' * indent}{key}:{first}", *rest]
        return lines

    def _list(self, indent: int, depth: int) -> list[str]:
        lines = []
        for _ in range(self._draw(st.integers(1, 3))):
            lines += self._above(indent)
            if depth and self._often(2):
                first, *rest = self._mapping(indent + 2, depth - 1)
                while not first.strip() or first.lstrip().startswith("#"):
                    first, *rest = rest
                lines += [f"{' ' * indent}- {first.lstrip()}", *rest]
            else:
                first, *rest = self._value(indent, depth)
                lines += [f"{' ' * indent}-{first}", *rest]
        return lines
