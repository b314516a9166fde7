"""Files that are handed over as checkpoints and are none: each is named, with what to do about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from porter.errors import NotACheckpoint


class _Impostor(NamedTuple):
    """What begins with what matches `beginning`, letters of either case."""

    beginning: bytes
    what: str
    hint: str


_UNPACK = "Unpack it: the checkpoint is the file inside."
_DOWNLOAD = "The address led to a web page: download the file itself."
_SAVE = "Load it with the program that wrote it, and save the state dict with torch.save."
_WEIGHTS = "It is a compiled network: take the checkpoint (.ckpt, .pth) that it was exported from."

_IMPOSTORS = (
    _Impostor(rb"version https://git-lfs", "a git-lfs pointer, not the file it stands for", "Run `git lfs pull`."),
    _Impostor(rb"\s*<(!doctype html|html|head|\?xml)", "a web page", _DOWNLOAD),
    _Impostor(rb"\x1f\x8b", "compressed with gzip", _UNPACK),
    _Impostor(rb"BZh", "compressed with bzip2", _UNPACK),
    _Impostor(rb"\xfd7zXZ\0", "compressed with xz", _UNPACK),
    _Impostor(rb"\x28\xb5\x2f\xfd", "compressed with zstd", _UNPACK),
    _Impostor(rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    _Impostor(rb"Rar!", "a RAR archive", _UNPACK),
    _Impostor(rb".{257}ustar", "a tar archive", _UNPACK),
    _Impostor(rb"\x89HDF\r\n", "an HDF5 file", _SAVE),
    _Impostor(rb"\x93NUMPY", "a NumPy array", _SAVE),
    _Impostor(rb"\x80[\x02-\x05]", "a pickle, but not one that torch.save wrote", _SAVE),
    _Impostor(rb"\x0a.[^\x12]{1,16}\x12\x09MindSpore", "a MindIR file", _WEIGHTS),
    _Impostor(rb"\x08.\x12.[\w.]+\x1a", "an ONNX file", _WEIGHTS),
    _Impostor(rb"GGUF", "a GGUF file", _WEIGHTS),
)

_KNOWN_FORMATS = ".pth, .safetensors, .ckpt of MindSpore, or the index of a sharded checkpoint"


def unknown_file(head: bytes, size: int, path: Path) -> NotACheckpoint:
    """What to say about a file of `size` bytes that begins with `head` (4 KiB) and that no reader recognises."""
    if size == 0:
        return NotACheckpoint("the file is empty", file=path, hint="Copy or download it again.")
    for impostor in _IMPOSTORS:
        if re.match(impostor.beginning, head, re.DOTALL | re.IGNORECASE):
            return NotACheckpoint(f"this is {impostor.what}", file=path, hint=impostor.hint)
    return NotACheckpoint(
        "no checkpoint of a known format", file=path, expected=_KNOWN_FORMATS, found=f"bytes {head[:8].hex(' ')}"
    )
