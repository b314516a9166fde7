"""Writes files through a layout, and lists hostile variants of sound files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hypothesis import strategies as st

from porter.formats.dtypes import DTYPES, TEXT
from porter.formats.model import Checkpoint, Layout, TensorSpec
from porter.formats.transfer import TensorReader
from porter.formats.writing import write_layout

Contents = dict[str, tuple[str, tuple[int, ...], bytes]]


def write(path: Path, layout: Layout, data: Mapping[str, bytes]) -> Path:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        write_layout(descriptor, layout, lambda name: [data[name]] if data[name] else [])
    finally:
        os.close(descriptor)
    assert path.stat().st_size == layout.size
    return path


def contents(checkpoint: Checkpoint) -> Contents:
    """Name -> dtype, shape and bytes, in the checkpoint's order; the file's own checksums are checked."""
    with TensorReader(checkpoint) as reader:
        data = {name: b"".join(bytes(chunk) for chunk in reader.chunks(name)) for name in checkpoint.tensors}
        reader.check_unread()
    return {spec.name: (spec.dtype.name, spec.shape, data[spec.name]) for spec in checkpoint.specs}


def same_in_order(found: Contents, expected: Contents) -> None:
    assert list(found.items()) == list(expected.items())


# Everything UTF-8 can express, so no surrogates, but two names that are taken in a .safetensors.
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(
    lambda name: name not in ("__metadata__", "format")
)


def specs(supported: str) -> st.SearchStrategy[list[TensorSpec]]:
    """Up to 8 small tensors of the dtypes for which attribute `supported` is set; text needs a character or more."""
    dtypes = st.sampled_from([dtype for dtype in DTYPES if getattr(dtype, supported) and dtype is not TEXT])
    shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
    one = st.builds(TensorSpec, names, dtypes, shapes)
    return st.lists(one, max_size=8, unique_by=lambda spec: spec.name)


def patterned(specs: Sequence[TensorSpec]) -> dict[str, bytes]:
    """Bytes for each tensor that no other has."""
    return {spec.name: bytes((i * 37 + k) % 251 for k in range(spec.nbytes)) for i, spec in enumerate(specs)}


def damaged(whole: bytes) -> Iterator[bytes]:
    """Every truncation of `whole`, and every byte of it changed in three ways."""
    for at in range(len(whole)):
        yield whole[:at]
        for mask in (0x01, 0x80, 0xFF):
            yield whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :]
