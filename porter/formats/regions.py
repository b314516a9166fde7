"""An output cut into the regions that are written one at a time. Nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from porter.errors import Malformed
from porter.formats.model import Extent, Layout, Slot
from porter.formats.transfer import Chunk, StoredBytes, TensorReader


class Literal(NamedTuple):
    """Bytes of the output that are no tensor's."""

    offset: int
    length: int
    data: bytes


class Piece(NamedTuple):
    """Bytes of tensor `name` from its byte `start` on: `length` bytes that lie at `at` of `extent`."""

    offset: int
    length: int
    name: str
    start: int
    reader: TensorReader
    extent: Extent
    at: int

    @property
    def way(self) -> tuple[TensorReader, int, int]:
        """What is the same of pieces that lie in the source as they do in the output."""
        return self.reader, self.extent.file, self.extent.offset + self.at - self.offset


@dataclass
class Region:
    """Bytes that are written together: parts that follow each other from `offset` on."""

    offset: int
    length: int = 0
    parts: list[Literal | Piece] = field(default_factory=list)

    @property
    def origin(self) -> tuple[TensorReader, Extent] | None:
        """Where all of it lies in one stretch of one file."""
        first = self.parts[0]
        if not isinstance(first, Piece):
            return None
        if any(not isinstance(part, Piece) or part.way != first.way for part in self.parts):
            return None
        return first.reader, Extent(first.extent.file, first.extent.offset + first.at, self.length)


class Stream(NamedTuple):
    """A tensor whose bytes are made (cast, gathered, filled), to be poured into its slots one after the other."""

    name: str
    chunks: Iterable[Chunk]


def regions(layout: Layout, chunks_of: Callable[[str], Iterable[Chunk]], size: int) -> Iterator[Region | Stream]:
    """The whole output in order of position, cut at multiples of `size`.

    Args:
        layout: of the output.
        chunks_of: the C-order bytes of a tensor, by name; called once for each tensor.
        size: in bytes.

    Raises, while it is iterated:
        Malformed: a stored tensor's bytes are not as many as its slots hold.
    """
    region = Region(0)
    for part in _parts(layout, chunks_of, size):
        if isinstance(part, Stream):
            yield part
            continue
        if part.offset != region.offset + region.length or part.offset % size == 0:
            if region.parts:
                yield region
            region = Region(part.offset)
        region.parts.append(part)
        region.length += part.length
    if region.parts:
        yield region


def other_length(name: str, slots: Sequence[Slot], found: object) -> Malformed:
    expected = f"{sum(slot.length for slot in slots)} bytes"
    return Malformed("its bytes are not as many as its shape has", entry=name, expected=expected, found=found)


def _parts(
    layout: Layout, chunks_of: Callable[[str], Iterable[Chunk]], size: int
) -> Iterator[Literal | Piece | Stream]:
    literals = _Literals(layout.literals, size)
    for name, slots in layout.slots.items():
        content = chunks_of(name)
        if not isinstance(content, StoredBytes):
            yield Stream(name, content)
            continue
        for piece in _pieces(name, content, slots, size):
            yield from literals.before(piece.offset)
            yield piece
    yield from literals.before(layout.size)


class _Literals:
    """The literals of a layout, taken in order."""

    def __init__(self, literals: Sequence[tuple[int, bytes]], size: int) -> None:
        self._remaining = iter(literals)
        self._next = next(self._remaining, None)
        self._size = size

    def before(self, end: int) -> Iterator[Literal]:
        """Those that begin before offset `end`, cut at multiples of the regions' size."""
        while self._next and self._next[0] < end:
            offset, data = self._next
            while data:
                room = self._size - offset % self._size
                yield Literal(offset, min(room, len(data)), data[:room])
                offset, data = offset + room, data[room:]
            self._next = next(self._remaining, None)


def _pieces(name: str, stored: StoredBytes, slots: Sequence[Slot], size: int) -> Iterator[Piece]:
    """A tensor's bytes, cut where an extent, a slot or a region ends."""
    found = sum([extent.length for extent in stored.extents])
    if found != sum([slot.length for slot in slots]):
        raise other_length(name, slots, found)
    extents = iter([extent for extent in stored.extents if extent.length])
    extent, at, start = next(extents, None), 0, 0
    for slot in slots:
        offset, end = slot.offset, slot.offset + slot.length
        while offset < end and extent:
            length = min(end - offset, extent.length - at, size - offset % size)
            yield Piece(offset, length, name, start, stored.reader, extent, at)
            offset, at, start = offset + length, at + length, start + length
            if at == extent.length:
                extent, at = next(extents, None), 0
