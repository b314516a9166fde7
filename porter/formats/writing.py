"""Writing an output file: every byte's place is known before one moves, so several threads write at once.

The output is cut into regions of a few MiB. A thread takes the next region, reads the tensors' bytes straight into
its buffer, takes their CRC-32 while they are in the processor's cache, and writes the region with one call. CRC-32s
of pieces are combined at the end into those of the slots and of what the source promised. File calls and CRC-32
release the interpreter lock.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from isal.isal_zlib import crc32, crc32_combine

from porter.errors import Malformed
from porter.formats.model import Extent, Layout, Slot
from porter.formats.transfer import Chunk, StoredBytes, TensorReader, Wanted

REGION_BYTES = 4 << 20
# More threads than this no longer gain: the memory, not the processor, is what is busy then.
MAX_THREADS = 3
# Of smaller tensors, the most time goes into Python code, and threads would wait for each other.
_BYTES_A_TENSOR = 64 << 10
# How often progress is told, in seconds.
_TICK = 0.1
_CRC = struct.Struct("<I")


class _Literal(NamedTuple):
    """Bytes of the output that are no tensor's."""

    offset: int
    length: int
    data: bytes


class _Piece(NamedTuple):
    """Bytes of tensor `name` from its byte `start` on: `length` bytes that lie at `at` of `extent`."""

    offset: int
    length: int
    name: str
    start: int
    reader: TensorReader
    extent: Extent
    at: int


@dataclass
class _Region:
    """Bytes that are written with one call: parts that follow each other from `offset` on."""

    offset: int
    length: int = 0
    parts: list[_Literal | _Piece] = field(default_factory=list)


class _Stream(NamedTuple):
    """A tensor whose bytes are made (cast, gathered, filled), to be poured into its slots one after the other."""

    name: str
    chunks: Iterable[Chunk]


class _Crc(NamedTuple):
    """The CRC-32 of `length` bytes of a tensor from `start` on."""

    start: int
    length: int
    crc: int


def write_layout(
    descriptor: int,
    layout: Layout,
    chunks_of: Callable[[str], Iterable[Chunk]],
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write one output file.

    Args:
        descriptor: a new empty file, open for writing.
        layout: what stands where.
        chunks_of: the C-order bytes of a tensor, by name; called once for each tensor. Those that are a
            `StoredBytes` are copied, and compared with the checksums that their file promises.
        progress: called in this thread, now and then, with the bytes written so far.

    Raises:
        OSError: from the operating system.
        Malformed: a tensor's bytes are not as many as its slots hold.
        ChecksumMismatch: copied bytes are not those that their file promises.
    """
    os.ftruncate(descriptor, layout.size)
    work = _Work(descriptor, layout, chunks_of)
    threads = min(MAX_THREADS, len(os.sched_getaffinity(0)), 1 + layout.size // (2 * REGION_BYTES))
    if layout.size < _BYTES_A_TENSOR * len(layout.slots):
        threads = 1
    if threads == 1:
        work.run()
    else:
        _run_in(threads, work, progress)
    if progress:
        progress(work.done)
    work.finish()


def _run_in(threads: int, work: _Work, progress: Callable[[int], None] | None) -> None:
    workers = [threading.Thread(target=work.run_or_fail, name="bnport-write") for _ in range(threads)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                worker.join(_TICK)
                if progress:
                    progress(work.done)
    finally:
        # After a signal no thread takes another region.
        work.stopped = True
        for worker in filter(threading.Thread.is_alive, workers):
            worker.join()
    if work.errors:
        raise work.errors[0]


class _Work:
    """What the threads share: the regions still to be written, and the CRC-32s of those that are."""

    def __init__(self, descriptor: int, layout: Layout, chunks_of: Callable[[str], Iterable[Chunk]]) -> None:
        self.done = 0
        self.stopped = False
        self.errors: list[Exception] = []
        self._descriptor = descriptor
        self._layout = layout
        self._stored: dict[str, StoredBytes] = {}
        self._crcs: dict[str, list[_Crc]] = {name: [] for name in layout.slots}
        self._inserted: set[str] = set()
        self._lock = threading.Lock()
        self._regions = self._cut(chunks_of)

    def run_or_fail(self) -> None:
        """`run` for a thread: an error ends them all, and is kept for the caller's thread to raise."""
        try:
            self.run()
        except Exception as error:
            self.errors.append(error)
            self.stopped = True

    def run(self) -> None:
        """Write regions until none is left."""
        buffer = memoryview(bytearray(min(REGION_BYTES, self._layout.size)))
        while not self.stopped:
            with self._lock:
                region = next(self._regions, None)
            if region is None:
                return
            written = self._pour(region) if isinstance(region, _Stream) else self._write(region, buffer)
            with self._lock:
                self.done += written

    def finish(self) -> None:
        """Compare what was promised, and write what depends on checksums."""
        for name, stored in self._stored.items():
            if any(stored.reader.promises(extent) for extent in stored.extents):
                found = self._combined(name, [extent.length for extent in stored.extents])
                for extent, crc in zip(stored.extents, found, strict=True):
                    stored.reader.confirm(extent, crc)
        if self._layout.finish:
            slots = self._layout.slots.items()
            checksums = {name: self._combined(name, [slot.length for slot in places]) for name, places in slots}
            for name in self._layout.crc_at.keys() - self._inserted:
                _write_all(self._descriptor, _CRC.pack(checksums[name][0]), self._layout.crc_at[name])
            for offset, data in self._layout.finish(checksums):
                _write_all(self._descriptor, data, offset)

    def _cut(self, chunks_of: Callable[[str], Iterable[Chunk]]) -> Iterator[_Region | _Stream]:
        """The whole output in order of position, cut at multiples of REGION_BYTES."""
        region = _Region(0)
        for part in self._parts(chunks_of):
            if isinstance(part, _Stream):
                yield part
                continue
            if part.offset != region.offset + region.length or part.offset % REGION_BYTES == 0:
                if region.parts:
                    yield region
                region = _Region(part.offset)
            region.parts.append(part)
            region.length += part.length
        if region.parts:
            yield region

    def _parts(self, chunks_of: Callable[[str], Iterable[Chunk]]) -> Iterator[_Literal | _Piece | _Stream]:
        literals = _Literals(self._layout.literals)
        for name, slots in self._layout.slots.items():
            content = chunks_of(name)
            if not isinstance(content, StoredBytes):
                yield _Stream(name, content)
                continue
            self._stored[name] = content
            for piece in _pieces(name, content, slots):
                yield from literals.before(piece.offset)
                yield piece
        yield from literals.before(self._layout.size)

    def _write(self, region: _Region, buffer: memoryview) -> int:
        """Fill `buffer` with a region and write it; how many bytes of tensors it holds."""
        view, at = buffer[: region.length], 0
        pieces: list[tuple[_Piece, memoryview]] = []
        for part in region.parts:
            place = view[at : at + part.length]
            if isinstance(part, _Literal):
                place[:] = part.data
            else:
                pieces.append((part, place))
            at += part.length
        for reader, wanted in groupby(pieces, lambda pair: pair[0].reader):
            reader.read_all([Wanted(place, piece.extent, piece.at) for piece, place in wanted])
        for piece, place in pieces:
            if self._layout.finish or piece.reader.promises(piece.extent):
                crc = self._note(piece.name, piece.start, place)
                self._insert(crc, piece, region, view)
        _write_all(self._descriptor, view, region.offset)
        return sum(piece.length for piece, _ in pieces)

    def _pour(self, stream: _Stream) -> int:
        """Write a tensor's chunks into its slots, one after the other; how many bytes that were."""
        name, start = stream.name, 0
        slots = self._layout.slots[name]
        remaining = iter(slots)
        slot, filled = next(remaining, None), 0
        for chunk in stream.chunks:
            view = memoryview(chunk)
            while view and not self.stopped:
                while slot and filled == slot.length:
                    slot, filled = next(remaining, None), 0
                if slot is None:
                    raise _other_length(name, slots, "more")
                part = view[: slot.length - filled]
                _write_all(self._descriptor, part, slot.offset + filled)
                if self._layout.finish:
                    self._note(name, start, part)
                start, filled, view = start + len(part), filled + len(part), view[len(part) :]
        if start != sum(slot.length for slot in slots) and not self.stopped:
            raise _other_length(name, slots, start)
        return start

    def _note(self, name: str, start: int, data: memoryview) -> int:
        crc = crc32(data)
        self._crcs[name].append(_Crc(start, len(data), crc))
        return crc

    def _insert(self, crc: int, piece: _Piece, region: _Region, view: memoryview) -> None:
        """Put the CRC-32 of a piece that is a whole slot where it belongs, if that is in the same region."""
        at = self._layout.crc_at.get(piece.name, -1)
        if at >= region.offset and piece.length == self._layout.slots[piece.name][0].length:
            _CRC.pack_into(view, at - region.offset, crc)
            self._inserted.add(piece.name)

    def _combined(self, name: str, lengths: Sequence[int]) -> tuple[int, ...]:
        """The CRC-32s of the consecutive stretches of a tensor that have these lengths in bytes."""
        known = self._crcs[name]
        if len(known) == len(lengths) == 1:
            return (known[0].crc,)
        pieces = iter(sorted(known))
        combined = []
        for length in lengths:
            whole, done = 0, 0
            while done < length:
                _, more, crc = next(pieces)
                whole = crc32_combine(whole, crc, more) if done else crc
                done += more
            combined.append(whole)
        return tuple(combined)


class _Literals:
    """The literals of a layout, taken in order."""

    def __init__(self, literals: Sequence[tuple[int, bytes]]) -> None:
        self._remaining = iter(literals)
        self._next = next(self._remaining, None)

    def before(self, end: int) -> Iterator[_Literal]:
        """Those that begin before offset `end`, cut at multiples of REGION_BYTES."""
        while self._next and self._next[0] < end:
            offset, data = self._next
            while data:
                room = REGION_BYTES - offset % REGION_BYTES
                yield _Literal(offset, min(room, len(data)), data[:room])
                offset, data = offset + room, data[room:]
            self._next = next(self._remaining, None)


def _pieces(name: str, stored: StoredBytes, slots: Sequence[Slot]) -> Iterator[_Piece]:
    """A tensor's bytes, cut where an extent, a slot or a region ends."""
    found = sum([extent.length for extent in stored.extents])
    if found != sum([slot.length for slot in slots]):
        raise _other_length(name, slots, found)
    extents = iter([extent for extent in stored.extents if extent.length])
    extent, at, start = next(extents, None), 0, 0
    for slot in slots:
        offset, end = slot.offset, slot.offset + slot.length
        while offset < end and extent:
            length = min(end - offset, extent.length - at, REGION_BYTES - offset % REGION_BYTES)
            yield _Piece(offset, length, name, start, stored.reader, extent, at)
            offset, at, start = offset + length, at + length, start + length
            if at == extent.length:
                extent, at = next(extents, None), 0


def _other_length(name: str, slots: Sequence[Slot], found: object) -> Malformed:
    expected = f"{sum(slot.length for slot in slots)} bytes"
    return Malformed("its bytes are not as many as its shape has", entry=name, expected=expected, found=found)


def _write_all(descriptor: int, data: Chunk, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
