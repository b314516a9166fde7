"""Alike modules told apart by their names, and by nothing that their names do not say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.namesakes import likeness, tell_apart


def told(left: list[str], right: list[str]) -> dict[str, tuple[str, str]]:
    return {left[i]: (right[j], how) for i, j, how in tell_apart(left, right)}


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        # numbers count alike on both sides: their order is all that counts
        ("a.0 a.3", "a.0 a.2", [("a.0", "numbers"), ("a.2", "numbers")]),
        # the same name is the same module, whatever the others say
        ("main aux", "extra main", [("main", "names"), ("extra", "only one left")]),
        # words: short forms, stems, camel case
        ("q_proj k_proj", "query key", [("query", "like names"), ("key", "like names")]),
        ("attn mlp", "attention.core feed.core", [("attention.core", "like names"), ("feed.core", "only one left")]),
        ("leftBranch rightBranch", "r_left r_right", [("r_left", "like names"), ("r_right", "like names")]),
        ("conv2 conv1", "unit1 unit2", [("unit2", "crossed names"), ("unit1", "crossed names")]),
        (
            "left right rest",
            "r.right r.left x",
            [("r.left", "crossed names"), ("r.right", "crossed names"), ("x", "crossed names")],
        ),
        # nothing in common, or as much with each
        ("left right", "top bottom", [("top", "order"), ("bottom", "order")]),
        ("attn mlp", "main aux", [("main", "order"), ("aux", "order")]),  # one common letter says nothing
        ("conv_in conv_out", "first_conv second_conv", [("first_conv", "order"), ("second_conv", "order")]),
        ("q x y", "query z w", [("query", "like names"), ("z", "order"), ("w", "order")]),
    ],
)
def test_what_tells_likes_apart(left: str, right: str, expected: list[tuple[str, str]]) -> None:
    assert list(told(left.split(), right.split()).values()) == expected


WORDS = ["query", "key", "value", "gate", "up", "down", "left", "right", "inner", "outer", "fuse", "merge"]


@settings(deadline=None)
@given(
    st.permutations(WORDS), st.permutations(WORDS), st.sampled_from(["{}", "{}_proj", "to.{}.0", "m{}", "{}Layer"])
)
def test_any_order_of_declaration_is_seen_through(left: list[str], right: list[str], form: str) -> None:
    """A word put before another is found again; one that is glued to it is not."""
    found = told(left, [form.format(word) for word in right])
    if form != "m{}":
        assert {word: name for word, (name, _) in found.items()} == {word: form.format(word) for word in WORDS}
    assert sorted(name for name, _ in found.values()) == sorted(form.format(word) for word in WORDS)
    if left == right:
        assert "crossed names" not in {how for _, how in found.values()}


NAME = st.lists(st.sampled_from(["a", "q", "query", "to", "0", "1", "norm", "normal"]), min_size=1, max_size=3).map(
    ".".join
)


@settings(deadline=None)
@given(
    st.sets(NAME, min_size=2, max_size=8).flatmap(
        lambda s: st.tuples(st.permutations(sorted(s)), st.permutations(sorted(s)))
    )
)
def test_the_same_names_are_the_same_modules(sides: tuple[list[str], list[str]]) -> None:
    left, right = sides
    assert told(left, right) == {name: (name, "names") for name in left}


@settings(deadline=None)
@given(st.sets(NAME, min_size=1, max_size=8).map(sorted), st.sets(NAME, min_size=8, max_size=8).map(sorted))
def test_every_one_gets_a_partner_of_its_own(left: list[str], right: list[str]) -> None:
    right = right[: len(left)]
    pairs = tell_apart(left, right)
    assert sorted(i for i, _, _ in pairs) == sorted(j for _, j, _ in pairs) == list(range(len(left)))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (["q"], ["query"], 0.2),
        (["attn"], ["attention"], 3 / 9),
        (["norm"], ["noise"], 0.0),
        (["to", "q"], ["q"], 2 / 3),
        (["conv", "1"], ["conv", "12"], 0.5),
        ([], ["q"], 0.0),
    ],
)
def test_likeness(one: list[str], other: list[str], expected: float) -> None:
    assert likeness(one, other) == likeness(other, one) == pytest.approx(expected)
