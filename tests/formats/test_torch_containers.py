"""Which state dict of a checkpoint is taken, and what is said about the rest."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_files import assert_same, by_hand, dictionary, read, save, tensor_pickle, text

from porter.errors import Malformed, Undecided, Unsafe, Unsupported, UsageError
from porter.formats.model import Checkpoint

NET = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.BatchNorm3d(2))
WEIGHTS = NET.state_dict()
# Adam's state holds tensors under text keys, four dictionaries deep.
OPTIMIZER = torch.optim.Adam(NET.parameters())
NET(torch.rand(2, 1, 4, 4, 4)).sum().backward()
OPTIMIZER.step()
OTHER = {"w": torch.zeros(2), "b": torch.ones(2)}


def opened(tmp_path: Path, value: Any, key: str | None = None) -> Checkpoint:
    return read(save(value, tmp_path / "in.pt"), key=key)


@pytest.mark.parametrize(
    "name",
    [
        "state_dict",
        "model",
        "model_state",
        "model_state_dict",
        "network_weights",
        "net",
        "module",
        "params",
        "weights",
    ],
)
def test_customary_name_among_training_state(tmp_path: Path, name: str) -> None:
    value = {
        "epoch": 3,
        "best_acc": torch.tensor(0.5),
        "optimizer": OPTIMIZER.state_dict(),
        "optimizer_states": [OPTIMIZER.state_dict()],
        "optim_state_by_name": {"weight": {"exp_avg": torch.zeros(2)}},
        "scaler": {"scale": torch.tensor(2.0)},
        "lr_schedulers": {"last": torch.tensor(1.0)},
        name: WEIGHTS,
    }
    checkpoint = opened(tmp_path, value)
    assert (checkpoint.container, checkpoint.other_containers) == (name, (".",))
    assert checkpoint.versions == {"": 1, "0": 1, "1": 2}
    assert_same(checkpoint, WEIGHTS)


def test_optimizer_under_any_name_is_never_a_state_dict(tmp_path: Path) -> None:
    checkpoint = opened(tmp_path, {"foo": OPTIMIZER.state_dict(), "bar": {"state_dict": OTHER}})
    assert (checkpoint.container, checkpoint.other_containers) == ("bar.state_dict", ())
    by_name = {"state": {"0.weight": {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
    for optimizer in (OPTIMIZER.state_dict(), by_name):
        with pytest.raises(Unsupported, match="no state dict"):
            opened(tmp_path, {"foo": optimizer})


@pytest.mark.parametrize("name", ["state_dict_ema", "model_ema", "ema", "ema_state_dict", "params_ema", "swa_model"])
def test_averaged_copy_comes_second(tmp_path: Path, name: str) -> None:
    checkpoint = opened(tmp_path, {name: OTHER, "state_dict": WEIGHTS})
    assert (checkpoint.container, checkpoint.other_containers) == ("state_dict", (name,))
    assert opened(tmp_path, {name: WEIGHTS, "something": OTHER}).container == name
    assert_same(opened(tmp_path, {name: OTHER, "state_dict": WEIGHTS}, key=name), OTHER)


def test_averaged_copy_beside_a_bare_state_dict(tmp_path: Path) -> None:
    checkpoint = opened(tmp_path, {**OTHER, "ema": {"w": torch.zeros(2), "b": torch.ones(2), "n": torch.ones(2)}})
    assert (checkpoint.container, checkpoint.other_containers) == (None, ("ema",))
    assert [(entry.name, entry.what) for entry in checkpoint.left_out] == [("ema", "builtins.dict")]


def test_nested(tmp_path: Path) -> None:
    assert opened(tmp_path, {"state": {"model": WEIGHTS, "ema": OTHER}}).container == "state.model"


def test_loose_tensors_around_a_customary_name(tmp_path: Path) -> None:
    value = {"model": {"step": torch.tensor(3), "state_dict": WEIGHTS}}
    checkpoint = opened(tmp_path, value)
    assert (checkpoint.container, checkpoint.other_containers) == ("model.state_dict", ("model",))


@pytest.mark.parametrize(
    "value",
    [
        {"netG": WEIGHTS, "netD": OTHER},
        {"model": WEIGHTS, "state_dict": OTHER},
        {"a": {"model": WEIGHTS}, "b": {"model": OTHER}},
        {"mean": torch.zeros(3), "encoder": WEIGHTS},
    ],
    ids=lambda value: "+".join(value),
)
def test_equally_good(tmp_path: Path, value: Any) -> None:
    with pytest.raises(Undecided, match="--key") as caught:
        opened(tmp_path, value)
    keys = (caught.value.found or "").split(", ")
    assert len(keys) == 2
    assert caught.value.exit_code == 4
    for key in keys:
        assert opened(tmp_path, value, key=key).tensors


def test_one_dictionary_under_two_names_is_one(tmp_path: Path) -> None:
    assert opened(tmp_path, {"model": WEIGHTS, "state_dict": WEIGHTS}).container == "model"


def test_key(tmp_path: Path) -> None:
    value = {"state_dict": WEIGHTS, "some.thing": {"else": OTHER}, "loose": torch.zeros(1)}
    assert_same(opened(tmp_path, value, key="some.thing.else"), OTHER)
    assert list(opened(tmp_path, value, key=".").tensors) == ["loose"]
    with pytest.raises(UsageError, match=r"expected one of state_dict, some\.thing\.else, \.") as caught:
        opened(tmp_path, value, key="model")
    assert caught.value.exit_code == 2


def test_entries_that_are_no_tensors(tmp_path: Path) -> None:
    value = {**OTHER, "_extra_state": None, "n": 3, "args": argparse.Namespace(lr=1), "list": [torch.zeros(2)]}
    left_out = opened(tmp_path, value).left_out
    assert {entry.name: entry.what for entry in left_out} == {
        "_extra_state": "None",
        "n": "int",
        "args": "argparse.Namespace",
        "list": "list",
    }


@pytest.mark.parametrize("key", [1, None, b"w", (1, 2), 1.5, frozenset({1})], ids=repr)
def test_key_that_is_no_text(tmp_path: Path, key: Any) -> None:
    with pytest.raises(Unsupported, match="no text"):
        opened(tmp_path, {"state_dict": {**OTHER, key: torch.zeros(1)}})


def test_what_weights_only_refuses_is_read_beside_the_weights(tmp_path: Path) -> None:
    value = {
        "state_dict": WEIGHTS,
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("a/b")),
        "best": np.float64(0.5),
        "history": np.arange(5),
        "when": datetime.datetime(2024, 1, 1),
        "nested": collections.defaultdict(list, {"a": [1]}),
        "counter": collections.Counter("abc"),
        "set": {1, 2},
        "frozen": frozenset({1}),
        "complex": 1j,
        "module": torch.nn.BatchNorm3d,
        "bytes": bytearray(b"abc"),
        "large": 1 << 70,
    }
    path = save(value, tmp_path / "in.pt")
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=True)
    assert_same(read(path), WEIGHTS)


def test_dictionary_subclasses(tmp_path: Path) -> None:
    value = collections.defaultdict(dict, {"state_dict": collections.defaultdict(None, WEIGHTS)})
    assert_same(opened(tmp_path, value), WEIGHTS)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.zeros(3), "one tensor"),
        ([torch.zeros(3)], "list"),
        ({"a": 1}, "a dictionary without tensors: a"),
        ({"state_dict": {}, "epoch": 3}, "a dictionary without tensors: state_dict, epoch"),
        ({}, "an empty dictionary"),
        (None, "NoneType"),
        ("text", "str"),
    ],
    ids=str,
)
def test_nothing_to_convert(tmp_path: Path, value: Any, found: str) -> None:
    with pytest.raises(Unsupported, match=rf"no state dict.*, found {found}\)\. Save model\.state_dict\(\)"):
        opened(tmp_path, value)


def test_nothing_without_running_code(tmp_path: Path) -> None:
    with pytest.raises(Unsafe, match=r"argparse\.Namespace"):
        opened(tmp_path, argparse.Namespace(state_dict=WEIGHTS))


UNCARRIABLE = {
    "meta": lambda: torch.zeros(3, device="meta"),
    r"sparse tensor.*to_dense\(\)": lambda: torch.zeros(2, 2).to_sparse(),
    r"a sparse.*to_dense\(\)": lambda: torch.eye(2).to_sparse_csr(),
    r"quantized.*dequantize\(\)": lambda: torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.quint8),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "conjugated": lambda: torch.complex(torch.ones(2), torch.ones(2)).conj(),
    "negated": lambda: torch.complex(torch.ones(2), torch.ones(2)).conj().imag,
    "complex32": lambda: torch.zeros(2, dtype=torch.complex32),
    "float4": lambda: torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("what", UNCARRIABLE)
def test_tensor_that_cannot_be_carried(tmp_path: Path, what: str) -> None:
    value = UNCARRIABLE[what]()
    with pytest.raises(Unsupported, match=f"(?s)odd: .*{what}"):
        opened(tmp_path, {"odd": value, "w": torch.zeros(1)})
    # It matters only where it is part of what is converted.
    assert_same(opened(tmp_path, {"state_dict": OTHER, "odd": value}), OTHER)


class Subclass(torch.Tensor):
    pass


def test_tensor_subclasses_and_parameters(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.rand(3))
    parameter.note = "kept by _rebuild_parameter_with_state"
    subclass = torch.rand(2, 3).as_subclass(Subclass)
    buffer = torch.nn.Buffer(torch.rand(2))
    value = {
        "parameter": parameter,
        "subclass": subclass,
        "buffer": buffer,
        "module": torch.nn.Parameter(torch.ones(2)),
    }
    assert_same(opened(tmp_path, value), {name: t.detach().as_subclass(torch.Tensor) for name, t in value.items()})


def test_a_key_set_twice(tmp_path: Path) -> None:
    tensor = tensor_pickle(1, 0, (1,), (1,))
    tree = dictionary(w=tensor) + text("w") + tensor + b"s"
    with pytest.raises(Malformed, match="w: the state dict has this key twice"):
        read(by_hand(tmp_path / "in.pt", tree, {"0": bytes(4)}))
