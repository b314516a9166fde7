"""What reaches the disk before a conversion says that it is done."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from nets import two_norms
from safetensors.torch import save_file

import porter

SAY_3D = porter.SourceOptions(layers=[("**", "BatchNorm3d")])


def test_only_what_replaces_something_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new output is left to the operating system, as `cp` leaves it."""
    save_file(two_norms().state_dict(), tmp_path / "net.safetensors", {"format": "pt"})
    flushed: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    for force, expected in ((False, []), (True, ["file", "folder"])):
        options = porter.WriteOptions(force=force)
        output = tmp_path / "net.ckpt"
        porter.convert(
            tmp_path / "net.safetensors", output, verify=False, source_options=SAY_3D, write_options=options
        )
        assert flushed == expected
