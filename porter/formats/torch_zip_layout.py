"""Writing PyTorch's zip format, as `torch.load(weights_only=True, mmap=True)` reads it; without PyTorch.

Every tensor gets a storage of its own, unless it is said to share one. The checksums stand in the storages' local
headers and in the directory, which are complete only when the bytes have passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

from porter.formats.model import Layout, Slot, SlotChecksums, TensorSpec
from porter.formats.torch_pickle import StateDictTree, pickled, tensors_in
from porter.formats.zip_archive import CRC_AT, Member, directory, local_header

_FOLDER = "archive/"


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
    pickle = pickled(tree, aliases)
    fixed = {
        "data.pkl": pickle,
        ".format_version": b"1",
        ".storage_alignment": b"64",
        "byteorder": b"little",
        "version": b"3\n",
        # Identifies the file to tools that look for copies; PyTorch makes it from names and checksums, 40 digits.
        ".data/serialization_id": b"%040d" % crc32(pickle),
    }
    literals: list[tuple[int, bytes]] = []
    members: list[Member] = []
    position = 0
    for name, content in fixed.items():
        member = Member(_FOLDER + name, position, len(content), crc32(content))
        literals.append((position, local_header(member) + content))
        position += len(literals[-1][1])
        members.append(member)
    slots: dict[str, tuple[Slot, ...]] = {}
    storages: dict[str, Member] = {}
    for i, spec in enumerate(tensors_in(tree)):
        if spec.name in aliases:
            continue
        storages[spec.name] = member = Member(f"{_FOLDER}data/{i}", position, spec.nbytes, 0)
        header = local_header(member)
        literals.append((position, header))
        start = position + len(header)
        slots[spec.name] = (Slot(start, spec.nbytes),)
        position = start + spec.nbytes

    def finish(checksums: SlotChecksums) -> Iterator[tuple[int, bytes]]:
        written = [member._replace(crc32=checksums[name][0]) for name, member in storages.items()]
        yield position, directory([*members, *written], position)

    size = position + len(directory([*members, *storages.values()], position))
    crc_at = {name: member.header + CRC_AT for name, member in storages.items()}
    return Layout(size, tuple(literals), slots, finish, crc_at)
