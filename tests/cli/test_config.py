"""`bnport config` as its users and their scripts meet it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BN = "optimizer: {momentum: 0.9}\nbn_momentum: 0.1  # mine\n"
PERHAPS = "model:\n  norm: {momentum: 0.1}\n"


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(BN)
    return path


def test_the_table_says_what_would_change_and_why(bnport: Any, net: Path) -> None:
    shown = bnport("config", "net.yaml", "--to", "mindspore", "--from", "torch")
    assert (shown.code, shown.err) == (0, "")
    _, row, last = shown.out.splitlines()
    assert row.split()[:5] == ["net.yaml:2", "bn_momentum", "momentum", "0.1", "0.9"]
    assert "1 - m" in row
    assert last == "1 change in 1 file for MindSpore; nothing was written: -o OUTPUT or --in-place writes."
    assert net.read_text() == BN
    written = bnport("config", "net.yaml", "--to", "mindspore", "--from", "torch", "-o", "ms.yaml")
    assert "ms.yaml written." in written.out
    assert Path("ms.yaml").read_text() == BN.replace("0.1", "0.9")
    again = bnport("config", "ms.yaml", "--to", "mindspore")
    assert again.out == "Nothing in 1 file has to change for MindSpore.\n"
    assert "its record says that it is in the terms of mindspore already" in again.err


def test_a_narrow_terminal_folds_no_name(bnport: Any, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    net.write_text("a_long_name_of_a_part: {_target_: torch.nn.BatchNorm3d, momentum: 0.1}\n")
    shown = bnport("config", "net.yaml", "--to", "mindspore")
    assert [line.rstrip() for line in shown.out.splitlines()[:4]] == [
        "net.yaml:1: a_long_name_of_a_part._target_",
        "    torch.nn.BatchNorm3d -> mindspore.nn.BatchNorm3d",
        "    MindSpore's name of it",
        "net.yaml:1: a_long_name_of_a_part.momentum",
    ]


_LINES = '{\n\t// tabs, \x0c and \x85\n\t"bn_momentum": 0.1,\n\t"lr": 1\n}\n'


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs patch(1)")
@pytest.mark.parametrize("text", [_LINES, _LINES.replace("\n", "\r\n"), '{"bn_momentum": 0.1}', _LINES[:-1]])
def test_patch_takes_the_diff(bnport: Any, net: Path, text: str) -> None:
    net.with_name("net.json").write_bytes(text.encode())
    shown = bnport("config", "net.json", "--to", "mindspore", "--from", "torch", "--diff")
    subprocess.run(["patch", "--binary", "-s", "net.json"], input=shown.out.encode(), check=True)
    assert net.with_name("net.json").read_bytes() == text.replace("0.1", "0.9").encode()


def test_the_diff_shows_what_changes(bnport: Any, net: Path) -> None:
    shown = bnport("config", "net.yaml", "--to", "mindspore", "--from", "torch", "--diff")
    assert shown.out.splitlines() == [
        "--- net.yaml",
        "+++ net.yaml",
        "@@ -1,2 +1,2 @@",
        " optimizer: {momentum: 0.9}",
        "-bn_momentum: 0.1  # mine",
        "+bn_momentum: 0.9  # mine",
    ]


def test_check_is_for_ci(bnport: Any, net: Path) -> None:
    call = ("config", "net.yaml", "--to", "mindspore", "--from", "torch")
    assert bnport(*call, "--check", "--quiet").code == 1
    assert net.read_text() == BN
    assert bnport(*call, "--in-place", "--no-backup", "--quiet").code == 0
    checked = bnport(*call, "--check", "--quiet")
    assert (checked.code, checked.out, checked.err) == (0, "", "")
    assert not net.with_name("net.yaml.bak").exists()


def test_json_is_the_only_thing_on_stdout(bnport: Any, net: Path) -> None:
    net.write_text(BN + "a: {type: BN3d, momentum: null}\n")
    shown = bnport("config", "net.yaml", "--to", "mindspore", "--from", "torch", "--json")
    assert shown.err == ""
    assert shown.json["schema"] == "bnport.config/1"
    (file,) = shown.json["files"]
    assert (file["source"], file["output"], file["format"]) == ("net.yaml", None, "yaml")
    (change,) = file["changes"]
    assert {key: change[key] for key in ("path", "setting", "line", "column", "before", "after", "rule")} == {
        "path": "bn_momentum", "setting": "momentum", "line": 2, "column": 14, "before": "0.1", "after": "0.9",
        "rule": "torch momentum -> mindspore momentum",
    }  # fmt: skip
    (person,) = file["needs_person"]
    assert (person["path"], person["line"], person["column"]) == ("a.momentum", 3, 27)
    refused = bnport("config", "none.yaml", "--to", "mindspore", "--json")
    assert (refused.code, refused.json["error"]["type"]) == (6, "FileIOError")


def test_from_is_asked_for_with_the_place(bnport: Any, net: Path) -> None:
    shown = bnport("config", "net.yaml", "--to", "mindspore")
    assert shown.code == 2
    message = " ".join(shown.err.split())
    assert "net.yaml: line 2, column 14: bn_momentum: nothing says in whose terms momentum is written" in message
    assert "Add --from torch" in message


def test_what_is_not_certain_names_the_option_to_type(bnport: Any, net: Path) -> None:
    net.write_text(PERHAPS)
    call = ("config", "net.yaml", "--to", "mindspore", "--from", "torch", "--in-place", "-q")
    refused = bnport(*call)
    assert refused.code == 4
    message = " ".join(refused.err.split())
    assert "net.yaml:2:20: model.norm.momentum: " in message
    assert "--setting 'model.norm.momentum=momentum' or --setting 'model.norm.momentum=keep'" in message
    assert net.read_text() == PERHAPS
    assert bnport(*call, "--setting", "model.norm.momentum=momentum").code == 0
    assert net.read_text() == PERHAPS.replace("0.1", "0.9")


def test_what_is_not_certain_is_listed_for_scripts(bnport: Any, net: Path) -> None:
    net.write_text(PERHAPS)
    shown = bnport("config", "net.yaml", "--to", "mindspore", "--from", "torch", "--json")
    (place,) = shown.json["error"]["places"]
    assert (place["file"], place["path"], place["line"], place["column"]) == (
        "net.yaml",
        "model.norm.momentum",
        2,
        20,
    )
    assert place["options"][0] == "--setting 'model.norm.momentum=momentum'"


def test_a_person_is_told_of_and_strict_stops(bnport: Any, net: Path) -> None:
    net.write_text("a: {type: BN3d, momentum: null}\n")
    call = ("config", "net.yaml", "--to", "mindspore", "--from", "torch")
    shown = bnport(*call)
    assert shown.code == 0
    assert "net.yaml:1: a.momentum: needs a person: " in shown.err
    assert shown.out.endswith("1 place needs a person.\n")
    assert bnport(*call, "--strict").code == 4


def test_a_folder_is_translated_whole(bnport: Any, net: Path) -> None:
    Path("configs").mkdir()
    Path("configs/a.json").write_text('{"bn_momentum": 0.1}')
    Path("configs/b.yaml").write_text("{{ jinja }}: [")
    Path("configs/c.toml").write_text("momentum = 0.9\n")
    shown = bnport("config", "configs", "--to", "mindspore", "--from", "torch", "-o", "out")
    assert shown.code == 0
    assert "left alone: configs/b.yaml: line 1" in shown.err
    assert shown.out.splitlines()[-1] == "1 change in 1 of 2 files for MindSpore; 2 files written."
    assert Path("out/a.json").read_text() == '{"bn_momentum": 0.9}'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "mindspore", "-o", "x", "--in-place"), "exclude each other"),
        (("--to", "mindspore", "-o", "x", "--check"), "exclude each other"),
        (("--to", "mindspore", "--in-place", "--check"), "exclude each other"),
        (("--to", "mindspore", "--setting", "a"), "is not PATH=SETTING"),
        (("--to", "mindspore", "--setting", "a=mom"), "expected affine, beta_init, eps"),
        (("--to", "jax"), "'jax' is not one of"),
        ((), "Missing option '--to'"),
    ],
)
def test_a_wrong_call_exits_with_2(bnport: Any, net: Path, arguments: tuple[str, ...], message: str) -> None:
    shown = bnport("config", "net.yaml", *arguments)
    assert shown.code == 2
    assert message in " ".join(shown.err.split())


def test_the_installed_mindspore_says_its_signature(bnport: Any, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed MindSpore of the announced signature is found by its source, without being imported."""
    home = net.parent / "site" / "mindspore"
    (home / "nn" / "layer").mkdir(parents=True)
    (home / "__init__.py").write_text("raise ImportError('imported')\n")
    (home / "nn" / "layer" / "normalization.py").write_text(
        "class BatchNorm3d:\n    def __init__(self, num_features, momentum=0.1, track_running_stats=True): ...\n"
    )
    call = ("config", "net.yaml", "--to", "mindspore", "--from", "torch", "--check", "-q")
    assert bnport(*call).code == 1
    monkeypatch.syspath_prepend(str(home.parent))
    monkeypatch.delitem(sys.modules, "mindspore", raising=False)
    assert bnport(*call).code == 0
    assert bnport(*call, "--signature", "classic").code == 1
    net.write_text("{type: BN3d, track_running_stats: false, momentum: 0.1}\n")
    assert bnport(*call).code == 0
