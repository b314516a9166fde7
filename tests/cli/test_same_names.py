"""Two files with the same side's names are no conversion."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import two_norms
from safetensors.torch import save_file


@pytest.mark.parametrize("output", ["net.pth", "copy.pth", "copy.safetensors"])
def test_a_copy_with_pytorchs_names_is_not_called_converted(bnport: Any, output: str) -> None:
    state = two_norms().state_dict()
    torch.save(state, "net.pth")
    shutil.copy("net.pth", "copy.pth")
    save_file(state, "copy.safetensors")
    refused = bnport("verify", "net.pth", output)
    assert refused.code == 2
    assert "both files bear PyTorch's names" in refused.err
    assert "--to torch" in refused.err
    assert bnport("verify", "net.pth", output, "--to", "torch").code == 0


def test_a_mindspore_file_beside_itself_is_refused_whatever_its_record_says(bnport: Any) -> None:
    torch.save(two_norms().state_dict(), "net.pth")
    assert bnport("convert", "net.pth", "-o", "net.ckpt", "--no-verify").code == 0
    assert Path("net.ckpt.bnport.json").exists()
    assert bnport("verify", "net.ckpt", "net.ckpt").code == 2
    assert bnport("verify", "net.pth", "net.ckpt").code == 0


def test_a_recorded_copy_is_verified_as_such(bnport: Any) -> None:
    torch.save(two_norms().state_dict(), "net.pth")
    assert bnport("convert", "net.pth", "-o", "net.safetensors", "--to", "torch", "--no-verify").code == 0
    assert bnport("verify", "net.pth", "net.safetensors").code == 0
