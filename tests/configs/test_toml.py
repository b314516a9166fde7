"""TOML configs: read as tomllib reads them, and changed where they are meant to be and nowhere else."""

from __future__ import annotations

import sys
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from removals import without
from toml_texts import toml_texts

from porter.configs.formats.toml import parse
from porter.configs.splices import Splice, spliced, undone
from porter.configs.tree import Document, Entry, Expression, ListNode, Mapping, Node, Scalar, scalars
from porter.errors import LimitExceeded, Malformed

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def canonical(value: Any) -> Any:
    """A value as text that tells 1 from True, takes NaN for itself, and has no order of keys."""
    if isinstance(value, dict):
        return sorted((key, canonical(inner)) for key, inner in value.items())
    return [canonical(inner) for inner in value] if isinstance(value, list) else repr(value)


def sees(text: str) -> Any:
    return canonical(tomllib.loads(text))


def plain(node: Node, gone: list[Entry], names: dict[Entry, str], values: dict[Scalar, Any]) -> Any:
    """What a loader should see with entries gone, keys renamed, values replaced."""
    if isinstance(node, Mapping):
        kept = [entry for entry in node.entries if entry not in gone]
        return {names.get(entry, entry.name): plain(entry.value, gone, names, values) for entry in kept}
    if isinstance(node, ListNode):
        return [plain(item, gone, names, values) for item in node.items]
    if isinstance(node.value, Expression):
        return values.get(node, tomllib.loads(f"a = {node.text}")["a"])
    return values.get(node, node.value)


def means(document: Document, gone: Any = (), names: Any = (), values: Any = ()) -> Any:
    (root,) = document.roots
    return canonical(plain(root.node, list(gone), dict(names), dict(values)))


def mappings(document: Document) -> list[Mapping]:
    found, waiting = [], [document.roots[0].node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            found.append(node)
            waiting += [entry.value for entry in node.entries]
        elif isinstance(node, ListNode):
            waiting += node.items
    return [mapping for mapping in found if mapping.entries]


@given(toml_texts())
@settings(deadline=None)
def test_it_is_read_as_tomllib_reads_it(text: str) -> None:
    document = parse(text)
    assert means(document) == sees(text)
    for scalar in scalars(document.roots[0].node):
        assert text[slice(*scalar.span)] == scalar.text
        assert scalar.quoted == isinstance(scalar.value, str)


@given(toml_texts(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=200)
def test_entries_are_removed_and_nothing_else(text: str, random: Random) -> None:
    document = parse(text)
    found = mappings(document)
    assume(found)
    mapping = random.choice(found)
    entries = random.sample(mapping.entries, random.randint(1, len(mapping.entries)))
    splices = document.removed(mapping, entries)
    result = spliced(text, splices)
    assert sees(result) == means(document, gone=entries), result
    assert spliced(result, undone(text, splices)) == text


# Which of the entries or values a change is of: counted round, whatever their number.
WHICH = st.integers(0, 10_000)


@given(toml_texts(), WHICH)
@settings(deadline=None)
def test_a_key_is_renamed_and_nothing_else(text: str, which: int) -> None:
    document = parse(text)
    entries = [
        entry for mapping in mappings(document) for entry in mapping.entries if isinstance(entry.value, Scalar)
    ]
    assume(entries)
    entry = entries[which % len(entries)]
    splices = [document.renamed(entry, "renamed")]
    result = spliced(text, splices)
    assert sees(result) == means(document, names={entry: "renamed"})
    assert spliced(result, undone(text, splices)) == text


@given(toml_texts(), WHICH, st.sampled_from([True, False, "0.003", "torch.nn.BatchNorm3d"]))
@settings(deadline=None)
def test_a_value_is_replaced_and_nothing_else(text: str, which: int, value: bool | str) -> None:
    document = parse(text)
    found = list(scalars(document.roots[0].node))
    assume(found)
    scalar = found[which % len(found)]
    assume(scalar.quoted or value != "torch.nn.BatchNorm3d")
    spelling = document.spelled(value, scalar)
    assert spelling is not None
    meant: Any = 0.003 if value == "0.003" else value
    if scalar.quoted:
        meant = value if isinstance(value, str) else str(value).lower()
    result = spliced(text, [Splice(*scalar.span, spelling)])
    assert sees(result) == means(document, values={scalar: meant})


def removed(text: str, path: str, *names: str) -> str:
    """`text` without some entries of the table at a dotted path; what a loader sees is checked."""
    result, document, gone = without(parse, text, path, *names)
    assert sees(result) == means(document, gone=gone)
    return result


@pytest.mark.parametrize(
    ("text", "path", "names", "expected"),
    [
        ("[n]\na = 1  # one\n# of b\nb = 2  # two\nc = 3\n", "n", "b", "[n]\na = 1  # one\n# of b\nc = 3\n"),
        ("[n]\r\na = 1\r\nb = 2", "n", "b", "[n]\r\na = 1\r\n"),
        ("n = { a = 1, b = 2, c = 3 }\n", "n", "b", "n = { a = 1, c = 3 }\n"),
        ("n = { a = 1, b = 2 }  # here\n", "n", "b", "n = { a = 1 }  # here\n"),
        ("n = { a = 1 }\n", "n", "a", "n = {}\n"),
        ("n.a = 1\nn.b = 2\n", "n", "a", "n.b = 2\n"),
        ("n.a = 1  # one\nx = 1\nn.b = 2\n", "n", "ab", "n = {}  # one\nx = 1\n"),
        ("[m]\nn.a = 1\n", "m.n", "a", "[m]\nn = {}\n"),
        ("[n.a]\nx = 1\n[o]\n", "n", "a", "[n]\n[o]\n"),
        ("[n.a]\nx = 1\n[n]\nb = 1\n", "n", "a", "[n]\nb = 1\n"),
        ("[[n.a]]\nx = 1\n[[n.a]]\n[o]\n", "n", "a", "[n]\n[o]\n"),
        ("[[n]]\n[n.a]\nx = 1\n", "n.0", "a", "[[n]]\n"),
        ("m = {n.a = 1, b = 2}\n", "m.n", "a", "m = {n = {}, b = 2}\n"),
        ("a = '''\nx\n'''  # one\nb = 1\n", "", "a", "b = 1\n"),
    ],
)
def test_what_is_left_of_a_removal(text: str, path: str, names: str, expected: str) -> None:
    assert removed(text, path, *names) == expected


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("0.1", "0.9", "0.9"),
        ('"0.1"', "0.9", '"0.9"'),
        ("'torch.nn.BatchNorm3d'", "mindspore.nn.BatchNorm3d", "'mindspore.nn.BatchNorm3d'"),
        ('"""0.1"""', "0.9", '"""0.9"""'),
        ("false", True, "true"),
        ('"True"', None, '"None"'),
        ("true", None, None),
    ],
)
def test_how_a_value_is_spelled(old: str, value: bool | str | None, new: str | None) -> None:
    document = parse(f"key = {old}\n")
    (scalar,) = scalars(document.roots[0].node)
    assert document.spelled(value, scalar) == new


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a = 1\na = 2\n", "line 2, column 6", "is no TOML: Cannot overwrite a value"),
        ("[a]\r\nx = 1\r\n[a]\r\n", "line 3, column 3", "Cannot declare ('a',) twice"),
        ("a = \n", "line 1, column 5", "Invalid value"),
        ("a = 'x", "line 1, column 7", "is no TOML"),
        ("a = nul", "line 1, column 5", "Invalid value"),
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
        "a = " + "[" * 250 + "]" * 250,
        "a = " + "[" * 3000 + "]" * 3000,
        "a" + ".a" * 3000 + " = 1",
        "[a" + ".a" * 3000 + "]",
    ],
)
def test_too_deep_is_refused(text: str) -> None:
    with pytest.raises(LimitExceeded, match="nested too deep"):
        parse(text)


def test_a_table_spans_its_lines_and_a_byte_order_mark_is_none_of_them() -> None:
    text = "\ufeff[a]\nx = 1\n[a.b]\ny = 2\n"
    root = parse(text).roots[0].node
    assert isinstance(root, Mapping)
    assert text[slice(*root.entries[0].value.span)] == "[a]\nx = 1\n[a.b]\ny = 2"
