"""The checkpoint formats: which one a file is, and the reader for it. Writers are each module's `layout`."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from porter.collector import collector_paused
from porter.errors import FileIOError, InputError, NotACheckpoint, UsageError
from porter.formats import mindspore_ckpt, safetensors, shards, torch_legacy, torch_zip
from porter.formats.impostors import unknown_file
from porter.formats.model import Checkpoint

HEAD_BYTES = 4096


def open_checkpoint(path: Path, *, key: str | None = None, optimizer: bool = False) -> Checkpoint:
    """List what is in a checkpoint of any format. The content decides which format it is, not the suffix.

    Args:
        path: a regular file, or a symbolic link to one.
        key: the state dict to take out of a .pth that holds several.
        optimizer: list the optimizer's state of a .pth as well. In MindSpore's files it stands among the tensors.

    Raises:
        NotACheckpoint: no such file, no regular file, or of no known format.
        InputError: the file may not be read, or in one of its other classes, must not be trusted.
        UsageError: `key` for a file that is not PyTorch's, or there is nothing under it.
        Undecided: the file holds two state dicts that are equally good.
        FileIOError: reading failed.
    """
    try:
        head, size = _head(path)
        with collector_paused():
            if shards.recognises(head, size):
                return shards.read(path, lambda shard: _open_file(shard, *_head(shard), key, optimizer=False))
            return _open_file(path, head, size, key, optimizer=optimizer)
    except OSError as error:
        raise FileIOError(f"reading failed: {error.strerror}", file=path) from error


def _head(path: Path) -> tuple[bytes, int]:
    """The first bytes of a regular file, and its size."""
    try:
        status = os.stat(path)
        # Before anything is opened: a FIFO's open would wait for a writer.
        if not stat.S_ISREG(status.st_mode):
            raise NotACheckpoint("not a regular file", file=path, hint=_folder_hint(status))
        with path.open("rb") as file:
            return file.read(HEAD_BYTES), status.st_size
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        # ValueError: a path with a NUL in it.
        raise NotACheckpoint("no such file", file=path) from error
    except PermissionError as error:
        raise InputError("may not be read", file=path, hint="Change its permissions.") from error


def _folder_hint(status: os.stat_result) -> str | None:
    return "It is a folder: name the file in it." if stat.S_ISDIR(status.st_mode) else None


def _open_file(path: Path, head: bytes, size: int, key: str | None, *, optimizer: bool) -> Checkpoint:
    """Open one file that holds tensors itself."""
    if torch_zip.recognises(head, size):
        return torch_zip.read(path, key=key, optimizer=optimizer)
    if torch_legacy.recognises(head, size):
        return torch_legacy.read(path, key=key, optimizer=optimizer)
    # safetensors first: the length it begins with may look like the first byte of a .ckpt.
    if safetensors.recognises(head, size):
        reader = safetensors.read
    elif mindspore_ckpt.recognises(head, size):
        reader = mindspore_ckpt.read
    else:
        raise unknown_file(head, size, path)
    if key is not None:
        raise UsageError(
            "only a .pth holds several state dicts", file=path, entry=f"--key {key}", hint="Leave it out."
        )
    return reader(path)
