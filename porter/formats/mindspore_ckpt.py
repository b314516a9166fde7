"""MindSpore's .ckpt: records (see ckpt_records) one after the other, without magic, count or index.

A tensor above 512 MiB is cut into adjacent records of the same tag, each with the dims of the whole. A file saved
with crc_check=True ends with `crc_num` and the CRC-32 of all bytes before it, as 10 big-endian bytes. Further facts,
from mindspore/train/serialization.py and from running it: a 0-d tensor has no dims, but MindSpore 2.0.0 wrote
dims [0] beside one element; text has dims [0], type `str` and UTF-32-LE content; an empty tensor is a record
without content.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from isal.isal_zlib import crc32, crc32_combine

from porter.errors import Encrypted, InputError, Malformed, Truncated, Unsupported
from porter.formats.ckpt_records import Record, begins_with_record, read_records, record_head
from porter.formats.dtypes import BY_MINDSPORE, TEXT, DType
from porter.formats.model import (
    Checkpoint,
    Checksum,
    Extent,
    Layout,
    Slot,
    SlotChecksums,
    StoredTensor,
    TensorSpec,
)
from porter.formats.shapes import stated_nbytes

_new = tuple.__new__

SLICE_BYTES = 512 << 20
TRAILER_MARK = b"crc_num"
TRAILER_BYTES = len(TRAILER_MARK) + 10
# mindspore.load_checkpoint refuses longer names.
MAX_NAME_CHARACTERS = 1024
# The first four bytes of a file saved with enc_key: AES-GCM, AES-CBC and SM4-CBC.
ENCRYPTED_MAGIC = tuple(magic.to_bytes(4, "little") for magic in (0x7F3A5ED8, 0x7F3A5ED9, 0x7F3A5EDA))


def recognises(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` (4 KiB) is a .ckpt, whole, damaged or encrypted.

    There is no magic: a .ckpt begins with a record, the record with its tag, and after the tag comes a tensor.
    """
    return head.startswith(ENCRYPTED_MAGIC) or begins_with_record(head)


def read(path: Path) -> Checkpoint:
    """List the tensors of a .ckpt; only the records' heads are read.

    Raises:
        Truncated: the file ends inside a record.
        Malformed: a record is not of the form above, its dims do not fit its content, or a tag comes back later.
        LimitExceeded: a name above 1 MiB, or a shape beyond 64 bits.
        Unsupported: a MapParameter, or an element type that bnport does not know.
        Encrypted: the file was saved with enc_key.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if os.pread(descriptor, 4, 0) in ENCRYPTED_MAGIC:
            raise _encrypted(path)
        tensors, end = _tensors(read_records(descriptor, size, path), path)
        checksums = _trailer(os.pread(descriptor, TRAILER_BYTES + 1, end), end, path)
    finally:
        os.close(descriptor)
    return Checkpoint(
        path=path,
        format="mindspore-ckpt",
        files=(path,),
        tensors=tensors,
        framework="mindspore",
        checksums=checksums,
    )


def _encrypted(path: Path) -> Encrypted:
    return Encrypted(
        "the checkpoint is encrypted",
        file=path,
        hint="Decrypt it in MindSpore: mindspore.save_checkpoint([{'name': n, 'data': p} for n, p in "
        "mindspore.load_checkpoint(path, dec_key=key, dec_mode=mode).items()], 'plain.ckpt').",
    )


def _trailer(tail: bytes, end: int, path: Path) -> tuple[Checksum, ...]:
    """What the bytes `tail` after the last record promise.

    The end of the last record decides, not the end of the file: a tensor's own last bytes may read `crc_num`, too.
    """
    if not tail:
        return ()
    if len(tail) == TRAILER_BYTES and tail.startswith(TRAILER_MARK):
        promised = int.from_bytes(tail[len(TRAILER_MARK) :], "big")
        return (Checksum(Extent(0, 0, end), promised, "all records"),)
    if tail[: len(TRAILER_MARK)] == TRAILER_MARK[: len(tail)] and len(tail) < TRAILER_BYTES:
        raise Truncated("the file ends inside its checksum", file=path, expected=f"{TRAILER_BYTES} bytes", found=tail)
    raise Malformed("no record begins where one should", file=path, found=f"{tail[:8].hex(' ')} at byte {end}")


def _tensors(records: Iterable[Record], path: Path) -> tuple[dict[str, StoredTensor], int]:
    """The records' tensors, and where the last one ends; adjacent records of one name are slices of one tensor."""
    tensors: dict[str, StoredTensor] = {}
    end = 0
    for name, group in groupby(records, key=itemgetter(0)):
        slices = list(group)
        if name in tensors:
            raise Malformed("two tensors have the same name", file=path, entry=name)
        if len(slices) > 1 and len({(s.dims, s.type) for s in slices}) > 1:
            raise Malformed("the slices of the tensor disagree on dims or type", file=path, entry=name)
        extents = tuple([_new(Extent, (0, content, length)) for _, _, _, content, length, _ in slices])
        nbytes = sum([length for _, _, length in extents])
        tensors[name] = _new(StoredTensor, (_spec(slices[0], nbytes, path), extents, None))
        end = slices[-1].end
    return tensors, end


def _spec(record: Record, nbytes: int, path: Path) -> TensorSpec:
    """The facts of the tensor with this head and `nbytes` of content in all its slices."""
    try:
        dtype, shape = _dtype_and_shape(record.type, record.dims, nbytes)
    except InputError as error:
        error.file, error.entry = str(path), record.name
        raise
    return _new(TensorSpec, (record.name, dtype, shape))


@lru_cache(maxsize=1024)
def _dtype_and_shape(type_name: str, dims: tuple[int, ...], nbytes: int) -> tuple[DType, tuple[int, ...]]:
    dtype = BY_MINDSPORE.get(type_name)
    if dtype is None:
        raise Unsupported(
            "MindSpore itself cannot load this element type",
            expected=", ".join(BY_MINDSPORE),
            found=type_name,
        )
    if dtype is TEXT:
        dims = (nbytes // dtype.itemsize,)
    elif dims == (0,) and nbytes == dtype.itemsize:
        dims = ()
    expected = stated_nbytes(dims, dtype)
    if nbytes != expected:
        raise Malformed(
            "the content does not fit dims and type",
            expected=f"{expected} bytes for {dtype}{list(dims)}",
            found=nbytes,
        )
    return dtype, dims


def layout(specs: Sequence[TensorSpec], *, crc: bool = False) -> Layout:
    """Where everything stands in a new .ckpt, cut into slices as MindSpore 2.7 and later cut it.

    Args:
        specs: the tensors, in order.
        crc: end with the CRC-32 that load_checkpoint(crc_check=True) checks. MindSpore 2.0.0 cannot load such a file.

    Raises:
        Unsupported: an element type or a name that MindSpore cannot load.
        Malformed: a name that is not valid Unicode.
    """
    literals: list[tuple[int, bytes]] = []
    slots: dict[str, tuple[Slot, ...]] = {}
    position = 0
    for spec in specs:
        _check_writable(spec)
        slices, nbytes = [], spec.nbytes
        for start in range(0, nbytes or 1, SLICE_BYTES):
            length = min(SLICE_BYTES, nbytes - start)
            head = record_head(spec, length)
            literals.append((position, head))
            slices.append(_new(Slot, (position + len(head), length)))
            position += len(head) + length
        slots[spec.name] = tuple(slices)
    if not crc:
        return Layout(position, tuple(literals), slots)

    def finish(checksums: SlotChecksums) -> list[tuple[int, bytes]]:
        whole = _crc_of_all(literals, slots, checksums)
        return [(position, TRAILER_MARK + whole.to_bytes(TRAILER_BYTES - len(TRAILER_MARK), "big"))]

    return Layout(position + TRAILER_BYTES, tuple(literals), slots, finish)


def _crc_of_all(
    literals: Sequence[tuple[int, bytes]], slots: Mapping[str, tuple[Slot, ...]], checksums: SlotChecksums
) -> int:
    """The CRC-32 of the whole file; literals and slots alternate, one of each to a record."""
    slices = ((slot.length, crc) for name in slots for slot, crc in zip(slots[name], checksums[name], strict=True))
    whole = 0
    for (_, head), (length, crc) in zip(literals, slices, strict=True):
        whole = crc32_combine(crc32(head, whole), crc, length)
    return whole


def _check_writable(spec: TensorSpec) -> None:
    if spec.dtype.mindspore is None:
        raise Unsupported(
            "MindSpore cannot load this element type",
            entry=spec.name,
            found=spec.dtype,
            hint="Leave the tensor out: `drop` in a file for --rules."
            + (" A .safetensors can hold it." if spec.dtype.safetensors else ""),
        )
    if len(spec.name) > MAX_NAME_CHARACTERS:
        raise Unsupported(
            "MindSpore cannot load a name this long",
            entry=spec.name,
            expected=f"at most {MAX_NAME_CHARACTERS} characters",
            found=len(spec.name),
        )
