"""`--optimizer` as users type it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nets import two_norms


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A training checkpoint with Adam's state after one step: eight parameters."""
    net = two_norms()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    net(torch.randn(2, 2, 4, 4, 4)).square().sum().backward()
    optimizer.step()
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "run.pth")
    return tmp_path / "run.pth"


def test_convert_and_verify(bnport: Any, run: Path) -> None:
    there = bnport("convert", "run.pth", "-o", "run.ckpt", "--optimizer", "--json").json
    assert (there["optimizer"]["class"], there["optimizer"]["global_step"]) == ("Adam", 1)
    fates = {entry["source"]: entry for entry in there["tensors"]}
    assert fates["optimizer.state.1.exp_avg"]["target"] == "moment1.0.bias"
    assert fates["optimizer.state.1.step"]["fate"] == "dropped"
    assert "mindspore.nn.Adam counts for all parameters, in global_step" in fates["optimizer.state.1.step"]["reason"]
    assert any("lr" not in note and "eps=1e-08, weight_decay=0" in note for note in there["warnings"])
    assert bnport("verify", "run.pth", "run.ckpt").code == 0
    assert bnport("verify", "run.pth", "run.ckpt", "--optimizer").code == 0
    Path("run.ckpt.bnport.json").unlink()
    # Without the record, the option has to be given again: else the moments are more than was asked for.
    alone = bnport("verify", "run.pth", "run.ckpt", "--to", "mindspore")
    assert alone.code == 1
    assert "moment1.0.weight" in alone.out
    assert bnport("verify", "run.pth", "run.ckpt", "--optimizer").code == 0


def test_the_class_is_chosen_with_an_equals_sign(bnport: Any, run: Path) -> None:
    chosen = bnport("convert", "run.pth", "-o", "run.ckpt", "--optimizer=experimental.Adam", "--json").json
    assert chosen["optimizer"]["class"] == "experimental.Adam"
    wrong = bnport("convert", "run.pth", "-o", "other.ckpt", "--optimizer=Momentum")
    assert wrong.code == 2
    assert "--optimizer=Momentum: takes no such state (expected Adam, experimental.Adam)" in wrong.err
    unknown = bnport("convert", "run.pth", "-o", "other.ckpt", "--optimizer=Lion")
    assert unknown.code == 2
    assert not Path("other.ckpt").exists()


def test_without_it_the_state_is_told_of(bnport: Any, run: Path) -> None:
    assert (
        "an optimizer (--optimizer carries its state); left out" in bnport("convert", "run.pth", "-o", "a.ckpt").err
    )
    assert {"name": "optimizer", "what": "an optimizer (--optimizer carries its state)"} in bnport(
        "inspect", "run.pth", "--json"
    ).json["left_out"]


def test_a_file_without_state(bnport: Any, run: Path) -> None:
    assert bnport("convert", "run.pth", "-o", "a.ckpt").code == 0
    none = bnport("convert", "a.ckpt", "-o", "a.pth", "--optimizer")
    assert none.code == 2
    assert "holds no optimizer state" in none.err
