"""YAML configs: read as PyYAML reads them, and changed where they are meant to be and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from removals import without
from yaml_texts import yaml_texts

from porter.configs.formats.yaml import parse
from porter.configs.splices import Splice, spliced, undone
from porter.configs.tree import Document, Entry, Expression, ListNode, Mapping, Node, Scalar, scalars
from porter.errors import LimitExceeded, Malformed, Undecided


class Reading:
    """What a loader should see after a change: entries gone, keys renamed, values replaced."""

    def __init__(
        self,
        gone: list[Entry] | None = None,
        names: dict[Entry, str] | None = None,
        values: dict[Scalar, Any] | None = None,
    ) -> None:
        self._gone, self._names, self._values = gone or [], names or {}, values or {}

    def of(self, node: Node) -> Any:
        if isinstance(node, Scalar):
            return self._values.get(node, node.value)
        if not isinstance(node, Mapping):
            return [self.of(item) for item in node.items]
        result: dict[Any, Any] = {}
        for merged in reversed(node.merged):
            result.update(self.of(merged))
        for entry in node.entries:
            assert entry.key is not None
            if entry not in self._gone:
                result[self._names.get(entry, entry.key.value)] = self.of(entry.value)
        return result


def canonical(value: Any) -> Any:
    """A value as text that tells 1 from True, takes NaN for itself, and has no order of keys."""
    if isinstance(value, dict):
        return sorted((repr(key), canonical(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return [canonical(inner) for inner in value]
    return repr(value.strip() if isinstance(value, str) else value)


def sees(text: str) -> Any:
    """What PyYAML's SafeLoader reads."""
    return canonical(list(yaml.safe_load_all(text)))


def means(document: Document, reading: Reading | None = None) -> Any:
    return canonical([(reading or Reading()).of(root.node) for root in document.roots])


def read(text: str) -> Document:
    """Parse generated YAML, if PyYAML takes it: some of it repeats a key by a merge or lets plain text run on."""
    try:
        list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, TypeError):
        assume(False)
    return parse(text)


def mappings(document: Document) -> list[Mapping]:
    found: dict[Mapping, None] = {}
    waiting = [root.node for root in document.roots]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            found[node] = None
            waiting += [*(entry.value for entry in node.entries), *node.merged]
        elif not isinstance(node, Scalar):
            waiting += node.items
    return list(found)


def leaves(document: Document) -> Iterator[Scalar]:
    for root in document.roots:
        yield from scalars(root.node)


def comments(text: str, word: str) -> set[str]:
    return set(re.findall(rf"# ({word}\d+)", text))


@given(yaml_texts())
@settings(deadline=None, max_examples=200)
def test_it_is_read_as_pyyaml_reads_it(text: str) -> None:
    document = read(text)
    assert means(document) == sees(text)
    for scalar in leaves(document):
        assert text[slice(*scalar.span)] == scalar.text
        is_own = "\n" not in scalar.text and not isinstance(scalar.value, Expression)
        if scalar.text and is_own and scalar not in document.tagged:
            assert canonical(yaml.safe_load(scalar.text)) == canonical(scalar.value)


@given(yaml_texts(), st.data())
@settings(deadline=None, max_examples=200)
def test_entries_are_removed_and_nothing_else(text: str, data: st.DataObject) -> None:
    document = read(text)
    mapping = data.draw(st.sampled_from([found for found in mappings(document) if found.entries] or [None]))
    assume(mapping is not None)
    entries = data.draw(st.lists(st.sampled_from(mapping.entries), min_size=1, unique=True))
    try:
        splices = document.removed(mapping, entries)
    except Undecided:
        assume(False)
    result = spliced(text, splices)
    assert sees(result) == means(document, Reading(gone=entries)), result
    assert spliced(result, undone(text, splices)) == text
    if len(entries) == 1:
        start, end = entries[0].key.span.start, entries[0].value.span.end
        assert comments(result, "above") >= comments(text, "above") - comments(text[start:end], "above")


@given(yaml_texts(), st.data())
@settings(deadline=None, max_examples=200)
def test_keys_are_renamed_and_nothing_else(text: str, data: st.DataObject) -> None:
    document = read(text)
    entries = [entry for mapping in mappings(document) for entry in mapping.entries]
    assume(entries)
    entry = data.draw(st.sampled_from(entries))
    splices = [document.renamed(entry, "renamed")]
    result = spliced(text, splices)
    assert sees(result) == means(document, Reading(names={entry: "renamed"}))
    assert spliced(result, undone(text, splices)) == text


@given(yaml_texts(), st.data(), st.sampled_from([True, False, None, "0.003", "torch.nn.BatchNorm3d"]))
@settings(deadline=None, max_examples=300)
def test_values_are_replaced_and_nothing_else(text: str, data: st.DataObject, value: bool | str | None) -> None:
    document = read(text)
    found = [scalar for scalar in leaves(document) if not isinstance(scalar.value, Expression)]
    assume(found)
    scalar = data.draw(st.sampled_from(found))
    spelling = document.spelled(value, scalar)
    if spelling is None:
        assert not scalar.text or scalar in document.tagged
        return
    meant: Any = 0.003 if value == "0.003" else value
    if scalar.quoted or scalar in document.tagged:
        assume(scalar not in document.tagged or (not scalar.quoted and value == "0.003"))
        meant = yaml.safe_load(spelling) if scalar.quoted else type(scalar.value)(value)
        assert str(meant).strip().lower() in (str(value).lower(), "null")
    splices = [(*scalar.span, spelling)]
    result = spliced(text, splices)
    assert sees(result) == means(document, Reading(values={scalar: meant}))


def removed(text: str, path: str, *names: str) -> str:
    """`text` without some entries of the mapping at a dotted path; what a loader sees is checked."""
    result, document, gone = without(parse, text, path, *names)
    assert sees(result) == means(document, Reading(gone=gone))
    return result


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("a: 1  # one\n# of b\nb: 2  # two\nc: 3\n", "b", "a: 1  # one\n# of b\nc: 3\n"),
        ("a: 1\r\nb: 2\r\nc: 3", "c", "a: 1\r\nb: 2\r\n"),
        ("a: 1\nb:\n  - x\n  # of y\n  - y\n# of c\nc: 3\n", "b", "a: 1\n# of c\nc: 3\n"),
        ("a: 1\nb: |\n  x\n\n  y\n\nc: 3\n", "b", "a: 1\n\nc: 3\n"),
        ("a: 1  # one\n# of b\nb: 2\n", "ab", "{}\n# of b\n"),
        ("? a\n: 1\n? b\n: 2\n", "a", "? b\n: 2\n"),
        ("{a: 1, b: 2, c: 3}", "a", "{b: 2, c: 3}"),
        ("{a: 1, b: 2, c: 3}", "b", "{a: 1, c: 3}"),
        ("{a: 1, b: 2, c: 3}", "c", "{a: 1, b: 2}"),
        ("{a: 1, b: 2, c: 3,}", "bc", "{a: 1,}"),
        ("{ a: 1 }", "a", "{}"),
        ("{\n  a: 1,  # one\n  # of b\n  b: 2  # two\n}\n", "b", "{\n  a: 1  # one\n  # of b\n}\n"),
        ("{\n  a: 1,  # one\n  # of b\n  b: 2,  # two\n}\n", "a", "{\n  # of b\n  b: 2,  # two\n}\n"),
        ("{a: 1,  # one\n # of b\n b: 2}\n", "a", "{# of b\n b: 2}\n"),
        ("{a: 1, b: 2,  # both\n c: 3}\n", "b", "{a: 1,  # both\n c: 3}\n"),
        ("{a: 1\n, b: 2\n, c: 3}\n", "b", "{a: 1\n, c: 3}\n"),
    ],
)
def test_what_is_left_of_a_removal(text: str, names: str, expected: str) -> None:
    assert removed(text, "", *names) == expected


@pytest.mark.parametrize(
    ("text", "path", "names", "expected"),
    [
        ("- a: 1  # one\n  b: 2\n", "0", "a", "- b: 2\n"),
        ("- a: 1\n  # of b\n  b: 2\n", "0", "a", "- # of b\n  b: 2\n"),
        ("- a: 1\n  b: 2\n  c: 3\n", "0", "ab", "- c: 3\n"),
        ("- - a: 1  # one\n- x\n", "0.0", "a", "- - {}\n- x\n"),
        ("k: [a: 1, x]\n", "k.0", "a", "k: [{}, x]\n"),
        ("k: &k  # here\n  a: 1\nm: *k\n", "m", "a", "k: &k  # here\n  {}\nm: *k\n"),
        ("k: &k {a: 1}\nm: {<<: *k, b: 2}\n", "m", "b", "k: &k {a: 1}\nm: {<<: *k}\n"),
        ("k: &k {a: 1}\nm:\n  <<: *k\n  b: 2\n", "m", "b", "k: &k {a: 1}\nm:\n  <<: *k\n"),
    ],
)
def test_what_is_left_of_a_removal_further_in(text: str, path: str, names: str, expected: str) -> None:
    assert removed(text, path, *names) == expected


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("True", None, "Null"),
        ("Null", True, "True"),
        ("true", None, "null"),
        ("~", True, "true"),
        ("NO", True, "YES"),
        ("off", True, "on"),
        ("on", False, "off"),
        ("FALSE", None, "NULL"),
        ("0.1", "0.9", "0.9"),
        ("'0.1'", "0.9", "'0.9'"),
        ('"true"', None, '"null"'),
        ("'True'", None, "'None'"),
        ("&m 0.1", "0.9", "&m 0.9"),
        ("!!float 0.1", "0.9", "!!float 0.9"),
        (">-\n  torch.nn.BatchNorm3d", "mindspore.nn.BatchNorm3d", ">-\n  mindspore.nn.BatchNorm3d"),
    ],
)
def test_how_a_value_is_spelled(old: str, value: bool | str | None, new: str) -> None:
    text = f"key: {old}\n"
    document = parse(text)
    (scalar,) = leaves(document)
    spelling = document.spelled(value, scalar)
    assert spelling is not None
    assert spliced(text, [Splice(*scalar.span, spelling)]) == f"key: {new}\n"


def test_a_value_takes_the_place_of_none() -> None:
    text = "a:\nb:  # none\nc: {d: , e}\nf: !!null\n"
    document = parse(text)
    spellings = {scalar: document.spelled(True, scalar) for scalar in leaves(document)}
    assert list(spellings.values()) == [" true", " true", " true", None, None]
    result = spliced(text, [Splice(*scalar.span, new) for scalar, new in spellings.items() if new])
    assert result == "a: true\nb: true  # none\nc: {d: true , e}\nf: !!null\n"


def test_an_alias_is_the_same_node() -> None:
    document = parse("a: &a {momentum: &m 0.1}\nb: *a\nc: {<<: *a, momentum: *m}\nd: {<<: [{x: 1}, *a]}\n*m : 0\n")
    root = document.roots[0].node
    assert isinstance(root, Mapping)
    a, b, c, d, key = (entry.value for entry in root.entries)
    assert a is b
    assert isinstance(a, Mapping)
    assert isinstance(c, Mapping)
    assert isinstance(d, Mapping)
    assert c.merged == (a,)
    assert d.merged[1] is a
    assert d.entry("momentum") is a.entry("momentum")
    assert c.entries[0].value is a.entries[0].value
    assert spliced(document.text, [document.renamed(root.entries[-1], "k")]).endswith("}\nk : 0\n")
    assert isinstance(key, Scalar)


def test_an_anchor_that_is_repeated_elsewhere_is_not_removed() -> None:
    document = parse("a: {x: &x 1, y: *x, z: 2}\nb: *x\n")
    root = document.roots[0].node
    assert isinstance(root, Mapping)
    inner = root.entries[0].value
    assert isinstance(inner, Mapping)
    with pytest.raises(Undecided, match=r"line 1, column 8: .* repeated at line 2, column 4"):
        document.removed(inner, inner.entries[:2])
    assert spliced(document.text, document.removed(inner, inner.entries[1:])) == "a: {x: &x 1}\nb: *x\n"
    assert removed("a: &x 1\nb: *x\nc: 2\n", "", "a", "b") == "c: 2\n"


def test_the_later_merge_key_and_the_earlier_of_a_list_outweigh() -> None:
    text = "a: &a {x: 1}\nb: &b {x: 2}\nc: {<<: *a, <<: *b}\nd: {<<: [*a, *b]}\n"
    assert means(parse(text)) == sees(text)
    assert sees(text) == canonical([{"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 2}, "d": {"x": 1}}])


@pytest.mark.parametrize(
    "written", ["!!python/object/apply:os.system ['exit']", "!include other.yaml", "2024-01-31", "!!binary aGk="]
)
def test_a_tag_is_never_built(written: str) -> None:
    document = parse(f"a: {written}\n")
    assert isinstance(document.roots[0].node, Mapping)
    value = document.roots[0].node.entries[0].value
    assert isinstance(value, ListNode) or (isinstance(value, Scalar) and value.value == Expression(written))


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 1\nb: 2\n'a': 3\n", "line 3, column 1", "\"'a'\" is here twice (found the first at line 1, column 1)"),
        ("a: 1\r\nb: {x: 1, x: 2}\r\n", "line 2, column 11", "the first at line 2, column 5"),
        ("1: a\n0x1: b\n", "line 2, column 1", "here twice"),
        ("a: 1\n\tb: 2\n", "line 2, column 1", "cannot start any token"),
        ("a: [1, 2\nb: 3\n", "line 2, column 2", "expected ',' or ']'"),
        ("a: 1\n  b: 2\n", "line 2, column 4", "mapping values are not allowed here"),
        ("a: *x\n", "line 1, column 4", "*x repeats nothing"),
        ("a: &x [*x]\n", "line 1, column 8", "*x stands inside of what it repeats"),
        ("a: &x 1\nb: &x 2\n", "line 2, column 4", "&x is here twice"),
        ("a: &x 1\n---\nb: *x\n", "line 3, column 4", "*x repeats nothing"),
        ("<<: 1\n", "line 1, column 5", "a merge key takes mappings only"),
        ("a: \x01\n", "line 1, column 4", "special characters"),
        ('a: "\\UFFFFFFFF"\n', "line 1, column 7", "is no YAML"),
        ("a: !!bool maybe\n", "line 1, column 4", "is no bool (found maybe)"),
        ("a: 0b_\n", "line 1, column 4", "is no int"),
        ("a: " + "1" * 5000, "line 1, column 4", "is no int"),
    ],
)
def test_an_error_says_where(text: str, place: str, message: str) -> None:
    with pytest.raises(Malformed) as error:
        parse(text)
    assert error.value.entry == place
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000,
        "{a: " * 3000,
        "- " * 3000,
        "\n".join(" " * depth + "a:" for depth in range(3000)),
        "[" * 201 + "]" * 201,
    ],
)
def test_too_deep_is_refused(text: str) -> None:
    with pytest.raises(LimitExceeded, match="nested too deep"):
        parse(text)


def test_what_repeats_itself_takes_no_longer() -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{at}: &a{at} {{<<: [*a{at - 1}, *a{at - 1}], y: [*a{at - 1}, *a{at - 1}]}}" for at in range(1, 100)]
    document = parse("\n".join(lines))
    root = document.roots[0].node
    assert isinstance(root, Mapping)
    last = root.entries[-1].value
    assert isinstance(last, Mapping)
    assert last.entry("nothing") is None
    assert last.entry("x") is not None
    assert len(list(leaves(document))) == 1


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    document = parse("\ufeffa: 1\nb: 2\n")
    root = document.roots[0].node
    assert isinstance(root, Mapping)
    assert spliced(document.text, document.removed(root, root.entries[:1])) == "\ufeffb: 2\n"
