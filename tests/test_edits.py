"""Renames and drops: what they make of names, and that nothing that has no way back is let through."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.edits import Rename, fitting, rename_all, rename_called
from porter.errors import UsageError


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("conv=stem", "conv.weight", "stem.weight"),
        ("conv=stem", "conv1.weight", "conv1.weight"),
        ("conv=stem", "a.conv.weight", "a.conv.weight"),
        ("**.conv=**.stem", "a.b.conv.weight", "a.b.stem.weight"),
        ("layer*.*.conv1.0=layer*.*.conv1.conv", "layer1.0.conv1.0.weight", "layer1.0.conv1.conv.weight"),
        ("layer*.*.conv*.1=stage*.b*.bn*", "layer2.0.conv1.1.bn2d.gamma", "stage2.b0.bn1.bn2d.gamma"),
        ("*.x=x.*", "a.x", "x.a"),
        ("**.0=**.conv", "a.0.b.0.weight", "a.0.b.conv.weight"),
        ("**=net.**", "weight", "net.weight"),
        ("net.**=**", "net.a.weight", "a.weight"),
        ("net=", "net.a.weight", "a.weight"),
        ("=net", "a.weight", "net.a.weight"),
        ("a=a.b", "a.weight", "a.b.weight"),
        ("a.weight=b.scale", "a.weight", "b.scale"),
        (r"re:^layer(\d)=stage\1", "layer1.0.w", "stage1.0.w"),
        (r"re:(\w)(?=\.)=\1x", "a.b.w", "ax.bx.w"),
        ("a+b=c", "a+b.w", "c.w"),
        ("a+b=c", "aab.w", "aab.w"),
    ],
)
def test_what_a_rename_makes_of_a_name(text: str, name: str, expected: str) -> None:
    assert rename_called(text).apply(name) == expected


@pytest.mark.parametrize(
    ("names", "text", "wrong"),
    [
        (["a.w", "b.w"], "a=b", ("a.w", "b.w")),
        (["a1.w", "a2.w"], "a*=b", ("a1.w", "a2.w")),
        (["a1.w", "a2.w"], r"re:a\d=b", ("a1.w", "a2.w")),
        (["a.w", "b.v"], "a=b", ("a.w", "b.v")),  # the way back would take b.v for a.v
        (["x.0.w", "y.conv.w"], "**.0=**.conv", ("x.0.w", "y.conv.w")),
        (["a.w"], "a.w=", ("a.w",)),
        (["a.w"], "a=b..c", ("a.w",)),
        (["a.w"], "z=b", ("z=b",)),
    ],
)
def test_a_rename_without_a_way_back_is_refused_with_the_names(
    names: list[str], text: str, wrong: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as error:
        rename_all(names, [rename_called(text)])
    assert all(name in str(error.value) for name in wrong), str(error.value)


@pytest.mark.parametrize("text", ["no equals sign", "a=b.*", "*=**", "re:(=x", r"re:a=\2"])
def test_what_is_no_rename_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        rename_called(text)


def test_renames_apply_one_after_the_other() -> None:
    there = [rename_called(text) for text in ("a=t", "b=a", "t=b")]
    assert rename_all(["a.w", "b.v"], there) == ["b.w", "a.v"]


LEVEL = st.sampled_from(["a", "b", "ab", "0", "1"])
NAME = st.lists(LEVEL, min_size=1, max_size=4).map(".".join)
PATTERN = st.lists(st.sampled_from(["a", "b", "0", "*", "a*", "**"]), min_size=0, max_size=3).map(".".join)


@settings(deadline=None, max_examples=500)
@given(st.sets(NAME, min_size=1, max_size=8), PATTERN, PATTERN)
def test_what_is_let_through_can_be_read_backwards(names: set[str], pattern: str, replacement: str) -> None:
    before = sorted(names)
    try:
        rename = Rename(pattern, replacement)
        after = rename_all(before, [rename])
    except UsageError:
        return
    assert len(set(after)) == len(before)
    if rename.inverse:
        assert rename_all(after, [rename.inverse]) == before


def test_patterns_of_what_is_dropped() -> None:
    names = ["aux.0.weight", "aux.0.bias", "head.weight", "main.aux.weight"]
    assert fitting(["aux"], names) == {"aux.0.weight", "aux.0.bias"}
    assert fitting(["**.weight"], names) == {"aux.0.weight", "head.weight", "main.aux.weight"}
    assert fitting(["re:aux"], names) == {"aux.0.weight", "aux.0.bias", "main.aux.weight"}
    with pytest.raises(UsageError, match="nothing"):
        fitting(["aux", "nothing"], names)


def test_equal_renames_are_equal() -> None:
    """They are data: options that hold them can be compared."""
    first: Any = rename_called("a=b")
    assert first == Rename("a", "b")
