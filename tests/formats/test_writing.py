"""Writing a layout: every byte where it belongs, whatever borders it crosses, and every CRC-32 right."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.errors import ChecksumMismatch, Malformed, Truncated
from porter.formats import writing
from porter.formats.dtypes import UINT8
from porter.formats.model import Checkpoint, Checksum, Extent, Layout, Slot, StoredTensor, TensorSpec
from porter.formats.transfer import Chunk, TensorReader
from porter.formats.writing import write_layout

REGION = 8  # bytes, so that a few dozen bytes cross many borders


@pytest.fixture(autouse=True)
def _small_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "REGION_BYTES", REGION)
    monkeypatch.setattr(writing, "_BYTES_A_TENSOR", 0)  # threads even for these
    monkeypatch.setattr(writing, "BLOCK_BYTES", 4)


def cut(data: bytes, lengths: Sequence[int]) -> list[bytes]:
    """`data` in pieces of these lengths, as far as it goes, and the rest."""
    pieces = []
    for length in lengths:
        pieces.append(data[:length])
        data = data[length:]
    return [*pieces, data]


LENGTHS = st.lists(st.integers(0, 20), max_size=4)
TENSORS = st.lists(st.tuples(st.binary(max_size=60), LENGTHS, LENGTHS, st.booleans()), max_size=6)


class Case:
    """Tensors in extents of one file, in disorder and with gaps, to go into slots between literals of another."""

    def __init__(self, folder: Path, tensors: list[tuple[bytes, list[int], list[int], bool]]) -> None:
        stored, checksums, source = {}, [], bytearray(b"head")
        for number in reversed(range(len(tensors))):
            data, extent_lengths, _, _ = tensors[number]
            extents = []
            for piece in cut(data, extent_lengths):
                extents.append(Extent(0, len(source), len(piece)))
                source += piece + b"gap"
                checksums.append(Checksum(extents[-1], zlib.crc32(piece), f"{number}"))
            stored[f"{number}"] = StoredTensor(TensorSpec(f"{number}", UINT8, (len(data),)), tuple(extents))
        self.path = folder / "source"
        self.path.write_bytes(source)
        self.checkpoint = Checkpoint(self.path, "test", (self.path,), stored, checksums=tuple(checksums))
        self.streamed = {f"{number}" for number, tensor in enumerate(tensors) if tensor[3]}
        self.expected, self.slots, literals = bytearray(), {}, []
        self.checksums: dict[str, tuple[int, ...]] = {}
        self.crc_at: dict[str, int] = {}
        for number, (data, _, slot_lengths, _) in enumerate(tensors):
            places = []
            for piece in cut(data, slot_lengths):
                literals.append((len(self.expected), b"<" + b"#" * (number * 5 % 23) + b">"))
                self.expected += literals[-1][1]
                places.append(Slot(len(self.expected), len(piece)))
                self.expected += piece
            if len(places) == 1:
                # Within the literal before the slot, so that the two may be cut apart anywhere.
                self.crc_at[f"{number}"] = literals[-1][0] + number % 2
                literals[-1] = (literals[-1][0], b"0" * (number % 2) + bytes(4) + b"#" * (number * 3 % 11))
                self.expected[literals[-1][0] :] = literals[-1][1] + data
                places = [Slot(len(self.expected) - len(data), len(data))]
            self.slots[f"{number}"] = tuple(places)
            self.checksums[f"{number}"] = tuple(zlib.crc32(piece) for piece in cut(data, slot_lengths))
        literals.append((len(self.expected), b"end"))
        self.expected += b"end"
        self.literals = tuple(literals)
        self.found: dict[str, tuple[int, ...]] = {}

    def layout(self, *, checksums: bool) -> Layout:
        def finish(found: object) -> Iterable[tuple[int, bytes]]:
            assert found == self.checksums
            yield len(self.expected), b"DONE"

        size = len(self.expected) + 4 * checksums
        return Layout(
            size, self.literals, self.slots, finish if checksums else None, self.crc_at if checksums else {}
        )

    def whole(self, *, checksums: bool) -> bytes:
        """What the output is to be."""
        whole = bytearray(self.expected)
        for name, at in self.crc_at.items():
            whole[at : at + 4] = self.checksums[name][0].to_bytes(4, "little") if checksums else bytes(4)
        return bytes(whole) + b"DONE" * checksums

    def write(self, *, checksums: bool, promises: bool = True) -> bytes:
        output = self.path.with_name("output")
        with TensorReader(self.checkpoint, check_crc=promises) as reader:

            def chunks_of(name: str) -> Iterable[Chunk]:
                chunks = reader.chunks(name)
                if name not in self.streamed:
                    return chunks
                made = (bytes(chunk) for chunk in chunks)
                return list(made) if int(name) % 2 else made

            descriptor = os.open(output, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            try:
                write_layout(descriptor, self.layout(checksums=checksums), chunks_of)
                reader.check_unread()
            finally:
                os.close(descriptor)
        return output.read_bytes()


@settings(deadline=None, max_examples=200)
@given(tensors=TENSORS, checksums=st.booleans(), promises=st.booleans(), threads=st.booleans())
def test_every_byte_is_where_the_layout_says(
    tmp_path_factory: pytest.TempPathFactory,
    tensors: list[tuple[bytes, list[int], list[int], bool]],
    checksums: bool,
    promises: bool,
    threads: bool,
) -> None:
    case = Case(tmp_path_factory.mktemp("case"), tensors)
    with mock.patch.object(writing, "_BYTES_A_TENSOR", 0 if threads else 1 << 20):
        assert case.write(checksums=checksums, promises=promises) == case.whole(checksums=checksums)


def straight_copy(folder: Path, lengths: Sequence[int], head: bytes) -> tuple[bytes, bytes]:
    """What was written, and what was to be, of tensors that lie one after the other behind 4 bytes of one file."""
    content = bytes(range(256))[: sum(lengths)]
    stored, slots, at = {}, {}, 0
    for number, length in enumerate(lengths):
        spec = TensorSpec(f"{number}", UINT8, (length,))
        stored[spec.name] = StoredTensor(spec, (Extent(0, 4 + at, length),))
        slots[spec.name] = (Slot(len(head) + at, length),)
        at += length
    source, output = folder / "source", folder / "output"
    source.write_bytes(b"HEAD" + content)
    layout = Layout(len(head) + at, ((0, head),), slots)
    with TensorReader(Checkpoint(source, "test", (source,), stored)) as reader, output.open("wb") as file:
        write_layout(file.fileno(), layout, reader.chunks)
    return output.read_bytes(), head + content


def shared(descriptor: int, request: int, wanted: bytes) -> None:
    """FICLONERANGE as a file system with blocks of 4 bytes would carry it out."""
    source, source_offset, length, offset = struct.unpack("=qQQQ", wanted)
    assert request == 0x4020940D
    assert source_offset % 4 == length % 4 == offset % 4 == 0
    os.pwrite(descriptor, os.pread(source, length, source_offset), offset)


@settings(deadline=None, max_examples=100)
@given(lengths=st.lists(st.integers(0, 20), min_size=1, max_size=12), head=st.binary(min_size=1, max_size=20))
def test_whole_regions_that_lie_as_in_the_source_are_shared(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], head: bytes
) -> None:
    with mock.patch.object(fcntl, "ioctl", side_effect=shared) as share:
        written, expected = straight_copy(tmp_path_factory.mktemp("straight"), lengths, head)
    assert written == expected
    # However many tensors lie in them; not the region that begins with the header, nor one that ends within a block.
    ends = [(at, min(at + REGION, len(expected))) for at in range(0, len(expected), REGION) if at >= len(head)]
    whole = [at for at, end in ends if end % 4 == 0 and len(head) % 4 == 0]
    assert sorted(struct.unpack("=qQQQ", call.args[2])[3] for call in share.call_args_list) == whole


def test_a_region_with_something_between_is_not_shared(tmp_path: Path) -> None:
    case = Case(tmp_path, [(bytes(range(50)), [], [2, 20], False)])
    with mock.patch.object(fcntl, "ioctl", side_effect=shared):
        assert case.write(checksums=False, promises=False) == case.whole(checksums=False)


def test_a_file_system_that_does_not_share_is_asked_once_for_each_thread_at_most(tmp_path: Path) -> None:
    refused = OSError(95, "Operation not supported")
    with mock.patch.object(fcntl, "ioctl", side_effect=refused) as share:
        written, expected = straight_copy(tmp_path, [20] * 12, b"head")
    assert written == expected
    assert 1 <= share.call_count <= writing.MAX_THREADS


@pytest.mark.parametrize(("checksums", "promises"), [(True, False), (False, True)])
def test_what_is_checked_is_read(tmp_path: Path, checksums: bool, promises: bool) -> None:
    case = Case(tmp_path, [(bytes(64), [], [], False)])
    with mock.patch.object(fcntl, "ioctl", side_effect=AssertionError):
        assert case.write(checksums=checksums, promises=promises) == case.whole(checksums=checksums)


@pytest.mark.parametrize(
    ("content", "extents", "slots", "ends"), [(50, [20], [7, 30], (4, 23, 27, 56)), (4, [], [], (4, 7))]
)
def test_a_damaged_byte_is_found_in_whichever_piece_it_lies(
    tmp_path: Path, content: int, extents: list[int], slots: list[int], ends: Sequence[int]
) -> None:
    case = Case(tmp_path, [(bytes(range(content)), extents, slots, False)])
    sound = case.path.read_bytes()
    for at in ends:  # first and last byte of each extent
        case.path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        with pytest.raises(ChecksumMismatch):
            case.write(checksums=False)


@pytest.mark.parametrize("promises", [False, True])
def test_a_file_that_became_shorter_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promises: bool) -> None:
    monkeypatch.setattr(writing, "MAX_THREADS", 1)  # which one of several comes upon it first is chance
    case = Case(tmp_path, [(bytes(range(50)), [], [], False)])
    os.truncate(case.path, 30)
    with pytest.raises(Truncated) as raised:
        case.write(checksums=False, promises=promises)
    assert raised.value.found == "26 bytes"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("length", [19, 21])
def test_other_lengths_than_the_slots_are_refused(tmp_path: Path, length: int, streamed: bool) -> None:
    case = Case(tmp_path, [(bytes(20), [], [], streamed)])
    other = StoredTensor(TensorSpec("0", UINT8, (length,)), (Extent(0, 0, length),))
    case.checkpoint = Checkpoint(case.path, "test", (case.path,), {"0": other})
    with pytest.raises(Malformed) as raised:
        case.write(checksums=False)
    assert raised.value.entry == "0"


def test_an_error_in_one_thread_stops_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that, a full disk would be reported only after every other thread had tried all the rest."""
    case = Case(tmp_path, [(bytes(60), [], [], False) for _ in range(2000)])
    calls, lock = 0, threading.Lock()
    write = os.pwrite

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        nonlocal calls
        with lock:
            calls += 1
        if offset >= 4000:
            raise OSError(28, "No space left on device")
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        case.write(checksums=False)
    assert calls < 4000 / REGION + 200  # of 16,000 regions


def test_progress_counts_the_tensors_bytes_in_the_callers_thread(tmp_path: Path) -> None:
    case = Case(tmp_path, [(bytes(60), [], [], bool(i % 2)) for i in range(300)])
    told: list[int] = []
    threads: set[int] = set()

    def progress(done: int) -> None:
        told.append(done)
        threads.add(threading.get_ident())

    with TensorReader(case.checkpoint) as reader, (tmp_path / "out").open("wb") as file:
        write_layout(file.fileno(), case.layout(checksums=False), reader.chunks, progress)
    assert told == sorted(told)
    assert told[-1] == 300 * 60
    assert threads == {threading.get_ident()}


def test_no_thread_writes_any_longer_when_a_signal_has_ended_the_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python takes a thread for ended whose joining a signal interrupts; this one is in the middle of a region."""
    written: list[int] = []

    def slowly(descriptor: int, data: Chunk, offset: int) -> None:
        time.sleep(0.8 if offset == 0 else 0.3)  # the first thread is the one that is being joined
        written.append(offset)

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_write_all", slowly)
    before = signal.signal(signal.SIGALRM, stop)
    descriptor = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.25)
        with pytest.raises(KeyboardInterrupt):
            write_layout(descriptor, Layout(8 * REGION, ((0, bytes(8 * REGION)),), {}), lambda name: [])
        done = sorted(written)
        time.sleep(0.8)
        assert sorted(written) == done == [0, REGION, 2 * REGION]
    finally:
        signal.signal(signal.SIGALRM, before)
        os.close(descriptor)
