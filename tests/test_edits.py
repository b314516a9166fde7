"""Renames and drops: what they make of names, and that exactly what has a way back is let through."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nets import assert_same

import porter
from porter import SourceOptions, WriteOptions
from porter.edits import Rename, fitting, rename_all, rename_called
from porter.errors import UsageError
from porter.formats import open_checkpoint


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
        (["a.to_q.w", "a.q.w"], "**.to_*=**.*", ("a.to_q.w", "a.q.w")),
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


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (["a.to_q.w", "a.to_k.w"], "**.to_*=**.*", ["a.q.w", "a.k.w"]),
        (["a.w", "b.v"], "a=b", ["b.w", "b.v"]),
        (["x.0.w", "y.conv.w"], "**.0=**.conv", ["x.conv.w", "y.conv.w"]),
        (["a1.w", "b.w"], "*1=*", ["a.w", "b.w"]),
    ],
)
def test_patterns_need_not_be_readable_backwards(names: list[str], text: str, expected: list[str]) -> None:
    assert rename_all(names, [rename_called(text)]) == expected


def test_a_collision_is_told_in_the_names_before_all_renames() -> None:
    with pytest.raises(UsageError, match=r"--rename 't=b'.* a\.w and b\.w"):
        rename_all(["a.w", "b.w"], [rename_called("a=t"), rename_called("t=b")])


def test_renames_apply_one_after_the_other() -> None:
    there = [rename_called(text) for text in ("a=t", "b=a", "t=b")]
    assert rename_all(["a.w", "b.v"], there) == ["b.w", "a.v"]


LEVEL = st.sampled_from(["a", "b", "ab", "to_a", "0", "1"])
NAME = st.lists(LEVEL, min_size=1, max_size=4).map(".".join)
PATTERN = st.lists(st.sampled_from(["a", "b", "0", "*", "a*", "to_*", "**"]), min_size=0, max_size=3).map(".".join)
REGEX = st.sampled_from(
    [("re:a", "b"), ("re:to_", ""), (r"re:(\w)\.(\w)", r"\2.\1"), ("re:^", "x."), (r"re:\d", "0")]
)


def is_rename(pair: tuple[str, str]) -> bool:
    try:
        Rename(*pair)
    except UsageError:
        return False
    return True


RENAMES = st.lists((st.tuples(PATTERN, PATTERN) | REGEX).filter(is_rename), min_size=1, max_size=3).map(
    lambda pairs: [Rename(*pair) for pair in pairs]
)
NAMES = st.sets(NAME, min_size=1, max_size=8).map(sorted)


def image(names: list[str], renames: list[Rename]) -> list[str] | None:
    """What `renames` make of `names`, taken one by one; None where one of them says nothing or makes no name."""
    for one in renames:
        before, names = names, [one.apply(name) for name in names]
        if not any(one.fits(name) for name in before) or any("" in name.split(".") for name in names):
            return None
    return names


@settings(deadline=None, max_examples=500)
@given(NAMES, RENAMES)
def test_what_is_injective_on_the_names_is_let_through_and_nothing_else(
    names: list[str], renames: list[Rename]
) -> None:
    expected = image(names, renames)
    assume(expected is not None)
    assert expected is not None
    if len(set(expected)) == len(names):
        assert rename_all(names, renames) == expected
        return
    with pytest.raises(UsageError) as error:
        rename_all(names, renames)
    first, second = str(error.value).partition("found ")[2].partition(")")[0].split(" and ")
    assert first != second
    assert expected[names.index(first)] == expected[names.index(second)]


@settings(deadline=None, max_examples=60)
@given(NAMES, RENAMES)
def test_whatever_is_renamed_comes_back(names: list[str], renames: list[Rename]) -> None:
    expected = image(names, renames)
    assume(expected is not None and len(set(expected)) == len(names))
    state = {name: torch.full((2,), float(place)) for place, name in enumerate(names)}
    with TemporaryDirectory() as folder:
        there, back, net = (Path(folder) / name for name in ("net.ckpt", "back.pth", "net.pth"))
        torch.save(state, net)
        write = WriteOptions(renames=tuple(renames))
        porter.convert(net, there, write_options=write, source_options=SourceOptions(from_="torch"), verify=False)
        assert [spec.name for spec in open_checkpoint(there).specs] == expected
        porter.convert(there, back, verify=False)
        assert_same(state, torch.load(back, weights_only=True))


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
