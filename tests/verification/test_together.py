"""Many tensors of a layer that are wrong in one way are one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

import porter
from porter import WriteOptions
from porter.verification.copies import TensorProblem
from porter.verification.together import in_words

Arrays = dict[str, np.ndarray]


def reverse(arrays: Arrays) -> Arrays:
    """The two directions in each other's place."""
    other = {
        name: name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse" for name in arrays
    }
    return {name: arrays[other[name]] for name in arrays}


def gates(arrays: Arrays) -> Arrays:
    """The gates as a library has them that keeps the output's before the cell's."""
    parts = {name: np.split(values, 4) for name, values in arrays.items()}
    return {name: np.concatenate([p[0], p[1], p[3], p[2]]) for name, p in parts.items()}


def noise(arrays: Arrays) -> Arrays:
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=values.shape).astype(values.dtype) for name, values in arrays.items()}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            reverse,
            "4 pairs of tensors exchanged: rnn.weight_ih_l0 with rnn.weight_ih_l0_reverse, "
            "rnn.weight_hh_l0 with rnn.weight_hh_l0_reverse, rnn.bias_ih_l0 with rnn.bias_ih_l0_reverse, ...",
        ),
        (
            gates,
            "rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, ... (8 tensors): each has its 4 parts of 7 rows "
            "(gates, or queries, keys and values) in the order 0, 1, 3, 2",
        ),
    ],
)
def test_a_recurrent_layer_is_one_sentence(fault: Callable[[Arrays], Arrays], said: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(5, 7, bidirectional=True)
    torch.save({f"rnn.{name}": value for name, value in layer.state_dict().items()}, tmp_path / "net.pth")
    output = tmp_path / "net.safetensors"
    porter.convert(tmp_path / "net.pth", output, write_options=WriteOptions(to="mindspore"), verify=False)
    save_file(fault(load_file(output)), output)
    found = porter.verify(tmp_path / "net.pth", output)
    assert [layer.diagnosis for layer in found.layers] == [said]
    assert len(found.problems) == 8, "each has its own entry all the same"


def problem(name: str, *values_of: str, fault: str | None = None, kind: str = "values") -> TensorProblem:
    return TensorProblem(name, name, kind, f"text of {name}", "a", fault, values_of)


def test_few_are_told_each_by_itself() -> None:
    few = [problem("a", "b"), problem("b", "a"), problem("c", fault="is multiplied by 2")]
    assert in_words(few) == ["a text of a", "b text of b", "c text of c"]
    assert in_words([]) == []


def test_of_many_each_way_is_told_once_and_none_is_lost() -> None:
    many = [
        *(problem(f"a{i}", fault="is multiplied by 2") for i in range(4)),
        problem("x", "y"),
        problem("y", "x"),
        problem("u", "elsewhere", "v"),
        problem("v", "u"),
        problem("w", "elsewhere"),
        problem("gone", kind="missing"),
        problem("odd", fault="has the opposite sign"),
        *(problem(f"b{i}") for i in range(2)),
    ]
    assert in_words(many) == [
        "2 pairs of tensors exchanged: x with y, u with v",
        "w text of w",
        "gone text of gone",
        "a0, a1, a2, ... (4 tensors): each is multiplied by 2",
        "odd text of odd",
        "b0, b1 (2 tensors): each holds other values",
    ]


def test_a_tensor_is_in_one_pair_only() -> None:
    """Tensors of equal values stand for each other: `x` has those of `y` and `z`, and each of them those of `x`."""
    for names in ("xyzw", "yzwx"):
        values_of = {"x": ("y", "z"), "y": ("x",), "z": ("x",), "w": ("elsewhere",)}
        told = in_words([problem(name, *values_of[name]) for name in names])
        assert told[0] in ("1 pair of tensors exchanged: x with y", "1 pair of tensors exchanged: y with x")
        assert told[1:] == ["z text of z", "w text of w"]
