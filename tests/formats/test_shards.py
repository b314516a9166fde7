"""Sharded checkpoints: as huggingface and MindSpore lay them out, as we write them, and hostile indexes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import contents, patterned, same_in_order, write
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from porter.errors import (
    InputError,
    LimitExceeded,
    Malformed,
    NotACheckpoint,
    Truncated,
    Undecided,
    Unsafe,
    UsageError,
)
from porter.formats import mindspore_ckpt, open_checkpoint, safetensors, shards
from porter.formats.dtypes import FLOAT32
from porter.formats.model import TensorSpec
from porter.formats.shards import index_json, parse_size, shard_names, split

A, B = torch.arange(3.0), torch.arange(4.0).reshape(2, 2)
FACTS = {"b": ("float32", (2, 2), B.numpy().tobytes()), "a": ("float32", (3,), A.numpy().tobytes())}


def index(folder: Path, weight_map: Any, name: str = "model.safetensors.index.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"metadata": {"total_size": 28}, "weight_map": weight_map}))
    return path


@pytest.fixture
def two_shards(tmp_path: Path) -> Path:
    save_file({"a": A}, tmp_path / "one.safetensors", metadata={"format": "pt"})
    save_file({"b": B}, tmp_path / "two.safetensors", metadata={"format": "pt"})
    return tmp_path


def test_merges_the_shards_in_the_order_of_the_index(two_shards: Path) -> None:
    for name in ("model.safetensors.index.json", "param_name_map.json"):
        path = index(two_shards, {"b": "two.safetensors", "a": "one.safetensors"}, name)
        checkpoint = open_checkpoint(path)
        assert (checkpoint.format, checkpoint.framework) == ("safetensors-sharded", "torch")
        assert checkpoint.path == path
        assert [file.name for file in checkpoint.files] == ["two.safetensors", "one.safetensors"]
        same_in_order(contents(checkpoint), FACTS)


def test_shards_of_pytorch_with_their_checksums(tmp_path: Path) -> None:
    torch.save({"a": A}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": B, "step": 7}, tmp_path / "pytorch_model-00002-of-00002.bin")
    path = index(
        tmp_path,
        {"b": "pytorch_model-00002-of-00002.bin", "a": "pytorch_model-00001-of-00002.bin"},
        "pytorch_model.bin.index.json",
    )
    checkpoint = open_checkpoint(path)
    assert checkpoint.format == "torch-zip-sharded"
    assert {checksum.extent.file for checksum in checkpoint.checksums} == {0, 1}
    assert [entry.name for entry in checkpoint.left_out] == ["step"]
    same_in_order(contents(checkpoint), FACTS)


def test_shards_of_mindspore_with_their_checksums(tmp_path: Path) -> None:
    for name, facts in FACTS.items():
        spec = TensorSpec(name, FLOAT32, facts[1])
        write(tmp_path / f"{name}.ckpt", mindspore_ckpt.layout([spec], crc=True), {name: facts[2]})
    checkpoint = open_checkpoint(index(tmp_path, {"b": "b.ckpt", "a": "a.ckpt"}))
    assert (checkpoint.format, checkpoint.framework) == ("mindspore-ckpt-sharded", "mindspore")
    assert [checksum.extent.file for checksum in checkpoint.checksums] == [0, 1]
    same_in_order(contents(checkpoint), FACTS)


def test_what_we_split_reads_back_as_one(tmp_path: Path) -> None:
    specs = [TensorSpec(f"layer{i}", FLOAT32, (i,)) for i in range(10)]
    data = patterned(specs)
    groups = split(specs, 40)
    parts = dict(zip(shard_names("net.safetensors", len(groups)), groups, strict=True))
    for name, group in parts.items():
        write(tmp_path / name, safetensors.layout(group, metadata={"format": "pt"}), data)
    path = tmp_path / "net.safetensors.index.json"
    path.write_bytes(index_json(parts))
    assert next(iter(parts)) == "net-00001-of-00006.safetensors"
    assert json.loads(path.read_text())["metadata"] == {"total_size": 180}
    same_in_order(contents(open_checkpoint(path)), {s.name: ("float32", s.shape, data[s.name]) for s in specs})


@example([5, 5], 40)
@given(st.lists(st.integers(0, 50)), st.integers(1, 100))
def test_split_keeps_order_and_the_limit(sizes: list[int], limit: int) -> None:
    specs = [TensorSpec(str(i), FLOAT32, (size,)) for i, size in enumerate(sizes)]
    groups = split(specs, limit)
    assert [spec for group in groups for spec in group] == specs
    assert all(groups) or not specs
    for group, following in zip(groups, [*groups[1:], []], strict=True):
        assert len(group) <= 1 or sum(spec.nbytes for spec in group) <= limit
        # Greedy: the next group's first tensor would not have fitted.
        assert not following or sum(spec.nbytes for spec in [*group, following[0]]) > limit


# Indexes that lie


def test_missing_shard(two_shards: Path) -> None:
    path = index(two_shards, {"a": "one.safetensors", "c": "three.safetensors"})
    with pytest.raises(NotACheckpoint, match=r"three\.safetensors: no such file"):
        open_checkpoint(path)


def test_key_in_the_wrong_shard(two_shards: Path) -> None:
    with pytest.raises(Malformed, match="says that the shard holds a tensor, but it does not"):
        open_checkpoint(index(two_shards, {"a": "two.safetensors", "b": "one.safetensors"}))


def test_entry_absent_from_its_shard(two_shards: Path) -> None:
    with pytest.raises(Malformed, match="but it does not") as caught:
        open_checkpoint(index(two_shards, {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"}))
    assert caught.value.entry == "c"


def test_tensor_that_the_index_leaves_out(two_shards: Path) -> None:
    save_file({"a": A, "extra": B}, two_shards / "one.safetensors")
    with pytest.raises(Malformed, match="does not place there") as caught:
        open_checkpoint(index(two_shards, {"a": "one.safetensors", "b": "two.safetensors"}))
    assert caught.value.entry == "extra"


@pytest.mark.parametrize(
    "name",
    [
        "../one.safetensors",
        "/etc/passwd",
        "sub/../one.safetensors",
        "sub/one.safetensors",
        "..",
        ".",
        "",
        "a\\b",
        "a\0b",
    ],
)
def test_shard_that_is_no_plain_file_name(name: str, two_shards: Path) -> None:
    with pytest.raises(Unsafe, match="not a plain file name"):
        open_checkpoint(index(two_shards, {"a": name}))


def test_link_out_of_the_folder(two_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    os.rename(two_shards / "one.safetensors", outside / "one.safetensors")
    (two_shards / "one.safetensors").symlink_to(outside / "one.safetensors")
    path = index(two_shards, {"a": "one.safetensors", "b": "two.safetensors"})
    with pytest.raises(Unsafe, match="link out of the index's folder"):
        open_checkpoint(path)


def test_links_of_a_download_cache_that_keeps_all_contents_in_one_folder(two_shards: Path) -> None:
    index(two_shards, {"a": "one.safetensors", "b": "two.safetensors"})
    snapshot = two_shards / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    for name in ("one.safetensors", "two.safetensors", "model.safetensors.index.json"):
        (snapshot / name).symlink_to(Path("..", "..", name))
    assert list(open_checkpoint(snapshot / "model.safetensors.index.json").tensors) == ["a", "b"]


def test_shard_that_is_no_file_or_damaged_or_another_index(two_shards: Path) -> None:
    (two_shards / "folder").mkdir()
    os.mkfifo(two_shards / "fifo")
    (two_shards / "cut").write_bytes((two_shards / "one.safetensors").read_bytes()[:-1])
    cases: list[tuple[str, type[InputError], str]] = [
        ("folder", NotACheckpoint, "not a regular file"),
        ("fifo", NotACheckpoint, "not a regular file"),
        ("cut", Truncated, "ends before its tensors"),
        ("model.safetensors.index.json", NotACheckpoint, "no checkpoint of a known format"),
    ]
    for name, error, message in cases:
        with pytest.raises(error, match=message):
            open_checkpoint(index(two_shards, {"a": name}))


def test_shards_of_two_formats(two_shards: Path) -> None:
    torch.save({"b": B}, two_shards / "two.bin")
    with pytest.raises(Malformed, match="different formats"):
        open_checkpoint(index(two_shards, {"a": "one.safetensors", "b": "two.bin"}))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('{"weight_map": {"a": "x", "a": "y"}}', Malformed, "same key twice"),
        ('{"weight_map": ["a"]}', Malformed, "not a map"),
        ('{"weight_map": {"a": 1}}', Malformed, "not a map"),
        ('{"weight_map": {}}', Malformed, "empty"),
        ('{"weight_map": ', Malformed, "not JSON"),
        ('{"weights": {}}', NotACheckpoint, "no index"),
        ('{"a":' + "[" * 200_000, Malformed, "not JSON"),
    ],
)
def test_index_of_another_form(text: str, error: type[InputError], message: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(error, match=message):
        open_checkpoint(tmp_path / "index.json")


def test_index_too_large(two_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_INDEX_BYTES", 20)
    with pytest.raises(LimitExceeded, match="too large for an index"):
        open_checkpoint(index(two_shards, {"a": "one.safetensors"}))


def test_an_ambiguous_shard_stays_undecided(tmp_path: Path) -> None:
    torch.save({"foo": {"a": A}, "bar": {"a": A}}, tmp_path / "one.bin")
    with pytest.raises(Undecided):
        open_checkpoint(index(tmp_path, {"a": "one.bin"}))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5GB", 5 * 10**9),
        ("512MB", 512 * 10**6),
        ("1GiB", 2**30),
        ("1.5 gib", 3 * 2**29),
        ("10k", 10_000),
        ("2TiB", 2**41),
        ("4096", 4096),
        (" 7 B ", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "5 apples", "-1GB", "0", "0.1", "1e9", "5iB", "½GB", "٣GB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        parse_size(text)
