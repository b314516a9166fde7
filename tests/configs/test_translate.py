"""What becomes of settings: every row of the table in both directions, shared values, terms, the real configs."""

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
from translations import PARSERS, Format, translated

from porter.configs.terms import Dialect
from porter.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LAYER = "a: {{type: BN3d, {}}}"


def texts(remarks: object) -> str:
    """All that is remarked, in one text."""
    assert isinstance(remarks, list)
    return "\n".join(remark.text for remark in remarks)


# torch -> mindspore and back; the text of a layer's settings in YAML.
BOTH_WAYS = [
    ("momentum: 0.1", "momentum: 0.9"),
    ("momentum: 0.10", "momentum: 0.90"),
    ('momentum: "0.1"', 'momentum: "0.9"'),
    ("momentum: 1", "momentum: 0"),
    ("momentum: 0.997", "momentum: 0.003"),
    ("track_running_stats: true", "use_batch_statistics: null"),
    ("track_running_stats: false", "use_batch_statistics: true"),
    ("eps: 1.0e-3, affine: false, num_features: 8", "eps: 1.0e-3, affine: false, num_features: 8"),
]


@pytest.mark.parametrize(("torch", "mindspore"), BOTH_WAYS)
def test_rows_that_hold_both_ways(torch: str, mindspore: str) -> None:
    there, translation = translated(LAYER.format(torch))
    assert there == LAYER.format(mindspore)
    assert [*translation.undecided, *translation.needs_person] == []
    back, _ = translated(there, to="torch", from_="mindspore")
    assert back == LAYER.format(torch)


@pytest.mark.parametrize(("torch", "_"), BOTH_WAYS)
@pytest.mark.parametrize("to", ["mint", "announced"])
def test_pytorchs_terms_stay_in_mint_and_in_the_announced_signature(torch: str, _: str, to: Dialect) -> None:
    text = LAYER.format(torch)
    signature = "announced" if to == "announced" else "classic"
    result, _translation = translated(text, to="mint" if to == "mint" else "mindspore", signature=signature)
    assert result == text


TO_MINDSPORE = [
    ("momentum: 1e-2", "momentum: 0.99", ""),
    ("momentum: 0.8999999761581421", "momentum: 0.1", ""),
    ("eps: 1e-3", "eps: 1.0e-3", ""),
    ("eps: 1", "eps: 1.0", ""),
    ("dtype: torch.float16", "dtype: mindspore.float16", ""),
    ("momentum: 0.1, dtype: null", "momentum: 0.9", ""),
    ("momentum: 0.1, device: null, bias: true", "momentum: 0.9", ""),
    ("momentum: 0.1, device: cpu", "momentum: 0.9", "device is dropped"),
    ("process_group: null", "process_groups: null", ""),
]
FROM_MINDSPORE = [
    ("momentum: 0.9, gamma_init: ones, beta_init: 0, moving_var_init: 1.0", "momentum: 0.1", ""),
    ("momentum: 0.9, gamma_init: zeros", "momentum: 0.1", "torch.nn.init.constant_(layer.weight, 0)"),
    ("momentum: 0.9, beta_init: normal", "momentum: 0.1", "torch.nn.init.normal_(layer.bias, std=0.01)"),
    ("momentum: 0.9, moving_mean_init: 0.5", "momentum: 0.1", "torch.nn.init.constant_(layer.running_mean, 0.5)"),
    (
        "momentum: 0.9, use_batch_statistics: false",
        "momentum: 0.1",
        "a is frozen in MindSpore: put these layers in eval()",
    ),
    ("momentum: 0.9, data_format: NCHW", "momentum: 0.1", ""),
    ("dtype: mindspore.float16", "dtype: torch.float16", ""),
]


@pytest.mark.parametrize(("before", "after", "warning"), TO_MINDSPORE)
def test_rows_towards_mindspore(before: str, after: str, warning: str) -> None:
    result, translation = translated(LAYER.format(before))
    assert result == LAYER.format(after)
    assert warning in texts(translation.warnings)
    assert bool(translation.warnings) == bool(warning) or "0.8999" in before


@pytest.mark.parametrize(("before", "after", "warning"), FROM_MINDSPORE)
def test_rows_towards_torch(before: str, after: str, warning: str) -> None:
    result, translation = translated(LAYER.format(before), to="torch", from_="mindspore")
    assert result == LAYER.format(after)
    assert warning in texts(translation.warnings)
    assert bool(translation.warnings) == bool(warning)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("momentum: null", "cumulative"),
        ("momentum: 1.5", "outside"),
        ("momentum: -0.1", "outside"),
        ("momentum: .nan", "outside"),
        ("momentum: true", "no number"),
        ("momentum: '${x.y}'", "refers to nothing"),
        ("momentum: 2*m", "computed"),
        ("momentum: {start: 0.1, end: 0.01}", "schedule"),
        ("eps: 0", "above 0"),
        ("eps: 2.0", "above 0"),
        ("eps: null", "above 0"),
        ("bias: false", "beta"),
        ("dtype: half", "dtype"),
        ("process_group: g", "process_groups"),
        ("bn_track_running_stats: false", "use_batch_statistics"),
        ("momentum: 0.5, bn_momentum: 0.5, bnm_clip: 0.01", "by hand"),
    ],
)
def test_what_needs_a_person_is_left_and_told(line: str, why: str) -> None:
    text = LAYER.format(line)
    result, translation = translated(text)
    assert result == text
    assert why in texts(translation.needs_person)


def test_positional_arguments_in_a_list() -> None:
    text = "a: {_target_: torch.nn.BatchNorm3d, _args_: [8, 1, 0.1, true, true]}"
    result, translation = translated(text)
    assert result == text.replace("torch", "mindspore").replace("1, 0.1", "1.0, 0.9")
    assert [(remark.path, remark.setting) for remark in translation.needs_person] == [
        ("a._args_.4", "track_running_stats")
    ]


def test_a_person_is_told_the_line() -> None:
    _, translation = translated("a:\n  type: BN3d\n  momentum: null\n")
    (remark,) = translation.needs_person
    assert (remark.path, remark.place) == ("a.momentum", (3, 13))


def test_toml_has_no_null_so_the_argument_goes() -> None:
    result, _ = translated('[a]\ntype = "BN3d"\ntrack_running_stats = true\nmomentum = 0.1\n', "toml")
    assert result == '[a]\ntype = "BN3d"\nmomentum = 0.9\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("64, 1e-5, 0.1, True, False", "64, 1e-5, 0.9, True, use_batch_statistics=True"),
        ("64, track_running_stats=t", "64, use_batch_statistics=None if t else True"),
        (
            "64, 1e-5, 0.1, True, True, None, torch.half",
            "64, 1e-5, 0.9, True, use_batch_statistics=None, dtype=mindspore.float16",
        ),
        ("64, momentum=1 - x", "64, momentum=x"),
    ],
)
def test_calls(before: str, after: str) -> None:
    result, _ = translated(f"import torch\na = torch.nn.BatchNorm3d({before})", "python", from_=None)
    assert result == f"import torch\na = mindspore.nn.BatchNorm3d({after})"


def test_calls_from_mindspore_lose_what_torch_has_not() -> None:
    call = "BatchNorm3d(8, 1e-5, 0.9, True, 'ones', 'zeros', 'zeros', 'ones', None)"
    text = f"from mindspore.nn import BatchNorm3d\na = {call}"
    result, _ = translated(text, "python", to="torch", from_=None)
    assert result == "from torch.nn import BatchNorm3d\na = BatchNorm3d(8, 1e-5, 0.1, True, track_running_stats=True)"


def test_an_alias_of_the_package_is_told_of() -> None:
    _, translation = translated("import torch.nn as nn\na = nn.BatchNorm3d(8)", "python", from_=None)
    assert "still names PyTorch" in texts(translation.notes)


# Values that serve in several places.
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
    assert len(undecided.options) == 2


@pytest.mark.parametrize("text", CLASHES[:5])
def test_each_option_settles_it(text: str) -> None:
    for option in translated(text)[1].undecided[0].options:
        pattern, _, word = option.removeprefix("--setting '").removesuffix("'").partition("=")
        result, translation = translated(text, settings=((pattern, word),))
        assert not translation.undecided
        assert ("0.9" in result) == (word == "momentum")


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
# Every line that changes in a real config, by its number.
EXPECTED: dict[str, dict[int, tuple[str, str]]] = {
    "traps.yaml": {
        4: ("0.01 ", "0.99 "),
        5: ("1e-3 ", "1.0e-3 "),
        10: ("0.1,", "0.9,"),
        11: (
            'torch.nn.BatchNorm3d, _partial_: true, momentum: "0.1", track_running_stats: true',
            'mindspore.nn.BatchNorm3d, _partial_: true, momentum: "0.9", use_batch_statistics: null',
        ),
        18: ("BN_MOM: 0.01", "BN_MOM: 0.99"),
    },
    "slowfast_BN_section.yaml": {},
    "openpcdet_BN_MOM_and_OPTIM_MOMENTUM.yaml": {122: ("BN_MOM: 0.01", "BN_MOM: 0.99")},
    "ivadomed_bn_momentum_0.1.json": {82: ('"bn_momentum": 0.1', '"bn_momentum": 0.9')},
    "monai_bundle_norm_batch.json": {},
    "ms_unet3d_multidoc_help.yaml": {},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_real_configs_change_in_these_lines_alone(name: str) -> None:
    text = (CORPUS / name).read_bytes().decode()
    format: Format = "json" if name.endswith(".json") else "yaml"
    lines = text.split("\n")
    for number, (before, after) in EXPECTED[name].items():
        assert lines[number - 1].count(before) == 1
        lines[number - 1] = lines[number - 1].replace(before, after)
    result, translation = translated(text, format)
    assert result == "\n".join(lines)
    assert translation.undecided == []
    # Back without the record: what was a matter of spelling, or of a name, comes back in today's spelling.
    if name != "traps.yaml":
        assert translated(result, format, to="torch", from_="mindspore")[0] == text


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
