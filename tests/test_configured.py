"""Configs beside checkpoints: whose settings they are, and what a wrong one does to a verification."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import two_norms
from torch import nn

import porter
from porter import ConfigOptions, SourceOptions, WriteOptions, api
from porter.errors import BnportError, Undecided, UsageError
from porter.layers.settings import Settings

BN = "bn: {type: BN3d, momentum: 0.05, eps: 1.0e-3}\n"
BN_MINDSPORE = "bn: {type: BN3d, momentum: 0.95, eps: 1.0e-3}\n"
SAY_3D = [("**", "BatchNorm3d")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a checkpoint net.pth of two layers, `1` and `4`, and its config net.yaml; tests stand in it."""
    monkeypatch.chdir(tmp_path)
    torch.save(two_norms().state_dict(), "net.pth")
    Path("net.yaml").write_text(BN)
    return tmp_path


def convert(source: str = "net.pth", output: str = "net.ckpt", **how: Any) -> porter.Conversion:
    options = {key: how.pop(key) for key in ("eps", "momentum", "hyperparameters") if key in how}
    return porter.convert(source, output, source_options=SourceOptions(layers=SAY_3D, **options), **how)


def settings_of(done: porter.Conversion) -> dict[str, Settings]:
    return {layer.name: layer.settings for layer in done.source.layers if layer.settings}


def verify(here: str, there: str, source: str = "net.pth", output: str = "net.ckpt", **how: Any) -> Any:
    """`here` and `there` are the texts of the two configs."""
    Path("here.yaml").write_text(here)
    Path("there.yaml").write_text(there)
    options = SourceOptions(layers=SAY_3D if source.endswith(".pth") else ())
    return porter.verify(source, output, source_options=options, configs=("here.yaml", "there.yaml"), **how)


def diagnoses(found: Any) -> set[str | None]:
    return {layer.diagnosis for layer in found.layers if layer.kind == "BatchNorm3d"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_config_says_how_layers_are_configured(folder: Path) -> None:
    done = convert(config="net.yaml")
    assert settings_of(done) == dict.fromkeys("14", Settings(eps=1e-3, momentum=0.05))
    known = settings_of(done)["1"].known_from
    assert (known["eps"], known["momentum"]) == ("config net.yaml:1", "config net.yaml:1")
    assert done.verified is True
    assert done.config is None
    assert names(folder) == {"net.pth", "net.yaml", "net.ckpt", "net.ckpt.bnport.json"}


def test_both_are_converted_in_one_go(folder: Path) -> None:
    done = convert(config="net.yaml", config_output="ms.yaml")
    assert done.verified is True
    assert Path("ms.yaml").read_text() == BN_MINDSPORE
    (file,) = done.to_json()["config"]["files"]
    assert (file["output"], [change["after"] for change in file["changes"]]) == ("ms.yaml", ["0.95"])
    # And the way back, from MindSpore's config, whose record says in whose terms it is.
    back = porter.convert("net.ckpt", "back.pth", config="ms.yaml", config_output="back.yaml")
    assert Path("back.yaml").read_text() == BN
    assert back.verified is True
    assert settings_of(back)["1"].momentum == 0.05


def test_a_wrong_translation_is_refuted_and_nothing_appears(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = names(folder)
    monkeypatch.setattr("porter.configs.rules.inverted", lambda text: text.replace("5", "6"))
    with pytest.raises(api.Refuted) as refuted:
        convert(config="net.yaml", config_output="ms.yaml")
    assert diagnoses(refuted.value.verification) == {
        "momentum is 0.06 where 0.95 was expected (in PyTorch's terms 0.94 and 0.05) (ms.yaml:1)"
    }
    assert names(folder) == before


@pytest.mark.parametrize(
    ("text", "how", "error"),
    [
        (BN, {"config_output": "there.yaml"}, "there.yaml: exists already"),
        (BN, {"config_output": "net.yaml"}, "the output is the config itself"),
        ("norm: {momentum: 0.1}", {"config_output": "ms.yaml"}, "--setting 'norm.momentum=momentum'"),
        ("norm: {momentum: 0.1}", {}, "net.yaml:1:18: norm.momentum: it may be another normalisation's: --setting"),
        ("a: {: [", {"config_output": "ms.yaml"}, "net.yaml: line 1"),
        (BN, {"settings": [("nothing", "keep")]}, "--setting nothing=keep: matches nothing"),
        (BN, {"config": None, "config_output": "ms.yaml"}, "--config-output: needs the config"),
        (BN, {"config": None, "settings": [("a", "keep")]}, "--setting: needs the config"),
        (BN, {"config": "none.yaml"}, "none.yaml: cannot be read"),
    ],
)
def test_neither_appears_where_the_config_cannot_be_translated(
    folder: Path, text: str, how: dict[str, Any], error: str
) -> None:
    Path("net.yaml").write_text(text)
    Path("there.yaml").write_text("mine")
    before = names(folder)
    with pytest.raises(BnportError) as stopped:
        convert(**{"config": "net.yaml", **how})
    assert error in str(stopped.value)
    assert names(folder) == before
    assert Path("there.yaml").read_text() == "mine"


def test_neither_appears_where_the_checkpoint_cannot_be_written(folder: Path) -> None:
    Path("net.ckpt").write_text("mine")
    before = names(folder)
    with pytest.raises(UsageError, match=r"net\.ckpt: exists already"):
        convert(config="net.yaml", config_output="ms.yaml")
    assert names(folder) == before
    assert convert(config="net.yaml", config_output="ms.yaml", write_options=WriteOptions(force=True)).verified


def test_a_dry_run_shows_what_would_become_of_both(folder: Path) -> None:
    before = names(folder)
    done = convert(config="net.yaml", config_output="ms.yaml", dry_run=True)
    assert done.config is not None
    assert done.config.files[0].after == BN_MINDSPORE
    assert names(folder) == before


CLASS = "a: {{_target_: {}.BatchNorm3d, momentum: {}, eps: 1.0e-3}}"
UNTRANSLATED = (
    "momentum 0.05 on both sides (there.yaml:1): the output's config was not translated; bnport config does it"
)


@pytest.mark.parametrize(
    ("here", "there", "diagnosis"),
    [
        (BN, BN_MINDSPORE, None),
        (BN, BN, UNTRANSLATED),
        ("bn_momentum: 0.05", "x: 1\nbn_momentum: .05", UNTRANSLATED.replace(":1)", ":2)")),
        (CLASS.format("torch.nn", 0.05), CLASS.format("mindspore.nn", 0.95), None),
        (CLASS.format("torch.nn", 0.05), CLASS.format("torch.nn", 0.05), UNTRANSLATED),
        # mint means PyTorch's momentum.
        (CLASS.format("torch.nn", 0.05), CLASS.format("mindspore.mint.nn", 0.05), None),
        (
            BN,
            "bn: {type: BN3d, momentum: 0.85, eps: 1.0e-3}",
            "momentum is 0.85 where 0.95 was expected (in PyTorch's terms 0.15 and 0.05) (there.yaml:1)",
        ),
        (BN, "lr: 1", "eps is 1e-05 where 0.001 was expected (default, not said in there.yaml); "
            "momentum is 0.9 where 0.95 was expected (in PyTorch's terms 0.1 and 0.05) "
            "(default, not said in there.yaml)"),
        ("bn_eps: 0.001", "bn_eps: 0.002", "eps is 0.002 where 0.001 was expected (there.yaml:1)"),
        # The defaults agree: absent stays absent, and what one side says the other need not.
        ("bn_momentum: 0.1", "lr: 1", None),
        ("lr: 1", "bn_momentum: 0.9", None),
        ("lr: 1", "bn_momentum: 0.8",
            "momentum is 0.8 where 0.9 was expected (in PyTorch's terms 0.2 and 0.1) (there.yaml:1)"),
        ("a: {type: BN3d, track_running_stats: true}", "a: {type: BN3d, use_batch_statistics: false}",
            "running statistics frozen where running statistics tracked was expected (there.yaml:1): write "
            "use_batch_statistics=None"),
        ("optimizer: {momentum: 0.9}", "optimizer: {momentum: 0.9}", None),
    ],
)  # fmt: skip
def test_each_side_is_run_as_its_own_config_says(folder: Path, here: str, there: str, diagnosis: str | None) -> None:
    convert(verify=False)
    found = verify(here, there)
    assert diagnoses(found) == {diagnosis}
    assert found.verified is (diagnosis is None)


def test_exchanged_configs_are_refused(folder: Path) -> None:
    convert(verify=False)
    with pytest.raises(UsageError, match="exchanged") as caught:
        verify(CLASS.format("mindspore.nn", 0.95), CLASS.format("torch.nn", 0.05))
    assert caught.value.hint == "Give --config there.yaml here.yaml."


def test_the_other_way_a_config_that_was_not_translated_shows_as_well(folder: Path) -> None:
    convert(verify=False)
    porter.convert("net.ckpt", "back.pth", verify=False)
    found = verify(BN_MINDSPORE, BN_MINDSPORE, "net.ckpt", "back.pth")
    assert diagnoses(found) == {UNTRANSLATED.replace("0.05", "0.95")}
    assert verify(BN_MINDSPORE, BN, "net.ckpt", "back.pth").verified


def test_a_record_says_in_whose_terms_a_config_is(folder: Path) -> None:
    """mint's momentum is PyTorch's; nothing but the record tells that this config is mint's."""
    convert(verify=False)
    Path("typed.yaml").write_text("a: {type: BN3d, momentum: 0.95}\n")
    porter.translate_config("typed.yaml", ConfigOptions("mint", "mindspore"), output="mint.yaml")
    assert Path("mint.yaml").read_text() == "a: {type: BN3d, momentum: 0.05}\n"
    options = SourceOptions(layers=SAY_3D)
    checked = porter.verify("net.pth", "net.ckpt", source_options=options, configs=("net.yaml", "mint.yaml"))
    assert diagnoses(checked) == {"eps is 1e-05 where 0.001 was expected (default, not said in mint.yaml)"}


@pytest.mark.parametrize(
    ("how", "momentum", "note"),
    [
        ({"momentum": 0.3}, 0.3, "momentum 0.05, but 0.3 (option)"),
        ({"hyperparameters": [("**", {"momentum": 0.3})]}, 0.3, "momentum 0.05, but 0.3 (rules)"),
        ({"eps": 0.3}, 0.05, "eps 1.0e-3, but 0.3 (option)"),
    ],
)
def test_the_users_own_word_outweighs_the_config(
    folder: Path, how: dict[str, Any], momentum: float, note: str
) -> None:
    done = convert(config="net.yaml", config_output="ms.yaml", **how)
    assert {settings.momentum for settings in settings_of(done).values()} == {momentum}
    assert done.verified is True
    assert [note for note in done.warnings if "net.yaml" in note] == [f"net.yaml:1 says {note} counts for 1 and 4"]


def test_the_sources_own_network_outweighs_the_config(folder: Path) -> None:
    torch.save(two_norms(momentum=0.2, eps=1e-3), "whole.pth")
    done = porter.convert("whole.pth", "whole.ckpt", config="net.yaml", config_output="ms.yaml")
    assert settings_of(done)["1"].momentum == 0.2
    assert done.verified is True
    assert "net.yaml:1 says momentum 0.05, but 0.2 (pickled module) counts for 1 and 4" in done.warnings
    # What config and network agree on is the config's to say on the other side.
    found = verify(BN, BN_MINDSPORE.replace("e-3", "e-2"), "whole.pth", "whole.ckpt")
    assert diagnoses(found) == {"eps is 0.01 where 0.001 was expected (there.yaml:1)"}


def test_tensors_outweigh_the_config_about_statistics(folder: Path) -> None:
    torch.save(two_norms(track_running_stats=False).state_dict(), "net.pth")
    done = convert(config="net.yaml")
    assert settings_of(done)["1"].statistics == "batch"
    Path("net.yaml").write_text("a: {type: BN3d, track_running_stats: true}")
    done = convert(config="net.yaml", output="again.ckpt")
    assert settings_of(done)["1"].statistics == "batch"
    assert any("says statistics true, but batch (its tensors) counts for 1 and 4" in note for note in done.warnings)


@pytest.fixture
def parts(folder: Path) -> Path:
    network = nn.Sequential(OrderedDict(backbone=two_norms(), head=two_norms()))
    torch.save(network.state_dict(), "net.pth")
    return folder


TWO = (
    "model:\n  backbone: {norm_cfg: {type: BN3d, momentum: 0.01}}\n  head: {norm_cfg: {type: BN3d, momentum: 0.02}}\n"
)


def test_differing_settings_go_by_path(parts: Path) -> None:
    Path("net.yaml").write_text(TWO)
    done = convert(config="net.yaml", config_output="ms.yaml")
    assert done.verified is True
    momenta = {name: settings.momentum for name, settings in settings_of(done).items()}
    assert momenta == {"backbone.1": 0.01, "backbone.4": 0.01, "head.1": 0.02, "head.4": 0.02}
    # One of two that was forgotten fails at its layers, and at no others.
    found = verify(TWO, TWO.replace("0.01", "0.99"))
    assert [layer.name for layer in found.layers if layer.ok is False] == ["head.1", "head.4"]


def test_what_paths_do_not_tell_is_undecided_until_the_user_says(parts: Path) -> None:
    Path("net.yaml").write_text(TWO.replace("backbone", "a").replace("head", "b"))
    with pytest.raises(Undecided) as stopped:
        convert(config="net.yaml", config_output="ms.yaml")
    assert stopped.value.exit_code == 4
    assert "momentum of backbone.1 and 3 more: 0.01 (net.yaml:2) or 0.02 (net.yaml:3)" in str(stopped.value)
    assert "[hyperparameters]" in str(stopped.value)
    Path("port.toml").write_text(
        '[hyperparameters]\n"head.**" = {momentum = 0.02}\n"backbone.**" = {momentum = 0.01}\n'
    )
    done = convert(config="net.yaml", config_output="ms.yaml", rules=["port.toml"])
    assert done.verified is True
    # The target's side is the config's all the same.
    found = verify(Path("net.yaml").read_text(), Path("net.yaml").read_text(), rules=["port.toml"])
    assert {layer.ok for layer in found.layers if layer.kind == "BatchNorm3d"} == {False}


def test_the_users_word_on_a_place_counts_on_both_sides(folder: Path) -> None:
    perhaps = "norm: {momentum: 0.05}"
    convert(verify=False)
    with pytest.raises(Undecided, match=r"here\.yaml:1:18"):
        verify(perhaps, perhaps)
    assert diagnoses(verify(perhaps, perhaps, settings=[("norm.momentum", "momentum")])) == {UNTRANSLATED}
    assert verify(perhaps, perhaps, settings=[("norm.momentum", "keep")]).verified
    Path("net.yaml").write_text(perhaps)
    done = convert(output="b.ckpt", config="net.yaml", config_output="ms.yaml", settings=[("norm.*", "momentum")])
    assert (Path("ms.yaml").read_text(), done.verified) == ("norm: {momentum: 0.95}", True)


def test_force_replaces_outputs_and_heeds_the_configs_record_all_the_same(folder: Path) -> None:
    """A config that is MindSpore's already must not be turned again because a checkpoint is to be replaced."""
    porter.translate_config("net.yaml", ConfigOptions("mindspore", "torch"), in_place=True)
    with pytest.raises(api.Refuted):
        convert(config="net.yaml", config_output="ms.yaml", write_options=WriteOptions(force=True))


COMPUTED = """from torch import nn
net = nn.Sequential(nn.BatchNorm3d(4, eps=1e-3 * 2, momentum=0.05), nn.BatchNorm3d(4, eps=1e-3 * 2, momentum=0.05))
layer = nn.BatchNorm3d(4, **kwargs)
"""


def about_config(done: Any) -> list[str]:
    return [note for note in done.warnings if note.startswith("net.py:")]


def test_a_computed_setting_is_not_used_and_said_with_what_to_give_instead(folder: Path) -> None:
    Path("net.py").write_text(COMPUTED)
    done = convert(config="net.py")
    assert settings_of(done) == dict.fromkeys("14", Settings(eps=1e-5, momentum=0.05))
    computed, unread = about_config(done)
    assert computed.startswith("net.py:2: net.0.eps: 1e-3 * 2 and 1 more like it")
    assert "layers 1 and 4 run with the default eps; give it with --eps" in computed
    assert unread.startswith("net.py:3: not read")


CONSTANTS = """from torch import nn
MOMENTUM = 0.05
EPS: float = 1e-3
net = nn.Sequential(nn.BatchNorm3d(4, EPS, MOMENTUM), nn.BatchNorm3d(4, eps=EPS, momentum=1 - KEPT))
KEPT = 0.95
"""


def test_a_constant_says_what_it_is_and_so_does_its_rewriting(folder: Path) -> None:
    Path("net.py").write_text(CONSTANTS)
    done = convert(config="net.py", config_output="ms.py")
    assert settings_of(done) == dict.fromkeys("14", Settings(eps=1e-3, momentum=0.05))
    assert (about_config(done), done.verified) == ([], True)
    assert "EPS, 1 - MOMENTUM)" in Path("ms.py").read_text()
    untranslated = porter.verify(
        "net.pth", "net.ckpt", source_options=SourceOptions(layers=SAY_3D), configs=("net.py", "net.py")
    )
    assert diagnoses(untranslated) == {UNTRANSLATED.replace("there.yaml:1", "net.py:4")}


@pytest.mark.parametrize(
    "also",
    [
        "MOMENTUM += 0.1",
        "def f(MOMENTUM): pass",
        "def f():\n    global MOMENTUM\n    MOMENTUM = 1",
        "del MOMENTUM",
        "from other import *",
        "import MOMENTUM.of_another",
        "globals()['MOMENTUM'] = 1",
        "exec(text)",
    ],
)
def test_what_is_bound_twice_is_no_constant(folder: Path, also: str) -> None:
    Path("net.py").write_text(f"{CONSTANTS}{also}\n")
    (about,) = (note for note in about_config(convert(config="net.py")) if "MOMENTUM" in note)
    assert "is computed where the config is used" in about


def test_a_constant_that_no_float_holds_says_nothing(folder: Path) -> None:
    Path("net.py").write_text(CONSTANTS.replace("KEPT = 0.95", "KEPT = 1e400"))
    assert "1 - KEPT is computed" in about_config(convert(config="net.py"))[0]


def test_nothing_is_said_of_a_computed_setting_that_the_user_gives(folder: Path) -> None:
    Path("net.py").write_text(COMPUTED)
    (unread,) = about_config(convert(config="net.py", eps=2e-3))
    assert "not read" in unread


def test_what_is_not_read_is_said_once_where_the_config_is_translated_too(folder: Path) -> None:
    Path("net.py").write_text(COMPUTED)
    done = convert(config="net.py", config_output="out.py")
    (computed,) = about_config(done)
    assert "--eps" in computed
    assert len(done.config.files[0].translation.needs_person) == 1


def test_a_value_that_one_place_tells_and_another_computes_is_taken_and_said(folder: Path) -> None:
    Path("net.py").write_text(COMPUTED.replace("eps=1e-3 * 2", "eps=1e-3", 1))
    done = convert(config="net.py")
    assert settings_of(done) == dict.fromkeys("14", Settings(eps=1e-3, momentum=0.05))
    assert "run with what it says elsewhere; give it with --eps" in about_config(done)[0]


@pytest.mark.parametrize(
    ("here", "there"),
    [("eps: 1.0e-3", "eps: '${mul:1,${x}}'"), ("eps: '${mul:1,${x}}'", "eps: 1.0e-3")],
)
def test_a_computed_setting_is_not_held_against_a_written_one(folder: Path, here: str, there: str) -> None:
    convert(eps=1e-5)
    right = BN.replace("eps: 1.0e-3", here), BN_MINDSPORE.replace("eps: 1.0e-3", there)
    assert diagnoses(verify(*right)) == {None}
