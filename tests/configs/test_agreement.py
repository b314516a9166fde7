"""Values that serve in several places, by an alias, a merge key or a reference."""

from __future__ import annotations

import shlex

import pytest
from translations import Format, texts, translated


def test_an_aliased_or_merged_value_is_changed_once() -> None:
    text = "b: &b {type: BN3d, momentum: 0.1}\nc: *b\nd: {<<: *b, eps: 0.001}\ne: [*b, *b]\n"
    result, translation = translated(text)
    assert result == text.replace("0.1", "0.9")
    assert len(translation.changes) == 1


CLASHES = [
    "m: &m 0.1\nbn_momentum: *m\noptimizer: {momentum: *m}\n",
    "b: &b {momentum: 0.1}\nn: {<<: *b, type: BN3d}\no: {<<: *b, type: IN3d}\n",
    "b: &b {momentum: 0.1}\nnorm_op: BN\nnorm_op_kwargs: *b\noptimizer: *b\n",
    "m: 0.1\nbn_momentum: ${m}\noptimizer: {momentum: '${m}'}\n",
    "optimizer: {momentum: 0.1}\na: {type: BN3d, momentum: '${optimizer.momentum}'}\n",
    "b: &b {momentum: 0.1}\n"
    "n: {<<: *b, _target_: torch.nn.BatchNorm3d}\n"
    "o: {<<: *b, _target_: mindspore.nn.BatchNorm3d}\n",
    "optimizer: &b {momentum: 0.1}\nn: {<<: *b, type: BN3d}\n",
    "momentum: &m 0.1\nBN: {momentum: *m}\n",
    "o: {type: IN3d, kwargs: &b {momentum: 0.1}}\nn: {type: BN3d, kwargs: *b}\n",
    "o: {type: SGD, params: &b {momentum: 0.1}}\nn: {type: BN3d, params: *b}\n",
    "b: &b {dtype: torch.float16}\nn: {<<: *b, type: BN3d}\no: {<<: *b, type: IN3d}\n",
    "b: &b {process_group: null}\n"
    "n: {<<: *b, _target_: torch.nn.SyncBatchNorm}\n"
    "o: {<<: *b, _target_: mindspore.nn.SyncBatchNorm}\n",
]


@pytest.mark.parametrize("text", CLASHES)
def test_a_value_in_two_roles_is_undecided_and_both_places_are_named(text: str) -> None:
    result, translation = translated(text)
    assert "0.9" not in result
    assert "process_groups" not in result
    (undecided,) = translation.undecided
    assert "line" in undecided.text
    assert bool(undecided.options) != ("write the value out in one of them" in undecided.text)


def test_what_only_defines_a_value_can_be_said_to_be_a_momentum() -> None:
    text = "momentum: &m 0.1\nBN: {momentum: *m}\n"
    for option in translated(text)[1].undecided[0].options:
        pattern, _, word = option.removeprefix("--setting '").removesuffix("'").partition("=")
        result, translation = translated(text, settings=((pattern, word),))
        assert not translation.undecided
        assert ("0.9" in result) == (word == "momentum")


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("hp: {m: &m 0.1}\nn: {type: BN3d, momentum: *m}\ndropout: *m\n", "yaml"),
        ("hp: {m: &m 0.1}\nn: {type: BN3d, momentum: *m}\nbetas: [*m, 0.999]\n", "yaml"),
        ("hp: {m: 0.1}\nn: {type: BN3d, momentum: '${hp.m}'}\nlr: '${hp.m}'\n", "yaml"),
        ("hp: {m: 0.1}\nn: {type: BN3d, momentum: '${hp.m}'}\nlr: '${mul:2,${hp.m}}'\n", "yaml"),
        ('{"m": 0.1, "n": {"type": "BN3d", "momentum": "@m"}, "d": "@m"}', "json"),
        ('{"m": 0.1, "n": {"type": "BN3d", "momentum": "@m"}, "d": "$@m / 2"}', "json"),
        ("n: {type: BN3d, track_running_stats: &f false}\nshuffle: *f\n", "yaml"),
        ("shuffle: &f false\nn: {type: BN3d, track_running_stats: *f}\n", "yaml"),
        ("drop_rate: &d 0.1\nn: {type: BN3d, momentum: *d}\n", "yaml"),
    ],
)
def test_every_other_use_of_a_value_counts_whatever_its_key(text: str, format: Format) -> None:
    result, translation = translated(text, format)
    assert result == text
    (undecided,) = translation.undecided
    assert "the same value serves" in undecided.text


@pytest.mark.parametrize(
    "text", ["hp: {m: &m 0.1}\nn: {type: BN3d, momentum: *m}\n", "m: 0.1\nBN: {eps: 1.0e-3, MOM: '${m}'}\n"]
)
def test_a_value_that_is_written_for_others_to_refer_to_has_no_use_there(text: str) -> None:
    assert translated(text)[0] == text.replace("0.1", "0.9")


def test_an_option_is_quoted_for_a_shell() -> None:
    (undecided,) = translated("it's: {norm: {momentum: 0.1}}")[1].undecided
    assert shlex.split(undecided.options[0]) == ["--setting", "it's.norm.momentum=momentum"]


@pytest.mark.parametrize(("text", "line"), [(CLASHES[0], 3), (CLASHES[1], 3), (CLASHES[2], 4), (CLASHES[3], 3)])
def test_the_other_place_is_where_the_value_is_used(text: str, line: int) -> None:
    assert f"(line {line}, " in translated(text)[1].undecided[0].text


def test_a_doubtful_mapping_is_asked_for_once() -> None:
    _, translation = translated("norm: &n {momentum: 0.1, track_running_stats: true}\nmodel: {norm: *n}\n")
    assert [undecided.setting for undecided in translation.undecided] == ["momentum", "track_running_stats"]


@pytest.mark.parametrize("reference", ["${.m}", "${..m}", "${a.m}", "${b[0].m}", "${b.0.m}"])
def test_references_are_followed_as_omegaconf_does(reference: str) -> None:
    text = f"a: {{m: 0.2, n: {{type: BN3d, m: 0.1, momentum: '{reference}'}}}}\nb: [{{m: 0.3}}]\n"
    expected = {"${.m}": ("0.1", "0.9"), "${..m}": ("0.2", "0.8"), "${a.m}": ("0.2", "0.8")}
    assert translated(text)[0] == text.replace(*expected.get(reference, ("0.3", "0.7")))


def test_a_symbol_is_changed_where_it_is_defined_and_arithmetic_is_told_of() -> None:
    text = "define_constants: {bn_momentum: 0.02}\ndown: {bn_momentum: [bn_momentum, 2*bn_momentum]}\n"
    result, translation = translated(text)
    assert result == text.replace("0.02", "0.98")
    assert "2*bn_momentum is computed" in texts(translation.needs_person)


def test_monai_references_are_followed() -> None:
    text = '{"mom": {"value": 0.1}, "norm": ["batch", {"momentum": "@mom#value"}]}'
    assert translated(text, "json")[0] == text.replace("0.1", "0.9")


def test_a_shared_value_is_suspected_once() -> None:
    _, translation = translated("b: &b {type: BN3d, momentum: 0.9}\nd: {<<: *b, eps: 0.001}\n")
    assert len(translation.warnings) == 1
