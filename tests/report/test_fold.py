from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from porter.report.fold import fold


def folded(names: list[str]) -> list[tuple[str, int]]:
    return [(name, len(items)) for name, items in fold(names, name=str, alike=lambda _: None)]


def test_names_that_differ_in_numbers_fold_into_ranges() -> None:
    names = ["stem", "layer1.0.bn1", "layer1.1.bn1", "layer2.0.bn1", "layer1.0.conv", "head"]
    assert folded(names) == [("stem", 1), ("layer{1..2}.{0..1}.bn1", 3), ("layer1.0.conv", 1), ("head", 1)]


def test_a_number_that_is_the_same_everywhere_stays() -> None:
    assert folded(["a3.b1", "a3.b2"]) == [("a3.b{1..2}", 2)]


def test_unlike_items_do_not_fold() -> None:
    groups = fold([("bn1", True), ("bn2", False)], name=lambda item: item[0], alike=lambda item: item[1])
    assert [name for name, _ in groups] == ["bn1", "bn2"]


@given(st.lists(st.from_regex(r"[a-c][0-9]{0,2}(\.[a-c][0-9]{0,2}){0,2}", fullmatch=True), unique=True))
def test_nothing_is_lost_and_order_is_kept_within_a_group(names: list[str]) -> None:
    groups = fold(names, name=str, alike=lambda _: None)
    assert sorted(name for _, items in groups for name in items) == sorted(names)
    for _, items in groups:
        assert items == sorted(items, key=names.index)
