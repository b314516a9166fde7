"""What becomes of each setting: every row of the table in both directions, and what needs a person."""

from __future__ import annotations

import pytest
from translations import texts, translated

from porter.configs.terms import Dialect

LAYER = "a: {{type: BN3d, {}}}"


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


def test_an_anchor_that_is_repeated_elsewhere_keeps_its_entry_and_a_person_is_told() -> None:
    text = "a: {type: BN3d, momentum: 0.1, &k device: cpu}\nb: *k\nc: {type: BN3d, momentum: 0.2}\n"
    result, translation = translated(text)
    assert result == text.replace("0.1", "0.9").replace("0.2", "0.8")
    (person,) = translation.needs_person
    assert "its anchor is repeated" in person.text
