"""One record of a .ckpt: the protobuf message that holds a name and a tensor (or a slice of one).

Field numbers from mindspore/train/checkpoint_pb2.py (proto2, the same from 2.0.0 to 2.10):

    Checkpoint  { repeated Value value = 1 }
    Value       { required string tag = 1; oneof { TensorProto tensor = 2; MapTensorProto maptensor = 3 } }
    TensorProto { repeated int64 dims = 1; required string tensor_type = 2; required bytes tensor_content = 3 }

Every record is a Checkpoint with one Value; a file is such records one after the other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from porter.errors import InputError, LimitExceeded, Malformed, Truncated, Unsupported
from porter.formats.dtypes import TEXT, DType
from porter.formats.model import TensorSpec
from porter.formats.protobuf import (
    BYTES,
    VARINT,
    WINDOW_BYTES,
    FileWindow,
    Window,
    fields,
    read_text,
    read_varint,
    write_bytes_head,
    write_varint,
)
from porter.formats.shapes import MAX_AXES, utf8

VALUE = 1
RECORD_KEY = VALUE << 3 | BYTES
TAG, TENSOR, MAP_TENSOR = 1, 2, 3
DIMS, TYPE, CONTENT = 1, 2, 3

# Far above any name; keeps a corrupt length from pulling a tensor's content into memory as text.
MAX_TEXT_BYTES = 1 << 20
# Record heads are rarely longer; where less of the window is left, the next one is read.
COMMON_HEAD_BYTES = 512
# The window where the next record is this near, as it is among small tensors.
NEAR_BYTES = 16 << 10
LONG_WINDOW_BYTES = 64 << 10

# A record as MindSpore and bnport write it, up to its content, the name of less than 128 ASCII characters: the
# record's length, the name's length, the name, and what alike tensors have in common.
_COMMON_HEAD = re.compile(
    (
        rb"\x0a(VARINT)\x0a([\0-\x7f])([ -~]+)"
        rb"(\x12VARINT(?:\x08VARINT)*\x12[\0-\x7f][A-Za-z0-9]+\x1aVARINT)"
    ).replace(b"VARINT", rb"[\x80-\xff]{0,9}[\0-\x7f]")
)


class Record(NamedTuple):
    """One record: `content` is where its bytes start, `end` where the next record does; both count from the file's
    beginning."""

    name: str
    dims: tuple[int, ...]
    type: str
    content: int
    length: int
    end: int


def begins_with_record(head: bytes) -> bool:
    """Whether the bytes `head` can begin a record: its key, then its tag, and after that a tensor."""
    with suppress(IndexError, Malformed):
        record_key, at = read_varint(head, 0)
        record_bytes, at = read_varint(head, at)
        record_end = at + record_bytes
        tag_key, at = read_varint(head, at)
        tag_bytes, at = read_varint(head, at)
        follows = head[at + tag_bytes : at + tag_bytes + 1]
        return (
            record_key == RECORD_KEY
            and tag_key == TAG << 3 | BYTES
            and at + tag_bytes < record_end
            and follows in (b"", bytes([TENSOR << 3 | BYTES]), bytes([MAP_TENSOR << 3 | BYTES]))
        )
    return False


def read_records(descriptor: int, size: int, path: Path) -> Iterator[Record]:
    """The records one after the other, up to the first byte that begins none."""
    base, window, previous, at = 0, b"", "", 0
    while at < size:
        if at - base + COMMON_HEAD_BYTES > len(window):
            near = base < at < base + len(window) + NEAR_BYTES
            base, window = at, os.pread(descriptor, LONG_WINDOW_BYTES if near else WINDOW_BYTES, at)
        if window[at - base] != RECORD_KEY:
            return
        try:
            record = _common_record(window, at, base, size) or _record_at(at, descriptor, window, base, size)
        except InputError as error:
            error.file = str(path)
            error.entry = error.entry or (f"the record after {previous}" if previous else "the first record")
            raise
        yield record
        previous, at = record.name, record.end


def _common_record(window: bytes, at: int, base: int, size: int) -> Record | None:
    """The record at byte `at` of a file of `size` bytes, of which `window` shows those from `base` on; None where it
    needs a closer look.
    """
    head = _COMMON_HEAD.match(window, at - base)
    if head is None:
        return None
    record_bytes, name_bytes, name, tensor_head = head.groups()
    tensor = _common_tensor(tensor_head)
    content = base + head.end()
    if tensor is None or len(name) != name_bytes[0]:
        return None
    dims, type_name, length = tensor
    end = content + length
    if base + head.end(1) + _number(record_bytes) != end or end > size:
        return None
    return tuple.__new__(Record, (name.decode("ascii"), dims, type_name, content, length, end))


@lru_cache(maxsize=1024)
def _common_tensor(head: bytes) -> tuple[tuple[int, ...], str, int] | None:
    """Dims, element type and length of the content, as the bytes between a record's name and its content say.

    None unless tensor and content end together.
    """
    with suppress(IndexError, InputError):
        length, start = read_varint(head, 1)
        dims, type_name, content, end = _tensor_head(head, start, start + length, "")
        if content == len(head) and end == start + length:
            return dims, type_name, end - content
    return None


@lru_cache(maxsize=1024)
def _number(varint: bytes) -> int:
    return read_varint(varint, 0)[0]


def _record_at(at: int, descriptor: int, window: bytes, base: int, size: int) -> Record:
    try:
        return _record(window, at, base, size)
    except IndexError:
        pass  # its head is longer than the window
    try:
        return _record(FileWindow(descriptor, base), at, base, size)
    except IndexError:
        raise Truncated("the file ends inside a record's first bytes", found=f"{size} bytes") from None


def _record(window: Window, at: int, base: int, size: int) -> Record:
    """The record at byte `at` of a file of `size` bytes, of which `window` shows those from `base` on.

    Raises:
        IndexError: the window is too short.
    """
    length, start = read_varint(window, at - base + 1)
    end = start + length
    if base + end > size:
        raise Truncated(
            "the file ends inside a record",
            expected=f"{base + end} bytes",
            found=size,
            hint="The file was not copied or downloaded to its end: get it again.",
        )
    name: str | None = None
    tensor: tuple[int, int] | None = None
    for number, kind, value, after in fields(window, start, end):
        if number == TAG and kind == BYTES and name is None:
            name = _text(window, value, after)
        elif number == TENSOR and kind == BYTES and tensor is None:
            tensor = value, after
        elif number == MAP_TENSOR:
            raise Unsupported("bnport cannot carry a MapParameter (a hash table)", entry=name)
        elif number in (TAG, TENSOR):
            raise Malformed("the record has two names or two tensors", entry=name)
    if name is None or tensor is None:
        raise Malformed("the record has no name or no tensor", entry=name)
    dims, type_name, content, stop = _tensor_head(window, *tensor, name)
    return Record(name, dims, type_name, base + content, stop - content, base + end)


def _tensor_head(window: Window, start: int, end: int, name: str) -> tuple[tuple[int, ...], str, int, int]:
    """Dims, element type, and where the content begins and ends, of the TensorProto from `start` to `end`."""
    dims: list[int] = []
    type_name: str | None = None
    content: tuple[int, int] | None = None
    for number, kind, value, after in fields(window, start, end):
        if number == DIMS and kind == VARINT:
            dims.append(value)
        elif number == DIMS and kind == BYTES:
            # proto2 writes repeated numbers one by one, but a reader has to take them packed, too.
            while value < after and len(dims) <= MAX_AXES:
                dim, value = read_varint(window, value)
                dims.append(dim)
        elif number == TYPE and kind == BYTES and type_name is None:
            type_name = _text(window, value, after)
        elif number == CONTENT and kind == BYTES and content is None:
            content = value, after
        elif number in (DIMS, TYPE, CONTENT):
            raise Malformed("the tensor has two types or two contents", entry=name)
        if len(dims) > MAX_AXES:
            raise LimitExceeded("the tensor has too many axes", entry=name, found=f"more than {MAX_AXES}")
    if type_name is None or content is None:
        raise Malformed("the tensor has no type or no content", entry=name)
    # int64 travels as its two's complement.
    return tuple(dim - 2**64 if dim >= 2**63 else dim for dim in dims), type_name, *content


def _text(window: Window, start: int, end: int) -> str:
    if end - start > MAX_TEXT_BYTES:
        raise LimitExceeded("a name is too long", expected=f"at most {MAX_TEXT_BYTES} bytes", found=end - start)
    return read_text(window, start, end)


def record_head(spec: TensorSpec, length: int) -> bytes:
    """The bytes of a record up to its content of `length` bytes."""
    name = utf8(spec.name)
    before, after = _around_name(spec.dtype, spec.shape, length, len(name))
    return before + name + after


@lru_cache(maxsize=1024)
def _around_name(dtype: DType, shape: tuple[int, ...], length: int, name_bytes: int) -> tuple[bytes, bytes]:
    """What stands before and behind a record's name in its head."""
    tensor = _tensor_head_bytes(dtype, shape, length)
    before, after = write_bytes_head(TAG, name_bytes), write_bytes_head(TENSOR, len(tensor) + length) + tensor
    return write_bytes_head(VALUE, len(before) + name_bytes + len(after) + length) + before, after


def _tensor_head_bytes(dtype: DType, shape: tuple[int, ...], length: int) -> bytes:
    """The bytes of a TensorProto up to its content of `length` bytes."""
    assert dtype.mindspore is not None
    type_name = dtype.mindspore.encode()
    dims = b"".join(
        write_varint(DIMS << 3 | VARINT) + write_varint(dim) for dim in ((0,) if dtype is TEXT else shape)
    )
    return dims + write_bytes_head(TYPE, len(type_name)) + type_name + write_bytes_head(CONTENT, length)
