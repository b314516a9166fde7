"""Every variant of BatchNorm3d there and back, and what must hold of the files that a conversion leaves."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
import stat
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
import safetensors.torch
import torch
from nets import REPLACE, assert_same, bits, randomised, there_and_back, two_norms
from torch import nn

import porter
from porter import SourceOptions, WriteOptions, stopping
from porter.differences import Difference
from porter.errors import ChecksumMismatch, FileIOError, Undecided, UsageError
from porter.plan import dtype_called
from porter.target import DoesNotFit

SAY_3D = SourceOptions(layers=[("**", "BatchNorm3d")])
VARIANTS: dict[str, dict[str, bool]] = {
    "plain": {},
    "affine=False": {"affine": False},
    "track_running_stats=False": {"track_running_stats": False},
    "neither": {"affine": False, "track_running_stats": False},
}
if "bias" in nn.BatchNorm3d.__init__.__kwdefaults__:  # since torch 2.13
    VARIANTS["bias=False"] = {"bias": False}


def mindspore_parameters(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: p.asnumpy() for name, p in mindspore.load_checkpoint(str(path)).items()}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("whole", [False, True], ids=["state dict", "pickled module"])
def test_every_variant_returns_bit_for_bit(settings: dict[str, bool], whole: bool, tmp_path: Path) -> None:
    network = two_norms(**settings)
    there, back = there_and_back(tmp_path, network if whole else network.state_dict(), None if whole else SAY_3D)
    assert there.verified is True
    assert_same(network.state_dict(), back)
    loaded = mindspore_parameters(tmp_path / "net.ckpt")
    expected = {
        f"{layer}.bn2d.{leaf}" for layer in "14" for leaf in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    assert set(loaded) == expected | {"0.weight", "0.bias", "3.weight"}
    state = network.state_dict()
    fills = {
        "weight": ("gamma", 1),
        "bias": ("beta", 0),
        "running_mean": ("moving_mean", 0),
        "running_var": ("moving_variance", 1),
    }
    for torch_name, (name, fill) in fills.items():
        values = state.get(f"1.{torch_name}")
        assert (loaded[f"1.bn2d.{name}"] == (fill if values is None else values.numpy())).all(), name
    network.load_state_dict(back, strict=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_returns_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    state = two_norms().to(dtype).state_dict()
    there, back = there_and_back(tmp_path, state)
    assert there.verified is True
    assert_same(state, back)


def test_a_missing_counter_stays_missing(tmp_path: Path) -> None:
    state = dict(two_norms().state_dict())
    del state["1.num_batches_tracked"]
    _, back = there_and_back(tmp_path, state, verify=False)
    assert_same(state, back)


def test_without_the_record_counters_are_zero(tmp_path: Path) -> None:
    state = two_norms().state_dict()
    torch.save(state, tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    (tmp_path / "net.ckpt.bnport.json").unlink()
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth", verify=False)
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert list(back) == list(state)
    for name, tensor in state.items():
        assert torch.equal(back[name], torch.zeros_like(tensor) if name.endswith("tracked") else tensor)


def test_the_record_finds_its_file_under_another_name(tmp_path: Path) -> None:
    state = two_norms().state_dict()
    torch.save(state, tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    (tmp_path / "net.ckpt").rename(tmp_path / "moved.ckpt")
    options = SourceOptions(record=tmp_path / "net.ckpt.bnport.json")
    porter.convert(tmp_path / "moved.ckpt", tmp_path / "back.pth", source_options=options, verify=False)
    assert_same(state, torch.load(tmp_path / "back.pth", weights_only=True))


def test_a_record_of_another_file_is_refused(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    torch.save(nn.Conv3d(1, 2, 3).state_dict(), tmp_path / "other.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    options = SourceOptions(record=tmp_path / "net.ckpt.bnport.json")
    with pytest.raises(UsageError, match="record of another file"):
        porter.convert(tmp_path / "other.pth", tmp_path / "x.ckpt", source_options=options)


def test_metadata_returns(tmp_path: Path) -> None:
    state = two_norms().state_dict()
    _, back = there_and_back(tmp_path, state, verify=False)
    assert back._metadata == state._metadata  # type: ignore[attr-defined]


def test_a_root_level_layer_returns(tmp_path: Path) -> None:
    state = randomised(nn.BatchNorm3d(5)).state_dict()
    _, back = there_and_back(tmp_path, state, SourceOptions(layers=[("(root)", "BatchNorm3d")]))
    assert_same(state, back)
    assert set(mindspore_parameters(tmp_path / "net.ckpt")) == {
        name for name, _ in mindspore.nn.BatchNorm3d(5).parameters_and_names()
    }


def test_a_sync_batch_norm_checkpoint_becomes_a_batch_norm_3d(tmp_path: Path) -> None:
    network = nn.SyncBatchNorm.convert_sync_batchnorm(two_norms())
    there, back = there_and_back(tmp_path, network.state_dict())
    assert there.verified is True
    assert_same(network.state_dict(), back)
    assert "1.bn2d.gamma" in mindspore_parameters(tmp_path / "net.ckpt")


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_mint_keeps_pytorchs_names_and_returns(settings: dict[str, bool], tmp_path: Path) -> None:
    state = two_norms(**settings).state_dict()
    torch.save(state, tmp_path / "net.pth")
    done = porter.convert(tmp_path / "net.pth", tmp_path / "mint.ckpt", write_options=WriteOptions(to="mint"))
    assert done.verified is None, "mint has no CPU kernel: converted, and said to be unverified"
    assert list(mindspore_parameters(tmp_path / "mint.ckpt")) == list(state)
    options = SourceOptions(from_="mint")  # a BatchNorm without statistics has names that mindspore.nn shares
    porter.convert(tmp_path / "mint.ckpt", tmp_path / "back.pth", source_options=options, verify=False)
    assert_same(state, torch.load(tmp_path / "back.pth", weights_only=True))


def test_mint_to_classic_mindspore_and_back(tmp_path: Path) -> None:
    state = two_norms().state_dict()
    torch.save(state, tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "mint.ckpt", write_options=WriteOptions(to="mint"), verify=False)
    porter.convert(
        tmp_path / "mint.ckpt", tmp_path / "ms.ckpt", write_options=WriteOptions(to="mindspore"), verify=False
    )
    assert "1.bn2d.gamma" in mindspore_parameters(tmp_path / "ms.ckpt")
    back = porter.convert(
        tmp_path / "ms.ckpt", tmp_path / "mint2.ckpt", write_options=WriteOptions(to="mint"), verify=False
    )
    assert back.plan.targets == porter.inspect(tmp_path / "mint.ckpt").source.checkpoint.specs


def test_a_mindspore_network_of_batch_norms_2d_keeps_the_name_bn2d(tmp_path: Path) -> None:
    class Block(mindspore.nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn2d = mindspore.nn.Conv2d(2, 4, 3), mindspore.nn.BatchNorm2d(4)

    mindspore.save_checkpoint(Block(), str(tmp_path / "net.ckpt"))
    porter.convert(tmp_path / "net.ckpt", tmp_path / "net.pth", verify=False)
    leaves = ("running_mean", "running_var", "weight", "bias", "num_batches_tracked")
    assert set(torch.load(tmp_path / "net.pth")) == {"conv.weight", *(f"bn2d.{leaf}" for leaf in leaves)}


def test_training_state_is_listed_and_left_out(tmp_path: Path) -> None:
    names = ["conv.weight", "moments.conv.weight", "global_step", "learning_rate"]
    arrays = [np.ones((2, 1, 3, 3, 3), np.float32)] * 2 + [np.array(3, np.int32), np.array(0.1, np.float32)]
    mindspore.save_checkpoint(
        [{"name": n, "data": mindspore.Tensor(a)} for n, a in zip(names, arrays, strict=True)],
        str(tmp_path / "t.ckpt"),
    )
    done = porter.convert(tmp_path / "t.ckpt", tmp_path / "t.pth", verify=False)
    assert list(torch.load(tmp_path / "t.pth")) == ["conv.weight"]
    dropped = {step.source.name: step.reason for step in done.plan.steps if step.source and not step.target}
    assert set(dropped) == set(names[1:])
    assert any("3 entries of optimizer state" in warning for warning in done.warnings)


@pytest.mark.parametrize(
    ("wrapper", "prefix"),
    [("module.", "module."), ("module._orig_mod.", "module._orig_mod."), ("_orig_mod.", "auto")],
)
def test_a_wrappers_prefix_is_reported_and_stripped_when_asked(wrapper: str, prefix: str, tmp_path: Path) -> None:
    state = {wrapper + name: tensor for name, tensor in two_norms().state_dict().items()}
    torch.save(state, tmp_path / "net.pth")
    kept = porter.convert(tmp_path / "net.pth", tmp_path / "kept.ckpt", verify=False)
    assert any(f"begins with {wrapper}" in warning for warning in kept.warnings)
    assert f"{wrapper}1.bn2d.gamma" in mindspore_parameters(tmp_path / "kept.ckpt")
    options = WriteOptions(strip_prefix=prefix)
    stripped = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", write_options=options)
    assert stripped.verified is True
    assert "1.bn2d.gamma" in mindspore_parameters(tmp_path / "net.ckpt")
    checked = porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt")
    assert checked.ok, "the record tells verify of the prefix"
    assert f"expected as the record beside OUTPUT says: prefix {wrapper} removed" in checked.warnings
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth", verify=False)
    assert_same(state, torch.load(tmp_path / "back.pth", weights_only=True))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("float32", "float16"),
        ("float32", "bfloat16"),
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float64", "float32"),
    ],
)
def test_casting_rounds_as_pytorch_does(source: str, target: str, tmp_path: Path) -> None:
    state = two_norms().to(getattr(torch, source)).state_dict()
    torch.save(state, tmp_path / "net.pth")
    options = WriteOptions(dtype=dtype_called(target))
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", write_options=options)
    assert done.verified is True
    porter.convert(
        tmp_path / "net.ckpt", tmp_path / "back.pth", write_options=WriteOptions(dtype=dtype_called(target))
    )
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    for name, tensor in state.items():
        expected = tensor.to(getattr(torch, target)) if tensor.is_floating_point() else tensor
        assert bits(back[name]) == bits(expected), name


def test_a_cast_that_overflows_is_told(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.full((2, 1, 1, 1, 1), 1e5), "running_mean": torch.ones(1)}, tmp_path / "net.pth")
    options = WriteOptions(to="mint", dtype=dtype_called("float16"))
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", write_options=options, verify=False)
    told = "values too large for float16 became infinite: 2 in conv.weight; --dtype bfloat16 or float32 holds them"
    assert told in done.warnings


def test_of_many_tensors_that_overflow_the_first_of_the_file_is_named(tmp_path: Path) -> None:
    """1 MiB each: several threads cast them, and finish in whatever order."""
    state = {f"x{i}": torch.full((1 << 18,), 3.4e38) for i in range(12)}
    torch.save(state, tmp_path / "net.pth")
    options = WriteOptions(to="mint", dtype=dtype_called("bfloat16"))
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", write_options=options, verify=False)
    infinite = f"{12 << 18} in 12 tensors, the first x0"
    told = f"values too large for bfloat16 became infinite: {infinite}; --dtype float32 or float64 holds them"
    assert told in done.warnings


def test_a_signal_that_was_swallowed_ends_the_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    monkeypatch.setattr(stopping, "_received", [signal.SIGTERM])
    told: list[tuple[int, int]] = []
    with pytest.raises(stopping.Stopped):
        porter.convert(
            tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False, on_bytes=lambda *bytes: told.append(bytes)
        )
    assert not told
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_formats_change_within_pytorch(suffix: str, tmp_path: Path) -> None:
    state = two_norms().state_dict()
    torch.save(state, tmp_path / "net.pth")
    porter.convert(
        tmp_path / "net.pth", tmp_path / f"copy{suffix}", write_options=WriteOptions(to="torch"), verify=False
    )
    load = safetensors.torch.load_file if suffix == ".safetensors" else torch.load
    found = load(tmp_path / f"copy{suffix}")
    assert set(found) == set(state)
    assert all(bits(found[name]) == bits(state[name]) for name in state)


def test_safetensors_for_mindspore_load_there(tmp_path: Path) -> None:
    state = two_norms().state_dict()
    torch.save(state, tmp_path / "net.pth")
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.safetensors")
    assert (done.plan.to, done.verified) == ("mindspore", True)
    loaded = mindspore.load_checkpoint(str(tmp_path / "net.safetensors"), format="safetensors")
    assert (loaded["1.bn2d.moving_variance"].asnumpy() == state["1.running_var"].numpy()).all()
    back = porter.convert(tmp_path / "net.safetensors", tmp_path / "back.safetensors")
    assert (back.plan.to, back.verified) == ("torch", True)
    found = safetensors.torch.load_file(tmp_path / "back.safetensors")
    assert all(bits(found[name]) == bits(tensor) for name, tensor in state.items())


def test_shards_are_written_and_read(tmp_path: Path) -> None:
    state = two_norms().state_dict()
    torch.save(state, tmp_path / "net.pth")
    options = WriteOptions(max_shard_bytes=600)
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.safetensors", write_options=options)
    assert done.verified is True
    assert done.written == tmp_path / "net.safetensors.index.json"
    assert len(list(tmp_path.glob("net-0*-of-0*.safetensors"))) > 1
    porter.convert(done.written, tmp_path / "back.pth")
    assert_same(state, torch.load(tmp_path / "back.pth", weights_only=True))
    with pytest.raises(UsageError, match="exists already"):
        porter.convert(tmp_path / "net.pth", tmp_path / "net.safetensors", write_options=options)


def test_an_output_is_a_normal_new_file(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    old = os.umask(0o027)
    try:
        porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "net.ckpt").stat().st_mode) == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"net.pth", "net.ckpt", "net.ckpt.bnport.json"}


def test_an_existing_output_needs_force(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    (tmp_path / "net.ckpt").write_text("precious")
    with pytest.raises(UsageError, match="--force"):
        porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    assert (tmp_path / "net.ckpt").read_text() == "precious"
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", write_options=REPLACE, verify=False)
    assert "1.bn2d.gamma" in mindspore_parameters(tmp_path / "net.ckpt")


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "net.ckpt").write_text("old")
    (tmp_path / "net.ckpt").symlink_to(tmp_path / "real" / "net.ckpt")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", write_options=REPLACE, verify=False)
    assert (tmp_path / "net.ckpt").is_symlink()
    assert "1.bn2d.gamma" in mindspore_parameters(tmp_path / "real" / "net.ckpt")


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("net.pth", WriteOptions(force=True), "the output is the input"),
        ("net.txt", WriteOptions(), "suffix names no format"),
        ("x.pth", WriteOptions(to="mindspore"), "MindSpore cannot read this format"),
        ("x.ckpt", WriteOptions(to="torch"), "PyTorch cannot read this format"),
        ("x.pth", WriteOptions(crc=True), "only a .ckpt"),
        ("x.ckpt", WriteOptions(max_shard_bytes=100), "no sharded"),
    ],
)
def test_outputs_that_make_no_sense_are_refused(
    output: str, options: WriteOptions, message: str, tmp_path: Path
) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    with pytest.raises(UsageError, match=message):
        porter.convert(tmp_path / "net.pth", tmp_path / output, write_options=options)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_nothing_is_written_when_a_kind_is_undecided(tmp_path: Path) -> None:
    torch.save(two_norms(track_running_stats=False).state_dict(), tmp_path / "net.pth")
    with pytest.raises(Undecided) as caught:
        porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt")
    assert caught.value.exit_code == 4
    assert len(caught.value.details) == 2
    assert "--layer '*=BatchNorm3d'" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_a_damaged_source_leaves_nothing_behind(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    content = bytearray((tmp_path / "net.pth").read_bytes())
    weight = two_norms().state_dict()["0.weight"].numpy().tobytes()
    content[content.index(weight) + 5] ^= 1
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(ChecksumMismatch):
        porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]
    options = WriteOptions(check_crc=False)
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", write_options=options, verify=False)


def test_a_missing_folder_is_no_traceback(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    with pytest.raises(FileIOError, match="mkdir -p"):
        porter.convert(tmp_path / "net.pth", tmp_path / "no" / "net.ckpt")


def test_a_full_disk_is_an_io_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")

    def full(descriptor: int, data: object, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(FileIOError, match="No space left on device"):
        porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    calls, read = [], os.preadv

    def broken(descriptor: int, buffers: Any, offset: int) -> int:
        calls.append(offset)
        if len(calls) > 4:
            raise OSError(5, "Input/output error")
        return read(descriptor, buffers, offset)

    monkeypatch.setattr("porter.formats.transfer.os.preadv", broken)
    with pytest.raises(FileIOError, match=r"net\.pth: reading failed: Input/output error"):
        porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_an_error_of_the_check_is_no_error_of_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")

    def failing(*_: Any) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("porter.verification.files.verify_output", failing)
    with pytest.raises(OSError, match="Cannot allocate memory") as caught:
        porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt")
    assert not isinstance(caught.value, FileIOError)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.parametrize("links", [True, False])
def test_of_two_conversions_to_one_new_output_the_second_fails(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one finishes while this one verifies, long after it was seen that no output is there."""
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    if not links:

        def unsupported(*_: Any) -> None:
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", unsupported)

    def other(*_: Any) -> None:
        (tmp_path / "net.ckpt").write_text("precious")

    monkeypatch.setattr("porter.api.converting._demand", lambda *_, **__: other())
    with pytest.raises(UsageError, match="exists already"):
        porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt")
    assert {path.name for path in tmp_path.iterdir()} == {"net.pth", "net.ckpt"}
    assert (tmp_path / "net.ckpt").read_text() == "precious"
    options = WriteOptions(force=True)
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", write_options=options)
    assert "1.bn2d.gamma" in mindspore_parameters(tmp_path / "net.ckpt")


def test_without_hard_links_an_output_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")

    def unsupported(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", unsupported)
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    assert {path.name for path in tmp_path.iterdir()} == {"net.pth", "net.ckpt", "net.ckpt.bnport.json"}


def test_outputs_of_earlier_runs_are_named(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")

    def warnings(size: int | None) -> list[str]:
        options = WriteOptions(max_shard_bytes=size, force=True)
        done = porter.convert(tmp_path / "net.pth", tmp_path / "n.safetensors", write_options=options, verify=False)
        return [warning for warning in done.warnings if "earlier output" in warning]

    assert warnings(None) == []
    (sharded,) = warnings(100)
    assert sharded.endswith(": n.safetensors, n.safetensors.bnport.json")
    (fewer,) = warnings(1500)
    assert "n-00001-of-" in fewer
    (single,) = warnings(None)
    assert "n.safetensors.index.json, n.safetensors.index.json.bnport.json" in single


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    planned = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", dry_run=True)
    assert planned.written is None
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]
    document = json.loads(json.dumps(planned.to_json()))
    fates = {entry["source"]: entry["fate"] for entry in document["tensors"]}
    assert (fates["0.weight"], fates["1.weight"], fates["1.num_batches_tracked"]) == ("copied", "renamed", "dropped")
    assert all(entry["reason"] for entry in document["tensors"])


def test_the_public_names() -> None:
    assert porter.__all__ == [
        "BnportError", "ConfigOptions", "ConfigTranslation", "Conversion", "Inspection", "Rename", "SourceOptions",
        "WriteOptions", "convert", "inspect", "translate_config", "verify",
    ]  # fmt: skip
    assert all(getattr(porter, name) for name in porter.__all__)


def test_an_output_that_is_in_place_without_its_record_is_owned_up_to(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    (tmp_path / "net.ckpt.bnport.json").mkdir()
    with pytest.raises(FileIOError, match=r"Is a directory .* In place already, and whole: net\.ckpt\."):
        porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    assert {path.name for path in tmp_path.iterdir()} == {"net.pth", "net.ckpt", "net.ckpt.bnport.json"}


def test_results_come_back_from_another_process(tmp_path: Path) -> None:
    """As multiprocessing sends them; kinds and dtypes stay the very objects that they are."""
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt")
    for again in (pickle.loads(pickle.dumps(done)), copy.deepcopy(done)):
        assert (again.plan, again.source, again.verification) == (done.plan, done.source, done.verification)
        assert again.source.layers[1].kind is done.source.layers[1].kind
        assert again.plan.targets[0].dtype is done.plan.targets[0].dtype
    refused = DoesNotFit([Difference("a", "missing", "missing")], "net.py:build")
    for error in (refused, Undecided("odd", entry="a", details=["b"])):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.document()) == (type(error), str(error), error.document())
    assert pickle.loads(pickle.dumps(porter.inspect(tmp_path / "net.pth"))) == porter.inspect(tmp_path / "net.pth")
