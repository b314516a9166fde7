"""JSON configs: read as json and json5 read them, and changed where they are meant to be and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import json5
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from removals import without

from porter.configs.formats.json import parse
from porter.configs.splices import spliced
from porter.configs.tree import DEEPEST, Document, Mapping, Node, Scalar, scalars
from porter.errors import LimitExceeded, Malformed


def plain(node: Node) -> Any:
    """What the node stands for."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Mapping):
        return {entry.name: plain(entry.value) for entry in node.entries}
    return [plain(item) for item in node.items]


def value_of(document: Document) -> Any:
    (root,) = document.roots
    return plain(root.node)


def removed(text: str, *names: str) -> str:
    """`text`, an object, without some of its entries."""
    return without(parse, text, "", *names)[0]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 0, 2, "\t"]), st.booleans())
@settings(deadline=None)
def test_strict_json_is_read_as_json_reads_it(value: Any, indent: int | str | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    # repr tells 1 from 1.0 and from True, and is the same for NaN.
    assert repr(value_of(parse(text))) == repr(json.loads(text))


_COMMENTS = ["// it's {\n", "/* , } */", "/* a\n * b **/"]
TRIVIA = st.sampled_from(["", "", "", " ", "\n", "\r\n", "\t", "\u00a0", *_COMMENTS])
_NUMBERS = ["0", "-1", "+1", ".5", "5.", "-.5e-3", "0x1F", "-0xa", "1e3", "1E+2", "Infinity", "-Infinity", "0.10"]
_STRINGS = ['""', "''", "'a\"b'", '"a\'b"', r'"\x41é\/\'"', "'a\\\nb'", '"a\\\r\nb"', r"'\0\v\q'", '"\t"']
_KEYS = ["a", "$b", "_c1", "dé", '"a b"', "'x'", '"\\u0041"', "null", "Infinity"]


@st.composite
def json5_texts(draw: st.DrawFn, depth: int = 3) -> str:
    kind = draw(st.sampled_from(["number", "string", "word", *(["list", "object"] * 2 if depth else [])]))
    if kind == "number":
        return draw(st.sampled_from(_NUMBERS))
    if kind in ("string", "word"):
        return draw(st.sampled_from(_STRINGS if kind == "string" else ["true", "false", "null"]))
    if kind == "list":
        items = draw(st.lists(json5_texts(depth - 1), max_size=3))
    else:
        keys = draw(st.lists(st.sampled_from(_KEYS), max_size=4, unique=True))
        items = [f"{key}{draw(TRIVIA)}:{draw(TRIVIA)}{draw(json5_texts(depth - 1))}" for key in keys]
    spaced = [f"{draw(TRIVIA)}{item}{draw(TRIVIA)}" for item in items]
    comma = f",{draw(TRIVIA)}" if items and draw(st.booleans()) else ""
    opening, closing = "[]" if kind == "list" else "{}"
    return f"{opening}{','.join(spaced)}{comma}{closing}"


@given(TRIVIA, json5_texts(), TRIVIA)
@settings(deadline=None)
def test_json5_is_read_as_json5_reads_it(before: str, text: str, after: str) -> None:
    text = before + text + after
    assert value_of(parse(text)) == json5.loads(text)


@given(json5_texts())
@settings(deadline=None)
def test_every_node_knows_its_characters(text: str) -> None:
    document = parse(text)
    for scalar in scalars(document.roots[0].node):
        assert text[slice(*scalar.span)] == scalar.text
        assert json5.loads(scalar.text) == scalar.value
        assert scalar.quoted == isinstance(scalar.value, str)


def _read(loads: Any, text: str) -> Any:
    try:
        return repr(loads(text))
    except (ValueError, Malformed):
        return "refused"


_SNIPPETS = [*"{}[]:,\"'\\ux0194.eE+-aN/* \n", "null", "true", "NaN", "1.5", '"a":', "//"]


@given(st.lists(st.sampled_from(_SNIPPETS)).map("".join))
@example("01")
@example("'\\1'")
@example('{"a": 1 "b": 2}')
@example("[1,,2]")
@example("/*")
@example('"a\nb"')
@settings(deadline=None, max_examples=500)
def test_what_json5_refuses_is_refused(text: str) -> None:
    judged = _read(lambda text: json5.loads(text, allow_duplicate_keys=False), text)
    assert _read(lambda text: value_of(parse(text)), text) == judged


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "line 1, column 1", "expected a value, found the end of the file"),
        ('{"a": 1,\n  "b": 01}', "line 2, column 8", "found 01"),
        ('{"a": 1\n  "b": 2}', "line 2, column 3", "expected a comma or }, found '\"'"),
        (
            '{"a": 1,\r\n "a": 2}',
            "line 2, column 2",
            "the key 'a' is here twice (found the first at line 1, column 2)",
        ),
        ('{a: 1, "\\u0061": 2}', "line 1, column 8", "the key 'a' is here twice"),
        ("[1, 'é', x]", "line 1, column 10", "found x"),
        ("[1] 2", "line 1, column 5", "expected the end of the file"),
        ('["a\nb"]', "line 1, column 2", "a string has no end on its line"),
        ("[1" + "0" * 5000 + "]", "line 1, column 2", "a number too long"),
    ],
)
def test_an_error_says_where(text: str, place: str, message: str) -> None:
    with pytest.raises(Malformed) as error:
        parse(text)
    assert error.value.entry == place
    assert message in str(error.value)


def test_nesting_ends_somewhere() -> None:
    """Work that grows with the square of the depth is nobody's config's: the other formats stop here, too."""
    text = '{"a":[' * (DEEPEST // 2) + "0" + "]}" * (DEEPEST // 2)
    assert [scalar.value for scalar in scalars(parse(text).roots[0].node)] == [0]
    with pytest.raises(LimitExceeded, match="at most 200 levels"):
        parse("[" * 100_000)


@st.composite
def objects(draw: st.DrawFn) -> str:
    """An object whose entries lie on lines of their own, together, or with comments between them."""
    entries = [
        f"{draw(TRIVIA)}{key}: {draw(json5_texts(1))}{draw(TRIVIA)}"
        for key in draw(st.lists(st.sampled_from(["a", "b", "'c'", '"d"']), unique=True, min_size=1))
    ]
    gap = draw(st.sampled_from([",", ", ", ",\n  ", ",\r\n\t", ", // why\n", "\n, "]))
    start, end = draw(st.sampled_from([("{", "}"), ("{ ", " }"), ("{\n  ", "\n}"), ("{\n  ", ",\n}"), ("{", ",}")]))
    return start + gap.join(entries) + end


@given(objects(), st.sets(st.sampled_from("abcd")))
@settings(deadline=None, max_examples=300)
def test_the_other_entries_stay_when_some_are_removed(text: str, names: set[str]) -> None:
    before = json5.loads(text)
    after = json5.loads(removed(text, *names))
    assert list(after.items()) == [(key, value) for key, value in before.items() if key not in names]


@pytest.mark.parametrize(
    ("before", "names", "after"),
    [
        ('{"a": 1, "b": 2, "c": 3}', "a", '{"b": 2, "c": 3}'),
        ('{"a": 1, "b": 2, "c": 3}', "b", '{"a": 1, "c": 3}'),
        ('{"a": 1, "b": 2, "c": 3}', "c", '{"a": 1, "b": 2}'),
        ('{"a": 1, "b": 2, "c": 3}', "bc", '{"a": 1}'),
        ('{"a": 1, "b": 2, "c": 3}', "ac", '{"b": 2}'),
        ('{"a": 1, "b": 2}', "ab", "{}"),
        ('{ "a": 1, "b": 2 }', "b", '{ "a": 1 }'),
        ('{"a":1,"b":2}', "b", '{"a":1}'),
        ("{a: 1, b: 2,}", "b", "{a: 1,}"),
        ('{\n  "a": 1,\n  "b": 2,\n  "c": 3\n}\n', "a", '{\n  "b": 2,\n  "c": 3\n}\n'),
        ('{\n  "a": 1,\n  "b": 2,\n  "c": 3\n}\n', "bc", '{\n  "a": 1\n}\n'),
        ('{\r\n  "a": 1,\r\n  "b": {\r\n  }\r\n}', "b", '{\r\n  "a": 1\r\n}'),
        ('{\n  "a": 1\n, "b": 2\n, "c": 3}', "b", '{\n  "a": 1\n, "c": 3}'),
        (
            "{\n  a: 1,\n  // above b\n  b: 2,  // b's own\n  // above c\n  c: 3,\n}",
            "b",
            "{\n  a: 1,\n  // above b\n  // above c\n  c: 3,\n}",
        ),
        ("{\n  a: 1, // a's\n  b: 2 /* b's */ // own\n}", "b", "{\n  a: 1 // a's\n}"),
        ("{\n  a: 1, b: 2, // of both\n  c: 3\n}", "b", "{\n  a: 1, // of both\n  c: 3\n}"),
        ("{\n  a: 1, b: 2,\n  c: 3\n}", "ab", "{\n  c: 3\n}"),
        ("{a: 1, /* b */ b: 2}", "a", "{/* b */ b: 2}"),
    ],
)
def test_a_removed_entry_takes_what_is_its_alone(before: str, names: str, after: str) -> None:
    assert removed(before, *names) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [('{"a" : 1}', '{"b_c" : 1}'), ("{'a': 1}", "{'b_c': 1}"), ("{a: 1}", "{b_c: 1}")],
)
def test_a_renamed_key_keeps_its_quotes(before: str, after: str) -> None:
    document = parse(before)
    mapping = document.roots[0].node
    assert isinstance(mapping, Mapping)
    assert spliced(before, [document.renamed(mapping.entries[0], "b_c")]) == after


@pytest.mark.parametrize(
    ("written", "value", "expected"),
    [
        ("0.1", "0.9", "0.9"),
        ('"0.1"', "0.9", '"0.9"'),
        ("'torch.nn.BatchNorm3d'", "mindspore.nn.BatchNorm3d", "'mindspore.nn.BatchNorm3d'"),
        ("'x'", 'it\'s "1"', "'it\\'s \"1\"'"),
        ('"x"', 'it\'s "1"', '"it\'s \\"1\\""'),
        ("false", True, "true"),
        ("true", None, "null"),
        ("null", False, "false"),
        ('"False"', True, '"True"'),
        ("'true'", None, "'null'"),
    ],
)
def test_a_value_is_spelled_in_the_style_of_another(written: str, value: bool | str | None, expected: str) -> None:
    document = parse(written)
    like = document.roots[0].node
    assert isinstance(like, Scalar)
    assert document.spelled(value, like) == expected
    if isinstance(value, str) and like.quoted:
        assert json5.loads(expected) == value
