"""JSON, with what JSON5 (spec.json5.org) adds to it and people use: comments, trailing commas, single quotes, keys
without quotes, hexadecimal numbers, `+1`, `.5`, `5.`, Infinity and NaN.

The values of a text that is strict JSON are those of `json.loads`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field

from porter.configs.formats.commas import without
from porter.configs.splices import Splice
from porter.configs.tree import (
    DEEPEST,
    Document,
    Entry,
    ListNode,
    Mapping,
    Node,
    Place,
    Root,
    Scalar,
    Span,
    Value,
    malformed,
    too_deep,
)

_LITERALS: dict[str, bool | None] = {"true": True, "false": False, "null": None}

_SPACE = "\t\n\v\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_COMMENT = r"(?://[^\n\r\u2028\u2029]*|/\*(?:[^*]|\*(?!/))*\*/)"
_TRIVIA = re.compile(rf"(?:[{_SPACE}]+|{_COMMENT})*")
_STRING = re.compile(
    r'"[^"\\\n\r]*(?:\\(?:\r\n|[\s\S])[^"\\\n\r]*)*"' + "|" + r"'[^'\\\n\r]*(?:\\(?:\r\n|[\s\S])[^'\\\n\r]*)*'"
)
_IDENTIFIER = re.compile(r"(?:[^\W\d]|\$)[\w$]*")
# What a value without quotes may reach to.
_WORD = re.compile(rf"[^{_SPACE},:\[\]{{}}\"'/]+")
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?:0[xX](?P<hex>[0-9a-fA-F]+)|(?P<int>0|[1-9][0-9]*)"
    r"|(?P<float>(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|(?P<other>Infinity|NaN))"
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(\r\n|[\s\S]))")
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"} | dict.fromkeys(
    ["\n", "\r", "\r\n", "\u2028", "\u2029"], ""
)
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def parse(text: str) -> Document:
    """Read a config in JSON.

    Raises:
        Malformed: it is none, or an object in it has the same key twice; with line and column.
        LimitExceeded: it is nested more than `DEEPEST` levels deep.
    """
    return _JsonDocument(text, [Root("", _Reader(text).read())])


@dataclass
class _Open:
    """An object or list whose end is not read yet."""

    start: int
    closing: str
    entries: list[Entry] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)
    keys: dict[str, Scalar] = field(default_factory=dict)
    key: Scalar | None = None

    def add(self, node: Node) -> None:
        if self.key is None:
            self.items.append(node)
        else:
            self.entries.append(Entry(str(self.key.value), node, self.key))

    def closed(self, end: int) -> Node:
        span = Span(self.start, end)
        return Mapping(span, tuple(self.entries)) if self.closing == "}" else ListNode(span, tuple(self.items))


class _Reader:
    """Reads the text from left to right; what is open lies on a stack."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open: list[_Open] = []

    def read(self) -> Node:
        while True:
            node = self._begin()
            while node is not None:
                if not self._open:
                    if self._next():
                        raise self._unexpected("the end of the file")
                    return node
                node = self._put(node)

    def _begin(self) -> Node | None:
        """The next value, at the start or after a bracket or comma; None where it is the start of a longer one."""
        letter = self._next()
        if self._open:
            if letter == self._open[-1].closing:
                return self._close()
            if self._open[-1].closing == "}":
                self._read_key()
                letter = self._next()
        if letter and letter in "{[":
            if len(self._open) >= DEEPEST:
                raise too_deep(self._text, self._at)
            self._open.append(_Open(self._at, "}" if letter == "{" else "]"))
            self._at += 1
            return None
        return self._string() if letter and letter in "\"'" else self._word()

    def _put(self, node: Node) -> Node | None:
        """Add a value to what is open; the whole of that, where it ends here."""
        here = self._open[-1]
        here.add(node)
        letter = self._next()
        if letter == here.closing:
            return self._close()
        if letter != ",":
            raise self._unexpected(f"a comma or {here.closing}")
        self._at += 1
        return None

    def _close(self) -> Node:
        self._at += 1
        return self._open.pop().closed(self._at)

    def _read_key(self) -> None:
        here = self._open[-1]
        quoted = self._next() in ("'", '"')
        key = self._string() if quoted else self._identifier()
        name = str(key.value)
        if name in here.keys:
            first = Place.of(self._text, here.keys[name].span.start)
            raise malformed(
                self._text, key.span.start, f"the key {name!r} is here twice", found=f"the first at {first}"
            )
        here.keys[name] = here.key = key
        if self._next() != ":":
            raise self._unexpected("a colon")
        self._at += 1

    def _identifier(self) -> Scalar:
        match = _IDENTIFIER.match(self._text, self._at)
        if match is None:
            raise self._unexpected("a key or }")
        return self._scalar(match.end(), match.group())

    def _string(self) -> Scalar:
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise malformed(self._text, self._at, "a string has no end on its line")
        return self._scalar(match.end(), self._unescaped(match.group()[1:-1]), quoted=True)

    def _word(self) -> Scalar:
        match = _WORD.match(self._text, self._at)
        if match is None:
            raise self._unexpected("a value")
        word = match.group()
        if word in _LITERALS:
            return self._scalar(match.end(), _LITERALS[word])
        number = _NUMBER.fullmatch(word)
        if number is None:
            raise malformed(self._text, self._at, "is no value of JSON", found=word)
        try:
            return self._scalar(match.end(), _number(number))
        except ValueError as error:  # an int of thousands of digits
            raise malformed(self._text, self._at, "is a number too long", found=word) from error

    def _scalar(self, end: int, value: Value, *, quoted: bool = False) -> Scalar:
        span, self._at = Span(self._at, end), end
        return Scalar(span, value, self._text[span.start : end], quoted)

    def _unescaped(self, inner: str) -> str:
        def meant(escape: re.Match[str]) -> str:
            digits, letter = escape.group(1) or escape.group(2), escape.group(3)
            if digits:
                return chr(int(digits, 16))
            if letter in "123456789ux":
                raise malformed(self._text, self._at, "a string has a wrong escape", found=escape.group())
            return _SHORT.get(letter, letter)

        if "\\" not in inner:
            return inner
        return _PAIR.sub(_joined, _ESCAPE.sub(meant, inner))

    def _next(self) -> str:
        """The next character that is no space and no comment, "" at the end."""
        match = _TRIVIA.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return self._text[self._at : self._at + 1]

    def _unexpected(self, expected: str) -> Exception:
        found = self._text[self._at : self._at + 1]
        what = repr(found) if found else "the end of the file"
        return malformed(self._text, self._at, "is no JSON", expected=expected, found=what)


def _joined(pair: re.Match[str]) -> str:
    """The character that two UTF-16 escapes spell."""
    return pair.group().encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _number(match: re.Match[str]) -> int | float:
    sign = -1 if match["sign"] == "-" else 1
    if match["hex"]:
        return sign * int(match["hex"], 16)
    if match["int"]:
        return sign * int(match["int"])
    return sign * float(match["float"] or match["other"])


class _JsonDocument(Document):
    def spelled(self, value: bool | str | None, like: Scalar) -> str | None:
        if isinstance(value, str):
            return _quoted(value, like.text[0]) if like.quoted else value
        if like.quoted:
            # "True" is Python's word for it, "true" that of JSON.
            return _quoted(str(value) if str(like.value).istitle() else json.dumps(value), like.text[0])
        return json.dumps(value)

    def renamed(self, entry: Entry, name: str) -> Splice:
        assert entry.key is not None
        return Splice(*entry.key.span, _quoted(name, entry.key.text[0]) if entry.key.quoted else name)

    def removed(self, mapping: Mapping, entries: Collection[Entry]) -> list[Splice]:
        spans = [Span(entry.key.span.start, entry.value.span.end) for entry in mapping.entries if entry.key]
        gone = [index for index, entry in enumerate(mapping.entries) if entry in entries]
        return without(self.text, spans, gone, rf"{_COMMENT}(?:[ \t]*{_COMMENT})*")


def _quoted(text: str, quote: str) -> str:
    inner = json.dumps(text, ensure_ascii=False)[1:-1]
    return f'"{inner}"' if quote == '"' else "'" + inner.replace('\\"', '"').replace("'", "\\'") + "'"
