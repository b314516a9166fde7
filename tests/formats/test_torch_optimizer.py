"""Optimizer state in torch pickles: where it is found, and files made to mislead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from porter.errors import InputError, LimitExceeded, Malformed, Undecided, Unsupported
from porter.formats import open_checkpoint, torch_optimizer

WEIGHT = torch.zeros(2, 3)


def group(**settings: Any) -> dict[str, Any]:
    return {"lr": 0.1, "params": [0], **settings}


def opened(folder: Path, optimizer: Any, **beside: Any) -> Any:
    torch.save({"state_dict": {"a.weight": WEIGHT}, "optimizer": optimizer, **beside}, folder / "a.pth")
    return open_checkpoint(folder / "a.pth", optimizer=True)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("place", "key"),
    [
        (lambda state: {"optimizer": state}, "optimizer"),
        (lambda state: {"optimizer_states": [state]}, "optimizer_states.0"),
        (lambda state: {"training": {"optim": state}}, "training.optim"),
    ],
)
def test_it_is_found_wherever_it_is_called(place: Any, key: str, legacy: bool, tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(WEIGHT.clone())
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.ones(2, 3)
    optimizer.step()
    saved = {"state_dict": {"a.weight": WEIGHT}, **place(optimizer.state_dict())}
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    checkpoint = open_checkpoint(tmp_path / "a.pth", optimizer=True)
    found = checkpoint.optimizer
    assert found is not None
    assert found.key == key
    assert found.param_groups == tuple(optimizer.state_dict()["param_groups"])
    assert [*checkpoint.tensors] == ["a.weight", *(f"{key}.state.0.{s}" for s in ("step", "exp_avg", "exp_avg_sq"))]
    plain = open_checkpoint(tmp_path / "a.pth")
    assert plain.optimizer is None
    assert [*plain.tensors] == ["a.weight"]
    assert [entry.name for entry in plain.left_out] == [key]


def test_numbers_of_any_kind_become_places(tmp_path: Path) -> None:
    # Before torch 1.0 they were the parameters' addresses.
    state = {7000: {"momentum_buffer": WEIGHT}}
    found = opened(tmp_path, {"state": state, "param_groups": [group(params=[9000, 7000])]}).optimizer
    assert found.param_groups[0]["params"] == [0, 1]
    assert found.state[1]["momentum_buffer"].name == "optimizer.state.1.momentum_buffer"


def test_what_is_neither_tensor_nor_plain_is_listed(tmp_path: Path) -> None:
    state = {0: {"step": 3, "momentum_buffer": None, "odd": [WEIGHT]}}
    found = opened(
        tmp_path, {"state": state, "param_groups": [group(lr=torch.tensor(0.1), betas=(0.9, 0.99))]}
    ).optimizer
    assert [entry.name for entry in found.left_out] == ["optimizer.state.0.odd"]
    # A learning rate that is a tensor is read where the optimizer is carried.
    assert found.param_groups[0]["lr"].name == "optimizer.param_groups.0.lr"
    assert found.state[0] == {"step": 3, "momentum_buffer": None}
    assert found.param_groups[0]["betas"] == (0.9, 0.99)


@pytest.mark.parametrize(
    ("optimizer", "error", "match"),
    [
        ({"state": {}, "param_groups": [group(params=[0, 0])]}, Malformed, "in two groups"),
        ({"state": {}, "param_groups": [group(), group()]}, Malformed, "in two groups"),
        ({"state": {}, "param_groups": [group(params=["a"])]}, Unsupported, "no numbers"),
        ({"state": {}, "param_groups": [group(params=None)]}, Unsupported, "no numbers"),
        ({"state": {}, "param_groups": [3]}, Unsupported, "no numbers"),
        ({"state": {5: {"step": 1}}, "param_groups": [group()]}, Unsupported, "in no group"),
        ({"state": {"a": {"step": 1}}, "param_groups": [group()]}, Unsupported, "in no group"),
        ({"state": {0: {3: WEIGHT}}, "param_groups": [group()]}, Malformed, "has no name"),
        ({"state": {0: {"m": torch.zeros(2, device="meta")}}, "param_groups": [group()]}, Unsupported, "cannot be"),
    ],
)
def test_contradictions_are_refused(optimizer: Any, error: type[InputError], match: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=match):
        opened(tmp_path, optimizer)
    # They are no reason to refuse the network.
    assert [*open_checkpoint(tmp_path / "a.pth").tensors] == ["a.weight"]


def test_two_optimizers_are_undecided(tmp_path: Path) -> None:
    state = {"state": {}, "param_groups": [group()]}
    with pytest.raises(Undecided, match="optimizer, discriminator"):
        opened(tmp_path, state, discriminator=dict(state, param_groups=[group()]))


def test_a_setting_of_several_numbers_is_called_a_tensor(tmp_path: Path) -> None:
    found = opened(tmp_path, {"state": {}, "param_groups": [group(odd=torch.zeros(2))]}).optimizer
    assert [(entry.name, entry.what) for entry in found.left_out] == [("optimizer.param_groups.0.odd", "a tensor")]


def test_a_list_inside_itself_and_one_shown_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    knot: list[Any] = []
    knot.append(knot)
    found = opened(tmp_path, {"state": {}, "param_groups": [group(odd=knot)]}).optimizer
    assert [entry.name for entry in found.left_out] == ["optimizer.param_groups.0.odd"]
    monkeypatch.setattr(torch_optimizer, "MAX_PARTS", 1000)
    long = list(range(100))
    with pytest.raises(LimitExceeded, match="too many parts"):
        opened(tmp_path, {"state": {}, "param_groups": [{"params": [i], "long": long} for i in range(20)]})
    slots = {f"s{i}": 0 for i in range(100)}
    groups = [group(params=list(range(20)))]
    with pytest.raises(LimitExceeded, match="too many parts"):
        opened(tmp_path, {"state": dict.fromkeys(range(20), slots), "param_groups": groups})


def test_the_networks_own_tensor_of_that_name_is_not_overwritten(tmp_path: Path) -> None:
    state = {"state": {0: {"m": WEIGHT}}, "param_groups": [group()]}
    saved = {"state_dict": {"optimizer.state.0.m": WEIGHT}, "optimizer": state}
    torch.save(saved, tmp_path / "a.pth")
    with pytest.raises(Malformed, match="by the name of the optimizer's state"):
        open_checkpoint(tmp_path / "a.pth", optimizer=True)
