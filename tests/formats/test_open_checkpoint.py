"""Which format a file is, told by its content, and what is said of files that are no checkpoints."""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import lzma
import os
import pickle
import re
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import mindspore
import numpy as np
import pytest
import torch
from checkpoint_files import patterned, write
from safetensors.torch import save as save_safetensors
from work import at_most, count_reads

from porter.errors import FileIOError, InputError, NotACheckpoint, UsageError
from porter.formats import mindspore_ckpt, open_checkpoint, safetensors, torch_zip
from porter.formats.dtypes import FLOAT32, UINT8
from porter.formats.model import Layout, TensorSpec

STATE = {"conv1.weight": torch.ones(2, 3)}


def save_ckpt(path: Path) -> None:
    target = path.with_suffix(".ckpt")
    mindspore.save_checkpoint(
        [{"name": n, "data": mindspore.Tensor(t.numpy())} for n, t in STATE.items()], str(target)
    )
    target.rename(path)


WRITERS = {
    "torch-zip": lambda path: torch.save(STATE, path),
    "torch-legacy": lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
    "safetensors": lambda path: path.write_bytes(save_safetensors(STATE)),
    "mindspore-ckpt": save_ckpt,
}


@pytest.mark.parametrize("suffix", ["", ".pth", ".ckpt", ".safetensors", ".json"])
@pytest.mark.parametrize("format_name", WRITERS)
def test_the_content_decides_not_the_suffix(format_name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    WRITERS[format_name](path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.format == format_name
    assert [(spec.name, spec.shape) for spec in checkpoint.specs] == [("conv1.weight", (2, 3))]


@pytest.mark.parametrize("first_byte", [0x0A, 0x7B, 0x20, 0x80])
def test_a_safetensors_length_that_looks_like_another_format(first_byte: int, tmp_path: Path) -> None:
    # 0x0A begins a .ckpt, a brace or a blank JSON, 0x80 a pickle. 0x7B20 is a blank and a brace.
    data = b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    for high in (0x00, 0x01, 0x7B):
        length = high << 8 | first_byte
        if length > len(data):
            path = tmp_path / f"{length}"
            path.write_bytes(length.to_bytes(8, "little") + data.ljust(length))
            assert open_checkpoint(path).format == "safetensors"


def tar_of(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("net.pth")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weight=np.ones(3))
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
IMPOSTORS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "file is empty"),
    "git-lfs pointer": (LFS, "git-lfs pointer.*Run `git lfs pull`"),
    "HTML": (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "web page"),
    "HTML after blanks, in capitals": (b"\n\n <HTML><BODY>404</BODY></HTML>", "web page"),
    "XML error": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
    "JSON": (b'{"model": "resnet"}', "no index of a sharded checkpoint"),
    "gzip": (gzip.compress(b"x" * 100), "gzip.*Unpack"),
    "bzip2": (bz2.compress(b"x" * 100), "bzip2"),
    "xz": (lzma.compress(b"x" * 100), "xz"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(50), "zstd"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(50), "7z"),
    "RAR": (b"Rar!\x1a\x07\x01\x00" + bytes(50), "RAR"),
    "tar": (tar_of(b"x" * 100), "tar archive"),
    "npz": (npz(), "zip archive, but none that torch.save wrote"),
    "npy": (npy(), "NumPy array"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
    "pickle": (pickle.dumps({"weight": [1.0]}, protocol=4), "pickle, but not one that torch.save wrote"),
    "MindIR": (b"\n\x031.1\x12\tMindSpore*\x062.10.0:\xd9\x04\n\xb7\x01", "MindIR"),
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x8d\x02", "ONNX"),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(50), "GGUF"),
    "random bytes": (bytes((i * 151 + 7) % 256 for i in range(5000)), "no checkpoint of a known format"),
    "one byte": (b"\x0a", "no checkpoint of a known format"),
    "text": (b"epoch 1, loss 0.3\n", "no checkpoint of a known format"),
}


@pytest.mark.parametrize("case", IMPOSTORS)
def test_impostors_are_named(case: str, tmp_path: Path) -> None:
    data, message = IMPOSTORS[case]
    path = tmp_path / "net.pth"
    path.write_bytes(data)
    with pytest.raises(NotACheckpoint) as caught:
        open_checkpoint(path)
    # Not str(error), which has the path, and that has the case's name.
    assert re.search(message, f"{caught.value.message}. {caught.value.hint}")
    assert (caught.value.file, caught.value.exit_code) == (str(path), 3)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name, message in [
        ("fifo", "not a regular file"),
        (".", "not a regular file.*name the file in it"),
        ("/dev/null", "not a regular file"),
        ("missing", "no such file"),
        ("dangling", "no such file"),
        ("nul\0", "no such file"),
    ]:
        with pytest.raises(NotACheckpoint, match=message):
            open_checkpoint(tmp_path / name)


def test_a_link_to_a_checkpoint_is_one(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "net.pth")
    (tmp_path / "link").symlink_to("net.pth")
    assert open_checkpoint(tmp_path / "link").format == "torch-zip"


def test_permission_denied_is_unreadable_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pth"
    torch.save(STATE, path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, whom no mode keeps out
    with pytest.raises(InputError, match="may not be read"):
        open_checkpoint(path)


def test_a_reading_error_is_the_system_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    WRITERS["mindspore-ckpt"](path)

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(FileIOError, match="Input/output error"):
        open_checkpoint(path)


@pytest.mark.parametrize("format_name", ["safetensors", "mindspore-ckpt"])
def test_key_is_for_pytorch_files(format_name: str, tmp_path: Path) -> None:
    WRITERS[format_name](tmp_path / "a")
    with pytest.raises(UsageError, match="several state dicts"):
        open_checkpoint(tmp_path / "a", key="model")


def test_key_reaches_the_pytorch_reader(tmp_path: Path) -> None:
    torch.save({"net": STATE, "ema": dict(STATE)}, tmp_path / "a")
    assert open_checkpoint(tmp_path / "a", key="ema").container == "ema"


def test_the_collector_runs_again_after_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x0a\x10\x0a\x01a\x12")
    with pytest.raises(InputError):
        open_checkpoint(tmp_path / "a")
    assert gc.isenabled()


MANY = [TensorSpec(f"layer.{i}.weight", UINT8, (1,)) for i in range(5000)]
# Format -> its layout of some tensors, and twice the lines of Python that one tensor takes to open.
WORK: dict[str, tuple[Callable[[Sequence[TensorSpec]], Layout], int]] = {
    "safetensors": (lambda ours: safetensors.layout(ours, metadata={}), 80),
    "mindspore-ckpt": (mindspore_ckpt.layout, 370),
    "torch-zip": (torch_zip.layout, 780),
}


@pytest.mark.parametrize("format_name", WORK)
def test_work_grows_with_the_number_of_tensors_and_no_faster(format_name: str, tmp_path: Path) -> None:
    layout, lines_per_tensor = WORK[format_name]
    path = write(tmp_path / "a", layout(MANY), patterned(MANY))
    with at_most(lines_per_tensor * len(MANY)):
        assert open_checkpoint(path).specs == MANY


@pytest.mark.parametrize("format_name", WORK)
def test_the_collector_rests_while_a_file_is_opened(format_name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a", WORK[format_name][0](MANY), patterned(MANY))
    collections: list[str] = []
    gc.callbacks.append(lambda phase, _: collections.append(phase))
    try:
        open_checkpoint(path)
    finally:
        gc.callbacks.pop()
    # One may come when it runs again; 5000 tensors are objects enough for dozens.
    assert collections.count("start") <= 1


def test_small_records_share_a_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a", mindspore_ckpt.layout(MANY), patterned(MANY))
    reads = count_reads(monkeypatch)
    open_checkpoint(path)
    # Neighbouring windows overlap by the length that a head may have, an eighth of a window.
    assert path.stat().st_size <= sum(reads) < 1.25 * path.stat().st_size


def test_a_header_longer_than_the_first_read(tmp_path: Path) -> None:
    ours = [TensorSpec("n" * 5000, FLOAT32, (2,))]
    path = write(
        tmp_path / "a", mindspore_ckpt.layout([TensorSpec("n" * 1000, FLOAT32, (2,))]), {"n" * 1000: bytes(8)}
    )
    assert open_checkpoint(path).format == "mindspore-ckpt"
    path = write(tmp_path / "b", safetensors.layout(ours, metadata={}), patterned(ours))
    assert open_checkpoint(path).specs == ours
