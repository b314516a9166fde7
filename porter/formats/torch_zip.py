"""PyTorch's checkpoints since 1.6: a zip archive of a pickle and one stored member per storage.

    archive/data.pkl        the object tree; storages are persistent ids ("storage", class, key, location, numel)
    archive/byteorder       "little" or "big"; absent before torch 2.1
    archive/data/<key>      the bytes of a storage

The archive's one folder has any name. Source: torch/serialization.py and caffe2/serialize/inline_container.cc.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from porter.errors import ChecksumMismatch, FileIOError, Malformed, NotACheckpoint, Unsupported
from porter.formats import pickle_machine
from porter.formats.model import Checkpoint, Checksum, Extent
from porter.formats.nearby_reads import NearbyReads
from porter.formats.torch_tree import pickled_checkpoint, reading
from porter.formats.torch_zip_layout import layout
from porter.formats.zip_archive import Place, locate, read_directory

__all__ = ["layout", "read", "recognises"]

FORMAT = "torch-zip"
_UNCHECKED = "written without checksums (torch.serialization.set_crc32_options): damaged bytes would not be seen"


def recognises(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` is a zip archive, an empty one included."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def read(path: Path, *, key: str | None = None, optimizer: bool = False) -> Checkpoint:
    """Open the checkpoint at `path`, a regular file. Only the zip directory, the pickle and local headers are read.

    Args:
        key: the state dict to take, see `porter.formats.torch_containers.find_state_dict`.
        optimizer: take the optimizer's state as well, see `porter.formats.torch_optimizer`.

    Raises:
        NotACheckpoint: a zip archive that torch.save did not write.
        Unsupported: TorchScript, big-endian or compressed archives; tensors that cannot be carried.
        InputError: in one of its other classes, a file that contradicts itself.
        UsageError: there is no state dict under `key`.
        Undecided: two state dicts are equally good.
        FileIOError: the operating system refuses.
    """
    with reading(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise FileIOError(f"cannot be opened: {error.strerror}") from error
        try:
            return _read(path, descriptor, key, optimizer)
        finally:
            os.close(descriptor)


def _read(path: Path, descriptor: int, key: str | None, optimizer: bool) -> Checkpoint:
    archive = _open_archive(descriptor)
    tree, _ = pickle_machine.load(archive.content("data.pkl"), file=path, entry=archive.folder + "data.pkl")
    return pickled_checkpoint(path, tree, key=key, optimizer=optimizer).located(
        archive.storage,
        format=FORMAT,
        file_size=archive.size,
        checksums=archive.checksums,
        notes=() if archive.is_checked else (_UNCHECKED,),
    )


@dataclass(eq=False)
class _Archive:
    """An open archive.

    Attributes:
        folder: its one folder, with the slash.
        is_checked: the directory has CRC-32s; all are 0 where torch.save was told to compute none.
        promises: what the directory promises about the storages located so far, by their keys.
    """

    descriptor: int
    size: int
    folder: str
    places: Mapping[str, Place]
    headers: NearbyReads
    is_checked: bool
    promises: dict[str, Checksum] = field(default_factory=dict)

    def content(self, name: str) -> bytes:
        """The bytes of member `name`, checked against their CRC-32.

        Raises:
            ChecksumMismatch: they are not what was written.
        """
        entry = self.folder + name
        place = self.places[entry]
        extent = locate(self.headers, entry, place, self.size)
        data = os.pread(self.descriptor, extent.length, extent.offset)
        if self.is_checked and crc32(data) != place.crc32:
            raise ChecksumMismatch(
                "the bytes are damaged: they do not match the checksum stored with them",
                entry=entry,
                expected=f"CRC-32 {place.crc32:08x}",
                found=f"{crc32(data):08x}",
                hint="Get a fresh copy of the file.",
            )
        return data

    def storage(self, key: str) -> Extent:
        """Where the bytes of the storage with this key lie.

        Raises:
            Malformed: it is not in the archive.
        """
        promise = self.promises.get(key)
        if promise is None:
            name = f"{self.folder}data/{key}"
            place = self.places.get(name)
            if place is None:
                raise Malformed("a storage that the pickle refers to is not in the archive", entry=name)
            extent = locate(self.headers, name, place, self.size)
            promise = self.promises[key] = tuple.__new__(Checksum, (extent, place.crc32, name))
        return promise.extent

    def checksums(self) -> tuple[Checksum, ...]:
        return tuple(self.promises.values()) if self.is_checked else ()


def _open_archive(descriptor: int) -> _Archive:
    size = os.fstat(descriptor).st_size
    directory = read_directory(descriptor, size)
    members = directory.places
    folder = _folder(members)
    is_checked = any(place.crc32 for place in members.values())
    archive = _Archive(descriptor, size, folder, members, NearbyReads(descriptor), is_checked)
    if f"{folder}constants.pkl" in members or any(name.startswith(f"{folder}code/") for name in members):
        raise Unsupported(
            "a TorchScript archive, which is a program",
            hint="In PyTorch: torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE).",
        )
    if f"{folder}data.pkl" not in members:
        raise NotACheckpoint("a zip archive, but none that torch.save wrote", expected="a member data.pkl")
    for name, packing in directory.packing.items():
        raise Unsupported(
            f"the archive has been {packing}, so its tensors cannot be read in place",
            entry=name,
            hint="Load it in PyTorch and save it again with torch.save.",
        )
    if f"{folder}byteorder" in members and archive.content("byteorder") != b"little":
        raise Unsupported(
            "its numbers are big-endian",
            hint="Save it again on a little-endian machine.",
        )
    return archive


def _folder(members: Collection[str]) -> str:
    """The one folder that all members lie in, with its slash."""
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) > 1:
        raise Malformed("the archive has more than one data.pkl", found=", ".join(pickles[:5]))
    folder = next(iter(members), "").partition("/")[0] + "/"
    if pickles:
        folder = pickles[0].removesuffix("data.pkl")
        outside = next((name for name in members if not name.startswith(folder)), None)
        if outside is not None:
            raise Malformed("a member outside of the archive's folder", entry=outside, expected=f"{folder}...")
    return folder
