"""MindSpore checkpoints against mindspore.save_checkpoint and load_checkpoint."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
from checkpoint_files import contents, damaged, patterned, same_in_order, specs, write
from hypothesis import given, settings
from mindspore.train import serialization
from mindspore.train.checkpoint_pb2 import Checkpoint as Message
from work import count_reads

from porter.errors import (
    BnportError,
    ChecksumMismatch,
    Encrypted,
    InputError,
    LimitExceeded,
    Malformed,
    Truncated,
    Unsupported,
)
from porter.formats import mindspore_ckpt, open_checkpoint
from porter.formats.ckpt_records import record_head
from porter.formats.dtypes import BY_NAME, FLOAT32, INT64, TEXT
from porter.formats.mindspore_ckpt import layout, recognises
from porter.formats.model import TensorSpec
from porter.formats.protobuf import write_bytes_head, write_varint

DTYPES = [name for name, dtype in BY_NAME.items() if dtype.mindspore and dtype is not TEXT]
SHAPES: list[tuple[int, ...]] = [(), (1,), (3,), (2, 1, 3, 1, 2)]


def save(path: Path, tensors: dict[str, mindspore.Tensor], **options: Any) -> Path:
    mindspore.save_checkpoint(
        [{"name": name, "data": tensor} for name, tensor in tensors.items()], str(path), **options
    )
    return path


def rewritten(path: Path, *, crc: bool = False) -> bytes:
    """What our writer makes of what our reader found."""
    found = contents(open_checkpoint(path))
    ours = layout([TensorSpec(n, BY_NAME[d], s) for n, (d, s, _) in found.items()], crc=crc)
    return write(path.with_name("ours.ckpt"), ours, {n: data for n, (_, _, data) in found.items()}).read_bytes()


def all_kinds() -> dict[str, mindspore.Tensor]:
    values = np.random.default_rng(0).integers(0, 2, 12)
    return {
        f"{dtype}.{len(shape)}.Größe": mindspore.Tensor(
            values[: int(np.prod(shape))].reshape(shape), getattr(mindspore, dtype.replace("bool", "bool_"))
        )
        for dtype in DTYPES
        for shape in SHAPES
    }


@pytest.mark.parametrize("crc", [False, True])
def test_reads_and_writes_byte_for_byte_what_mindspore_writes(crc: bool, tmp_path: Path) -> None:
    tensors = all_kinds()
    extra = {"note": "3-D Netz", "epoch": 7, "loss": 0.1, "done": True}
    path = save(tmp_path / "a.ckpt", tensors, append_dict=extra, crc_check=crc)
    checkpoint = open_checkpoint(path)
    assert (checkpoint.format, checkpoint.framework) == ("mindspore-ckpt", "mindspore")
    assert len(checkpoint.checksums) == crc
    found = contents(checkpoint)
    assert list(found) == [*tensors, *extra]
    assert {n: found[n][:2] for n in tensors} == {
        n: (str(t.dtype).lower(), tuple(t.shape)) for n, t in tensors.items()
    }
    assert found["note"] == ("str", (8,), "3-D Netz".encode("utf-32-le"))
    assert found["loss"] == ("float32", (), np.float32(0.1).tobytes())
    assert rewritten(path, crc=crc) == path.read_bytes()


def test_mindspore_loads_what_we_write(tmp_path: Path) -> None:
    ours = [TensorSpec(f"{d}.{s}", BY_NAME[d], s) for d in DTYPES for s in [*SHAPES, (0, 3)]]
    data = patterned(ours) | {spec.name: bytes(spec.nbytes) for spec in ours if spec.dtype.name == "bool"}
    path = write(tmp_path / "a.ckpt", layout(ours, crc=True), data)
    loaded = mindspore.load_checkpoint(str(path), crc_check=True)
    assert [(n, str(p.dtype).lower(), tuple(p.shape)) for n, p in loaded.items()] == [
        (spec.name, spec.dtype.name, spec.shape) for spec in ours
    ]
    for spec in ours:
        assert loaded[spec.name].get_bytes() == data[spec.name]


@settings(deadline=None)
@given(specs("mindspore"))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, ours: list[TensorSpec]) -> None:
    data = patterned(ours)
    path = write(tmp_path_factory.mktemp("round") / "a", layout(ours, crc=True), data)
    if ours:
        same_in_order(contents(open_checkpoint(path)), {s.name: (s.dtype.name, s.shape, data[s.name]) for s in ours})
        message = Message.FromString(path.read_bytes()[:-17])
        assert [value.tag for value in message.value] == [spec.name for spec in ours]


# Slices


@pytest.fixture
def slices_of_1_kib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mindspore_ckpt, "SLICE_BYTES", 1024)
    monkeypatch.setattr(serialization, "SLICE_SIZE", 1)


@pytest.mark.usefixtures("slices_of_1_kib")
@pytest.mark.parametrize("elements", [255, 256, 257, 512, 1000])
def test_cuts_as_mindspore_cuts(elements: int, tmp_path: Path) -> None:
    numbers = np.arange(elements, dtype="<f4")
    path = save(tmp_path / "a.ckpt", {"a": mindspore.Tensor(numbers), "b": mindspore.Tensor(1.0)}, crc_check=True)
    checkpoint = open_checkpoint(path)
    assert len(checkpoint.tensors["a"].extents) == -(-elements * 4 // 1024)
    assert contents(checkpoint)["a"] == ("float32", (elements,), numbers.tobytes())
    assert rewritten(path, crc=True) == path.read_bytes()


@pytest.mark.filterwarnings("ignore:getName:DeprecationWarning")  # mindspore.save_checkpoint's own
@pytest.mark.usefixtures("slices_of_1_kib")
def test_reads_the_uneven_slices_of_mindspore_2_0_and_of_asynchronous_saves(tmp_path: Path) -> None:
    numbers = np.arange(900, dtype="<f4").reshape(300, 3)
    path = save(tmp_path / "a.ckpt", {"a": mindspore.Tensor(numbers)}, async_save=True)
    for thread in threading.enumerate():
        if thread.name == "asyn_save_ckpt":
            thread.join()
    checkpoint = open_checkpoint(path)
    assert [e.length for e in checkpoint.tensors["a"].extents] == [900, 900, 900, 900]
    assert contents(checkpoint)["a"] == ("float32", (300, 3), numbers.tobytes())


@pytest.mark.slow
def test_a_real_tensor_above_512_mib(tmp_path: Path) -> None:
    numbers = np.arange(150_000_000, dtype="<f4")
    path = save(tmp_path / "a.ckpt", {"a": mindspore.Tensor(numbers)})
    assert [e.length for e in open_checkpoint(path).tensors["a"].extents] == [536870912, 600_000_000 - 536870912]
    assert rewritten(path) == path.read_bytes()


def test_lists_100_gb_without_reading_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [TensorSpec(f"layer{i}.weight", FLOAT32, (10**9, 5)) for i in range(5)]
    whole = layout(ours)
    path = tmp_path / "a.ckpt"
    with path.open("wb") as file:
        file.truncate(whole.size)
        for offset, data in whole.literals:
            file.seek(offset)
            file.write(data)
    reads = count_reads(monkeypatch)
    assert open_checkpoint(path).specs == ours
    # The magic of encryption, a window for the head of each slice, and no trailer.
    assert reads == [4, *[4096] * len(whole.literals), 0]


# Forms that MindSpore does not write itself, or no longer


def tensor_message(dims: bytes, type_name: bytes, content: bytes, more: bytes = b"") -> bytes:
    return dims + more + field(2, type_name) + field(3, content)


def field(number: int, data: bytes) -> bytes:
    return write_bytes_head(number, len(data)) + data


def dims_of(*dims: int) -> bytes:
    return b"".join(b"\x08" + write_varint(dim) for dim in dims)


def record(name: bytes, tensor: bytes, more: bytes = b"") -> bytes:
    return field(1, field(1, name) + more + field(2, tensor))


FLOATS = np.array([1, 2], "<f4").tobytes()
GOOD = record(b"a", tensor_message(dims_of(2), b"Float32", FLOATS))
READABLE: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "as usual": (GOOD, (2,)),
    "packed dims": (record(b"a", tensor_message(field(1, b"\x02\x01"), b"Float32", FLOATS)), (2, 1)),
    "0-d as MindSpore 2.0.0 wrote it": (record(b"a", tensor_message(dims_of(0), b"Float32", FLOATS[:4])), ()),
    "empty": (record(b"a", tensor_message(dims_of(0), b"Float32", b"")), (0,)),
    "empty, two axes": (record(b"a", tensor_message(dims_of(0, 3), b"Float32", b"")), (0, 3)),
    "unknown fields": (
        record(
            b"a", tensor_message(dims_of(2), b"Float32", FLOATS, b"\x48\x07" + field(15, b"x")), b"\x51" + bytes(8)
        ),
        (2,),
    ),
    "the tensor before the tag": (
        field(1, field(2, tensor_message(dims_of(2), b"Float32", FLOATS)) + field(1, b"a")),
        (2,),
    ),
    "the content before the dims, 8 KiB of it": (
        field(1, field(1, b"a") + field(2, field(3, bytes(8192)) + field(2, b"Int8") + dims_of(8192))),
        (8192,),
    ),
    "the tensor before a tag of 100,000 characters": (
        field(1, field(2, tensor_message(dims_of(2), b"Float32", FLOATS)) + field(1, b"n" * 100_000)),
        (2,),
    ),
    "a name of 100,000 characters": (record(b"n" * 100_000, tensor_message(dims_of(2), b"Float32", FLOATS)), (2,)),
}


@pytest.mark.parametrize("case", READABLE)
def test_other_forms_of_the_same(case: str, tmp_path: Path) -> None:
    data, shape = READABLE[case]
    path = tmp_path / "a.ckpt"
    path.write_bytes(data + record(b"last", tensor_message(dims_of(2), b"Float32", FLOATS)))
    checkpoint = mindspore_ckpt.read(path)
    assert [spec.shape for spec in checkpoint.specs] == [shape, (2,)]
    assert set(checkpoint.tensors) <= {"a", "n" * 100_000, "last"}
    assert contents(checkpoint)["last"][2] == FLOATS


def test_protobuf_itself_agrees_with_our_records() -> None:
    for data, shape in READABLE.values():
        message = Message.FromString(data)
        assert len(message.value) == 1
        if 0 not in message.value[0].tensor.dims:
            assert tuple(message.value[0].tensor.dims) == shape


def test_a_last_tensor_that_reads_like_a_checksum_is_none(tmp_path: Path) -> None:
    content = b"crc_num" + bytes(10)
    path = tmp_path / "a.ckpt"
    path.write_bytes(record(b"a", tensor_message(dims_of(17), b"UInt8", content)))
    checkpoint = open_checkpoint(path)
    assert checkpoint.checksums == ()
    assert contents(checkpoint)["a"] == ("uint8", (17,), content)


# Hostile and damaged files


def tensor(content: bytes = FLOATS, *dims: int, type_name: bytes = b"Float32") -> bytes:
    return tensor_message(dims_of(*dims), type_name, content)


OTHER = record(b"b", tensor(FLOATS, 2))
HOSTILE: dict[str, tuple[bytes, type[InputError], str]] = {
    "cut inside the content": (GOOD[:-1], Truncated, "inside a record"),
    "cut inside the second record's length": (GOOD + b"\x0a\xff", Truncated, "inside a record's first bytes"),
    "cut inside the checksum": (GOOD + b"crc_num\0\0", Truncated, "inside its checksum"),
    "garbage after the records": (GOOD + b"garbage", Malformed, "no record begins"),
    "bytes after the checksum": (GOOD + b"crc_num" + bytes(11), Malformed, "no record begins"),
    "content shorter than the dims": (record(b"a", tensor(FLOATS, 10**9)), Malformed, "does not fit"),
    "content longer than the dims": (record(b"a", tensor(FLOATS, 1)), Malformed, "does not fit"),
    "content of a 0-d tensor too long": (record(b"a", tensor(FLOATS)), Malformed, "does not fit"),
    "half an element": (record(b"a", tensor(FLOATS[:7], 2)), Malformed, "does not fit"),
    "no content": (record(b"a", dims_of(2) + field(2, b"Float32")), Malformed, "no type or no content"),
    "empty content": (record(b"a", tensor(b"", 2)), Malformed, "does not fit"),
    "no type": (record(b"a", dims_of(2) + field(3, FLOATS)), Malformed, "no type or no content"),
    "no tensor": (GOOD + field(1, field(1, b"b")), Malformed, "no name or no tensor"),
    "no name": (GOOD + field(1, field(2, tensor(FLOATS, 2))), Malformed, "no name or no tensor"),
    "two names": (
        GOOD + field(1, field(1, b"a") + field(1, b"b") + field(2, tensor(FLOATS, 2))),
        Malformed,
        "two names",
    ),
    "two contents": (record(b"a", tensor(FLOATS, 2) + field(3, FLOATS)), Malformed, "two types or two contents"),
    "unknown type": (record(b"a", tensor(FLOATS, 2, type_name=b"float32")), Unsupported, "element type"),
    "complex": (record(b"a", tensor(FLOATS, 1, type_name=b"Complex64")), Unsupported, "element type"),
    "negative axis": (record(b"a", tensor(FLOATS, 2**64 - 1, 2**64 - 2)), Malformed, "negative"),
    "product overflows": (record(b"a", tensor(FLOATS, 2**40, 2**40)), LimitExceeded, "overflow"),
    "too many axes": (record(b"a", tensor(FLOATS[:4], *[1] * 1000)), LimitExceeded, "too many axes"),
    "too many packed axes": (
        record(b"a", tensor_message(field(1, b"\1" * 1000), b"Float32", FLOATS[:4])),
        LimitExceeded,
        "too many axes",
    ),
    "duplicate, not adjacent": (GOOD + OTHER + GOOD, Malformed, "same name"),
    "duplicate, adjacent": (GOOD + GOOD, Malformed, "does not fit"),
    "slices disagree": (GOOD + record(b"a", tensor(FLOATS, 1, 2)), Malformed, "disagree"),
    "number of 11 bytes": (GOOD + b"\x0a" + b"\xff" * 11, Malformed, "over 10 bytes"),
    "record of 2**63 bytes": (GOOD + b"\x0a" + write_varint(2**63), Truncated, "inside a record"),
    "name reaches out of its record": (GOOD + b"\x0a\x04\x0a\x7fab" + OTHER, Malformed, "over the end"),
    "content reaches out of its tensor": (
        record(b"a", dims_of(2) + field(2, b"Float32") + b"\x1a\x20" + FLOATS) + OTHER,
        Malformed,
        "over the end",
    ),
    "a field of an old kind": (GOOD + field(1, b"\x0b"), Malformed, "no known kind"),
    "name is not UTF-8": (GOOD + record(b"\xff", tensor(FLOATS, 2)), Malformed, "UTF-8"),
    "name above 1 MiB": (GOOD + record(b"n" * 2**21, tensor(FLOATS, 2)), LimitExceeded, "name is too long"),
    "MapParameter": (field(1, field(1, b"a") + field(3, field(1, tensor(FLOATS, 2)))), Unsupported, "MapParameter"),
    "encrypted": (b"\xd8\x5e\x3a\x7f" + bytes(100), Encrypted, "encrypted"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(case: str, tmp_path: Path) -> None:
    data, error, message = HOSTILE[case]
    path = tmp_path / "a.ckpt"
    path.write_bytes(data)
    with pytest.raises(error) as caught:
        open_checkpoint(path)
    assert message in caught.value.message  # str(error) has the path, and that has the case's name
    assert caught.value.file == str(path)


def test_a_cut_file_says_after_which_tensor(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(OTHER + GOOD[:-1])
    with pytest.raises(Truncated) as caught:
        open_checkpoint(path)
    assert caught.value.entry == "the record after b"


@pytest.mark.parametrize("mode", ["AES-GCM", "AES-CBC", "SM4-CBC"])
def test_encrypted_by_mindspore(mode: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", {"a": mindspore.Tensor([1.0])}, enc_key=b"0123456789abcdef", enc_mode=mode)
    with pytest.raises(Encrypted, match="Decrypt it in MindSpore"):
        open_checkpoint(path)


def test_every_damage_is_found_by_the_checksum_or_before(tmp_path: Path) -> None:
    ours = [TensorSpec("a.weight", FLOAT32, (2,)), TensorSpec("a.n", INT64, ())]
    whole = write(tmp_path / "whole", layout(ours, crc=True), patterned(ours)).read_bytes()
    boundary = whole.index(b"\x0a", whole.index(b"Float32") + 10)
    path = tmp_path / "damaged"
    undetected = []
    for variant in damaged(whole):
        path.write_bytes(variant)
        try:
            contents(open_checkpoint(path))
        except InputError:
            continue
        undetected.append(len(variant))
    # Nothing in the format can tell a file cut between two records, or before its checksum, from a whole one.
    assert undetected == [boundary, len(whole) - 17]


def test_a_changed_byte_does_not_match_the_checksum(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", {"a": mindspore.Tensor([1.0, 2.0])}, crc_check=True)
    data = bytearray(path.read_bytes())
    data[-18] ^= 1
    os.chmod(path, 0o600)
    path.write_bytes(data)
    with pytest.raises(ChecksumMismatch, match="damaged"):
        contents(open_checkpoint(path))


def test_what_cannot_be_written() -> None:
    refused: list[tuple[TensorSpec, type[BnportError], str]] = [
        (TensorSpec("a", BY_NAME["complex64"], (1,)), Unsupported, "cannot load this element type"),
        (TensorSpec("a", BY_NAME["float8_e5m2"], (1,)), Unsupported, "cannot load this element type"),
        (TensorSpec("n" * 1025, FLOAT32, (1,)), Unsupported, "1024 characters"),
        (TensorSpec("\ud800", FLOAT32, (1,)), Malformed, "valid Unicode"),
    ]
    for spec, error, message in refused:
        with pytest.raises(error, match=message):
            layout([spec])
    assert layout([TensorSpec("n" * 1024, FLOAT32, (1,))]).size > 1024


def test_the_head_of_a_record_is_what_protobuf_writes() -> None:
    message = Message()
    value = message.value.add()
    value.tag, value.tensor.tensor_type, value.tensor.tensor_content = "größe", "Float32", bytes(1200)
    value.tensor.dims.extend([300, 1])
    head = record_head(TensorSpec("größe", FLOAT32, (300, 1)), 1200)
    assert head + bytes(1200) == message.SerializeToString()


def test_other_files_are_not_taken_for_a_ckpt() -> None:
    for head in (
        b"\n\n\n\n\n\n\n\n",
        b"\n<html>",
        b"\n\x031.1\x12\tMindSpore*\x062.10.0",
        b"\x0a",
        b"",
        b"\x0a\x02\x0a\x09",
    ):
        assert not recognises(head, 1000), head
