"""Reading tensor bytes out of a `Checkpoint`'s files, in bounded memory. Nothing here knows a format."""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import prod
from types import TracebackType
from typing import TYPE_CHECKING, Any

from isal.isal_zlib import crc32

from porter.errors import ChecksumMismatch, FileIOError, Malformed, Truncated, Unsupported
from porter.formats.dtypes import BFLOAT16
from porter.formats.model import Checkpoint, Extent, StoredTensor, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Little enough for the processor's cache.
CHUNK_BYTES = 1 << 20
# What files can share: whole blocks of this many bytes, as btrfs and XFS are made by default.
BLOCK_BYTES = 4096
# linux/fs.h; elsewhere the call is refused.
_FICLONERANGE = 0x4020940D
_CLONE_RANGE = struct.Struct("=qQQQ")

Chunk = bytes | bytearray | memoryview

# What lies between two tensors that are read with one call goes here: up to this many bytes are cheaper read than
# skipped by another call.
_UNWANTED = bytearray(4096)
# The operating system takes 1024 buffers in one call: those of this many tensors, and what lies between them.
_LONGEST_RUN = 512


# Where bytes are to be read to, of which extent, and from which of its bytes on.
Wanted = tuple[memoryview, Extent, int]


class TensorReader(AbstractContextManager["TensorReader"]):
    """Reads tensors of one checkpoint.

    Args:
        checkpoint: what to read from.
        check_crc: compare the bytes with the checksums that the file itself carries.

    Use as a context manager: it holds the files open.
    """

    def __init__(self, checkpoint: Checkpoint, *, check_crc: bool = True) -> None:
        self.checkpoint = checkpoint
        self._promised = {c.extent: c for c in checkpoint.checksums} if check_crc else {}
        self._descriptors: dict[int, int] = {}
        self._opening = threading.Lock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def chunks(self, name: str) -> Iterable[Chunk]:
        """The C-order bytes of tensor `name`, whole elements at a time where its extents hold whole elements.

        A yielded buffer is only valid until the next one is asked for.

        Raises, while it is iterated:
            Truncated: the file is shorter than when it was opened.
            ChecksumMismatch: the bytes are not those the file's own CRC-32 was made from.
            FileIOError: the operating system refused.
        """
        tensor = self.checkpoint.tensors[name]
        if tensor.view is None:
            return StoredBytes(self, tensor.extents)
        return self._gather(tensor) if tensor.spec.nbytes else ()

    def array(self, name: str) -> NDArray[Any]:
        """Tensor `name` as a numpy array of its shape; bfloat16 exactly widened to float32.

        Raises:
            Unsupported: numpy has no such element type (the 8-bit floats).
        """
        return as_array(self.checkpoint.tensors[name].spec, self.chunks(name))

    def check_unread(self) -> None:
        """Check the promised checksums of all bytes that `chunks` has not passed over from beginning to end.

        Raises:
            ChecksumMismatch: naming the first record whose bytes differ.
        """
        for extent in list(self._promised):
            for _ in self.read(extent):
                pass

    def promises(self, extent: Extent) -> bool:
        """Whether the file says which CRC-32 the bytes of `extent` have, and they were not compared yet."""
        return extent in self._promised

    def confirm(self, extent: Extent, crc: int) -> None:
        """Compare the CRC-32 of the bytes of `extent` with what its file promises, if anything.

        Raises:
            ChecksumMismatch: they differ.
        """
        promise = self._promised.pop(extent, None)
        if promise and promise.crc32 != crc:
            raise ChecksumMismatch(
                "the bytes are damaged: they do not match the checksum stored with them",
                file=self.checkpoint.files[extent.file],
                entry=promise.entry,
                expected=f"CRC-32 {promise.crc32:08x}",
                found=f"{crc:08x}",
                hint="Get a fresh copy of the file; --no-checksum reads it all the same.",
            )

    def read_into(self, place: memoryview, extent: Extent, at: int) -> None:
        """Fill `place` with the bytes of `extent` from its byte `at` on. Threads may call it at once.

        Raises:
            Truncated, FileIOError: as for `chunks`.
        """
        descriptor, done = self._descriptor(extent.file), 0
        while done < len(place):
            try:
                got = os.preadv(descriptor, [place[done:]], extent.offset + at + done)
            except OSError as error:
                file = self.checkpoint.files[extent.file]
                raise FileIOError(f"reading failed: {error.strerror}", file=file) from error
            if got == 0:
                raise Truncated(
                    "the file became shorter while it was read",
                    file=self.checkpoint.files[extent.file],
                    expected=f"{extent.length} bytes at offset {extent.offset}",
                    found=f"{at + done} bytes",
                )
            done += got

    def share(self, extent: Extent, descriptor: int, offset: int) -> bool:
        """Let another file have the very blocks of `extent` at its `offset`, all multiples of BLOCK_BYTES.

        Returns:
            False where the file systems cannot, or for whatever reason do not: copying will do it, or tell why not.
        """
        wanted = _CLONE_RANGE.pack(self._descriptor(extent.file), extent.offset, extent.length, offset)
        try:
            fcntl.ioctl(descriptor, _FICLONERANGE, wanted)
        except OSError:
            return False
        return True

    def read_all(self, wanted: Sequence[Wanted]) -> None:
        """`read_into` for many; those that follow each other closely in a file are read with one call.

        Raises:
            Truncated, FileIOError: as for `chunks`.
        """
        for run in _runs(wanted):
            if len(run) == 1 or not self._read_run(run):
                for place, extent, at in run:
                    self.read_into(place, extent, at)

    def _read_run(self, run: Sequence[Wanted]) -> bool:
        """Whether one call could read all of a run."""
        _, (file, start, _), at = run[0]
        start = end = start + at
        buffers = []
        for place, (_, offset, _), at in run:
            if offset + at > end:
                buffers.append(memoryview(_UNWANTED)[: offset + at - end])
            buffers.append(place)
            end = offset + at + len(place)
        try:
            return os.preadv(self._descriptor(file), buffers, start) == end - start
        except OSError:
            return False  # what is wrong, `read_into` will tell

    def read(self, extent: Extent) -> Iterator[memoryview]:
        """The bytes of `extent`, CHUNK_BYTES at a time; their checksum is compared at the end."""
        buffer = memoryview(bytearray(min(CHUNK_BYTES, extent.length)))
        crc = 0
        for at in range(0, extent.length, CHUNK_BYTES):
            place = buffer[: extent.length - at]
            self.read_into(place, extent, at)
            if self.promises(extent):
                crc = crc32(place, crc)
            yield place
        self.confirm(extent, crc)

    def _gather(self, tensor: StoredTensor) -> Iterator[memoryview]:
        """The elements a strided view picks out of its storage, in C order, block by block."""
        import numpy as np

        spec, view, (storage,) = tensor.spec, tensor.view, tensor.extents
        assert view is not None
        last = view.offset + sum((size - 1) * stride for size, stride in zip(spec.shape, view.strides, strict=True))
        if last >= storage.length // spec.dtype.itemsize or view.offset < 0 or min(view.strides, default=0) < 0:
            raise Malformed("the view reaches outside its storage", entry=spec.name)
        elements = np.memmap(
            self.checkpoint.files[storage.file],
            dtype=f"V{spec.dtype.itemsize}",
            mode="r",
            offset=storage.offset,
            shape=(storage.length // spec.dtype.itemsize,),
        )
        strides = [stride * spec.dtype.itemsize for stride in view.strides]
        window = np.lib.stride_tricks.as_strided(elements[view.offset :], spec.shape, strides, writeable=False)
        for block in _blocks(window):
            yield memoryview(np.ascontiguousarray(block).tobytes())

    def _descriptor(self, file: int) -> int:
        with self._opening:
            if file not in self._descriptors:
                path = self.checkpoint.files[file]
                try:
                    self._descriptors[file] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except OSError as error:
                    raise FileIOError(f"cannot be opened: {error.strerror}", file=path) from error
            return self._descriptors[file]


@dataclass(eq=False, slots=True)
class StoredBytes:
    """A tensor's bytes as they lie in a file; iterating reads them, CHUNK_BYTES at a time."""

    reader: TensorReader
    extents: tuple[Extent, ...]

    def __iter__(self) -> Iterator[Chunk]:
        for extent in self.extents:
            yield from self.reader.read(extent)


def as_array(spec: TensorSpec, chunks: Iterable[Chunk]) -> NDArray[Any]:
    """The bytes of a tensor as a numpy array of its shape; bfloat16 exactly widened to float32.

    Raises:
        Unsupported: numpy has no such element type (the 8-bit floats).
    """
    import numpy as np

    data = bytearray().join(bytes(chunk) for chunk in chunks)
    if spec.dtype is BFLOAT16:
        return widen_bfloat16(np.frombuffer(data, "<u2")).reshape(spec.shape)
    if spec.dtype.numpy is None:
        raise Unsupported("its numbers cannot be computed with", entry=spec.name, found=spec.dtype)
    return np.frombuffer(data, spec.dtype.numpy).reshape(spec.shape)


def _runs(wanted: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    """What one call each can read: in one file, in order, with little between."""
    run: list[Wanted] = []
    file, end = -1, 0
    for one in wanted:
        place, (own_file, offset, _), at = one
        if own_file != file or not 0 <= offset + at - end <= len(_UNWANTED) or len(run) == _LONGEST_RUN:
            if run:
                yield run
            run = []
        run.append(one)
        file, end = own_file, offset + at + len(place)
    if run:
        yield run


def _blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """`array` cut along its leading axes into blocks of at most CHUNK_BYTES, in C order."""
    if array.nbytes <= CHUNK_BYTES or array.ndim == 0:
        yield array
        return
    row_bytes = prod(array.shape[1:]) * array.itemsize
    if row_bytes > CHUNK_BYTES:
        for row in array:
            yield from _blocks(row)
    else:
        rows = CHUNK_BYTES // row_bytes
        for start in range(0, len(array), rows):
            yield array[start : start + rows]


def widen_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """bfloat16 bit patterns as float32: bfloat16 is the upper half of a float32, so nothing is rounded."""
    import numpy as np

    return (bits.astype("<u4") << np.uint32(16)).view("<f4")
