"""The commands as their users and their scripts meet them: what is printed where, and the exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
import torch
from nets import two_norms

from porter import cli


@pytest.fixture
def net(tmp_path: Path) -> Path:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_convert_and_back_and_verify(bnport: Any, net: Path) -> None:
    there = bnport("convert", "net.pth", "-o", "net.ckpt")
    assert there.code == 0, there.err
    assert "net.pth (PyTorch) -> net.ckpt (MindSpore): 11 tensors" in there.out
    assert "VERIFIED 11 tensors equal the source's; 4 layers run, all within bounds." in there.out
    assert "2 BatchNorm3d, inferred from the layers beside them; --model, --net or --layer settles it" in there.err
    assert bnport("convert", "net.ckpt", "-o", "back.pth").code == 0
    checked = bnport("verify", "net.pth", "net.ckpt")
    assert checked.code == 0
    assert "VERIFIED" in checked.out


def test_json_is_the_only_thing_on_stdout(bnport: Any, net: Path) -> None:
    converted = bnport("convert", "net.pth", "-o", "net.ckpt", "--json").json
    assert set(converted) >= {
        "schema", "source", "output", "from", "to", "layers", "tensors", "verified", "verification", "warnings"
    }  # fmt: skip
    assert (converted["schema"], converted["from"], converted["to"]) == ("bnport.convert/1", "torch", "mindspore")
    assert converted["verified"] is True
    assert {"source": "1.weight", "target": "1.bn2d.gamma", "fate": "renamed"}.items() <= next(
        entry for entry in converted["tensors"] if entry["source"] == "1.weight"
    ).items()
    verified = bnport("verify", "net.pth", "net.ckpt", "--json").json
    assert (verified["schema"], verified["ok"]) == ("bnport.verify/1", True)
    layer = verified["layers"][1]
    assert (layer["name"], layer["kind"], layer["ok"]) == ("1", "BatchNorm3d", True)
    for check in layer["checks"]:
        assert check["ok"] is True
        assert check["error"] <= check["bound"]
    inspected = bnport("inspect", "net.pth", "--json").json
    assert (inspected["format"], inspected["framework"]) == ("torch-zip", "torch")
    assert inspected["tensors"][0] == {"name": "0.weight", "dtype": "float32", "shape": [6, 2, 3, 3, 3]}
    norm = next(entry for entry in inspected["layers"] if entry["name"] == "1")
    assert (norm["kind"], norm["channels"], norm["certainty"]) == ("BatchNorm3d", 6, "inferred")
    assert norm["evidence"]
    assert norm["hyperparameters"]["eps"] == 1e-5


def test_inspect_shows_layers_and_evidence(bnport: Any, net: Path) -> None:
    shown = bnport("inspect", "net.pth")
    assert shown.code == 0
    assert "fed by 0 (5-D weight, 6 output channels)" in " ".join(shown.out.split())
    assert bnport("inspect", "net.pth", "--quiet").out == ""


def test_the_plan_is_printed_by_a_dry_run(bnport: Any, net: Path) -> None:
    shown = bnport("convert", "net.pth", "-o", "net.ckpt", "--dry-run")
    assert shown.code == 0
    assert "nothing was written" in shown.out
    assert "bn2d.moving_variance" in shown.out
    assert not Path("net.ckpt").exists()


def test_exit_1_when_verification_fails(bnport: Any, net: Path) -> None:
    bnport("convert", "net.pth", "-o", "net.ckpt", "--no-verify")
    state = two_norms().state_dict()
    state["1.weight"], state["1.bias"] = state["1.bias"], state["1.weight"]
    torch.save(state, "other.pth")
    failed = bnport("verify", "other.pth", "net.ckpt")
    assert failed.code == 1
    assert "FAILED 1 (BatchNorm3d)" in failed.out
    assert "weight and bias" in failed.out
    assert "VERIFICATION FAILED" in failed.out
    document = bnport("verify", "other.pth", "net.ckpt", "--json")
    assert (document.code, document.json["ok"]) == (1, False)


def test_exit_1_leaves_no_output(bnport: Any, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion whose own verification fails: break the rule that names gamma and beta, and convert."""
    from porter import conversion

    right = conversion.bytes_of

    def wrong(step: Any, reader: Any, warnings: Any) -> Any:
        chunks = right(step, reader, warnings)
        return (bytes(reversed(bytes(chunk))) for chunk in chunks) if step.target.name == "1.bn2d.gamma" else chunks

    monkeypatch.setattr(conversion, "bytes_of", wrong)
    failed = bnport("convert", "net.pth", "-o", "net.ckpt")
    assert failed.code == 1
    assert "verification failed, nothing was written" in failed.err
    assert {path.name for path in Path().iterdir()} == {"net.pth"}
    document = bnport("convert", "net.pth", "-o", "net.ckpt", "--json")
    assert document.code == 1
    assert document.json["error"]["type"] == "Refuted"
    assert document.json["verification"]["ok"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", "net.pth"),
        ("convert", "net.pth", "-o", "net.ckpt", "--layer", "BatchNorm3d"),
        ("convert", "net.pth", "-o", "net.ckpt", "--layer", "x=BatchNorm3d"),
        ("convert", "net.pth", "-o", "net.ckpt", "--dtype", "int8"),
        ("convert", "net.pth", "-o", "net.ckpt", "--key", "model"),
        ("convert", "net.pth", "-o", "net.pth"),
        ("convert", "net.pth", "-o", "net.safetensors", "--max-shard-size", "many"),
        *(("convert", "net.pth", "-o", "net.ckpt", "--eps", value) for value in ("nan", "inf", "-1")),
        *(("convert", "net.pth", "-o", "net.ckpt", "--momentum", value) for value in ("nan", "inf", "5")),
        *(("verify", "net.pth", "net.pth", option, "nan") for option in ("--rtol", "--atol", "--target-momentum")),
        ("verify", "net.pth", "net.pth", "--target-eps", "nan"),
        ("convert", "net.pth", "-o", "net.ckpt", "--device", "foo"),
        *(("convert", "net.pth", "-o", "net.ckpt", "--strip-prefix", prefix) for prefix in ("mod", "model.")),
        ("convert", "net.pth", "-o", "net.ckpt", "--model", "nowhere:net"),
        ("verify", "net.pth"),
        ("no-such-command",),
    ],
)
def test_exit_2_for_a_wrong_call(arguments: tuple[str, ...], bnport: Any, net: Path) -> None:
    plain = bnport(*arguments)
    assert plain.code == 2
    assert plain.err
    assert plain.out == ""
    document = bnport(*arguments, "--json")
    assert document.code == 2
    assert document.json["error"]["type"] == "UsageError"


@pytest.mark.parametrize("content", [b"", b"<html>", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"])
def test_exit_3_for_what_is_no_checkpoint(content: bytes, bnport: Any, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    found = bnport("inspect", "x.pth", "--json")
    assert found.code == 3
    assert found.json["error"]["file"] == "x.pth"
    assert bnport("inspect", "missing.pth").code == 3


def test_exit_4_when_a_kind_is_undecided(bnport: Any, tmp_path: Path) -> None:
    torch.save(two_norms(track_running_stats=False).state_dict(), tmp_path / "net.pth")
    undecided = bnport("convert", "net.pth", "-o", "net.ckpt")
    assert undecided.code == 4
    assert "1: BatchNorm3d or InstanceNorm3d" in undecided.err
    assert "--layer '*=BatchNorm3d'" in undecided.err
    assert bnport("convert", "net.pth", "-o", "net.ckpt", "--layer", "*=BatchNorm3d").code == 0


def test_exit_5_when_verification_is_demanded_and_cannot_be(bnport: Any, net: Path) -> None:
    missing = bnport("convert", "net.pth", "-o", "net.ckpt", "--to", "mint", "--verify")
    assert missing.code == 5
    assert not Path("net.ckpt").exists()
    loud = bnport("convert", "net.pth", "-o", "net.ckpt", "--to", "mint")
    assert loud.code == 0
    assert "NOT VERIFIED" in loud.out
    assert (
        bnport("convert", "net.pth", "-o", "net.ckpt", "--to", "mint", "--force", "--json").json["verified"] is None
    )


def test_exit_6_when_the_folder_is_not_there(bnport: Any, net: Path) -> None:
    assert bnport("convert", "net.pth", "-o", "no/net.ckpt").code == 6


def test_names_from_a_stranger_do_not_reach_the_terminal_raw(bnport: Any, tmp_path: Path) -> None:
    torch.save({"evil\x1b[31m.weight": torch.ones(2, 1, 3, 3, 3), "[bold]x": torch.ones(1)}, tmp_path / "net.pth")
    for arguments in (("inspect", "net.pth", "-v"), ("convert", "net.pth", "-o", "n.ckpt", "--dry-run", "-v")):
        shown = bnport(*arguments)
        assert "\x1b[31m" not in shown.out
        assert "evil\\x1b[31m" in shown.out
    assert "[bold]x" in shown.out


def test_a_fault_in_bnport_is_not_a_failed_verification(
    bnport: Any, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("porter.api.inspecting.open_source", lambda *_: 1 / 0)
    fault = bnport("inspect", "net.pth")
    assert fault.code == 70
    assert "fault in bnport" in fault.err


@pytest.mark.parametrize("command", ["convert", "verify", "inspect", "doctor"])
def test_every_command_and_option_has_help(command: str, bnport: Any) -> None:
    shown = bnport(command, "--help")
    assert shown.code == 0
    assert shown.err == ""
    found = cli.bnport.get_command(click.Context(cli.bnport), command)
    assert found is not None
    assert found.help
    assert [option.name for option in found.params if isinstance(option, click.Option) and not option.help] == []


def test_a_wrong_size_is_told_with_its_option(bnport: Any, net: Path) -> None:
    assert "--max-shard-size" in bnport("convert", "net.pth", "-o", "n.safetensors", "--max-shard-size", "many").err


def test_a_prefix_is_removed_by_whole_levels(bnport: Any, tmp_path: Path) -> None:
    torch.save({f"model.{name}": tensor for name, tensor in two_norms().state_dict().items()}, tmp_path / "net.pth")
    assert bnport("convert", "net.pth", "-o", "n.ckpt", "--strip-prefix", "model", "--no-verify").code == 0
    names = {layer["name"] for layer in bnport("inspect", "n.ckpt", "--json").json["layers"]}
    assert names == {"0", "1", "3", "4"}
    refused = bnport("convert", "net.pth", "-o", "x.ckpt", "--strip-prefix", "mod", "--no-verify")
    assert refused.code == 2
    assert "no name begins with it" in refused.err


@pytest.mark.parametrize(("dtype", "words"), [("complex64", "A .safetensors can hold it"), ("complex128", "--rules")])
def test_the_hint_for_what_no_cast_can_help_is_no_cast(dtype: str, words: str, bnport: Any, tmp_path: Path) -> None:
    torch.save({"x.weight": torch.ones(2, 2, dtype=getattr(torch, dtype))}, tmp_path / "net.pth")
    refused = bnport("convert", "net.pth", "-o", "x.ckpt", "--to", "mint", "--no-verify")
    assert refused.code == 3
    assert words in refused.err
    assert "--dtype" not in refused.err
