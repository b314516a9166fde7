from __future__ import annotations

import pytest

from porter.layers.patterns import matches


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("layer1.0.bn1", "layer1.0.bn1", True),
        ("layer1.*.bn1", "layer1.0.bn1", True),
        ("layer1.*.bn1", "layer1.0.sub.bn1", False),
        ("layer*.bn1", "layer12.bn1", True),
        ("layer*.bn1", "layer1.0.bn1", False),
        ("stem.*", "stem.bn", True),
        ("stem.*", "stem", False),
        ("stem.**", "stem", True),
        ("stem.**", "stem.a.b", True),
        ("stem.**", "stemmed", False),
        ("**.norm", "norm", True),
        ("**.norm", "a.b.norm", True),
        ("**.norm", "a.norms", False),
        ("a.**.z", "a.z", True),
        ("a.**.z", "a.b.c.z", True),
        ("**", "", True),
        ("**", "a.b", True),
        ("(root)", "", True),
        ("(root)", "root", False),
        ("a+b", "a+b", True),
        ("a.b", "axb", False),
    ],
)
def test_a_wildcard_matches_levels(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected
