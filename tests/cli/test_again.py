"""What a failed verification proposes to type next: run as it stands, it mends the file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import two_norms

NAME = "my net's.pth"


@pytest.fixture
def source(tmp_path: Path) -> str:
    torch.save(
        {"ema": {f"module.{name}": value for name, value in two_norms().state_dict().items()}}, tmp_path / NAME
    )
    return NAME


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.chmod(0o600)
    path.write_bytes(content)


def proposed(shown: Any) -> list[str]:
    (line,) = (line for line in shown.out.splitlines() if line.startswith("Next:"))
    program, *words = shlex.split(line.removeprefix("Next:"))
    assert program == "bnport"
    return words


def mended(bnport: Any, options: Sequence[str], again: Sequence[str]) -> list[str]:
    """Convert with `options`, spoil the file, verify with `again`, type what is proposed; returns that."""
    converted = bnport("convert", NAME, "-o", "net.ckpt", "--no-verify", *options)
    assert converted.code == 0, converted.err
    right = Path("net.ckpt").read_bytes()
    spoil(Path("net.ckpt"))
    shown = bnport("verify", NAME, "net.ckpt", *again)
    assert shown.code == 1, shown.err
    words = proposed(shown)
    done = bnport(*words)
    assert done.code == 0, done.err
    assert Path("net.ckpt").read_bytes() == right
    return words


def test_every_option_that_a_conversion_needs_is_repeated(bnport: Any, source: str, tmp_path: Path) -> None:
    (tmp_path / "my rules.toml").write_text('[layers]\n"module.1" = "BatchNorm3d"\n')
    options = [
        *("--from", "torch", "--to", "mindspore", "--key", "ema", "--strip-prefix", "module.", "--dtype", "float16"),
        *("--rename", "0=it's $HOME", "--rename", "re:^1=one", "--rules", "my rules.toml"),
        *("--layer", "module.4=BatchNorm3d", "--eps", "0.001", "--momentum", "0.05"),
    ]
    words = mended(bnport, options, options)
    assert words == ["convert", NAME, "-o", "net.ckpt", "--force", *options]


def test_those_of_showing_the_result_are_not(bnport: Any, source: str) -> None:
    given = ["--html", "page.html", "--junit", "x.xml", "-v", "--seed", "3", "--target-eps", "1e-5"]
    words = mended(bnport, ["--layer", "**=BatchNorm3d"], ["--layer", "**=BatchNorm3d", *given])
    assert words[5:] == ["--layer", "**=BatchNorm3d", "--seed", "3"]


def test_what_the_record_knows_is_taken_from_it(bnport: Any, source: str) -> None:
    layers = ["--layer", "**=BatchNorm3d"]
    words = mended(bnport, [*layers, "--dtype", "float16", "--strip-prefix", "module."], layers)
    assert words[5:] == [*layers, "--strip-prefix", "module.", "--dtype", "float16"]


def test_renames_that_only_the_record_knows_are_left_to_the_user(bnport: Any, source: str) -> None:
    layers = ["--layer", "**=BatchNorm3d"]
    assert bnport("convert", NAME, "-o", "net.ckpt", "--no-verify", "--rename", "**.0=first", *layers).code == 0
    spoil(Path("net.ckpt"))
    assert proposed(bnport("verify", NAME, "net.ckpt", *layers))[5:] == [*layers, "--rename", "..."]


def test_the_optimizer_is_carried_again(bnport: Any, tmp_path: Path) -> None:
    network = two_norms()
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(2, 2, 4, 4, 4)).sum().backward()
    optimizer.step()
    torch.save({"state_dict": network.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / NAME)
    layers = ["--layer", "**=BatchNorm3d"]
    words = mended(bnport, [*layers, "--optimizer"], [*layers, "--optimizer"])
    assert "--optimizer" in words
    words = mended(bnport, [*layers, "--optimizer=Adam", "--force"], [*layers, "--optimizer=Adam"])
    assert "--optimizer=Adam" in words


def test_a_config_is_read_and_not_written_again(bnport: Any, source: str, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("norm_cfg:\n  type: BN3d\n  momentum: 0.2\n")
    (tmp_path / "ours.yaml").write_text("norm_cfg:\n  type: BN3d\n  momentum: 0.8\n")
    layers = ["--layer", "**=BatchNorm3d"]
    words = mended(bnport, layers, [*layers, "--config", "net.yaml", "ours.yaml"])
    assert words[5:] == [*layers, "--config", "net.yaml"]
    assert (tmp_path / "ours.yaml").read_text().endswith("0.8\n")
