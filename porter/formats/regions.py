"""An output cut into the regions that are written one at a time. Nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, final

from porter.errors import Malformed
from porter.formats.model import Extent, Layout, Slot
from porter.formats.transfer import Chunk, StoredBytes, TensorReader

# For what every tensor has one of: past the Python function that is a NamedTuple's constructor.
_new = tuple.__new__


@final
class Literal(NamedTuple):
    """Bytes of the output that are known by now: no tensor's, or all those of the tensor `name`."""

    offset: int
    length: int
    data: bytes
    name: str | None = None


@final
class Piece(NamedTuple):
    """Bytes of tensor `name` from its byte `start` on: `length` bytes that lie at `at` of `extent`.

    The extent is one of those of `stored`.
    """

    offset: int
    length: int
    name: str
    start: int
    stored: StoredBytes
    extent: Extent
    at: int

    @property
    def way(self) -> tuple[TensorReader, int, int]:
        """What is the same of pieces that lie in the source as they do in the output."""
        return self.stored.reader, self.extent.file, self.extent.offset + self.at - self.offset


class Region(NamedTuple):
    """Bytes that are written together: parts that follow each other from `offset` on."""

    offset: int
    length: int
    parts: Sequence[Literal | Piece]

    @property
    def origin(self) -> tuple[TensorReader, Extent] | None:
        """Where all of it lies in one stretch of one file."""
        first = self.parts[0]
        if not isinstance(first, Piece):
            return None
        if any(not isinstance(part, Piece) or part.way != first.way for part in self.parts):
            return None
        return first.stored.reader, Extent(first.extent.file, first.extent.offset + first.at, self.length)


@final
class Stream(NamedTuple):
    """A tensor whose bytes are made (cast, gathered, filled), to be poured into its slots one after the other."""

    name: str
    chunks: Iterable[Chunk]


def regions(layout: Layout, chunks_of: Callable[[str], Iterable[Chunk]], size: int) -> Iterator[Region | Stream]:
    """The whole output in order of position, cut at multiples of `size`.

    Args:
        layout: of the output.
        chunks_of: the C-order bytes of a tensor, by name; called once for each tensor. A list holds all of them.
        size: in bytes.

    Raises, while it is iterated:
        Malformed: a stored tensor's bytes are not as many as its slots hold.
    """
    start, end, parts = 0, 0, list[Literal | Piece]()
    for part in _parts(layout, chunks_of, size):
        if type(part) is Stream:
            yield part
            continue
        offset = part.offset
        if offset != end or offset % size == 0:
            if parts:
                yield Region(start, end - start, parts)
            start, parts = offset, []
        parts.append(part)
        end = offset + part.length
    if parts:
        yield Region(start, end - start, parts)


def other_length(name: str, slots: Sequence[Slot], found: object) -> Malformed:
    expected = f"{sum(slot.length for slot in slots)} bytes"
    return Malformed("its bytes are not as many as its shape has", entry=name, expected=expected, found=found)


def _parts(
    layout: Layout, chunks_of: Callable[[str], Iterable[Chunk]], size: int
) -> Iterator[Literal | Piece | Stream]:
    literals = _Literals(layout.literals, size)
    for name, slots in layout.slots.items():
        content = chunks_of(name)
        if type(content) is StoredBytes:
            for piece in _pieces(name, content, slots, size):
                yield from literals.before(piece.offset)
                yield piece
        elif isinstance(content, list) and _fits(data := b"".join(content), slots, size):
            yield from literals.before(slots[0].offset)
            yield Literal(slots[0].offset, len(data), data, name)
        else:
            yield Stream(name, content)
    yield from literals.before(layout.size)


def _fits(data: bytes, slots: Sequence[Slot], size: int) -> bool:
    """Whether a tensor's bytes have one slot, in one region."""
    return len(slots) == 1 and 0 < len(data) == slots[0].length <= size - slots[0].offset % size


class _Literals:
    """The literals of a layout, taken in order."""

    def __init__(self, literals: Sequence[tuple[int, bytes]], size: int) -> None:
        self._remaining = iter(literals)
        self._next = next(self._remaining, None)
        self._size = size

    def before(self, end: int) -> list[Literal]:
        """Those that begin before offset `end`, cut at multiples of the regions' size."""
        found = []
        while self._next and self._next[0] < end:
            offset, data = self._next
            while len(data) > (room := self._size - offset % self._size):
                found.append(Literal(offset, room, data[:room]))
                offset, data = offset + room, data[room:]
            if data:
                found.append(_new(Literal, (offset, len(data), data, None)))
            self._next = next(self._remaining, None)
        return found


def _pieces(name: str, stored: StoredBytes, slots: Sequence[Slot], size: int) -> Sequence[Piece]:
    """A tensor's bytes, cut where an extent, a slot or a region ends."""
    if len(slots) == len(stored.extents) == 1:
        (offset, length), extent = slots[0], stored.extents[0]
        if 0 < length == extent.length <= size - offset % size:
            return (_new(Piece, (offset, length, name, 0, stored, extent, 0)),)
    found = sum([extent.length for extent in stored.extents])
    if found != sum([slot.length for slot in slots]):
        raise other_length(name, slots, found)
    return list(_cut(name, stored, slots, size))


def _cut(name: str, stored: StoredBytes, slots: Sequence[Slot], size: int) -> Iterator[Piece]:
    extents = iter([extent for extent in stored.extents if extent.length])
    extent, at, start = next(extents, None), 0, 0
    for slot in slots:
        offset, end = slot.offset, slot.offset + slot.length
        while offset < end and extent:
            length = min(end - offset, extent.length - at, size - offset % size)
            yield Piece(offset, length, name, start, stored, extent, at)
            offset, at, start = offset + length, at + length, start + length
            if at == extent.length:
                extent, at = next(extents, None), 0
