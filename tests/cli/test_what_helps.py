"""What `bnport verify` proposes helps: what is typed after it no longer fails as it did."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

NAMES = {"weight": "0.weight", "variance": "1.running_var"}


def state(**changes: float) -> dict[str, torch.Tensor]:
    """A convolution and its normalisation, with one element of a tensor changed."""
    torch.manual_seed(0)
    values = nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4)).state_dict()
    for name, value in changes.items():
        values[NAMES[name]].view(-1)[0] = value
    return values


def next_words(shown: Any) -> list[str]:
    (line,) = (line for line in shown.out.splitlines() if line.startswith("Next:"))
    return shlex.split(line.removeprefix("Next:"))[1:]


def converted(bnport: Any, values: dict[str, torch.Tensor], *options: str) -> Any:
    torch.save(values, "net.pth")
    done = bnport("convert", "net.pth", "-o", "net.ckpt", "--no-verify", *options)
    assert done.code == 0, done.err
    return done


def test_values_that_leave_the_range_of_a_dtype(bnport: Any) -> None:
    """65504 is float16's largest number."""
    done = converted(bnport, state(weight=1e5, variance=7e4), "--dtype", "float16")
    told = "values too large for float16 became infinite: 2 in 2 tensors, the first "
    assert told in done.err
    shown = bnport("verify", "net.pth", "net.ckpt")
    assert (shown.code, told in shown.err) == (1, True)
    assert "became infinite: 1 in 0.weight; --dtype bfloat16 or float32 holds them" in " ".join(shown.out.split())
    found = bnport("verify", "net.pth", "net.ckpt", "--json").json
    assert found["tensors"]["overflowed"] == {"0.weight": 1, "1.bn2d.moving_variance": 1}
    assert [layer["cause"] for layer in found["layers"]] == ["dtype", "dtype"]
    words = next_words(shown)
    assert words == ["convert", "net.pth", "-o", "net.ckpt", "--force", "--dtype", "bfloat16"]
    assert bnport(*words).code == 0
    assert bnport("verify", "net.pth", "net.ckpt").code == 0


def test_a_conversion_that_overflows_writes_nothing_and_says_why(bnport: Any) -> None:
    torch.save(state(weight=1e5), "net.pth")
    refused = bnport("convert", "net.pth", "-o", "net.ckpt", "--dtype", "float16")
    assert refused.code == 1
    assert "became infinite: 1 in 0.weight; --dtype bfloat16 or float32 holds them" in refused.err
    assert not Path("net.ckpt").exists()


def test_a_tensor_of_no_layer_that_overflows_is_told(bnport: Any) -> None:
    converted(bnport, {"mask": torch.tensor([1e9, 0.0])}, "--dtype", "float16")
    shown = bnport("verify", "net.pth", "net.ckpt")
    assert "became infinite: 1 in mask" in shown.err
    assert "1 tensor equals the source's (1 after the cast); no layer of a known kind to run." in shown.out
    assert bnport("verify", "net.pth", "net.ckpt", "--json").json["ok"] is True


def test_what_strict_refuses_no_conversion_mends(bnport: Any) -> None:
    converted(bnport, state(weight=float("nan")))
    right = bnport("verify", "net.pth", "net.ckpt")
    assert "1 of them holds odd values of the source's own, such as NaN" in " ".join(right.out.split())
    shown = bnport("verify", "net.pth", "net.ckpt", "--strict")
    assert "the conversion is right" in " ".join(shown.out.split())
    assert (shown.code, next_words(shown)) == (1, ["verify", "net.pth", "net.ckpt"])
    assert bnport(*next_words(shown)).code == 0


def test_the_direction_is_said(bnport: Any) -> None:
    converted(bnport, state())
    assert bnport("verify", "net.pth", "net.ckpt").out.splitlines()[0] == "net.pth (PyTorch) -> net.ckpt (MindSpore)"
    assert bnport("convert", "net.ckpt", "-o", "back.pth", "--no-verify").code == 0
    back = bnport("verify", "net.ckpt", "back.pth")
    assert back.out.splitlines()[0] == "net.ckpt (MindSpore) -> back.pth (PyTorch)"
    found = bnport("verify", "net.ckpt", "back.pth", "--json").json
    assert (found["from"], found["to"]) == ("mindspore", "torch")


@pytest.mark.parametrize("command", ["convert", "verify"])
def test_the_help_says_whose_names_are_the_default(bnport: Any, command: str) -> None:
    assert "the other framework's" in " ".join(bnport(command, "--help").out.split())


OTHER_NAMES = """
from mindspore import nn

class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3, pad_mode="valid", has_bias=True)
        self.bn = nn.BatchNorm3d(4)

def build():
    return Net()
"""


def test_a_network_of_other_names_is_aligned(bnport: Any) -> None:
    converted(bnport, state())
    Path("ours.py").write_text(OTHER_NAMES)
    shown = bnport("verify", "net.pth", "net.ckpt", "--net", "ours.py:build")
    assert shown.code == 1
    assert "MindSpore's network does not fit it. --align proposes renames" in " ".join(shown.out.split())
    words = next_words(shown)
    assert words == ["convert", "net.pth", "-o", "net.ckpt", "--force", "--align", "--net", "ours.py:build"]
    assert "written to net.ckpt.rules.toml" in bnport(*words).err
    assert bnport(*[word for word in words if word != "--align"], "--rules", "net.ckpt.rules.toml").code == 0


def test_a_file_of_no_tensors_is_told_as_such(bnport: Any) -> None:
    """Both frameworks' writers make one of an empty dictionary, from before the network was built."""
    save_file({}, "empty.safetensors")
    converted(bnport, state())
    for words in (("inspect",), ("convert", "-o", "out.ckpt"), ("convert", "-o", "out.ckpt", "--from", "torch")):
        refused = bnport(words[0], "empty.safetensors", *words[1:])
        assert (refused.code, "there is no tensor in it" in refused.err) == (3, True)
    as_output = bnport("verify", "net.pth", "empty.safetensors")
    assert as_output.code == 4
    assert "found no tensors). Say it with --to torch" in as_output.err


def test_a_wrong_file_is_not_written_anew_under_strict(bnport: Any) -> None:
    """It would be refused for the source's own values, which stay what they are."""
    converted(bnport, state(weight=float("nan")))
    content = bytearray(Path("net.ckpt").read_bytes())
    content[-2] ^= 0x40
    Path("net.ckpt").chmod(0o600)
    Path("net.ckpt").write_bytes(content)
    shown = bnport("verify", "net.pth", "net.ckpt", "--strict", "--seed", "3")
    assert next_words(shown) == ["convert", "net.pth", "-o", "net.ckpt", "--force", "--seed", "3"]
    assert bnport(*next_words(shown)).code == 0
