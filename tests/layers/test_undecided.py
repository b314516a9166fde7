"""What is asked of the user where a layer's kind cannot be told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mindspore
import pytest
import torch
from nets import randomised, two_norms
from torch import nn

import porter
from porter.errors import Undecided


def refused(source: Path) -> Undecided:
    with pytest.raises(Undecided) as caught:
        porter.convert(source, source.with_name("out.ckpt" if source.suffix == ".pth" else "out.pth"), verify=False)
    return caught.value


def test_the_error_names_the_file_and_every_layer(tmp_path: Path) -> None:
    torch.save(two_norms(track_running_stats=False).state_dict(), tmp_path / "net.pth")
    error = refused(tmp_path / "net.pth")
    assert error.file == str(tmp_path / "net.pth")
    assert error.message == "the kind of 2 layers cannot be told from the file"
    assert [line.split(" (")[0] for line in error.details] == [
        "1: BatchNorm3d or InstanceNorm3d",
        "4: BatchNorm3d or InstanceNorm3d",
    ]
    assert error.hint is not None
    assert "--layer '*=BatchNorm3d'" in error.hint
    assert "--model FILE.py:FACTORY" in error.hint


def test_the_example_is_a_layer_that_may_be_a_batch_norm_3d(tmp_path: Path) -> None:
    """The first undecided layer may be none, and BatchNorm3d is not the first of the second's candidates."""
    network = nn.ModuleDict(
        {
            "conv": nn.Conv3d(3, 8, 3),
            "fc0": nn.Linear(8, 8),
            "norm": nn.RMSNorm(8),
            "conv2": nn.Conv3d(9, 8, 3),
            "bn": nn.BatchNorm3d(8),
            "neck": nn.BatchNorm1d(8),
            "fc": nn.Linear(8, 2),
        }
    )
    torch.save(randomised(network).state_dict(), tmp_path / "net.pth")
    error = refused(tmp_path / "net.pth")
    assert [line.split(":")[0] for line in error.details] == ["norm", "neck"]
    assert "BatchNorm3d" not in error.details[0].split(" (")[0]
    assert error.hint is not None
    assert "--layer 'neck=BatchNorm3d'" in error.hint
    assert error.entry == "neck"


class Pair(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn1, self.norm = nn.BatchNorm3d(channels), nn.BatchNorm3d(channels)


@pytest.mark.parametrize(
    ("network", "pattern", "lines"),
    [
        (lambda: nn.Sequential(*(nn.BatchNorm3d(4) for _ in range(100))), "*", ["{0..99}, 100 layers"]),
        (
            lambda: nn.Sequential(*(Pair(2 << i) for i in range(10))),
            "**",
            ["{0..9}.bn1, 10 layers", "{0..9}.norm, 10 layers"],
        ),
        (
            lambda: nn.ModuleDict({f"bn{word}": nn.BatchNorm3d(3) for word in "abcdefghijkl"}),
            "**",
            [*(f"bn{word}" for word in "abcdefghi"), "and 3 more"],
        ),
        (lambda: nn.BatchNorm3d(4), "(root)", ["(root)"]),
    ],
    ids=["alike", "of two names", "of many names", "one"],
)
def test_many_are_folded_and_one_option_settles_all(
    network: Callable[[], nn.Module], pattern: str, lines: list[str], tmp_path: Path
) -> None:
    torch.save(randomised(network()).state_dict(), tmp_path / "net.pth")
    error = refused(tmp_path / "net.pth")
    counts = [f", {line.partition('), ')[2]}" if "), " in line else "" for line in error.details]
    assert [line.split(":")[0] + count for line, count in zip(error.details, counts, strict=True)] == lines
    assert error.hint is not None
    assert f"--layer '{pattern}=BatchNorm3d'" in error.hint
    options = porter.SourceOptions(layers=[(pattern, "BatchNorm3d")])
    done = porter.convert(tmp_path / "net.pth", tmp_path / "out.ckpt", source_options=options, verify=False)
    assert {(layer.kind.name, layer.certainty) for layer in done.source.layers} == {("BatchNorm3d", "certain")}


def test_the_option_speaks_of_no_layer_that_is_decided(tmp_path: Path) -> None:
    """** would be of both, and of the one between the linear layers, too."""
    known = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 5))
    network = nn.ModuleDict({"a": known, "c": nn.BatchNorm3d(7), "d": nn.BatchNorm3d(6)})
    torch.save(randomised(network).state_dict(), tmp_path / "net.pth")
    error = refused(tmp_path / "net.pth")
    assert [line.split(":")[0] for line in error.details] == ["c", "d"]
    assert error.hint is not None
    assert "--layer 'c=BatchNorm3d'" in error.hint


def test_a_mindspore_file_is_asked_for_the_mindspore_network(tmp_path: Path) -> None:
    """Conv1d of one tap and Conv2d of one by one: the same names and shapes."""
    mindspore.save_checkpoint(mindspore.nn.SequentialCell(mindspore.nn.Conv1d(2, 4, 1)), str(tmp_path / "net.ckpt"))
    error = refused(tmp_path / "net.ckpt")
    assert error.hint is not None
    assert "--layer '0=Conv1d'" in error.hint
    assert "--net FILE.py:FACTORY" in error.hint
