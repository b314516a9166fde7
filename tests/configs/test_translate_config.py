"""Files translated, written and translated back: what is written, what the record makes of a second run."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import json5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter import ConfigOptions, ConfigTranslation, translate_config
from porter.errors import FileIOError, InputError, Malformed, Undecided, UsageError

BN = "bn_momentum: 1e-2  # mine\nnorm: {type: BN3d, momentum: .1, track_running_stats: true}\n"
BN_MINDSPORE = "bn_momentum: 0.99  # mine\nnorm: {type: BN3d, momentum: .9, use_batch_statistics: null}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(BN)
    return path


def to_mindspore(paths: Path | Sequence[Path], **how: Any) -> ConfigTranslation:
    options = {key: how.pop(key) for key in ("settings", "force", "ignore_record", "strict", "rules") if key in how}
    return translate_config(paths, ConfigOptions("mindspore", "torch", "classic", **options), **how)


def to_torch(path: Path, **how: Any) -> ConfigTranslation:
    options = {key: how.pop(key) for key in ("settings", "force", "ignore_record", "from_") if key in how}
    return translate_config(path, ConfigOptions("torch", **options), **how)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_written_unless_asked(config: Path) -> None:
    done = to_mindspore(config)
    assert done.changed
    assert (done.files[0].after, done.files[0].output) == (BN_MINDSPORE, None)
    assert names(config.parent) == {"net.yaml"}


def test_an_output_has_its_record_beside_it(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "er.yaml"
    assert to_mindspore(config, output=out).files[0].output == out
    assert out.read_text() == BN_MINDSPORE
    assert config.read_text() == BN
    record = json.loads((tmp_path / "deep" / "er.yaml.bnport.json").read_text())
    assert (record["schema"], record["from"], record["to"]) == ("bnport.config-record/1", "torch", "mindspore")
    assert next((change["path"], change["after"]) for change in record["changes"]) == ("bn_momentum", "0.99")
    assert names(tmp_path) == {"net.yaml", "deep/er.yaml", "deep/er.yaml.bnport.json"}


def test_an_output_is_replaced_only_by_force(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.yaml"
    out.write_text("mine")
    with pytest.raises(UsageError, match=r"out.yaml: exists already. --force replaces it"):
        to_mindspore(config, output=out)
    assert out.read_text() == "mine"
    to_mindspore(config, output=out, force=True)
    assert out.read_text() == BN_MINDSPORE
    with pytest.raises(UsageError, match="the output is the config itself"):
        to_mindspore(config, output=config, force=True)


def test_in_place_keeps_a_backup_the_mode_and_the_link(config: Path, tmp_path: Path) -> None:
    config.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(config)
    to_mindspore(link, in_place=True)
    assert link.is_symlink()
    assert (config.read_text(), (tmp_path / "net.yaml.bak").read_text()) == (BN_MINDSPORE, BN)
    assert config.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == {"net.yaml", "net.yaml.bak", "net.yaml.bnport.json", "link.yaml"}
    # Seen through the link or not, it is known to be MindSpore's.
    assert not to_mindspore(link).changed
    with pytest.raises(UsageError, match=r"net.yaml.bak: exists already"):
        to_torch(config, in_place=True)
    to_torch(config, in_place=True, backup=False)
    assert config.read_text() == BN


def test_what_does_not_change_is_not_rewritten_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("momentum: 0.9\n")
    before = path.stat()
    assert not to_mindspore(path, in_place=True).changed
    assert path.stat() == before
    assert names(tmp_path) == {"a.yaml"}


def test_a_second_run_turns_nothing_again(config: Path) -> None:
    to_mindspore(config, in_place=True)
    again = to_mindspore(config)
    assert not again.changed
    assert "its record says that it is in the terms of mindspore already" in again.files[0].translation.notes[0].text
    # Neither after an edit of something else, nor of the setting itself.
    config.write_text(BN_MINDSPORE.replace("0.99", "0.98") + "lr: 1\n")
    assert not translate_config(config, ConfigOptions("mindspore")).changed
    assert to_mindspore(config, ignore_record=True).files[0].after.startswith("bn_momentum: 0.02")
    # The source, put back by hand or by git, is the source.
    config.write_text(BN)
    assert to_mindspore(config).files[0].after == BN_MINDSPORE


@pytest.mark.parametrize(
    ("imports", "use"),
    [
        ("import torch.nn as nn", "nn.BatchNorm3d(8, momentum=0.1)"),
        ("from torch import nn", "nn.BatchNorm3d(8, momentum=args.bn_momentum)"),
        ("from torch.nn import BatchNorm3d, Conv3d", "BatchNorm3d(8, 1e-5, 0.1)"),
        ("import torch.nn as nn", "dict(norm_op=nn.BatchNorm3d, norm_op_kwargs=dict(momentum=0.1))"),
        ("import torch.nn as nn", "partial(nn.BatchNorm3d, momentum=0.1)"),
        ("from torch.nn import BatchNorm3d", "BatchNorm3d(8, momentum=0.1)"),
        ("import torch", "torch.nn.BatchNorm3d(8, momentum=0.1)"),
    ],
)
def test_an_import_that_still_names_pytorch_does_not_outweigh_the_record(
    tmp_path: Path, imports: str, use: str
) -> None:
    text = f"from functools import partial\n{imports}\nx = {use}\nlr = 1\n"
    path = tmp_path / "net.py"
    path.write_text(text)
    assert to_mindspore(path, in_place=True).changed
    assert not to_mindspore(path).changed
    path.write_text(path.read_text().replace("lr = 1", "lr = 2"))
    again = ConfigOptions("mindspore", signature="classic")
    assert not translate_config(path, again).changed
    back = translate_config(path, ConfigOptions("torch", signature="classic")).files[0].after
    assert back == text.replace("lr = 1", "lr = 2")
    # What is written in full says itself whose it is.
    path.write_text(path.read_text() + "y = torch.nn.BatchNorm3d(8, momentum=0.2)\nimport torch\n")
    assert "y = mindspore.nn.BatchNorm3d(8, momentum=0.8)" in translate_config(path, again).files[0].after


def test_a_copy_of_what_is_translated_already_keeps_its_record(config: Path, tmp_path: Path) -> None:
    to_mindspore(config, in_place=True, backup=False)
    to_mindspore(config, output=tmp_path / "copy.yaml")
    assert (tmp_path / "copy.yaml").read_text() == BN_MINDSPORE
    assert not to_mindspore(tmp_path / "copy.yaml").changed


def test_a_record_of_a_file_that_is_gone_does_not_count(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.yaml"
    to_mindspore(config, output=out)
    config.write_text("lr: 1\n")
    to_mindspore(config, output=out, force=True)
    assert names(tmp_path) == {"net.yaml", "out.yaml"}


def test_replacing_an_output_does_not_translate_twice(config: Path, tmp_path: Path) -> None:
    """A config's record counts, whatever becomes of the output; what lies in the output folder is no config."""
    to_mindspore(config, in_place=True)
    (tmp_path / "q.yaml").write_text("mine")
    to_mindspore(config, output=tmp_path / "q.yaml", force=True)
    assert (tmp_path / "q.yaml").read_text() == BN_MINDSPORE
    folder = tmp_path / "cf"
    folder.mkdir()
    (folder / "a.yaml").write_text(BN)
    for _ in range(2):
        to_mindspore(folder, output=folder / "out", force=True)
        assert names(folder) == {"a.yaml", "out/a.yaml", "out/a.yaml.bnport.json"}
        assert (folder / "out" / "a.yaml").read_text() == BN_MINDSPORE


def test_a_record_that_from_contradicts_is_asked_about_once_the_file_was_edited(config: Path) -> None:
    to_mindspore(config, in_place=True)
    assert not to_mindspore(config).changed
    newer = "# newer\n" + BN
    config.write_text(newer)
    with pytest.raises(Undecided, match=r"was edited .*--from torch contradicts.* --ignore-record if"):
        to_mindspore(config)
    assert to_mindspore(config, ignore_record=True).files[0].after == "# newer\n" + BN_MINDSPORE
    config.write_text("lr: 2\n")
    (note,) = to_mindspore(config).files[0].translation.notes
    assert "edited since" in note.text
    assert "--ignore-record" in note.text


def test_the_way_back_tells_what_it_leaves(tmp_path: Path) -> None:
    text = "import mindspore.nn as nn\nfrom torch.nn import BatchNorm3d\nx = BatchNorm3d(3, momentum=0.2)\n"
    path = tmp_path / "net.py"
    path.write_text(text + "y = nn.BatchNorm3d(3)\n")
    to_mindspore(path, in_place=True)
    assert any("still names MindSpore" in note.text for note in to_torch(path).files[0].translation.notes)


def test_messages_name_what_the_user_knows(config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(BN)
    with pytest.raises(UsageError, match="is no folder"):
        to_mindspore([config, other], output=config)
    with pytest.raises(UsageError, match="standard input is not read"):
        to_mindspore(Path("-"))
    with pytest.raises(FileIOError, match=r"/proc/x\.yaml: writing failed"):
        to_mindspore(config, output=Path("/proc/x.yaml"))
    to_mindspore(config, in_place=True)
    with pytest.raises(UsageError, match="may be the only original"):
        to_torch(config, in_place=True)
    config.with_name("net.yaml.bnport.json").write_text("{")
    with pytest.raises(Malformed, match=r"is not JSON.*--ignore-record"):
        to_mindspore(config)


def test_the_way_back_restores_every_character(config: Path) -> None:
    to_mindspore(config, in_place=True)
    back = to_torch(config)
    assert back.files[0].after == BN
    first = back.files[0].translation.changes[0]
    assert (first.before, first.after, first.place) == ("0.99", "1e-2", (1, 14))
    config.write_text("{bn_momentum: 1.00e-2, bn_mom: .1}")
    to_mindspore(config, in_place=True, backup=False, ignore_record=True)
    assert config.read_text() == "{bn_momentum: 0.9900, bn_mom: .9}"
    assert [change.place.column for change in to_torch(config).files[0].translation.changes] == [15, 31]


def test_the_way_back_leads_to_the_framework_it_came_from(config: Path) -> None:
    to_mindspore(config, in_place=True)
    # What names no framework and is in PyTorch's sense is in mint's, too.
    assert not translate_config(config, ConfigOptions("mint")).changed
    assert translate_config(config, ConfigOptions("mint", "mindspore")).files[0].after == BN
    named = "{_target_: torch.nn.BatchNorm3d, momentum: 1e-2}\n"
    config.write_text(named)
    to_mindspore(config, in_place=True, backup=False)
    in_mint = translate_config(config, ConfigOptions("mint", "mindspore")).files[0].after
    assert in_mint == "{_target_: mindspore.mint.nn.BatchNorm3d, momentum: 0.01}\n"
    assert to_torch(config).files[0].after == named


def test_the_way_back_of_an_edited_output_is_an_ordinary_translation(config: Path) -> None:
    to_mindspore(config, in_place=True)
    config.write_text(BN_MINDSPORE + "lr: 1\n")
    assert to_torch(config).files[0].after == BN.replace("1e-2", "0.01") + "lr: 1\n"


def test_the_record_remembers_the_users_word(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("NECK: {MOM: 0.01, EPS: 1}\n")
    assert to_mindspore(path, settings=[("NECK.MOM", "momentum")], in_place=True, backup=False).changed
    assert path.read_text() == "NECK: {MOM: 0.99, EPS: 1}\n"
    # The same word again is no other, and is used.
    assert to_torch(path, settings=[("NECK.MOM", "momentum")]).files[0].after == "NECK: {MOM: 0.01, EPS: 1}\n"
    assert not to_torch(path, settings=[("NECK.MOM", "keep")]).changed
    path.write_text("NECK: {MOM: 0.99, EPS: 2}\n")
    assert to_torch(path).files[0].after == "NECK: {MOM: 0.01, EPS: 2}\n"


def test_a_record_cannot_say_what_is_restored(config: Path) -> None:
    to_mindspore(config, in_place=True)
    path = config.with_name("net.yaml.bnport.json")
    record = json.loads(path.read_text())
    evil = BN + "evil: 1\n"
    record["undo"] = [[0, len(BN_MINDSPORE), evil]]
    record["source"] = hashlib.sha256(evil.encode()).hexdigest()
    path.write_text(json.dumps(record))
    assert to_torch(config).files[0].after == BN.replace("1e-2", "0.01")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "bnport.record/1"},
        {"to": "jax"},
        {"undo": [[0, 1]]},
        {"undo": [["0", 1, ""]]},
        {"settings": [["a"]]},
        {"source": None},
        {"signature": "auto"},
    ],
)
def test_a_damaged_record_is_refused_and_can_be_ignored(config: Path, change: dict[str, Any]) -> None:
    to_mindspore(config, in_place=True)
    path = config.with_name("net.yaml.bnport.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(Malformed, match="is no record of a config"):
        to_torch(config)
    assert to_torch(config, ignore_record=True, from_="mindspore").files[0].after == BN.replace("1e-2", "0.01")


@pytest.mark.parametrize("undo", [[[5, 3, ""]], [[0, 4, ""], [2, 6, ""]], [[-1, 3, ""]], [[0, 10**9, ""]]])
def test_an_undo_that_makes_no_sense_is_not_used(config: Path, undo: list[Any]) -> None:
    to_mindspore(config, in_place=True)
    path = config.with_name("net.yaml.bnport.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"undo": undo}))
    assert to_torch(config).files[0].after == BN.replace("1e-2", "0.01")


def test_several_files_and_folders_go_into_a_folder(config: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.json").write_text('{"bn_momentum": 0.1}')
    (tmp_path / "in" / "sub" / "b.toml").write_text("bn_momentum = 0.1\n")
    out = tmp_path / "out"
    done = to_mindspore([config, tmp_path / "in"], output=out)
    assert [file.output for file in done.files] == [out / "net.yaml", out / "a.json", out / "sub/b.toml"]
    assert (out / "a.json").read_text() == '{"bn_momentum": 0.9}'
    assert (out / "sub" / "b.toml").read_text() == "bn_momentum = 0.9\n"
    # An existing folder takes a single file, too.
    to_mindspore(config, output=tmp_path / "in")
    assert (tmp_path / "in" / "net.yaml").read_text() == BN_MINDSPORE


def test_all_are_written_or_none(config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("norm: {momentum: 0.1}\n")
    with pytest.raises(Undecided, match=r"--setting 'norm.momentum=momentum' or --setting 'norm.momentum=keep'"):
        to_mindspore([config, other], in_place=True)
    assert names(tmp_path) == {"net.yaml", "other.yaml"}
    assert config.read_text() == BN
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.yaml").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        to_mindspore([config, other], output=tmp_path / "out", settings=[("norm.momentum", "keep")])
    assert names(tmp_path / "out") == {"other.yaml"}


def test_what_waited_for_its_place_is_gone_where_writing_fails(tmp_path: Path) -> None:
    for name in ("in/a.yaml", "in/sub/b.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(BN)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("in the way of a folder")
    with pytest.raises(FileIOError, match="writing failed"):
        to_mindspore(tmp_path / "in", output=tmp_path / "out")
    assert names(tmp_path / "out") == {"sub"}


def test_a_setting_has_to_match_in_one_of_the_files(config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("norm: {momentum: 0.1}\n")
    done = to_mindspore([config, other], settings=[("norm.momentum", "momentum")])
    assert done.files[1].after == "norm: {momentum: 0.9}\n"
    with pytest.raises(UsageError, match=r"--setting nrm.momentum=momentum: matches nothing"):
        to_mindspore([config, other], settings=[("nrm.momentum", "momentum"), ("norm.momentum", "keep")])


def test_rules_files_say_it_too_and_are_outweighed(tmp_path: Path) -> None:
    path, rules = tmp_path / "net.yaml", tmp_path / "port.toml"
    path.write_text("norm: {momentum: 0.1}\n")
    rules.write_text('[settings]\n"norm.momentum" = "momentum"\n"none.such" = "keep"\n')
    assert to_mindspore(path, rules=[rules]).files[0].after == "norm: {momentum: 0.9}\n"
    assert not to_mindspore(path, rules=[rules], settings=[("norm.*", "keep")]).changed
    rules.write_text('[settings]\n"norm.momentum" = "momentun"\n')
    with pytest.raises(UsageError, match="momentun"):
        to_mindspore(path, rules=[rules])


def test_a_folders_unreadable_files_are_skipped_and_named(config: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("{{ template }}: [\n")
    done = to_mindspore(tmp_path, output=tmp_path.with_name(f"{tmp_path.name}-out"))
    assert [file.file.path for file in done.files] == [config]
    assert [error.file for error in done.skipped] == [str(broken)]
    for paths, how in (([config, broken], {}), (tmp_path, {"strict": True})):
        with pytest.raises(InputError):
            to_mindspore(paths, **how)


def test_strict_stops_where_a_person_is_needed(config: Path) -> None:
    config.write_text("a: {type: BN3d, momentum: null}\nb: {type: BN3d, momentum: 0.1}\n")
    assert to_mindspore(config).files[0].translation.needs_person
    with pytest.raises(Undecided, match=r"net.yaml:1:27: a.momentum"):
        to_mindspore(config, strict=True, in_place=True)
    assert names(config.parent) == {"net.yaml"}


NUMBERS = st.decimals(0, 1, places=4).map(str) | st.sampled_from(["1e-2", ".1", "1", "0", "0.10", "9.97e-1"])


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    """Layers and optimizers, numbers as text to write as they are."""
    layer = st.fixed_dictionaries(
        {"type": st.sampled_from(["BN3d", "SyncBN", "torch.nn.BatchNorm3d", "IN3d", "SGD"])},
        optional={"momentum": NUMBERS, "eps": st.just("1.0e-05"), "track_running_stats": st.booleans()},
    )
    return draw(st.dictionaries(st.sampled_from("abcde"), layer, min_size=1))


@given(models(), st.sampled_from([None, 2]), st.sampled_from(["\n", "\r\n"]))
@settings(deadline=None, max_examples=60)
def test_there_and_back_is_nothing(model: dict[str, Any], indent: int | None, line_end: str) -> None:
    text = json.dumps(model, indent=indent).replace("\n", line_end)
    for layer in model.values():
        for value in (layer.get("momentum"), layer.get("eps")):
            text = text.replace(f'"{value}"', str(value)) if isinstance(value, str) else text
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.json")
        path.write_bytes(text.encode())
        to_mindspore(path, in_place=True, backup=False)
        translated = json5.loads(path.read_text())
        assert not to_mindspore(path).changed
        to_torch(path, in_place=True, backup=False)
        assert path.read_bytes() == text.encode()
    for name, before in json5.loads(text).items():
        expected = dict(before)
        if before["type"] not in ("IN3d", "SGD"):
            expected["type"] = before["type"].replace("torch", "mindspore")
            if "momentum" in before:
                expected["momentum"] = pytest.approx(1 - before["momentum"], abs=1e-12)
            if "track_running_stats" in before:
                expected["use_batch_statistics"] = None if expected.pop("track_running_stats") else True
        assert translated[name] == expected


def test_what_one_file_writes_and_another_computes_with_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model: {bn_momentum: 0.1}\n")
    source = "from torch import nn\nf = nn.BatchNorm3d(3, momentum=cfg.model.bn_momentum)\n"
    (tmp_path / "m.py").write_text(source)
    options = ConfigOptions("mindspore", "torch")
    with pytest.raises(Undecided) as raised:
        translate_config(tmp_path, options, in_place=True)
    assert len(raised.value.details) == 1
    assert "c.yaml, line 1, column 22" in raised.value.details[0]
    kept = ConfigOptions("mindspore", "torch", settings=[("model.bn_momentum", "keep")])
    translate_config(tmp_path, kept, in_place=True)
    assert (tmp_path / "m.py").read_text() == source.replace("=cfg", "=1 - cfg")
    assert (tmp_path / "c.yaml").read_text() == "model: {bn_momentum: 0.1}\n"


def test_an_imported_constant_is_translated_once(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("BN_MOMENTUM = 0.1\n")
    (tmp_path / "b.py").write_text("import torch\nfrom a import BN_MOMENTUM as m\ntorch.nn.BatchNorm3d(3, 1e-5, m)\n")
    options = ConfigOptions("mindspore", "torch", settings=[("BN_MOMENTUM", "momentum")])
    with pytest.raises(Undecided, match="settings of batch norm") as raised:
        translate_config(tmp_path, options)
    assert "b.py:3:31" in raised.value.details[0]


def test_in_a_run_of_its_own_a_file_says_which_names_must_stay(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("from torch import nn\nf = nn.BatchNorm3d(3, momentum=cfg.model.bn_momentum)\n")
    done = translate_config(path, ConfigOptions("mindspore", "torch"))
    assert "bn_momentum stays as it is where other files set it" in done.files[0].translation.notes[-1].text
