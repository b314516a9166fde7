"""YAML configs: read with the place of every character, and how a change of them is spelled.

See `yaml_tree` for what YAML is here. Block and flow style, anchors, aliases, merge keys, tags, comments, several
documents and every kind of line end stay as they are written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from porter.configs import tree
from porter.configs.formats.commas import line_end, line_start, without
from porter.configs.formats.yaml_tree import Composed, Item, Layout, compose
from porter.configs.names import named
from porter.configs.splices import Splice
from porter.configs.tree import Document, Entry, NeedsPerson, Scalar, Span
from porter.errors import Undecided

# YAML 1.1 has several words for a boolean; the answer to one is its counterpart.
_PAIRS = (("true", "false"), ("yes", "no"), ("on", "off"))


def parse(text: str) -> Document:
    """Read a config in YAML.

    Raises:
        Malformed: PyYAML's SafeLoader would not read it, or a mapping has the same key twice; with line and column.
        LimitExceeded: it is nested too deep.
    """
    composed = compose(text)
    return _YamlDocument(
        text,
        composed.roots,
        [*_built_by_code(composed)],
        layouts=composed.layouts,
        tagged=composed.tagged,
        aliases=composed.aliases,
    )


def _built_by_code(composed: Composed) -> Iterator[NeedsPerson]:
    """Tags by which a loader would make a batch normalisation: `!!python/object/apply:torch.nn.BatchNorm3d`."""
    for span, tag in composed.tags:
        name = tag.rpartition(":")[2]
        if named(name).kind != "unknown" and "." in name:
            yield NeedsPerson(span, f"the tag names {name}, which is not read")


@dataclass(frozen=True, eq=False)
class _YamlDocument(Document):
    layouts: Mapping[tree.Mapping, Layout] = field(default_factory=dict)
    tagged: Collection[Scalar] = ()
    aliases: Sequence[tuple[int, int]] = ()

    def spelled(self, value: bool | str | None, like: Scalar) -> str | None:
        if not like.text:
            return self._instead_of_nothing(value, like)
        if isinstance(value, str):
            return _like_string(value, like) if like.quoted else value
        if like.quoted:
            # "True" is Python's word for it, "true" that of JSON.
            return _like_string(str(value) if str(like.value).istitle() else json.dumps(value), like)
        if like in self.tagged and type(value) is not type(like.value):
            return None
        return _word(value, like.text)

    def _instead_of_nothing(self, value: bool | str | None, like: Scalar) -> str | None:
        """A value where none is written: `key:` means null."""
        if like in self.tagged or self.text[like.span.start - 1 : like.span.start] != ":":
            return None
        return " " + (value if isinstance(value, str) else _word(value, "null"))

    def renamed(self, entry: Entry, name: str) -> Splice:
        assert entry.key is not None
        return Splice(*entry.key.span, _like_string(name, entry.key) if entry.key.quoted else name)

    def removed(self, mapping: tree.Mapping, entries: Collection[Entry]) -> list[Splice]:
        layout = self.layouts[mapping]
        spans = [item.span for item in layout.items]
        gone = [index for index, item in enumerate(layout.items) if item.entry in entries]
        self._check_anchors([spans[index] for index in gone])
        if layout.style == "flow":
            return without(self.text, spans, gone)
        if len(gone) == len(spans):
            return list(self._emptied(spans))
        return list(self._without_lines(layout.items, gone))

    def _check_anchors(self, gone: Sequence[Span]) -> None:
        """Refuse to take an anchor away that an alias elsewhere repeats."""
        for alias, anchor in self.aliases:
            holds_anchor, holds_alias = (any(start <= at < end for start, end in gone) for at in (anchor, alias))
            if holds_anchor and not holds_alias:
                raise Undecided(
                    f"is to be removed, but its anchor is repeated at {self.place(alias)}",
                    entry=str(self.place(anchor)),
                    hint="Write the value out there instead of the alias, then run again.",
                )

    def _emptied(self, spans: Sequence[Span]) -> Iterator[Splice]:
        """Leave `{}` in the place of the first entry: nothing at all would be null."""
        first, *others = spans
        end = line_end(self.text, first.end) or first.end
        comment = self.text[first.end : end].rstrip("\r\n\x85\u2028\u2029")
        yield Splice(first.start, first.end + len(comment), "{}")
        yield from (self._line(span) for span in others)

    def _without_lines(self, items: Sequence[Item], gone: Sequence[int]) -> Iterator[Splice]:
        """Take entries of a block mapping out. What shares its line with a list's dash has no line to go with."""
        at = items[0].span.start
        shared = line_start(self.text, at) is None
        for index in gone:
            span = items[index].span
            if not shared or span.start != at:
                shared = False
                yield self._line(span)
                continue
            at = self._next_word(span.end)
            yield Splice(span.start, at, "")

    def _line(self, span: Span) -> Splice:
        start, end = line_start(self.text, span.start), line_end(self.text, span.end)
        return Splice(span.start if start is None else start, span.end if end is None else end, "")

    def _next_word(self, at: int) -> int:
        """Where the next key or comment starts below the line that ends behind `at`."""
        end = line_end(self.text, at)
        at = at if end is None else end
        return at + len(self.text[at:]) - len(self.text[at:].lstrip())


def _word(value: bool | None, like: str) -> str:
    """`value` in the style of a boolean or null; a title's case stays, so that `True` comes back as it was."""
    word = "null" if value is None else "true" if value else "false"
    for pair in _PAIRS:
        if value is not None and like.lower() in pair:
            word = pair[not value]
    return word.upper() if like.isupper() else word.title() if like.istitle() else word


def _like_string(text: str, like: Scalar) -> str:
    """`text` in the quotes, or the block, that `like` is written in."""
    style = like.text[0]
    if style == "'":
        return "'" + text.replace("'", "''") + "'"
    if style == '"':
        return json.dumps(text, ensure_ascii=False)
    body = re.search(r"[\r\n\x85\u2028\u2029]\s*", like.text)
    return like.text[: body.end()] + text if body else json.dumps(text)
