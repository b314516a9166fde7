"""Safetensors files: an 8-byte length, a JSON header of that many bytes, then the tensors' bytes without a gap.

Written from the format's specification (the README of huggingface/safetensors). The header is parsed here, and not
by the library, because the library loses the header's order and lets some duplicate keys pass.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from porter.errors import InputError, LimitExceeded, Malformed, Truncated, Unsupported
from porter.formats.dtypes import BY_SAFETENSORS, DType
from porter.formats.model import Checkpoint, Extent, Layout, Slot, StoredTensor, TensorSpec
from porter.formats.shapes import stated_nbytes, utf8
from porter.formats.strict_json import parse_object
from porter.formats.transfer import BLOCK_BYTES

LENGTH_BYTES = 8
# The specification's own limit, "to prevent parsing extremely large JSON".
MAX_HEADER_BYTES = 100_000_000
METADATA = "__metadata__"
# The spelling of `__metadata__["format"]`: by huggingface's libraries, and by mindspore.save_checkpoint.
FRAMEWORKS = {"pt": "torch", "ms": "mindspore"}
# Element types of the specification that PyTorch and MindSpore have no layers for.
FOREIGN_TYPES = ("F4", "F6_E2M3", "F6_E3M2")

_KEYS = {"dtype", "shape", "data_offsets"}
_INTEGER = {int}
_new = tuple.__new__


def recognises(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` (4 KiB) is a safetensors file, whole or damaged."""
    return size > LENGTH_BYTES + 1 and head[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{" and head[9:10] in b'"} \t\r\n'


def read(path: Path) -> Checkpoint:
    """List the tensors of a safetensors file, in the order of its header.

    Raises:
        Truncated: the header or the tensors are longer than the file.
        Malformed: the header is no JSON object of the specified form, names a key twice, or its ranges overlap,
            leave holes, do not fit the shapes or stop before the end of the file.
        LimitExceeded: a header above 100 MB, or a shape beyond 64 bits.
        Unsupported: an element type that bnport does not know.
    """
    header, data_start, size = _read_header(path)
    metadata = _metadata(header.pop(METADATA, {}), path)
    _check_names(header, path)
    # Taken out one by one, so that a header of a million entries does not stand in memory twice.
    tensors = {name: _tensor(name, header.pop(name), data_start, path) for name in list(header)}
    _check_ranges(tensors, data_start, size, path)
    _refuse_packed_integers(metadata, tensors, path)
    return Checkpoint(
        path=path,
        format="safetensors",
        files=(path,),
        tensors=tensors,
        framework=FRAMEWORKS.get(metadata.get("format", "")),
        metadata=metadata,
        notes=tuple(_notes(metadata)),
    )


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header as parsed, the offset at which the tensors begin, and the file's size."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if length > MAX_HEADER_BYTES:
            raise LimitExceeded(
                "the header is over the format's limit",
                file=path,
                expected=f"at most {MAX_HEADER_BYTES} bytes",
                found=length,
            )
        if length > size - LENGTH_BYTES:
            raise Truncated(
                "the header is longer than the file",
                file=path,
                expected=f"{length} bytes of header",
                found=f"{max(0, size - LENGTH_BYTES)} bytes",
                hint="The file was not copied or downloaded to its end: get it again.",
            )
        header = parse_object(file.read(length), file=path, what="the header")
    return header, LENGTH_BYTES + length, size


def _metadata(stated: object, path: Path) -> dict[str, str]:
    if not isinstance(stated, dict) or not all(isinstance(value, str) for value in stated.values()):
        raise Malformed("the metadata is not a map from text to text", file=path, entry=METADATA)
    return stated


def _check_names(header: Mapping[str, Any], path: Path) -> None:
    try:
        "".join(header).encode()
    except UnicodeEncodeError as error:
        raise Malformed("a tensor's name is not valid Unicode", file=path, found=error.object[error.start]) from error


def _tensor(name: str, entry: object, data_start: int, path: Path) -> StoredTensor:
    try:
        dtype, shape, begin, nbytes = _facts(entry)
    except InputError as error:
        error.file, error.entry = str(path), name
        raise
    spec, extent = _new(TensorSpec, (name, dtype, shape)), _new(Extent, (0, data_start + begin, nbytes))
    return _new(StoredTensor, (spec, (extent,), None))


def _facts(entry: object) -> tuple[DType, tuple[int, ...], int, int]:
    """Element type, shape, first byte and length of the tensor that an entry of the header describes."""
    if not isinstance(entry, dict) or entry.keys() != _KEYS:
        raise Malformed(
            "the header's entry is not a tensor",
            expected="dtype, shape and data_offsets",
            found=", ".join(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__,
        )
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = BY_SAFETENSORS.get(code) if isinstance(code, str) else None
    if dtype is None:
        raise _unknown_type(code)
    # JSON's true and 1.0 must not pass for 1, hence the exact types.
    if type(shape) is not list or type(offsets) is not list or not _INTEGER.issuperset(map(type, shape + offsets)):
        raise Malformed("the shape or the offsets are not lists of integers")
    if len(offsets) != 2 or not 0 <= offsets[0] <= offsets[1]:
        raise Malformed("the offsets are not a begin and an end after it", found=offsets)
    begin, end = offsets
    sizes, expected = _sizes(dtype, *shape)
    if end - begin != expected:
        stated = f"{end - begin}"
        raise Malformed("the offsets do not fit dtype and shape", expected=f"{expected} bytes", found=stated)
    return dtype, sizes, begin, expected


@lru_cache(maxsize=1024)
def _sizes(dtype: DType, *shape: int) -> tuple[tuple[int, ...], int]:
    """The shape, and the bytes of a tensor that has it: the same two objects for all that are alike."""
    return shape, stated_nbytes(shape, dtype)


def _unknown_type(code: object) -> InputError:
    if code in FOREIGN_TYPES:
        return Unsupported("bnport cannot carry this element type", found=code)
    return Malformed("the element type is unknown", found=code)


def _check_ranges(tensors: Mapping[str, StoredTensor], data_start: int, size: int, path: Path) -> None:
    """The tensors' ranges, in order of position, must follow on each other up to the last byte of the file."""
    position = data_start
    for extent in sorted([extent for tensor in tensors.values() for extent in tensor.extents]):
        if extent.offset != position:
            overlap = extent.offset < position
            raise Malformed(
                "its bytes overlap another tensor's" if overlap else "a hole comes before its bytes",
                file=path,
                entry=min(name for name, tensor in tensors.items() if tensor.extents == (extent,)),
                expected=f"offset {position - data_start}",
                found=extent.offset - data_start,
            )
        position += extent.length
    if position > size:
        raise Truncated(
            "the file ends before its tensors do",
            file=path,
            expected=f"{position} bytes",
            found=size,
            hint="The file was not copied or downloaded to its end: get it again.",
        )
    if position < size:
        raise Malformed("bytes follow the last tensor", file=path, expected=f"{position} bytes", found=size)


def _refuse_packed_integers(metadata: Mapping[str, str], tensors: Mapping[str, StoredTensor], path: Path) -> None:
    """MindSpore marks its 4-bit integers, two to a byte, by a metadata key of the tensor's name."""
    packed = next((name for name, value in metadata.items() if name in tensors and value == "Int4"), None)
    if packed is not None:
        raise Unsupported("bnport cannot carry 4-bit integers", file=path, entry=packed)


def _notes(metadata: Mapping[str, str]) -> list[str]:
    notes = []
    if metadata.get("remove_redundancy") == "True":
        notes.append(
            "saved with remove_redundancy=True: parameters that other ranks share may be in those ranks' files only"
        )
    if "crc_num" in metadata:
        notes.append(
            "MindSpore's crc_num was not checked: load_checkpoint(format='safetensors', crc_check=True) checks it"
        )
    return notes


def layout(specs: Sequence[TensorSpec], *, metadata: Mapping[str, str], data_like: int = 0) -> Layout:
    """Where everything stands in a new safetensors file.

    Tensors stand in the order given, in the header as in the data, which MindSpore's loader insists on; so a tensor
    may lie at an odd address, as after a mask of 3 booleans. The format allows it, PyTorch computes with such
    tensors, and MindSpore copies them.

    Args:
        specs: the tensors, in order.
        metadata: the file's `__metadata__`; "format" is what says which framework it is for ("pt", "ms").
        data_like: where the tensors begin in the file they are copied from, in bytes. They then begin as far behind
            the beginning of a block here, so that the two files can share blocks.

    Raises:
        Unsupported: an element type the format has not, a name it reserves, or a metadata key that is also a
            tensor's name (MindSpore's loader takes that for its 4-bit marker and fails).
        Malformed: a name that is not valid Unicode.
        LimitExceeded: the header would be above the format's 100 MB.
    """
    _check_writable(specs, metadata)
    ranges: dict[str, tuple[int, int]] = {}
    end = 0
    for spec in specs:
        begin, end = end, end + spec.nbytes
        ranges[spec.name] = (begin, end)
    head = _header(specs, ranges, metadata, data_like)
    slots = {name: (Slot(len(head) + begin, stop - begin),) for name, (begin, stop) in ranges.items()}
    return Layout(size=len(head) + end, literals=((0, head),), slots=slots)


def _header(
    specs: Sequence[TensorSpec],
    ranges: Mapping[str, tuple[int, int]],
    metadata: Mapping[str, str],
    data_like: int,
) -> bytes:
    header: dict[str, object] = {METADATA: dict(metadata)} if metadata else {}
    for spec in specs:
        header[spec.name] = {
            "dtype": spec.dtype.safetensors,
            "shape": spec.shape,
            "data_offsets": ranges[spec.name],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    padding = (data_like - LENGTH_BYTES - len(text)) % BLOCK_BYTES if data_like else -len(text) % 8
    text += b" " * padding
    if len(text) > MAX_HEADER_BYTES:
        raise LimitExceeded(
            "the header would be over the format's limit",
            expected=f"at most {MAX_HEADER_BYTES} bytes",
            found=len(text),
            hint="Write several files with --max-shard-size.",
        )
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def _check_writable(specs: Sequence[TensorSpec], metadata: Mapping[str, str]) -> None:
    for spec in specs:
        utf8(spec.name)
        if spec.dtype.safetensors is None:
            raise Unsupported(
                "safetensors has no such element type",
                entry=spec.name,
                found=spec.dtype,
                hint="Write .pth, or leave the tensor out: `drop` in a file for --rules.",
            )
        if spec.name == METADATA:
            raise Unsupported("safetensors reserves this name", entry=spec.name)
        if spec.name in metadata:
            raise Unsupported("a metadata key is the name of a tensor, which MindSpore cannot load", entry=spec.name)
