"""YAML 1.1 as PyYAML reads it, the usual loader of such configs, as a tree that knows its characters.

The events of PyYAML's parser are put together here and not by its composer: that one recurs, and does not tell where
a scalar starts behind its anchor and tag, nor where an alias stands. Values are built by SafeLoader's own rules for
strings, numbers, booleans and null; what has any other tag is an `Expression` and is never built.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import yaml

from porter.configs.formats.yaml_reader import Reader, end_of, quick_scanner, span_of
from porter.configs.tree import (
    DEEPEST,
    Entry,
    Expression,
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
from porter.errors import Malformed

# Block: an entry a line. Flow: in braces. Pair: the only entry of a mapping without braces, `[a: 1]`.
Style = Literal["block", "flow", "pair"]

_CORE = "tag:yaml.org,2002:"
_MERGE = _CORE + "merge"
_PLAIN_TAGS = frozenset(_CORE + name for name in ("null", "bool", "int", "float", "str"))
# The resolver's tags for `<<` and `=`, which SafeLoader has no constructor for where they are no keys.
_WORDS = frozenset({_MERGE, _CORE + "value"})


class Item(NamedTuple):
    """A key and value as written, anchors, tags and aliases included; a merge key has no entry."""

    span: Span
    entry: Entry | None


class Layout(NamedTuple):
    """How a mapping is written."""

    style: Style
    items: Sequence[Item]


@dataclass
class Composed:
    """What a text says.

    Attributes:
        roots: one for each YAML document; paths in the second start with "document2".
        layouts: how each mapping is written.
        tagged: scalars that have a tag, which binds what can stand there.
        aliases: where each alias stands, and the anchor that it repeats.
        tags: where what has a tag starts, and that tag in full.
    """

    roots: list[Root] = field(default_factory=list)
    layouts: dict[Mapping, Layout] = field(default_factory=dict)
    tagged: set[Scalar] = field(default_factory=set)
    aliases: list[tuple[int, int]] = field(default_factory=list)
    tags: list[tuple[Span, str]] = field(default_factory=list)


def compose(text: str) -> Composed:
    """Read `text`.

    Raises:
        Malformed: it is no YAML, a mapping has a key twice, or an alias stands inside of what it repeats.
        LimitExceeded: it is nested more than `DEEPEST` levels deep.
    """
    with suppress(yaml.YAMLError, UnicodeEncodeError):  # PyYAML's own scanner says better what is wrong
        if scanner := quick_scanner(text):
            return _Composer(text, scanner).composed()
    try:
        return _Composer(text, yaml.SafeLoader(text)).composed()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise malformed(text, mark.index if mark else 0, f"is no YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        raise malformed(text, error.position, f"is no YAML: {error.reason}") from error


class _Child(NamedTuple):
    """A node where it is written: for an alias the alias's characters, else anchor and tag included."""

    node: Node
    span: Span
    is_merge: bool = False


@dataclass
class _Open:
    """A mapping or list whose end is not read yet."""

    written: int
    start: int
    anchor: str | None
    style: Style | None
    children: list[_Child] = field(default_factory=list)
    key_starts: list[int] = field(default_factory=list)


class _Composer:
    def __init__(self, text: str, scanner: Any) -> None:
        self._text = text
        self._scanner = scanner
        self._reader: Any = Reader(scanner)
        self._open: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._anchored_at: dict[str, int] = {}
        self._result = Composed()

    def composed(self) -> Composed:
        for event in self._events():
            if isinstance(event, yaml.ScalarEvent):
                self._add(self._scalar(event))
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._add(self._closed(event))
            elif isinstance(event, yaml.AliasEvent):
                self._add(_Child(self._repeated(event), span_of(event)))
            elif isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
        return self._result

    def _events(self) -> Iterator[yaml.Event]:
        try:
            while self._reader.check_event():
                event = self._reader.get_event()
                self._note_key(event)
                yield event
        except (ValueError, OverflowError) as error:  # "\Uffffffff"
            at = self._scanner.get_mark().index
            raise malformed(self._text, at, f"is no YAML: {error}") from error

    def _note_key(self, event: yaml.Event) -> None:
        """Remember where the key starts that `event` begins, its question mark included."""
        if not isinstance(event, yaml.NodeEvent):
            return
        here = self._open[-1] if self._open else None
        if here and here.style and len(here.children) % 2 == 0:
            start = span_of(event).start
            here.key_starts.append(start if self._reader.key_start is None else self._reader.key_start)
        self._reader.key_start = None

    def _add(self, child: _Child) -> None:
        if self._open:
            self._open[-1].children.append(child)
            return
        number = len(self._result.roots) + 1
        self._result.roots.append(Root("" if number == 1 else f"document{number}", child.node))

    def _name_anchor(self, anchor: str | None, at: int, node: Node | None) -> None:
        """Let aliases find a node; None while it is not whole."""
        if anchor is None:
            return
        if anchor in self._anchors and (node is None or self._anchors[anchor] is not None):
            raise malformed(self._text, at, f"the anchor &{anchor} is here twice")
        self._anchors[anchor] = node
        self._anchored_at[anchor] = at

    def _repeated(self, event: yaml.AliasEvent) -> Node:
        name, at = str(event.anchor), span_of(event).start
        if name not in self._anchors:
            raise malformed(self._text, at, f"the alias *{name} repeats nothing that stands before it")
        node = self._anchors[name]
        if node is None:
            raise malformed(self._text, at, f"the alias *{name} stands inside of what it repeats")
        self._result.aliases.append((at, self._anchored_at[name]))
        return node

    def _scalar(self, event: yaml.ScalarEvent) -> _Child:
        written, token = span_of(event), self._reader.last
        is_there = isinstance(token, yaml.ScalarToken) and written.start < written.end
        start = token.start_mark.index if is_there else written.end
        span = Span(start, max(start, end_of(self._text, start, written.end)))
        tag = event.tag
        if tag:
            self._result.tags.append((written, tag))
        if tag is None or tag == "!":
            tag = self._reader.resolve(yaml.ScalarNode, event.value, event.implicit)
        quoted = event.style in ("'", '"', "|", ">")
        value = self._value(tag, event.value, Span(written.start, span.end))
        scalar = Scalar(span, value, self._text[slice(*span)], quoted)
        if event.tag is not None:
            self._result.tagged.add(scalar)
        self._name_anchor(event.anchor, written.start, scalar)
        return _Child(scalar, Span(written.start, span.end), tag == _MERGE)

    def _value(self, tag: str, text: str, written: Span) -> Value:
        if tag in _WORDS:
            return text
        if tag not in _PLAIN_TAGS:
            return Expression(self._text[slice(*written)])
        try:
            value: Value = self._reader.yaml_constructors[tag](self._reader, yaml.ScalarNode(tag, text))
        except (ValueError, KeyError, IndexError, OverflowError) as error:  # `0b_`, `!!bool maybe`, 5,000 digits
            raise malformed(self._text, written.start, f"is no {tag.removeprefix(_CORE)}", found=text) from error
        return value

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._open) >= DEEPEST:
            raise too_deep(self._text, span_of(event).start)
        written = span_of(event)
        if event.tag:
            self._result.tags.append((written, event.tag))
        self._name_anchor(event.anchor, written.start, None)
        style, start = None, written.end
        if isinstance(event, yaml.MappingStartEvent):
            style = self._style(event, written)
        if style == "pair":
            start = written.start
        elif event.flow_style or self._text[start - 1 : start] == "-":  # a list's dash, no deeper than its key
            start -= 1
        self._open.append(_Open(written.start, start, event.anchor, style))

    def _style(self, event: yaml.MappingStartEvent, written: Span) -> Style:
        if not event.flow_style:
            return "block"
        # A pair begins with its key, or with the question mark before that.
        return "flow" if written.start < written.end and self._text[written.end - 1] == "{" else "pair"

    def _closed(self, event: yaml.CollectionEndEvent) -> _Child:
        done = self._open.pop()
        end = span_of(event).end
        if span_of(event).start == end:  # no bracket: the event tells where the next token is
            end = done.children[-1].span.end
        span = Span(done.start, end)
        children = [child.node for child in done.children]
        node = ListNode(span, tuple(children)) if done.style is None else self._mapping(done, span)
        self._name_anchor(done.anchor, done.written, node)
        return _Child(node, Span(done.written, end))

    def _mapping(self, done: _Open, span: Span) -> Mapping:
        items, merges, keys = [], [], dict[Any, _Child]()
        for key, value, start in zip(done.children[::2], done.children[1::2], done.key_starts, strict=True):
            entry = None
            if key.is_merge:
                merges.append(self._merged(value))
            else:
                self._check_new(keys, key)
                entry = self._entry(key, value)
            items.append(Item(Span(start, self._item_end(key, value)), entry))
        # The later of two merge keys outweighs the earlier, but in a list the first does.
        merged = tuple(mapping for merge in reversed(merges) for mapping in merge)
        mapping = Mapping(span, tuple(item.entry for item in items if item.entry), merged)
        self._result.layouts[mapping] = Layout(done.style or "block", items)
        return mapping

    def _entry(self, key: _Child, value: _Child) -> Entry:
        text = self._text[slice(*key.span)]
        if not isinstance(key.node, Scalar):
            return Entry(text, value.node, Scalar(key.span, Expression(text), text))
        name = key.node.value if isinstance(key.node.value, str) else key.node.text
        is_alias = text.startswith("*")
        return Entry(name, value.node, Scalar(key.span, key.node.value, text) if is_alias else key.node)

    def _item_end(self, key: _Child, value: _Child) -> int:
        """The end of a value; of the key, where there is none: PyYAML then tells where the next token is."""
        start, end = value.span
        return key.span.end if start == end and self._text[start - 1 : start] != ":" else end

    def _merged(self, value: _Child) -> Sequence[Mapping]:
        nodes = value.node.items if isinstance(value.node, ListNode) else [value.node]
        mappings = [node for node in nodes if isinstance(node, Mapping)]
        if len(mappings) < len(nodes):
            raise malformed(self._text, value.span.start, "a merge key takes mappings only")
        return mappings

    def _check_new(self, keys: dict[Any, _Child], key: _Child) -> None:
        """Refuse a key that the mapping has already, as a loader would compare them: `1` is `0x1`."""
        same = key.node.value if isinstance(key.node, Scalar) else key.node
        if same in keys:
            raise self._twice(keys[same], key)
        keys[same] = key

    def _twice(self, first: _Child, second: _Child) -> Malformed:
        name = self._text[slice(*second.span)]
        where = Place.of(self._text, first.span.start)
        return malformed(
            self._text, second.span.start, f"the key {name!r} is here twice", found=f"the first at {where}"
        )
