"""TOML in every style, for hypothesis: tables, arrays of tables, inline tables, dotted and quoted keys, comments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

NAMES = ["momentum", "eps", "type", "gamma_init", "bn", "x-1", "12", '"a b"', "'a.b'", '"\\u00e9"', "'é'"]
NUMBERS = ["0.1", "1", "1e-3", "+1.0", "-0.0", "0x1F", "0o17", "0b1", "1_000", "inf", "-nan", "true", "false"]
DATES = ["1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00.5"]
STRINGS = [
    '"BN3d"',
    "'it\"s # no'",
    '"\\"a\\\\"',
    '""',
    "''",
    "'''a\n# b''c\n'''",
    '"""\na\\\n  "b" \\""""',
    '"""a""\n"""""',
]


@st.composite
def toml_texts(draw: st.DrawFn) -> str:
    """A document; every comment is unique and says whether it stands above a line or on it."""
    text = "".join(f"{line}\n" for line in _Writer(draw).table([], 3))
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    return text


class _Writer:
    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self._draw = draw
        self._count = 0

    def _pick(self, *options: Any) -> Any:
        return self._draw(st.sampled_from(options))

    def _keys(self, most: int) -> list[str]:
        by_name = st.lists(st.sampled_from(NAMES), max_size=most, unique_by=_spelled)
        keys: list[str] = self._draw(by_name)
        return keys

    def _comment(self, word: str) -> str:
        self._count += 1
        return f"# {word}{self._count}"

    def _line(self, text: str) -> list[str]:
        above = self._pick([], [], [""], [self._comment("above")])
        return [*above, self._pick("", "", "  ") + text + self._pick("", "", " " + self._comment("line"))]

    def table(self, path: list[str], depth: int) -> list[str]:
        """The lines of a table and of the tables in it, the header not included."""
        lines, inner = [], []
        for key in self._keys(4):
            kind = self._pick("value", "value", "inline", "dotted", "header", "array") if depth else "value"
            if kind in ("value", "inline"):
                lines += self._line(f"{key}{self._equals()}{self._value(2 if kind == 'inline' else 0)}")
            elif kind == "dotted":
                for inner_key in self._keys(3) or ["eps"]:
                    lines += self._line(f"{key}{self._pick('.', ' . ')}{inner_key}{self._equals()}{self._value(1)}")
            else:
                inner += self._headed([*path, key], kind, depth - 1)
        return [*lines, *inner]

    def _headed(self, path: list[str], kind: str, depth: int) -> list[str]:
        name = self._pick(".", " . ").join(path)
        if kind == "header":
            if self._pick(True, False, False):
                return self._headed([*path, "sub"], "header", depth)
            return [*self._line(f"[{name}]"), *self.table(path, depth)]
        return [
            line for _ in range(self._pick(1, 2)) for line in (*self._line(f"[[ {name} ]]"), *self.table(path, depth))
        ]

    def _equals(self) -> str:
        return str(self._pick(" = ", "=", " =\t"))

    def _value(self, depth: int) -> str:
        kind = self._pick("scalar", "list", "table", "table") if depth else "scalar"
        if kind == "scalar":
            return str(self._pick(*NUMBERS, *DATES, *STRINGS))
        if kind == "list":
            values = [self._value(depth - 1) for _ in range(self._pick(0, 1, 2))]
            between = self._pick(", ", f",\n  {self._comment('above')}\n  ")
            return "[" + between.join(values) + self._pick("", ",\n" if values else " ") + "]"
        items = [f"{self._dotted(key)}{self._equals()}{self._value(depth - 1)}" for key in self._keys(3)]
        return "{" + self._pick("", " ") + self._pick(",", ", ", " , ").join(items) + self._pick("", " ") + "}"

    def _dotted(self, key: str) -> str:
        return f"{key}.eps" if self._pick(True, False, False) else key


def _spelled(key: str) -> str:
    return "é" if key == '"\\u00e9"' else key.strip("'")
