"""Moving tensor bytes: out of a `Checkpoint`'s files and into a `Layout`, in bounded memory.

Nothing here knows a format. A reader yields a tensor's C-order little-endian bytes a few MiB at a time; the writer
puts them where the layout says and keeps the CRC-32 of every slot for the formats that store one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from math import prod
from types import TracebackType
from typing import TYPE_CHECKING, Any

from isal.isal_zlib import crc32

from porter.errors import ChecksumMismatch, FileIOError, Malformed, Truncated, Unsupported
from porter.formats.dtypes import BFLOAT16
from porter.formats.model import Checkpoint, Extent, Layout, StoredTensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK_BYTES = 4 << 20

Chunk = bytes | bytearray | memoryview


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
        self._buffer = bytearray(CHUNK_BYTES)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def chunks(self, name: str) -> Iterator[Chunk]:
        """The C-order bytes of tensor `name`, whole elements at a time where its extents hold whole elements.

        A yielded buffer is only valid until the next one is asked for.

        Raises:
            Truncated: the file is shorter than when it was opened.
            ChecksumMismatch: the bytes are not those the file's own CRC-32 was made from.
            FileIOError: the operating system refused.
        """
        tensor = self.checkpoint.tensors[name]
        if tensor.view is None:
            for extent in tensor.extents:
                yield from self._read(extent)
        elif tensor.spec.nbytes:
            yield from self._gather(tensor)

    def array(self, name: str) -> NDArray[Any]:
        """Tensor `name` as a numpy array of its shape; bfloat16 exactly widened to float32.

        Raises:
            Unsupported: numpy has no such element type (the 8-bit floats).
        """
        import numpy as np

        spec = self.checkpoint.tensors[name].spec
        data = bytearray().join(bytes(chunk) for chunk in self.chunks(name))
        if spec.dtype is BFLOAT16:
            return widen_bfloat16(np.frombuffer(data, "<u2")).reshape(spec.shape)
        if spec.dtype.numpy is None:
            raise Unsupported("its numbers cannot be computed with", entry=name, found=spec.dtype)
        return np.frombuffer(data, spec.dtype.numpy).reshape(spec.shape)

    def check_unread(self) -> None:
        """Check the promised checksums of all bytes that `chunks` has not passed over from beginning to end.

        Raises:
            ChecksumMismatch: naming the first record whose bytes differ.
        """
        for extent in list(self._promised):
            for _ in self._read(extent):
                pass

    def _read(self, extent: Extent) -> Iterator[memoryview]:
        descriptor = self._descriptor(extent.file)
        promise = self._promised.get(extent)
        crc, done, view = 0, 0, memoryview(self._buffer)
        while done < extent.length:
            wanted = min(CHUNK_BYTES, extent.length - done)
            try:
                got = os.preadv(descriptor, [view[:wanted]], extent.offset + done)
            except OSError as error:
                file = self.checkpoint.files[extent.file]
                raise FileIOError(f"reading failed: {error.strerror}", file=file) from error
            if got == 0:
                raise Truncated(
                    "the file became shorter while it was read",
                    file=self.checkpoint.files[extent.file],
                    expected=f"{extent.length} bytes at offset {extent.offset}",
                    found=f"{done} bytes",
                )
            if promise:
                crc = crc32(view[:got], crc)
            done += got
            yield view[:got]
        if promise:
            self._compare(promise.entry, promise.crc32, crc, extent)

    def _compare(self, entry: str, promised: int, found: int, extent: Extent) -> None:
        if found != promised:
            raise ChecksumMismatch(
                "the bytes are damaged: they do not match the checksum stored with them",
                file=self.checkpoint.files[extent.file],
                entry=entry,
                expected=f"CRC-32 {promised:08x}",
                found=f"{found:08x}",
                hint="Get a fresh copy of the file; --no-checksum reads it all the same.",
            )
        self._promised.pop(extent, None)

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
        if file not in self._descriptors:
            path = self.checkpoint.files[file]
            try:
                self._descriptors[file] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise FileIOError(f"cannot be opened: {error.strerror}", file=path) from error
        return self._descriptors[file]


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


def write_layout(descriptor: int, layout: Layout, chunks_of: Callable[[str], Iterable[Chunk]]) -> None:
    """Write one output file.

    Args:
        descriptor: a new empty file, open for writing.
        layout: what stands where.
        chunks_of: the C-order bytes of a tensor, by name; called once for each tensor, in order of position.

    Raises:
        OSError: from the operating system.
        Malformed: a tensor's bytes are not as many as its slots hold.
    """
    os.ftruncate(descriptor, layout.size)
    for offset, data in layout.literals:
        _write_all(descriptor, data, offset)
    checksums = {name: _fill_slots(descriptor, layout, name, chunks_of(name)) for name in layout.slots}
    if layout.finish:
        for offset, data in layout.finish(checksums):
            _write_all(descriptor, data, offset)


def _fill_slots(descriptor: int, layout: Layout, name: str, chunks: Iterable[Chunk]) -> tuple[int, ...]:
    """Pour `chunks` into the slots of `name`, one after the other; their CRC-32s."""
    remaining = iter(layout.slots[name])
    slot, filled, crc, checksums = next(remaining, None), 0, 0, []
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            if slot is None:
                raise Malformed("more bytes than its shape has", entry=name)
            part = view[: slot.length - filled]
            _write_all(descriptor, part, slot.offset + filled)
            crc, filled, view = crc32(part, crc), filled + len(part), view[len(part) :]
            if filled == slot.length:
                checksums.append(crc)
                slot, filled, crc = next(remaining, None), 0, 0
    if filled or (slot is not None and slot.length):
        raise Malformed("fewer bytes than its shape has", entry=name)
    # Slots of length 0 (empty tensors) never see a chunk; the CRC-32 of nothing is 0.
    return tuple(checksums) + (0,) * (len(layout.slots[name]) - len(checksums))


def _write_all(descriptor: int, data: Chunk, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
