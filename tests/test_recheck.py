"""What was proven of a file is kept beside it, and holds for its bytes alone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import two_norms

import porter
from porter.errors import InputError, Malformed, UsageError
from porter.formats import open_checkpoint
from porter.proof import Proof, Witness
from porter.recheck import recheck, remember


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A source and its output, converted and verified."""
    source, output = tmp_path / "net.pth", tmp_path / "net.ckpt"
    torch.save(two_norms().state_dict(), source)
    assert porter.convert(source, output).verified
    return source, output


def beside(output: Path) -> Path:
    return output.with_name(output.name + ".bnport.json")


def document(output: Path) -> Any:
    return json.loads(beside(output).read_text("utf-8"))


def test_a_conversion_keeps_what_it_proved(pair: tuple[Path, Path]) -> None:
    source, output = pair
    again = recheck(output)
    assert (again.same, again.verified) == (True, True)
    proof = again.proof
    layers = len(porter.verify(source, output).layers)
    assert (proof.complete, proof.tensors, proof.layers_run, proof.layers_not_run) == (True, 11, layers, 0)
    sides = proof.circumstances.source[0], proof.circumstances.output[0]
    for path, told in zip(pair, sides, strict=True):
        data = path.read_bytes()
        assert (told.name, told.size, told.sha256) == (path.name, len(data), hashlib.sha256(data).hexdigest())
    assert proof.circumstances.versions["torch"] in torch.__version__
    assert proof.circumstances.options["seed"] == 0


def test_another_byte_is_another_file(pair: tuple[Path, Path]) -> None:
    _, output = pair
    data = bytearray(output.read_bytes())
    data[-1] ^= 1
    output.write_bytes(data)
    again = recheck(output)
    assert (again.same, again.verified) == (False, False)


def test_the_bytes_count_and_not_the_name(pair: tuple[Path, Path], tmp_path: Path) -> None:
    _, output = pair
    moved = tmp_path / "elsewhere.ckpt"
    shutil.copy(output, moved)
    shutil.copy(beside(output), beside(moved))
    assert recheck(moved).verified is True


def test_without_verification_there_is_nothing_to_check(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    output = tmp_path / "net.ckpt"
    porter.convert(tmp_path / "net.pth", output, verify=False)
    with pytest.raises(UsageError, match="tells of no verification"):
        recheck(output)
    beside(output).unlink()
    with pytest.raises(UsageError, match="no record beside it"):
        recheck(output)


def test_a_later_verification_is_kept_and_leaves_the_rest_of_the_record(tmp_path: Path) -> None:
    source, output = tmp_path / "net.pth", tmp_path / "net.ckpt"
    torch.save(two_norms().state_dict(), source)
    porter.convert(source, output, verify=False)
    before = document(output)
    remember(output, porter.verify(source, output))
    assert recheck(output).verified is True
    assert {**document(output), "proof": None} == before
    assert {path.name for path in tmp_path.iterdir()} == {"net.pth", "net.ckpt", "net.ckpt.bnport.json"}


def test_neither_a_failure_nor_a_lesser_proof_takes_the_place_of_a_complete_one(pair: tuple[Path, Path]) -> None:
    source, output = pair
    kept = beside(output).read_bytes()
    wrong = porter.verify(source, output, target_eps=0.5)
    assert wrong.ok is False
    assert Proof.of(wrong) is None
    remember(output, wrong)
    right = porter.verify(source, output)
    remember(output, replace(right, layers=(replace(right.layers[0], ok=None), right.layers[1])))
    assert beside(output).read_bytes() == kept


def test_sharded_files_are_all_hashed(tmp_path: Path) -> None:
    source, output = tmp_path / "net.pth", tmp_path / "net.safetensors"
    torch.save(two_norms().state_dict(), source)
    options = porter.WriteOptions(to="mindspore", max_shard_bytes=1000)
    written = porter.convert(source, output, write_options=options).written
    assert written is not None
    again = recheck(written)
    assert again.verified is True
    assert len(again.found) > 2
    shard = tmp_path / again.found[-1].name
    shard.write_bytes(shard.read_bytes()[:-1] + b"\xff")
    assert recheck(written).verified is False


def test_a_file_that_changes_while_it_is_verified_is_refused(pair: tuple[Path, Path]) -> None:
    source, output = pair
    witness = Witness(open_checkpoint(source), open_checkpoint(output))
    os.utime(output, ns=(1, 1))
    with witness, pytest.raises(InputError, match="changed while it was verified"):
        witness.circumstances({})


@pytest.mark.parametrize(
    "damage",
    [
        {"proof": {}},
        {"proof": 3},
        lambda proof: {"proof": {**proof, "complete": "yes"}},
        lambda proof: {"proof": {**proof, "circumstances": {**proof["circumstances"], "date": "yesterday"}}},
        lambda proof: {"proof": {**proof, "circumstances": {**proof["circumstances"], "options": {"seed": [[]]}}}},
        lambda proof: {"proof": {**proof, "circumstances": {**proof["circumstances"], "output": [{"name": 1}]}}},
    ],
)
def test_a_damaged_proof_is_refused(pair: tuple[Path, Path], damage: Any) -> None:
    _, output = pair
    found = document(output)
    found.update(damage(found["proof"]) if callable(damage) else damage)
    beside(output).write_text(json.dumps(found), "utf-8")
    with pytest.raises(Malformed, match="is damaged"):
        recheck(output)


@pytest.mark.parametrize("weaker", [{"atol": 1e9}, {"rtol": 0.5}, {"model": None}])
def test_a_weaker_complete_proof_does_not_take_the_place_of_a_stronger_one(
    pair: tuple[Path, Path], weaker: dict[str, Any]
) -> None:
    source, output = pair
    right = porter.verify(source, output)
    assert right.circumstances is not None

    def with_options(**options: Any) -> Any:
        assert right.circumstances is not None
        told = {**right.circumstances.options, "model": "net.py:torch", "net": "net.py:mindspore", **options}
        return replace(right, circumstances=replace(right.circumstances, options=told))

    remember(output, with_options(seed=1))
    remember(output, with_options(**weaker))
    assert recheck(output).proof.circumstances.options["seed"] == 1
    remember(output, with_options(seed=2))
    assert recheck(output).proof.circumstances.options["seed"] == 2
