"""Which layers a config's settings are of."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from translations import PARSERS, Format, find

from porter.configs.layers import Said, of_layers, values_in
from porter.configs.terms import Dialect
from porter.configs.tree import Place
from porter.layers.settings import Value

NAMES = (
    *("backbone.layer1.0.bn1", "backbone.layer1.0.bn2", "backbone.layer2.0.bn1"),
    *("head.norm", "neck.1", "neck.blocks.0.1"),
)


def said(text: str, terms: Dialect = "torch", format: Format = "yaml") -> list[Said]:
    document = PARSERS[format](text)
    certain = [site for site in find(document).sites if not site.doubt]
    return list(values_in(document, certain, lambda site: site.dialect or terms))


def shares(text: str, setting: str = "momentum") -> dict[str, list[Value]]:
    """Layer -> the values that are said of it, layers of which nothing is said left out."""
    found = of_layers(said(text), NAMES)
    return {name: [one.value for one in of[setting]] for name, of in found.items() if setting in of}


@pytest.mark.parametrize(
    ("text", "terms", "expected"),
    [
        ("bn_momentum: 0.1", "torch", [("momentum", 0.1)]),
        ("bn_momentum: 0.1", "mint", [("momentum", 0.1)]),
        ("bn_momentum: 0.1", "announced", [("momentum", 0.1)]),
        ("bn_momentum: 0.997", "mindspore", [("momentum", 0.003)]),
        ("BN: {MOMENTUM: '1e-2', EPSILON: 1e-3}", "torch", [("momentum", 0.01), ("eps", 0.001)]),
        ("a: {type: BN3d, momentum: null, affine: false}", "torch", [("momentum", None), ("affine", False)]),
        ("a: {type: BN3d, track_running_stats: false}", "torch", [("statistics", "batch")]),
        ("a: {type: BN3d, track_running_stats: true}", "torch", [("statistics", "tracked")]),
        ("a: {type: BN3d, use_batch_statistics: false}", "mindspore", [("statistics", "frozen")]),
        ("a: {type: BN3d, use_batch_statistics: true}", "mindspore", [("statistics", "batch")]),
        ("a: {type: BN3d, use_batch_statistics: null}", "mindspore", [("statistics", "tracked")]),
        ("a: {_target_: mindspore.nn.BatchNorm3d, momentum: 0.9}", "torch", [("momentum", 0.1)]),
        ("bn_momentum: [0.1, 0.2]", "torch", [("momentum", 0.1), ("momentum", 0.2)]),
        # A user's doubtful place, arithmetic, prose, another's momentum, and what no layer can have say nothing.
        ("norm: {momentum: 0.1}", "torch", []),
        ("bn_momentum: 2*x\nx: 0.1", "torch", []),
        ("bn_momentum: 1.5\nbn_eps: nan\nbn_affine: perhaps", "torch", []),
        ("optimizer: {momentum: 0.9}\na: {type: IN3d, momentum: 0.1}", "torch", []),
    ],
)  # fmt: skip
def test_values_are_in_pytorchs_terms(text: str, terms: Dialect, expected: list[tuple[str, Value]]) -> None:
    assert [(one.setting, one.value) for one in said(text, terms)] == expected


def test_a_value_knows_its_path_and_place() -> None:
    (one,) = said("model:\n  backbone:\n    norm_cfg: {type: BN3d, momentum: 0.1}\n")
    assert one == Said("momentum", 0.1, "0.1", ("model", "backbone", "norm_cfg", "momentum"), Place(3, 38))


def test_python_is_read_and_what_it_computes_is_left_out() -> None:
    text = "norm_cfg = dict(type='BN3d', momentum=0.01, eps=EPS)\n"
    assert [(one.setting, one.value) for one in said(text, format="python")] == [("momentum", 0.01)]


def test_one_value_everywhere_is_of_every_layer() -> None:
    text = "model: {head: {bn_momentum: 0.1}, nowhere: {norm_cfg: {type: BN3d, momentum: 0.10, eps: 1.0e-3}}}"
    assert shares(text) == {name: [0.1] for name in NAMES}
    assert shares(text, "eps") == {name: [0.001] for name in NAMES}


TWO = (
    "model:\n  backbone: {norm_cfg: {type: BN3d, momentum: 0.01}}\n  head: {norm_cfg: {type: BN3d, momentum: 0.02}}\n"
)


def test_differing_values_go_by_path() -> None:
    assert shares(TWO) == {**{name: [0.01] for name in NAMES[:3]}, "head.norm": [0.02]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The most specific place wins; one that names no module of the network is of all layers.
        (TWO + "bn_momentum: 0.03\n", [[0.01], [0.01], [0.01], [0.02], [0.03], [0.03]]),
        (TWO + "train: {bn_momentum: 0.03}\n", [[0.01], [0.01], [0.01], [0.02], [0.03], [0.03]]),
        (
            "BACKBONE: {BN_MOM: 0.1, LAYER1: {BN_MOM: 0.2}}\nbn_momentum: 0.3",
            [[0.2], [0.2], [0.1], [0.3], [0.3], [0.3]],
        ),
        # A layer's own name, and one of several in one block.
        (
            "backbone: {bn1: {type: BN3d, momentum: 0.1}, bn2: {type: BN3d, momentum: 0.2}}\nbn_momentum: 0.3",
            [[0.1], [0.2], [0.1], [0.3], [0.3], [0.3]],
        ),
        # Indexes of lists: that of a module, and that of MONAI's pair, which is none although layers are called 1.
        (
            "neck: {blocks: [{bn_momentum: 0.1}]}\nnorm: [batch, {momentum: 0.2}]",
            [[0.2], [0.2], [0.2], [0.2], [0.2], [0.1]],
        ),
        # Two that are as near as each other: nothing tells.
        ("a: {bn_momentum: 0.1}\nb: {bn_momentum: 0.2}", [[0.1, 0.2]] * 6),
        ("head: {bn_momentum: [0.1, 0.2]}\nbn_momentum: 0.1", [[0.1]] * 3 + [[0.1, 0.2]] + [[0.1]] * 2),
    ],
)
def test_the_most_specific_place_counts(text: str, expected: list[list[float]]) -> None:
    assert list(shares(text).values()) == expected


def test_an_aliased_place_speaks_wherever_it_stands() -> None:
    text = "head: {bn_momentum: 0.3}\nbackbone: {layer1: &a {bn: {type: BN3d, momentum: 0.1}}, layer2: *a}"
    assert shares(text) == {**{name: [0.1] for name in NAMES[:3]}, "head.norm": [0.3]}
    merged = "head: {bn_momentum: 0.3}\nbackbone: {layer1: &a {bn_momentum: 0.1}, layer2: {<<: *a, x: 1}}"
    assert shares(merged) == shares(text)


def test_a_file_that_repeats_itself_takes_no_longer() -> None:
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    assert {tuple(values) for values in shares(f"a0: &a0 [{{bn_momentum: 0.1}}]\n{levels}").values()} == {(0.1,)}


def test_settings_are_told_apart() -> None:
    text = TWO.replace("0.02", "0.02, eps: 1.0e-3")
    assert shares(text, "eps") == {name: [0.001] for name in NAMES}


@given(st.permutations(["a", "b", "c"]), st.integers(1, 3), st.lists(st.sampled_from("abcxyz"), min_size=1))
@settings(deadline=None)
def test_a_place_at_a_layers_own_path_is_never_outweighed_by_one_around_it(
    path: list[str], depth: int, other: list[str]
) -> None:
    """However deep: `a.b` says more of `a.b.bn` than `a` does, and what stands elsewhere says nothing."""
    inner, outer = tuple(path[:depth]), tuple(path[: depth - 1])
    claims = [Said("eps", number, str(number), where, Place(1, 1)) for number, where in ((0.1, outer), (0.2, inner))]
    names = [".".join((*path, "bn")), ".".join((*other, "bn"))]
    found = of_layers(claims, names)[names[0]]["eps"]
    assert [one.value for one in found] == [0.2]
