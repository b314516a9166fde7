"""What is said of conversions that are right although the two frameworks do not do the same."""

from __future__ import annotations

from pathlib import Path

import mindspore
import pytest
import torch
from nets import two_norms
from torch import nn

import porter
from porter import SourceOptions, WriteOptions


def warnings(network: nn.Module, folder: Path, options: SourceOptions | None = None) -> list[str]:
    torch.save(network, folder / "net.pth")
    done = porter.convert(folder / "net.pth", folder / "net.ckpt", source_options=options, dry_run=True)
    return [note for note in done.warnings if not note.startswith(("the state dict", "every name"))]


@pytest.mark.parametrize(("tracking", "said"), [(True, True), (False, False)])
def test_an_instance_norm_with_statistics(tracking: bool, said: bool, tmp_path: Path) -> None:
    norm = nn.InstanceNorm3d(4, affine=True, track_running_stats=tracking)
    notes = warnings(nn.Sequential(nn.Conv3d(1, 4, 3), norm), tmp_path)
    assert any("1 InstanceNorm (1, ...) keep running statistics" in note for note in notes) is said


@pytest.mark.parametrize(("dims", "said"), [(3, True), (2, False)])
def test_a_sync_batch_norm_on_volumes(dims: int, said: bool, tmp_path: Path) -> None:
    network = nn.Sequential(getattr(nn, f"Conv{dims}d")(1, 4, 3), getattr(nn, f"BatchNorm{dims}d")(4))
    notes = warnings(network, tmp_path, SourceOptions(layers=[("1", "SyncBatchNorm")]))
    assert any("1 SyncBatchNorm (1, ...) work on volumes" in note for note in notes) is said


@pytest.mark.parametrize(("name", "said"), [("net.ckpt", True), ("net.safetensors", False)])
def test_a_tensor_without_elements_that_mindspore_takes_for_a_number(name: str, said: bool, tmp_path: Path) -> None:
    torch.save({"history": torch.zeros(0), "rows": torch.zeros(0, 3)}, tmp_path / "net.pth")
    done = porter.convert(tmp_path / "net.pth", tmp_path / name, write_options=WriteOptions(to="mindspore"))
    assert any(note.startswith("history: no elements") for note in done.warnings) is said
    loaded = mindspore.load_checkpoint(str(tmp_path / name), format=name.rpartition(".")[2])
    assert (loaded["history"].shape, loaded["rows"].shape) == (() if said else (0,), (0, 3))


def test_nothing_is_said_of_an_ordinary_network(tmp_path: Path) -> None:
    assert warnings(two_norms(), tmp_path) == []
