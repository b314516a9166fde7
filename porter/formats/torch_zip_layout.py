"""Writing PyTorch's zip format, as `torch.load(weights_only=True, mmap=True)` reads it; without PyTorch.

Every tensor gets a storage of its own, unless it is said to share one. The checksums stand in the storages' local
headers and in the directory, which are complete only when the bytes have passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

from porter.formats.model import Layout, Slot, SlotChecksums, TensorSpec
from porter.formats.torch_pickle import StateDictTree, pickled, tensors_in
from porter.formats.zip_archive import CRC_AT, closing, directory_entry, directory_entry_bytes, local_header

_FOLDER = b"archive/"


def layout(
    specs: Sequence[TensorSpec],
    *,
    versions: Mapping[str, int] | None = None,
    beside: Mapping[str, Any] | None = None,
    shared: Mapping[str, str] | None = None,
) -> Layout:
    """A file that holds an OrderedDict of `specs`, in their order.

    Args:
        versions: module path -> version, to be written as the state dict's `_metadata`.
        beside: what stands beside the state dict, which then lies under `state_dict`: a tree as
            `porter.formats.torch_pickle.pickled` takes it. Its tensors' names differ from those of `specs`.
        shared: tensor -> the tensor of the same type and shape whose storage it shares; it gets no slots.

    Raises:
        Unsupported: PyTorch has no such element type.
    """
    state_dict = StateDictTree(specs, versions)
    tree = {"state_dict": state_dict, **beside} if beside else state_dict
    aliases = shared or {}
    literals, entries, position = _fixed_members(pickled(tree, aliases))
    slots: dict[str, tuple[Slot, ...]] = {}
    crc_at: dict[str, int] = {}
    directory_bytes = sum(map(len, entries))
    for name, spec in _storages(tree, aliases):
        nbytes = spec.nbytes
        header = local_header(name, position, nbytes)
        literals.append((position, header))
        crc_at[spec.name] = position + CRC_AT
        directory_bytes += directory_entry_bytes(name, position, nbytes)
        start = position + len(header)
        slots[spec.name] = (tuple.__new__(Slot, (start, nbytes)),)
        position = start + nbytes
    end = closing(len(literals), position, directory_bytes)

    def finish(checksums: SlotChecksums) -> Iterator[tuple[int, bytes]]:
        storages = _storages(tree, aliases)
        yield position, b"".join((*entries, *_directory_entries(storages, crc_at, slots, checksums), end))

    return Layout(position + directory_bytes + len(end), tuple(literals), slots, finish, crc_at)


def _directory_entries(
    storages: Iterable[tuple[bytes, TensorSpec]],
    crc_at: Mapping[str, int],
    slots: Mapping[str, tuple[Slot, ...]],
    checksums: SlotChecksums,
) -> Iterator[bytes]:
    for name, (key, _, _) in storages:
        yield directory_entry(name, crc_at[key] - CRC_AT, slots[key][0].length, checksums[key][0])


def _fixed_members(pickle: bytes) -> tuple[list[tuple[int, bytes]], list[bytes], int]:
    """The members that are no storages: themselves, with their offsets; their directory entries; where they end."""
    literals: list[tuple[int, bytes]] = []
    entries: list[bytes] = []
    position = 0
    members = {
        "data.pkl": pickle,
        ".format_version": b"1",
        ".storage_alignment": b"64",
        "byteorder": b"little",
        "version": b"3\n",
        # Identifies the file to tools that look for copies; PyTorch makes it from names and checksums, 40 digits.
        ".data/serialization_id": b"%040d" % crc32(pickle),
    }
    for member, content in members.items():
        name, crc = _FOLDER + member.encode(), crc32(content)
        literals.append((position, local_header(name, position, len(content), crc) + content))
        entries.append(directory_entry(name, position, len(content), crc))
        position += len(literals[-1][1])
    return literals, entries, position


def _storages(tree: Any, aliases: Mapping[str, str]) -> Iterator[tuple[bytes, TensorSpec]]:
    """The member that holds a tensor's bytes, and the tensor."""
    for i, spec in enumerate(tensors_in(tree)):
        if spec.name not in aliases:
            yield b"%sdata/%d" % (_FOLDER, i), spec
