"""Both scanners of PyYAML, libyaml's and its own, tell the same of a text: each event and each place."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from yaml_texts import yaml_texts

from porter.configs.formats.yaml import parse
from porter.configs.formats.yaml_reader import Reader, quick_scanner, span_of
from porter.errors import Malformed

PIECES = [
    "a: 1",
    "a",
    "b:",
    "- ",
    "  ",
    "\n",
    "\n  ",
    "\r\n",
    "\r",
    ": ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "&x ",
    "*x",
]
PIECES += [
    "!t ",
    "!!str ",
    "!",
    "| ",
    ">-\n  ",
    "|2",
    "'x'",
    '"y\\n"',
    '"',
    "'",
    "# c",
    " #z",
    "x#y",
    "\t",
    "0.1",
    "~",
]
PIECES += ["é", "😀", "\x85", "\u2028", "\xa0", "---\n", "...\n", "%YAML 1.1\n", "@", "`", "-", "<<", "=", "1:30"]

pytestmark = pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")


def events(scanner: Any) -> list[tuple[Any, ...]]:
    """Every event with its places, and those of the tokens that are remembered beside it."""
    reader: Any = Reader(scanner)
    found = []
    while reader.check_event():
        event = reader.get_event()
        told = [getattr(event, name, None) for name in ("value", "anchor", "tag", "implicit", "flow_style")]
        # Plain scalars have the style None or "".
        style = getattr(event, "style", None) or None
        last = (type(reader.last), *span_of(reader.last))
        found.append((type(event), *span_of(event), *told, style, reader.key_start, last))
    return found


@given(st.one_of(yaml_texts(), st.lists(st.sampled_from(PIECES), max_size=14).map("".join)))
@settings(deadline=None, max_examples=600)
def test_what_both_read_they_read_alike(text: str) -> None:
    try:
        expected = events(yaml.SafeLoader(text))
        quick = quick_scanner(text)
        found = events(quick) if quick else None
    except (yaml.YAMLError, ValueError, OverflowError):
        return
    assert found == expected or (found is None and {"\ufeff", "\t"} & set(text))


@pytest.mark.parametrize("text", ["a: 1\r\né: [😀, &x !!str b]\r\n", "a: 1 # é😀\x85b: 2\u2028c: 3\n"])
def test_libyaml_reads(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(yaml, "SafeLoader")
    assert parse(text).roots


def test_a_tab_that_libyaml_would_take_is_refused() -> None:
    """Whoever loads the config with PyYAML would be refused it as well."""
    with pytest.raises(Malformed, match="cannot start any token"):
        parse("norm: {type: BN3d,\tmomentum: 0.1}\n")


@pytest.mark.parametrize("text", ["\ufeffa: 1\n", "a: 1 # b\tc\n", "%YAML 1.99999999999\n--- {a: 1}\n", "![ "])
def test_pyyaml_reads_what_libyaml_does_not(text: str) -> None:
    assert parse(text).roots


def test_without_libyaml_pyyaml_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert parse("é: {a: 1}\n").roots
