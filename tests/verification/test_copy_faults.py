"""Tensors outside of the batch normalisations: what became of their values is said in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import randomised
from safetensors.numpy import load_file, save_file
from torch import nn

import porter
from porter import SourceOptions, WriteOptions

Arrays = dict[str, np.ndarray]


def negate(arrays: Arrays) -> None:
    arrays["0.weight"] = -arrays["0.weight"]


def exchange(arrays: Arrays) -> None:
    arrays["0.weight"], arrays["1.weight"] = arrays["1.weight"], arrays["0.weight"]


def transpose(arrays: Arrays) -> None:
    arrays["0.weight"] = np.ascontiguousarray(arrays["0.weight"].swapaxes(0, 1))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (negate, {"0.weight": "has the opposite sign (432 of 432 values differ; the first at [0, 0, 0, 0, 0]: "}),
        (
            exchange,
            {
                "0.weight": "holds the values of 1.weight or 2.weight (432 ",
                "1.weight": "holds the values of 0.weight (432 ",
            },
        ),
        (transpose, {"0.weight": "has its axes 0 and 1 exchanged (324 "}),
    ],
)
def test_the_fault_is_named(fault: Callable[[Arrays], None], said: dict[str, str], tmp_path: Path) -> None:
    network = randomised(nn.Sequential(*(nn.Conv3d(4, 4, 3, bias=False) for _ in range(3))))
    state = network.state_dict()
    state["2.weight"] = state["1.weight"].clone()
    torch.save(state, tmp_path / "net.pth")
    output = tmp_path / "net.safetensors"
    porter.convert(tmp_path / "net.pth", output, write_options=WriteOptions(to="mindspore"), verify=False)
    arrays = load_file(output)
    fault(arrays)
    save_file(arrays, output)
    found = porter.verify(tmp_path / "net.pth", output)
    assert {problem.name for problem in found.problems} == set(said)
    for problem in found.problems:
        assert problem.text.startswith(said[problem.name])
        assert problem.fault is not None
        assert problem.text.startswith(problem.fault)


def test_biases_that_were_added_up_are_told_as_such(tmp_path: Path) -> None:
    """As libraries do that give a recurrent layer one bias."""
    torch.save(nn.LSTM(3, 4).state_dict(), tmp_path / "net.pth")
    output = tmp_path / "net.safetensors"
    options = SourceOptions(layers=[("", "LSTM")])
    porter.convert(
        tmp_path / "net.pth", output, source_options=options, write_options=WriteOptions(to="mindspore"), verify=False
    )
    arrays = load_file(output)
    one, other = sorted(name for name in arrays if "bias" in name)
    arrays[one], arrays[other] = arrays[one] + arrays[other], -0.0 * arrays[other]
    save_file(arrays, output)
    found = {problem.name: problem.text for problem in porter.verify(tmp_path / "net.pth", output).problems}
    assert found == {
        one: f"holds the sum of itself and {other}, which is 0 now: alike in use, not in training",
        other: f"is 0 throughout, and added to {one}",
    }


def test_a_wrong_file_of_many_bytes_is_not_searched_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("porter.verification.copy_faults._BUDGET", 500)
    linear = randomised(nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10)))
    torch.save(linear.state_dict(), tmp_path / "net.pth")
    output = tmp_path / "net.safetensors"
    porter.convert(tmp_path / "net.pth", output, write_options=WriteOptions(to="mindspore"), verify=False)
    arrays = load_file(output)
    save_file({name: -values for name, values in arrays.items()}, output)
    found = porter.verify(tmp_path / "net.pth", output)
    assert {problem.name: problem.fault for problem in found.problems} == {
        "0.weight": "has the opposite sign",
        "0.bias": "has the opposite sign",
        "1.weight": None,
        "1.bias": None,
    }
