"""Files made to mislead, to run code or to exhaust: each is refused with its own message, or read for what it is."""

from __future__ import annotations

import contextlib
import os
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_files import (
    READERS,
    archive,
    assert_same,
    by_hand,
    contents,
    dictionary,
    integer,
    integers,
    members_of,
    read,
    save,
    tensor_pickle,
    text,
)
from work import at_most

from porter.errors import (
    ChecksumMismatch,
    InputError,
    LimitExceeded,
    Malformed,
    NotACheckpoint,
    Truncated,
    Undecided,
    Unsafe,
    Unsupported,
)
from porter.formats import torch_legacy, torch_zip

WEIGHTS = {"w": torch.arange(4.0), "b": torch.arange(3.0)}


class Evil:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("format", ["zip", "legacy"])
def test_code_beside_the_weights_does_not_run(tmp_path: Path, format: str) -> None:
    sentinel = tmp_path / "ran"
    evil = Evil(os.system, f"touch {sentinel}")
    path = save({"state_dict": {**WEIGHTS, "evil": evil}, "evil": evil}, tmp_path / "in.pt", format)
    checkpoint = read(path, format)
    assert_same(checkpoint, WEIGHTS)
    assert [(entry.name, entry.what) for entry in checkpoint.left_out] == [("evil", "posix.system")]
    assert not sentinel.exists()


@pytest.mark.parametrize("format", ["zip", "legacy"])
def test_code_instead_of_the_weights_is_refused_and_named(tmp_path: Path, format: str) -> None:
    sentinel = tmp_path / "ran"
    path = save(Evil(os.system, f"touch {sentinel}"), tmp_path / "in.pt", format)
    with pytest.raises(Unsafe, match=r"posix\.system"):
        read(path, format)
    assert not sentinel.exists()


def test_a_class_that_claims_to_be_a_storage(tmp_path: Path) -> None:
    pickle = tensor_pickle(4, 0, (4,), (1,)).replace(b"ctorch\nFloatStorage\n", b"cos\nFloatStorage\n")
    with pytest.raises(Unsupported, match=r"w: its element type cannot be carried \(found os\.FloatStorage\)"):
        read(by_hand(tmp_path / "in.pt", dictionary(w=pickle), {"0": bytes(16)}))


# numel, offset, shape, strides of a tensor over a storage of 4 float32
GEOMETRIES: dict[str, tuple[tuple[int, int, tuple[int, ...], tuple[int, ...]], type[InputError], str]] = {
    "reaches out": ((4, 0, (5,), (1,)), Malformed, "reaches outside of its storage"),
    "offset reaches out": ((4, 1, (4,), (1,)), Malformed, "reaches outside"),
    "stride reaches out": ((4, 0, (2,), (4,)), Malformed, "reaches outside"),
    "scalar reaches out": ((4, 4, (), ()), Malformed, "reaches outside"),
    "storage longer than the record": ((5, 0, (4,), (1,)), Malformed, "expected 20 bytes, found 16 bytes"),
    "storage shorter than the record": ((3, 0, (3,), (1,)), Malformed, "expected 12 bytes, found 16 bytes"),
    "negative size": ((4, 0, (-1,), (1,)), Malformed, "a size that no tensor has"),
    "negative stride": ((4, 3, (4,), (-1,)), Malformed, "a stride that no tensor has"),
    "negative offset": ((4, -1, (4,), (1,)), Malformed, "a storage offset that no tensor has"),
    "negative storage": ((-4, 0, (0,), (1,)), Malformed, "no torch writes"),
    "size overflows": ((4, 0, (1 << 62, 1 << 62), (1, 1)), Malformed, "reaches outside"),
    "size above int64": ((4, 0, (1 << 70,), (0,)), Malformed, "a size that no tensor has"),
    "stride overflows": ((4, 0, (3,), (1 << 62,)), Malformed, "reaches outside"),
    "storage overflows": ((1 << 64, 0, (4,), (1,)), Malformed, "no torch writes"),
    "huge storage": ((1 << 60, 0, (4,), (1,)), Malformed, "not as long as the pickle says"),
    "as many strides": ((4, 0, (2, 2), (1,)), Malformed, "as many strides as sizes"),
    "65 axes": ((4, 0, (1,) * 65, (1,) * 65), LimitExceeded, "too many dimensions"),
    "expanded beyond the file": ((4, 0, (1 << 11,), (0,)), LimitExceeded, "found 8192 bytes"),
    "expanded to a terabyte": ((4, 0, (1 << 38,), (0,)), LimitExceeded, "out of proportion"),
}


@pytest.mark.parametrize("case", GEOMETRIES)
def test_geometry(tmp_path: Path, case: str) -> None:
    geometry, error, message = GEOMETRIES[case]
    path = by_hand(tmp_path / "in.pt", dictionary(w=tensor_pickle(*geometry)), {"0": bytes(16)})
    with pytest.raises(error, match=f"in.pt: w: .*{message}") as caught:
        read(path)
    assert type(caught.value) is error


def test_geometry_that_is_fine(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "in.pt", dictionary(w=tensor_pickle(4, 1, (2, 1), (2, 99))), {"0": bytes(16)})
    assert contents(read(path)) == {"w": ("float32", (2, 1), bytes(8))}


def test_many_expanded_tensors(tmp_path: Path) -> None:
    # Each alone is as large as the file; all together they would fill a disk.
    tensors = {f"t{i}": tensor_pickle(4, 0, (5000,), (0,)) for i in range(300)}
    with pytest.raises(LimitExceeded, match="out of proportion"):
        read(by_hand(tmp_path / "in.pt", dictionary(**tensors), {"0": bytes(16)}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"K\0", b"X\0\0\0\0", "a storage offset that no tensor has"),
        (b"tQ", b"t", "a tensor without a storage"),
        (b"storage", b"sTorage", "a tensor without a storage"),
    ],
)
def test_arguments_of_another_kind(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    pickle = tensor_pickle(4, 0, (4,), (1,)).replace(integer(0), b"K\0")
    assert old in pickle
    with pytest.raises(Malformed, match=message):
        read(by_hand(tmp_path / "in.pt", dictionary(w=pickle.replace(old, new)), {"0": bytes(16)}))


def test_a_shape_that_is_a_number_and_too_few_arguments(tmp_path: Path) -> None:
    pickle = tensor_pickle(4, 0, (4,), (1,)).replace(integers((4,)), integer(4))
    with pytest.raises(Malformed, match=r"a size that no tensor has \(expected a tuple, found int\)"):
        read(by_hand(tmp_path / "in.pt", dictionary(w=pickle), {"0": bytes(16)}))
    with pytest.raises(Malformed, match="w: a tensor that is rebuilt from too few arguments"):
        read(by_hand(tmp_path / "in.pt", dictionary(w=b"ctorch._utils\n_rebuild_tensor_v2\n)R"), {}))


def test_storage_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="archive/data/7: a storage that the pickle refers to is not in the archive"):
        read(by_hand(tmp_path / "in.pt", dictionary(w=tensor_pickle(4, 0, (4,), (1,), "7")), {"0": bytes(16)}))


def test_storage_key_that_leaves_the_archive(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(16))
    with pytest.raises(Malformed, match="not in the archive"):
        read(by_hand(tmp_path / "in.pt", dictionary(w=tensor_pickle(4, 0, (4,), (1,), "../../secret")), {}))


# --- the archive


@pytest.fixture
def members(tmp_path: Path) -> dict[str, bytes]:
    return members_of(save(WEIGHTS, tmp_path / "sound.pt"))


def refused(path: Path, error: type[InputError], message: str) -> None:
    with pytest.raises(error, match=f"{path.name}.*{message}") as caught:
        torch_zip.read(path)
    assert type(caught.value) is error
    assert caught.value.exit_code == 3


def test_another_zip_program_may_have_stored_it(tmp_path: Path, members: dict[str, bytes]) -> None:
    assert_same(read(archive(tmp_path / "in.pt", {"sound/": b"", **members})), WEIGHTS)


def test_compressed(tmp_path: Path, members: dict[str, bytes]) -> None:
    path = archive(tmp_path / "in.pt", members, compression=zipfile.ZIP_DEFLATED)
    refused(path, Unsupported, r"compressed.*save it again with torch\.save")


def test_bomb(tmp_path: Path, members: dict[str, bytes]) -> None:
    members["sound/data/9"] = bytes(100 << 20)
    path = archive(tmp_path / "in.pt", members, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    refused(path, Unsupported, "compressed")


def test_encrypted(tmp_path: Path, members: dict[str, bytes]) -> None:
    path = archive(tmp_path / "in.pt", members)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    refused(path, Unsupported, "encrypted")


def test_no_data_pkl(tmp_path: Path) -> None:
    refused(archive(tmp_path / "in.npz", {"a.npy": b"x"}), NotACheckpoint, "none that torch.save wrote")
    refused(archive(tmp_path / "empty.zip", {}), NotACheckpoint, "none that torch.save wrote")


def test_two_data_pkl(tmp_path: Path, members: dict[str, bytes]) -> None:
    members["other/data.pkl"] = members["sound/data.pkl"]
    refused(archive(tmp_path / "in.pt", members), Malformed, "more than one data.pkl")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["data.pkl", "data/0"])
def test_duplicate_member(tmp_path: Path, members: dict[str, bytes], name: str) -> None:
    pairs = [*members.items(), (f"sound/{name}", members[f"sound/{name}"])]
    refused(archive(tmp_path / "in.pt", pairs), Malformed, f"sound/{name}: the archive has this member twice")


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "evil", "soundly/evil"])
def test_member_outside_of_the_folder(tmp_path: Path, members: dict[str, bytes], name: str) -> None:
    refused(archive(tmp_path / "in.pt", {**members, name: b""}), Malformed, "outside of the archive's folder")


def test_big_endian(tmp_path: Path, members: dict[str, bytes]) -> None:
    refused(archive(tmp_path / "in.pt", {**members, "sound/byteorder": b"big"}), Unsupported, "big-endian")


def test_no_byteorder_as_before_torch_2_1(tmp_path: Path, members: dict[str, bytes]) -> None:
    del members["sound/byteorder"]
    assert_same(read(archive(tmp_path / "in.pt", members)), WEIGHTS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "in.pt")
    refused(tmp_path / "in.pt", Unsupported, r"TorchScript.*torch\.jit\.load\(FILE\)\.state_dict\(\)")


def test_flipped_bit_in_the_pickle(tmp_path: Path, members: dict[str, bytes]) -> None:
    path = archive(tmp_path / "in.pt", members)
    path.write_bytes(path.read_bytes().replace(b"FloatStorage", b"floatStorage", 1))
    refused(path, ChecksumMismatch, r"data\.pkl: the bytes are damaged")


@pytest.mark.parametrize("tensor", ["w", "part"])
def test_flipped_bit_in_a_storage_shows_when_it_is_read(tmp_path: Path, tensor: str) -> None:
    whole = torch.arange(100.0)
    path = save({"w": whole, "part": whole[3:50:7]}, tmp_path / "in.pt")
    data = bytearray(path.read_bytes())
    data[data.index(whole.numpy().tobytes()) + 399] ^= 1
    path.write_bytes(data)
    with pytest.raises(ChecksumMismatch, match="in/data/0: the bytes are damaged"):
        contents(read(path))
    torch.load(path, weights_only=True)


def test_a_file_that_was_written_without_checksums(tmp_path: Path) -> None:
    """PyTorch reads it; one CRC-32 that is there makes all of them count."""
    torch.serialization.set_crc32_options(False)
    try:
        path = save(WEIGHTS, tmp_path / "in.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    opened = read(path)
    assert_same(opened, WEIGHTS)
    assert opened.checksums == ()
    assert opened.notes[0].startswith("written without checksums")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 16] = 1
    path.write_bytes(data)
    refused(path, ChecksumMismatch, "the bytes are damaged")


@pytest.mark.parametrize(
    ("offset", "what"), [(14, "crc"), (18, "packed"), (22, "length"), (8, "method"), (31, "name")]
)
def test_local_header_against_the_directory(
    tmp_path: Path, members: dict[str, bytes], offset: int, what: str
) -> None:
    path = archive(tmp_path / "in.pt", members)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        header = file.getinfo("sound/data/0").header_offset
    data[header + offset] ^= 0x55
    path.write_bytes(data)
    refused(path, Malformed, "sound/data/0: the member and the zip directory contradict each other")


def test_directory_that_moves_a_member(tmp_path: Path, members: dict[str, bytes]) -> None:
    # Two members over the same bytes, and one that runs into the next.
    path = archive(tmp_path / "in.pt", members)
    data = path.read_bytes()
    entry = data.rindex(b"PK\x01\x02")
    path.write_bytes(data[: entry + 42] + struct.pack("<I", 5) + data[entry + 46 :])
    refused(path, Malformed, "reaches into the next")
    path.write_bytes(data[: entry + 20] + struct.pack("<2I", 5000, 5000) + data[entry + 28 :])
    refused(path, Malformed, "reaches into the next")
    path.write_bytes(data[: entry + 20] + struct.pack("<2I", 5, 6) + data[entry + 28 :])
    refused(path, Malformed, "two lengths differ")
    path.write_bytes(data[: entry + 20] + b"\xff" * 8 + data[entry + 28 :])
    refused(path, Malformed, "zip64 member without its lengths")


def test_an_extra_field_that_pushes_the_bytes_out_of_the_file(tmp_path: Path, members: dict[str, bytes]) -> None:
    path = archive(tmp_path / "in.pt", members)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        header = file.getinfo("sound/data/0").header_offset
    data[header + 28 : header + 30] = b"\xff\xff"
    path.write_bytes(data)
    refused(path, Truncated, "sound/data/0: the archive ends in the middle of a member")


def test_appended_bytes_and_comments(tmp_path: Path) -> None:
    path = save(WEIGHTS, tmp_path / "in.pt")
    data = path.read_bytes()
    path.write_bytes(data + b"\0")
    refused(path, Truncated, "does not end with its directory.*get a fresh copy")
    path.write_bytes(data[:-2] + b"\x05\0" + b"hello")
    refused(path, Truncated, "does not end with its directory")
    path.write_bytes(b"MZ-prefix" + data)
    refused(path, Malformed, "not where it should be")


# A byte of these pickles takes 12 lines of Python at most, opened and searched for a state dict.
LINES_PER_BYTE = 25


def test_deep_and_wide_pickles_cost_what_they_are(tmp_path: Path) -> None:
    nested = b"(" * 200_000 + b"t" * 200_000
    graph = b"}q\0" + b"".join(b"0}(" + text("a") + b"h\0" + text("b") + b"h\0uq\0" for _ in range(40))
    shared = (
        b"](" + b"K\1" * 1000 + b"e" + b"q\1" + b"0}(" + b"".join(text(str(i)) + b"h\1" for i in range(5000)) + b"u"
    )
    for tree in (nested, graph, shared):
        path = by_hand(tmp_path / "in.pt", tree, {})
        with at_most(LINES_PER_BYTE * len(tree)), pytest.raises(Unsupported, match="no state dict"):
            read(path)


def test_shared_parts_cost_what_they_are(tmp_path: Path) -> None:
    """3000 references to one large dictionary, pair list, module state: each is looked at once, not 3000 times."""
    count = 3000
    large = b"}q\1(" + b"".join(text(f"k{i}") + b"N" for i in range(count)) + b"u0"
    pairs = b"]q\2(" + b"".join(b"]" + b"(" + text(f"k{i}") + b"Ne" for i in range(count)) + b"e0"
    module = b"c__main__\nNet\n)\x81h\1b"
    ordered = b"ccollections\nOrderedDict\nh\2\x85R"
    for part in (b"h\1", module, ordered):
        entries = b"".join(text(f"e{i}") + part for i in range(count))
        tree = large + pairs + b"}(" + entries + b"u"
        path = by_hand(tmp_path / "in.pt", tree, {})
        with at_most(LINES_PER_BYTE * len(tree)), pytest.raises(InputError):
            read(path)


# --- damage at random

VALUE = {
    "state_dict": torch.nn.Sequential(torch.nn.Conv3d(1, 2, 2), torch.nn.BatchNorm3d(2)).state_dict(),
    "epoch": 3,
}


@pytest.mark.parametrize("format", ["zip", "legacy"])
def test_every_truncation(tmp_path: Path, format: str) -> None:
    path = save(VALUE, tmp_path / "in.pt", format)
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(InputError):
            READERS[format].read(path)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), format=st.sampled_from(["zip", "legacy"]))
def test_flipped_bytes(tmp_path: Path, data: st.DataObject, format: str) -> None:
    sound = tmp_path / f"sound-{format}.pt"
    if not sound.exists():
        save(VALUE, sound, format)
    content = bytearray(sound.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "in.pt"
    path.write_bytes(content)
    with contextlib.suppress(InputError, Undecided):
        contents(READERS[format].read(path))


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_in_the_pickle_behind_a_sound_checksum(tmp_path: Path, data: st.DataObject) -> None:
    sound = tmp_path / "sound.pt"
    if not sound.exists():
        save(VALUE, sound)
    members = members_of(sound)
    pickle = bytearray(members["sound/data.pkl"])
    for _ in range(data.draw(st.integers(1, 3))):
        pickle[data.draw(st.integers(0, len(pickle) - 1))] = data.draw(st.integers(0, 255))
    path = archive(tmp_path / "in.pt", {**members, "sound/data.pkl": bytes(pickle)})
    with contextlib.suppress(InputError, Undecided):
        contents(read(path))


# --- the legacy stream


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    return save(WEIGHTS, tmp_path / "in.pt", "legacy")


def test_legacy_big_endian_and_odd_sizes(legacy: Path) -> None:
    data = legacy.read_bytes()
    at = data.index(b"little_endian")
    true = data.index(b"\x88", at)
    legacy.write_bytes(data[:true] + b"\x89" + data[true + 1 :])
    with pytest.raises(Unsupported, match="big-endian"):
        read(legacy, "legacy")
    at = data.index(b"K\x04", data.index(b"long"))
    legacy.write_bytes(data[: at + 1] + b"\x08" + data[at + 2 :])
    with pytest.raises(Unsupported, match="other sizes"):
        read(legacy, "legacy")


def test_legacy_storage_of_another_length(legacy: Path) -> None:
    data = legacy.read_bytes()
    at = data.index(struct.pack("<q", 4) + WEIGHTS["w"].numpy().tobytes())
    for numel in (5, 3, -1, 1 << 62):
        legacy.write_bytes(data[:at] + struct.pack("<q", numel) + data[at + 8 :])
        with pytest.raises(Malformed, match="not as long as the pickle says"):
            read(legacy, "legacy")
    legacy.write_bytes(data + b"\0")
    with pytest.raises(Malformed, match="more bytes than the storages have"):
        read(legacy, "legacy")


def test_legacy_protocol_and_magic(legacy: Path) -> None:
    data = legacy.read_bytes()
    legacy.write_bytes(data.replace(b"M\xe9\x03", b"M\xea\x03", 1))
    with pytest.raises(Malformed, match="magic number and protocol"):
        read(legacy, "legacy")


def test_the_tar_format_is_refused_by_name(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "in.pt", "w", format=tarfile.PAX_FORMAT) as file:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            (tmp_path / name).write_bytes(b"\x80\x02N.")
            file.add(tmp_path / name, name)
    with pytest.raises(Unsupported, match=r"the tar format of torch 0\.1"):
        read(tmp_path / "in.pt", "legacy")


def test_python_2_wrote_dictionaries_as_lists_of_pairs(tmp_path: Path) -> None:
    pair = b"](U\1w" + tensor_pickle(4, 0, (4,), (1,)) + b"e"
    tree = b"ccollections\nOrderedDict\n(](" + pair + b"etR"
    assert contents(read(by_hand(tmp_path / "in.pt", tree, {"0": bytes(16)}))) == {"w": ("float32", (4,), bytes(16))}


def test_what_is_recognised() -> None:
    assert not torch_zip.recognises(b"\x80\x02", 2)
    assert not torch_legacy.recognises(b"\x80\x02}.", 4)
    assert not torch_legacy.recognises(b"PK\x03\x04", 4)
    assert not torch_legacy.recognises(b"", 0)
