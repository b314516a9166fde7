"""Loading into networks that someone else wrote: the strict check, --rename, --rules, --align, and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import ports
import pytest
import torch
from mindspore import nn as mn
from nets import assert_same, randomised

PORTS = str(Path(ports.__file__))
TORCH = ("--model", f"{PORTS}:TorchNet")
SHAPE = ("--input-shape", "2x3x4x6x8")
PAIR = ("convert", "pair.pth", "-o", "pair.ckpt", "--model", f"{PORTS}:TorchPair", "--net", f"{PORTS}:other_words")
PAIR_SHAPE = ("--input-shape", "1x2x2x2x2")
# By hand, for ports.Wrapped.
RENAMES = (
    "stem.0=stem.conv",
    "stem.1=stem.bn",
    "layer1=stages.0",
    "layer2=stages.1",
    "stages.*.*.downsample=stages.*.*.down_sample",
    "stages.*.*.*.0=stages.*.*.*.conv",
    "stages.*.*.*.1=stages.*.*.*.bn",
    "fc=head",
)
RENAME = tuple(word for text in RENAMES for word in ("--rename", text))


@pytest.fixture
def net(tmp_path: Path) -> dict[str, torch.Tensor]:
    state = randomised(ports.TorchNet()).state_dict()
    torch.save(state, tmp_path / "net.pth")
    return state


def load_strictly(cell: mn.Cell, path: str) -> mn.Cell:
    """`cell` with the parameters of `path`; every name and shape both ways, and no parameter left as it was made."""
    parameters = mindspore.load_checkpoint(path)
    own = {name: (p.shape, p.dtype) for name, p in cell.parameters_dict().items()}
    assert {name: (p.shape, p.dtype) for name, p in parameters.items()} == own
    assert mindspore.load_param_into_net(cell, parameters, strict_load=True) == ([], [])
    return cell


def outputs(cell: mn.Cell, state: dict[str, torch.Tensor]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    clips = np.random.default_rng(0).standard_normal((2, 3, 4, 6, 8)).astype("float32")
    network = ports.TorchNet()
    network.load_state_dict(state, strict=True)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(clips)).numpy()
    return cell.set_train(False)(mindspore.Tensor(clips)).asnumpy(), expected


def test_renames_make_it_fit_and_the_way_back_restores_all(bnport: Any, net: dict[str, torch.Tensor]) -> None:
    target = ("--net", f"{PORTS}:Wrapped")
    done = bnport("convert", "net.pth", "-o", "net.ckpt", *TORCH, *target, *RENAME)
    assert done.code == 0, done.err
    found, expected = outputs(load_strictly(ports.Wrapped(), "net.ckpt"), net)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    # verify knows the renames from the record, or from the same options
    assert bnport("verify", "net.pth", "net.ckpt", *TORCH, *target, *SHAPE).code == 0
    Path("net.ckpt.bnport.json").rename("record.json")
    assert bnport("verify", "net.pth", "net.ckpt").code == 1
    assert bnport("verify", "net.pth", "net.ckpt", *RENAME).code == 0
    # the way back: with the record to the last bit, without it by renaming back
    back = bnport("convert", "net.ckpt", "-o", "back.pth", "--record", "record.json")
    assert back.code == 0, back.err
    assert "52 names are shown as before the renames" in back.err
    assert_same(net, torch.load("back.pth", weights_only=True))
    inverse = [word for text in reversed(RENAMES) for word in ("--rename", "=".join(text.split("=")[::-1]))]
    call = ("convert", "net.ckpt", "-o", "b.pth", *inverse, *TORCH, *target, "--no-verify")
    assert bnport(*call).code == 0
    ports.TorchNet().load_state_dict(torch.load("b.pth", weights_only=True), strict=True)


def test_a_leaf_may_be_renamed_too(bnport: Any, net: dict[str, torch.Tensor]) -> None:
    """Then the output's names tell no layer, and only the record leads back."""
    assert bnport("convert", "net.pth", "-o", "net.ckpt", "--rename", r"re:bn2d\.(\w+)$=\1_of_norm").code == 0
    assert "stem.1.gamma_of_norm" in mindspore.load_checkpoint("net.ckpt")
    assert bnport("verify", "net.pth", "net.ckpt").code == 0
    assert bnport("convert", "net.ckpt", "-o", "back.pth").code == 0
    assert_same(net, torch.load("back.pth", weights_only=True))


def test_the_plan_and_the_record_say_what_was_renamed(bnport: Any, net: dict[str, torch.Tensor]) -> None:
    done = bnport("convert", "net.pth", "-o", "net.ckpt", "--rename", "fc=head", "--json", "--no-verify").json
    step = next(step for step in done["tensors"] if step["source"] == "fc.weight")
    assert (step["target"], step["fate"]) == ("head.weight", "renamed")
    assert step["reason"].endswith("; renamed on request")
    record = json.loads(Path("net.ckpt.bnport.json").read_text())
    assert record["renamed"] == {"fc.weight": "head.weight", "fc.bias": "head.bias"}


def test_what_does_not_fit_is_exit_1_with_candidates(bnport: Any, net: dict[str, torch.Tensor]) -> None:
    call = ("convert", "net.pth", "-o", "net.ckpt", *TORCH, "--net", f"{PORTS}:Wrapped", *RENAME[:-2])
    failed = bnport(*call)
    assert failed.code == 1
    assert "2 missing, 2 left over" in failed.err
    assert "head.weight: missing, float32 [5, 6]; closest: fc.weight (70% alike, same shape)" in failed.err
    assert {path.name for path in Path().iterdir()} == {"net.pth"}
    document = bnport(*call, "--json")
    assert document.json["error"]["type"] == "DoesNotFit"
    assert [(d["name"], d["problem"]) for d in document.json["differences"]] == [
        ("head.weight", "missing"),
        ("head.bias", "missing"),
        ("fc.weight", "left over"),
        ("fc.bias", "left over"),
    ]
    assert bnport(*call, "--dry-run").code == 1


def test_another_dtype_is_a_difference_and_dtype_mends_it(bnport: Any, net: dict[str, torch.Tensor]) -> None:
    half = {name: value.half() if value.is_floating_point() else value for name, value in net.items()}
    torch.save(half, "half.pth")
    call = ("convert", "half.pth", "-o", "net.ckpt", "--net", f"{PORTS}:Wrapped", *RENAME)
    failed = bnport(*call)
    assert failed.code == 1
    assert "52 of another dtype" in failed.err
    assert "--dtype" in failed.err
    assert bnport(*call, "--dtype", "float32", "--no-verify").code == 0
    shorter = bnport(*call, "--dtype", "bfloat16", "--no-verify", "--force")
    assert shorter.code == 0, "asked for, it is another dtype than the network's"
    assert "52 tensors are bfloat16, as --dtype asks, where" in shorter.err


def test_the_target_may_be_pytorch(bnport: Any, tmp_path: Path) -> None:
    mindspore.save_checkpoint(ports.Wrapped(), str(tmp_path / "net.ckpt"))
    call = ("convert", "net.ckpt", "-o", "net.pth", "--net", f"{PORTS}:Wrapped", *TORCH)
    assert bnport(*call).code == 1
    proposed = bnport(*call, "--align")
    assert proposed.code == 1
    assert Path("net.pth.rules.toml").exists()
    done = bnport(*call, "--rules", "net.pth.rules.toml", *SHAPE)
    assert done.code == 0, done.err
    assert "both networks agree" in done.out
    ports.TorchNet().load_state_dict(torch.load("net.pth", weights_only=True), strict=True)


@pytest.mark.parametrize("port", ["Wrapped", "Flat", "Recogniser"])
def test_align_proposes_a_rules_file_and_applies_it_when_told(
    port: str, bnport: Any, net: dict[str, torch.Tensor]
) -> None:
    call = ("convert", "net.pth", "-o", "net.ckpt", *TORCH, "--net", f"{PORTS}:{port}")
    proposed = bnport("convert", "--align", *call[1:], "--json")
    assert proposed.code == 1
    assert {path.name for path in Path().iterdir()} == {"net.pth", "net.ckpt.rules.toml"}
    renames = proposed.json["proposed"]["renames"]
    assert min(rename["confidence"] for rename in renames) >= 0.9
    again = bnport(*call, "--align")
    assert again.code == 1
    assert "written to net.ckpt.rules.toml" in again.err
    assert bnport(*call, "--rules", "net.ckpt.rules.toml", "-q", "--no-verify").code == 0
    by_rules = Path("net.ckpt").read_bytes()
    Path("net.ckpt").unlink()
    applied = bnport(*call, "--align=apply", *SHAPE)
    assert applied.code == 0, applied.err
    assert "both networks agree" in applied.out
    assert applied.err.count("applied to fit") == len(renames)
    assert Path("net.ckpt").read_bytes() == by_rules
    found, expected = outputs(load_strictly(getattr(ports, port)(), "net.ckpt"), net)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    assert bnport("convert", "net.ckpt", "-o", "back.pth", "-q", "--no-verify").code == 0
    assert_same(net, torch.load("back.pth", weights_only=True))


def test_align_does_nothing_where_the_names_match(bnport: Any, net: dict[str, torch.Tensor]) -> None:
    call = (
        "convert",
        "net.pth",
        "-o",
        "net.ckpt",
        *TORCH,
        "--net",
        f"{PORTS}:Wrapped",
        *RENAME,
        "--align",
        "--no-verify",
    )
    assert bnport(*call).code == 0
    assert not Path("net.ckpt.rules.toml").exists()


def test_what_is_not_unique_is_not_applied(bnport: Any) -> None:
    torch.save(randomised(ports.TorchPair()).state_dict(), "pair.pth")
    failed = bnport(*PAIR, "--align=apply", *PAIR_SHAPE)
    assert failed.code == 1
    assert "Not applied: 2 of the renames could be others as well" in failed.err
    assert "left -> top (50%: told from its likes by the order of declaration alone: check it)" in failed.err
    assert not Path("pair.ckpt").exists()


def test_a_rules_file_that_is_there_hides_no_proposals(bnport: Any) -> None:
    torch.save(randomised(ports.TorchPair()).state_dict(), "pair.pth")
    assert bnport(*PAIR, "--align").code == 1
    applied = bnport(*PAIR, "--align=apply", *PAIR_SHAPE)
    assert applied.code == 1
    assert "Not applied: 2 of the renames could be others as well" in applied.err
    edited = '[rename]\n"right" = "top"\n'
    Path("pair.ckpt.rules.toml").write_text(edited)
    for mode in (("--align",), ("--align=apply", *PAIR_SHAPE)):
        failed = bnport(*PAIR, *mode)
        assert failed.code == 1
        assert "left -> top (50%" in failed.err
        assert "pair.ckpt.rules.toml, which exists already, says something else and is left as it is" in failed.err
    assert Path("pair.ckpt.rules.toml").read_text() == edited
    Path("pair.ckpt.rules.toml").unlink()
    Path("pair.ckpt.rules.toml").mkdir()
    assert "left -> top (50%" in bnport(*PAIR, "--align").err


def test_renames_that_nobody_checked_are_warned_of_until_someone_does(bnport: Any) -> None:
    torch.save(randomised(ports.TorchPair()).state_dict(), "pair.pth")
    assert bnport(*PAIR, "--align").code == 1
    rules = Path("pair.ckpt.rules.toml")
    call = (*PAIR, "--rules", str(rules))
    warning = "2 renames (left -> top, ...) rest on the order of declaration alone"
    assert warning in bnport(*call, "--dry-run").err
    done = bnport(*call)
    assert (done.code, warning in done.err) == (0, True)
    verify = ("verify", "pair.pth", "pair.ckpt", *PAIR[4:], "--rules", str(rules))
    assert warning in bnport(*verify).err
    assert warning not in bnport(*verify, *PAIR_SHAPE).err
    Path("pair.ckpt").unlink()
    assert warning not in bnport(*call, *PAIR_SHAPE).err
    text = rules.read_text()
    assert 'unchecked = ["left", "right"]' in text
    rules.write_text(text.replace('"left", ', ""))
    assert "1 renames (right -> bottom) rest" in bnport(*verify).err
    rules.write_text(text.replace('unchecked = ["left", "right"]', ""))
    assert "rest on the order" not in bnport(*verify).err


def test_what_is_unique_by_name_but_computes_otherwise_is_refuted(bnport: Any) -> None:
    """unit1 looks like conv1, but stands where conv2 does: only the outputs tell."""
    torch.save(randomised(ports.torch_numbered()).state_dict(), "pair.pth")
    call = (
        "convert", "pair.pth", "-o", "pair.ckpt", "--model", f"{PORTS}:torch_numbered",
        "--net", f"{PORTS}:numbered_swapped", "--align=apply",
    )  # fmt: skip
    failed = bnport(*call, "--input-shape", "1x2x2x2x2")
    assert failed.code == 1
    assert "the networks differ" in failed.err
    assert not Path("pair.ckpt").exists()
    assert bnport(*call).code == 2  # never without looking at outputs
    assert bnport(*call, "--input-shape", "1x2x2x2x2", "--no-verify").code == 2


def test_inspect_writes_the_rules_to_edit(bnport: Any, net: dict[str, torch.Tensor]) -> None:
    assert bnport("inspect", "net.pth", *TORCH, "--write-rules", "port.toml", "-q").code == 0
    assert '"stem.1" = "BatchNorm3d"' in Path("port.toml").read_text()
    assert bnport("inspect", "net.pth", "--write-rules", "port.toml").code == 2
    with Path("port.toml").open("a") as file:
        file.write("\n[rename]\n" + "".join('"{}" = "{}"\n'.format(*text.split("=")) for text in RENAMES))
    target = ("--net", f"{PORTS}:Wrapped", "--no-verify")
    done = bnport("convert", "net.pth", "-o", "net.ckpt", "--rules", "port.toml", *target)
    assert done.code == 0, done.err
    assert bnport("verify", "net.pth", "net.ckpt", "--rules", "port.toml").code == 0
    assert bnport("inspect", "net.pth", "--rules", "port.toml", "-q").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rename", "fc"),
        ("--rename", "nothing=x"),
        ("--rename", "**.1=**.0"),
        ("--rename", "layer*=layer"),
        ("--rename", "re:(=x"),
        ("--rules", "none.toml"),
        ("--align",),
        ("--align=maybe",),
    ],
)
def test_exit_2_for_renames_that_cannot_be(
    arguments: tuple[str, ...], bnport: Any, net: dict[str, torch.Tensor]
) -> None:
    failed = bnport("convert", "net.pth", "-o", "net.ckpt", *arguments, "--json")
    assert failed.code == 2
    assert failed.json["error"]["type"] == "UsageError"
    assert not Path("net.ckpt").exists()
