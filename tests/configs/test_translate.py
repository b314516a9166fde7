"""Whose terms a site is in, what becomes of real configs, and what a loader sees of generated ones."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from translations import PARSERS, Format, texts, translated

from porter.configs.terms import Dialect
from porter.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Whose terms a site is in.
NAMED = "a: {{_target_: {}.BatchNorm3d, momentum: 0.1}}"


@pytest.mark.parametrize(
    ("package", "to", "from_", "changed"),
    [
        ("torch.nn", "mindspore", None, True),
        ("torch.nn", "mint", None, True),
        ("torch.nn", "torch", None, False),
        ("torch.nn", "mindspore", "mint", False),
        ("mindspore.nn", "mindspore", None, False),
        ("mindspore.nn", "torch", None, True),
        ("mindspore.nn", "mint", None, False),
        ("mindspore.nn", "mint", "mindspore", True),
        ("mindspore.mint.nn", "mindspore", None, False),
        ("mindspore.mint.nn", "mindspore", "mint", True),
        ("mindspore.mint.nn", "torch", None, True),
    ],
)
def test_a_class_says_its_terms(package: str, to: Dialect, from_: Dialect | None, changed: bool) -> None:
    result, translation = translated(NAMED.format(package), to=to, from_=from_)
    targets: dict[Dialect, str] = {"torch": "torch.nn", "mindspore": "mindspore.nn", "mint": "mindspore.mint.nn"}
    inverts = changed and "mindspore.nn" in (package, targets[to])
    expected = NAMED.format(targets[to] if changed else package)
    assert result == (expected.replace("0.1", "0.9") if inverts else expected)
    left_alone = not changed and package != targets[to]
    assert bool(translation.notes) == left_alone


def test_the_announced_signature_keeps_momentum() -> None:
    result, _ = translated(NAMED.format("mindspore.nn"), to="torch", from_=None, signature="announced")
    assert result == NAMED.format("torch.nn")


def test_a_setting_that_only_mindspore_has_says_so_whatever_the_signature() -> None:
    text = "a: {type: BN3d, momentum: 0.9, use_batch_statistics: null}"
    result, _ = translated(text, to="torch", from_=None, signature="announced")
    assert result == "a: {type: BN3d, momentum: 0.1, track_running_stats: true}"


@pytest.mark.parametrize("to", ["torch", "mindspore", "mint"])
def test_from_is_demanded_where_nothing_says_the_terms(to: Dialect) -> None:
    with pytest.raises(UsageError, match=r"line 1, column 29: a\.momentum: .*--from torch"):
        translated("a: {type: BN3d, momentum:   0.1}", to=to, from_=None)


@pytest.mark.parametrize("text", ["a: {type: BN3d, affine: true}", "bn_eps: 0.001", "BN: {momentum: 0.5}"])
def test_from_is_not_demanded_where_nothing_would_change(text: str) -> None:
    assert translated(text, from_=None)[0] == text


def test_suspicious_momenta_are_told_of_even_where_they_stay() -> None:
    _, translation = translated(NAMED.format("mindspore.nn"), from_=None)
    assert "pasted from PyTorch" in texts(translation.warnings)
    _, translation = translated("bn_momentum: 0.9")
    assert "pasted from MindSpore" in texts(translation.warnings)


@pytest.mark.parametrize("name", ["torch.nn.LazyBatchNorm3d", "torch.nn.SyncBatchNorm"])
def test_classes_without_an_equal_are_told_of(name: str) -> None:
    result, translation = translated(f"a: {{_target_: {name}, momentum: 0.1}}", from_=None)
    assert ("0.9" in result) == ("Sync" in name)
    assert name in texts(translation.needs_person) or "2-D" in texts(translation.warnings)


DOCUMENTS: dict[Format, str] = {
    "json": '{{"a": {{"type": "BN3d", "momentum": {m}, "track_running_stats": {t}, "eps": {e}}}, "momentum": {m}}}',
    "yaml": "a:\n  type: BN3d # {m}\n  momentum: {m}\n  track_running_stats: {t}\n  eps: {e}\nmomentum: {m}\n",
    "toml": 'momentum = {m}\n[a]\ntype = "BN3d"\nmomentum = {m}\ntrack_running_stats = {t}\neps = {e}\n',
    "python": "momentum = {m}\na = dict(type='BN3d', momentum={m}, track_running_stats={t}, eps={e})\n",
}


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(list(DOCUMENTS)),
    st.integers(1, 6).flatmap(lambda d: st.integers(0, 10**d).map(lambda n: f"{n / 10**d:.{d}f}")),
    st.booleans(),
)
def test_there_and_back_is_the_same_file(format: Format, momentum: str, track: bool) -> None:
    # TOML has no null: where statistics are tracked, the argument is taken out there, and only the record knows.
    track = track and format != "toml"
    flag = str(track) if format == "python" else str(track).lower()
    text = DOCUMENTS[format].format(m=momentum, t=flag, e="1.0e-3")
    there, _ = translated(text, format)
    assert there.count(momentum) == text.count(momentum) - (float(momentum) != 0.5)
    back, _ = translated(there, format, to="torch", from_="mindspore")
    assert back == text


CORPUS = Path(__file__).parent / "corpus"


def test_the_traps_are_told_of() -> None:
    text = (CORPUS / "traps.yaml").read_text()
    _, translation = translated(text)
    people = {remark.path: remark.text for remark in translation.needs_person}
    assert list(people) == ["model.cumulative.momentum", "BN_INFERRED.bn_momentum"]
    assert [note.path for note in translation.notes] == ["model.head"]
    with pytest.raises(UsageError, match=r"defaults\.momentum"):
        translated(text, from_=None)


def test_every_format_has_a_parser() -> None:
    assert set(PARSERS) == set(DOCUMENTS)


# Settings of a layer in each framework's terms, and the one they become in the other.
PAIRS: dict[str, list[tuple[str, object, str | None, object]]] = {
    "torch": [
        ("momentum", 0.25, "momentum", 0.75),
        ("eps", 1, "eps", 1.0),
        ("affine", False, "affine", False),
        ("track_running_stats", False, "use_batch_statistics", True),
        ("bias", True, None, None),
        ("num_features", 8, "num_features", 8),
        ("extra", "0.25", "extra", "0.25"),
    ],
    "mindspore": [
        ("momentum", 0.75, "momentum", 0.25),
        ("gamma_init", "ones", None, None),
        ("beta_init", "zeros", None, None),
        ("use_batch_statistics", True, "track_running_stats", False),
        ("moving_mean_init", 0, None, None),
        ("data_format", "NCHW", None, None),
        ("extra", "0.25", "extra", "0.25"),
    ],
}
WRITTEN: dict[Format, Callable[[object], str]] = {
    "json": lambda value: json.dumps(value),
    "yaml": lambda value: yaml.safe_dump(value, sort_keys=False),
    "toml": lambda value: "".join(
        f"[{name}]\n" + _toml(table) for name, table in cast("dict[str, Any]", value).items()
    ),
    "python": lambda value: "".join(f"{name} = {v!r}\n" for name, v in cast("dict[str, Any]", value).items()),
}
READ: dict[Format, Callable[[str], object]] = {
    "json": json.loads,
    "yaml": yaml.safe_load,
    "toml": tomllib.loads,
    "python": lambda text: {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    },
}


def _toml(table: dict[str, Any]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(list(WRITTEN)), st.sampled_from(list(PAIRS)), st.data())
def test_a_loader_sees_the_intended_changes_and_no_other(format: Format, from_: str, data: st.DataObject) -> None:
    pairs = data.draw(st.permutations(PAIRS[from_]).flatmap(lambda p: st.integers(0, len(p)).map(lambda n: p[:n])))
    before = {"type": "BN3d", **{name: value for name, value, _, _ in pairs}}
    after = {"type": "BN3d", **{name: value for _, _, name, value in pairs if name}}
    other = {"type": "SGD", "momentum": 0.25, "eps": 1}
    text = WRITTEN[format]({"a": before, "b": other})
    source: Dialect = "torch" if from_ == "torch" else "mindspore"
    result, _ = translated(text, format, to="mindspore" if source == "torch" else "torch", from_=source)
    assert READ[format](result) == {"a": after, "b": other}
    assert list(cast("dict[str, Any]", READ[format](result))["a"]) == list(after)
