"""TOML in every style, for hypothesis: tables, arrays of tables, inline tables, dotted and quoted keys, comments."""

from __future__ import annotations

from random import Random
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


def toml_texts() -> st.SearchStrategy[str]:
    """A document; every comment is unique and says whether it stands above a line or on it."""
    return st.integers(0, 2**32).map(_written)


def _written(seed: int) -> str:
    random = Random(seed)
    text = "".join(f"{line}\n" for line in _Writer(random).table([], 3))
    if random.random() < 0.5:
        text = text.replace("\n", "\r\n")
    return text.rstrip("\r\n") if random.random() < 0.5 else text


class _Writer:
    def __init__(self, random: Random) -> None:
        self._random = random
        self._count = 0

    def _pick(self, *options: Any) -> Any:
        return self._random.choice(options)

    def _keys(self, most: int) -> list[str]:
        keys = self._random.sample(NAMES, self._random.randint(0, most))
        return list({_spelled(key): key for key in keys}.values())

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
