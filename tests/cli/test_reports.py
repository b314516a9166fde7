"""The reports of `bnport verify`, and OUTPUT alone, as users and scripts meet them."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from nets import two_norms

from porter.cli import verify as command


@pytest.fixture
def pair(bnport: Any, tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    assert bnport("convert", "net.pth", "-o", "net.ckpt", "--no-verify").code == 0


@pytest.mark.usefixtures("pair")
def test_a_verification_leaves_its_reports(bnport: Any) -> None:
    found = bnport("verify", "net.pth", "net.ckpt", "--html", "page.html", "--junit", "junit.xml", "--seed", "3")
    assert found.code == 0
    assert "VERIFIED" in found.out
    page = Path("page.html").read_text("utf-8")
    assert "<h1>VERIFIED</h1>" in page
    assert "bnport verify net.pth net.ckpt --html page.html --junit junit.xml --seed 3" in page
    suites = ElementTree.parse("junit.xml").getroot()
    assert [suite.get("failures") for suite in suites] == ["0", "0"]


@pytest.mark.usefixtures("pair")
def test_a_failed_verification_leaves_its_reports_too(bnport: Any) -> None:
    failed = bnport("verify", "net.pth", "net.ckpt", "--target-eps", "0.5", "--html", "page.html", "--junit", "x.xml")
    assert failed.code == 1
    assert "<h1>VERIFICATION FAILED</h1>" in Path("page.html").read_text("utf-8")
    tensors, layers = ElementTree.parse("x.xml").getroot()
    assert tensors.get("failures") == "0"
    assert layers.get("failures") != "0"
    assert "eps is 0.5" in Path("x.xml").read_text("utf-8")


@pytest.mark.usefixtures("pair")
def test_a_report_that_cannot_be_written_is_exit_6(bnport: Any) -> None:
    refused = bnport("verify", "net.pth", "net.ckpt", "--html", "nowhere/page.html")
    assert refused.code == 6
    assert "nowhere/page.html: cannot be written" in refused.err


@pytest.mark.usefixtures("pair")
def test_output_alone_is_compared_with_what_was_proven(bnport: Any) -> None:
    untold = bnport("verify", "net.ckpt")
    assert untold.code == 2
    assert "bnport verify SOURCE OUTPUT" in untold.err
    assert bnport("verify", "net.pth", "net.ckpt", "--quiet").code == 0
    told = bnport("verify", "net.ckpt")
    assert told.code == 0
    assert "VERIFIED net.ckpt is, byte for byte, the file that was verified." in told.out
    for fact in ("11 tensors compared, ", "source net.pth (sha256 ", "mindspore 2."):
        assert fact in told.out
    assert bnport("verify", "net.ckpt", "--json").json["verified"] is True


@pytest.mark.usefixtures("pair")
def test_what_was_proven_holds_for_the_configs_that_were_given(bnport: Any) -> None:
    told = {"here.yaml": "bn_momentum: 0.1\n", "there.yaml": "bn_momentum: 0.9\n"}
    for name, text in told.items():
        Path(name).write_text(text, "utf-8")
    assert bnport("verify", "net.pth", "net.ckpt", "--config", *told).code == 0
    kept = bnport("verify", "net.ckpt", "--json").json["proof"]["circumstances"]
    assert {one["name"]: one["sha256"] for one in kept["configs"]} == {
        name: sha256(text.encode()).hexdigest() for name, text in told.items()
    }
    assert "layers configured by here.yaml (sha256 " in bnport("verify", "net.ckpt").out


@pytest.mark.usefixtures("pair")
def test_a_conversion_proves_the_config_that_it_writes(bnport: Any) -> None:
    Path("here.yaml").write_text("bn_momentum: 0.1\n", "utf-8")
    done = bnport(
        "convert", "net.pth", "-o", "other.ckpt", "--config", "here.yaml", "--config-output", "there.yaml", "--from",
        "torch",
    )  # fmt: skip
    assert done.code == 0, done.err
    kept = bnport("verify", "other.ckpt", "--json").json["proof"]["circumstances"]["configs"]
    assert [one["sha256"] for one in kept] == [
        sha256(Path(name).read_bytes()).hexdigest() for name in ("here.yaml", "there.yaml")
    ]


@pytest.mark.usefixtures("pair")
def test_another_file_is_exit_1(bnport: Any) -> None:
    assert bnport("verify", "net.pth", "net.ckpt").code == 0
    state = two_norms().state_dict()
    state["1.weight"] *= 2
    torch.save(state, "trained.pth")
    record = Path("net.ckpt.bnport.json").read_bytes()
    assert bnport("convert", "trained.pth", "-o", "net.ckpt", "--force", "--no-verify").code == 0
    Path("net.ckpt.bnport.json").write_bytes(record)
    other = bnport("verify", "net.ckpt")
    assert other.code == 1
    assert "ANOTHER FILE net.ckpt does not hold the bytes that were verified." in other.out
    assert bnport("verify", "net.ckpt", "--json").json["same"] is False


@pytest.mark.usefixtures("pair")
def test_what_was_not_complete_is_exit_5(bnport: Any) -> None:
    assert bnport("verify", "net.pth", "net.ckpt").code == 0
    beside = Path("net.ckpt.bnport.json")
    record = json.loads(beside.read_text("utf-8"))
    record["proof"].update(complete=False, layers_run=0, layers_not_run=2)
    beside.write_text(json.dumps(record), "utf-8")
    told = bnport("verify", "net.ckpt")
    assert told.code == 5
    assert "NOT VERIFIED" in told.out
    assert "0 layers run, 2 not run" in told.out


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("option", ["--seed=1", "--html=x.html", "--model=x:y", "--strict"])
def test_options_that_need_a_source_are_refused_without(bnport: Any, option: str) -> None:
    refused = bnport("verify", "net.ckpt", option)
    assert refused.code == 2
    assert f"{option.partition('=')[0]}: needs SOURCE" in refused.err


def test_the_schema_is_printed(bnport: Any) -> None:
    printed = bnport("schema", "verify")
    assert printed.code == 0
    assert printed.json["$id"] == "urn:bnport:verify:1"
    assert bnport("schema", "nothing").code == 2


def test_help_says_that_source_may_be_left_out(bnport: Any) -> None:
    assert "[SOURCE] OUTPUT" in bnport("verify", "--help").out
    assert set(command._ALONE) <= {option.name for option in command.verify.params}


@pytest.mark.usefixtures("pair")
def test_a_damaged_record_costs_neither_verdict_nor_report(bnport: Any) -> None:
    Path("net.ckpt.bnport.json").write_text("{")
    found = bnport("verify", "net.pth", "net.ckpt", "--html", "page.html")
    assert found.code == 0
    assert "VERIFIED" in found.out
    assert "<h1>VERIFIED</h1>" in Path("page.html").read_text("utf-8")
    assert "expected as without a record: net.ckpt.bnport.json" in found.err
    assert "the record does not tell of this verification: net.ckpt.bnport.json" in found.err


@pytest.mark.usefixtures("pair")
def test_a_record_that_cannot_be_written_costs_no_verdict(bnport: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("porter.record.os.replace", refuse)
    found = bnport("verify", "net.pth", "net.ckpt")
    assert found.code == 0
    assert "VERIFIED" in found.out
    assert "net.ckpt.bnport.json: cannot be written: Permission denied" in found.err


@pytest.mark.usefixtures("pair")
def test_output_alone_tells_the_tolerances_of_its_proof(bnport: Any) -> None:
    assert bnport("verify", "net.pth", "net.ckpt", "--atol", "1e9").code == 0
    assert "with --atol 1000000000.0 in place of the rounding-error bounds" in bnport("verify", "net.ckpt").out


@pytest.mark.usefixtures("pair")
def test_the_source_of_another_network_is_said_in_one_line_and_nothing_is_to_be_overwritten(bnport: Any) -> None:
    other = torch.nn.ModuleDict({f"block{i}": torch.nn.Conv3d(2, 2, 1) for i in range(9)})
    torch.save(other.state_dict(), "other.pth")
    failed = bnport("verify", "other.pth", "net.ckpt")
    assert failed.code == 1
    assert "OUTPUT was not made from this SOURCE" in failed.out
    assert "18 of the 18 tensors expected are missing" in " ".join(failed.out.split())
    assert "WRONG" not in failed.out
    assert "Next:  bnport inspect net.ckpt" in failed.out
    assert "--force" not in failed.out
