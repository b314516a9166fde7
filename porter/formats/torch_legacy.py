"""PyTorch's checkpoints before 1.6: pickles one after the other, then the bytes of the storages.

    pickle: the magic number       pickle: the protocol, 1001       pickle: {"little_endian": ..., "type_sizes": ...}
    pickle: the object tree        pickle: the list of storage keys
    for each of these: the number of elements, 8 bytes, and the elements

Source: `_legacy_save` in torch/serialization.py, which still writes it (`_use_new_zipfile_serialization=False`).
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Any

from porter.errors import FileIOError, InputError, Malformed, Truncated, Unsupported
from porter.formats import pickle_machine
from porter.formats.model import Checkpoint, Extent
from porter.formats.pickle_records import PersistentId, objects_in
from porter.formats.torch_mappings import entry_of
from porter.formats.torch_tensors import StorageRef, storage_of
from porter.formats.torch_tree import pickled_checkpoint, reading

FORMAT = "torch-legacy"

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_TAR_MEMBERS = (b"sys_info", b"pickle", b"tensors", b"storages")
_TAR_BLOCK = 512
_NUMEL = struct.Struct("<q")


def recognises(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` is a legacy torch file, or the tar file before that."""
    return _MAGIC.to_bytes(10, "little") in head[:32] or str(_MAGIC).encode() in head[:64] or _is_tar(head)


def _is_tar(head: bytes) -> bool:
    # A PAX header may stand before the first member's own.
    names = (head[at : at + 100].rstrip(b"\0").removeprefix(b"./") for at in range(0, len(head), _TAR_BLOCK))
    return head[257:262] == b"ustar" and any(name in _TAR_MEMBERS for name in names)


def read(path: Path, *, key: str | None = None, optimizer: bool = False) -> Checkpoint:
    """Open the checkpoint at `path`, a regular file. The pickles are read, and the length of every storage.

    Args:
        key: the state dict to take, see `porter.formats.torch_containers.find_state_dict`.
        optimizer: take the optimizer's state as well, see `porter.formats.torch_optimizer`.

    Raises:
        Unsupported: the tar format of torch 0.1, a big-endian file; tensors that cannot be carried.
        InputError: in one of its other classes, a file that contradicts itself.
        UsageError: there is no state dict under `key`.
        Undecided: two state dicts are equally good.
        FileIOError: the operating system refuses.
    """
    with reading(path):
        try:
            with path.open("rb") as file:
                if not os.fstat(file.fileno()).st_size:
                    raise Truncated("the file is empty")
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    return _read(path, data, key, optimizer)
        except OSError as error:
            raise FileIOError(f"cannot be opened: {error.strerror}") from error


def _read(path: Path, data: mmap.mmap, key: str | None, optimizer: bool) -> Checkpoint:
    if _is_tar(data[: 8 * _TAR_BLOCK]):
        raise Unsupported(
            "the tar format of torch 0.1",
            hint="Load it in PyTorch (torch.load(FILE, weights_only=False), if you trust it) and save it again.",
        )
    position = 0

    def pickled(entry: str) -> Any:
        nonlocal position
        value, position = pickle_machine.load(data, file=path, entry=entry, start=position)
        return value

    if pickled("magic number") != _MAGIC or pickled("protocol") != _PROTOCOL:
        raise Malformed("not the magic number and protocol of a legacy torch file")
    _check_machine(pickled("system information"))
    tree = pickled("object tree")
    keys = pickled("storage keys")
    storages = _locate(data, position, keys, _storages_in(tree))
    return pickled_checkpoint(path, tree, key=key, optimizer=optimizer).located(
        lambda key: _found(storages, key), format=FORMAT, file_size=len(data)
    )


def _check_machine(system: Any) -> None:
    """The writing machine's numbers have to be laid out as ours are."""
    sizes = entry_of(system, "type_sizes")
    sizes_are_ours = all(
        entry_of(sizes, name) in (None, size) for name, size in (("short", 2), ("int", 4), ("long", 4))
    )
    if entry_of(system, "little_endian") is not True or not sizes_are_ours:
        raise Unsupported("its numbers are big-endian or of other sizes", hint="Save it again on a common machine.")


def _storages_in(tree: Any) -> dict[str, StorageRef]:
    """Every storage the object tree refers to, by key.

    Those of tensors that are not wanted count too: the bytes of the storages lie one after the other.
    """
    storages: dict[str, StorageRef] = {}
    for node in objects_in(tree):
        if isinstance(node, PersistentId) and isinstance(node.value, tuple) and node.value[:1] == ("storage",):
            try:
                ref = storage_of(node)
            except InputError as error:
                error.entry = "a storage"
                raise
            known = storages.setdefault(ref.key, ref)
            if known.nbytes != ref.nbytes:
                raise Malformed("a storage of two lengths", entry=ref.key, expected=known.nbytes, found=ref.nbytes)
    return storages


def _locate(data: mmap.mmap, position: int, keys: Any, storages: dict[str, StorageRef]) -> dict[str, Extent]:
    """Where each storage lies; the first one's length stands at `position`."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(set(keys)) != len(keys):
        raise Malformed("the list of storage keys is none")
    located: dict[str, Extent] = {}
    for key in keys:
        if key not in storages:
            raise Malformed("a storage that the pickle does not refer to", entry=key)
        ref = storages[key]
        if position + _NUMEL.size + ref.nbytes > len(data):
            raise Truncated("the file ends in the middle of a storage", entry=key, expected=f"{ref.nbytes} bytes")
        (numel,) = _NUMEL.unpack_from(data, position)
        if numel * ref.dtype.itemsize != ref.nbytes:
            raise Malformed(
                "the storage is not as long as the pickle says",
                entry=key,
                expected=f"{ref.nbytes} bytes",
                found=f"{numel * ref.dtype.itemsize} bytes",
            )
        located[key] = Extent(0, position + _NUMEL.size, ref.nbytes)
        position += _NUMEL.size + ref.nbytes
    if position != len(data):
        raise Malformed("more bytes than the storages have", expected=position, found=len(data))
    return located


def _found(storages: dict[str, Extent], key: str) -> Extent:
    if key not in storages:
        raise Malformed("a storage that the pickle refers to is not in the file", entry=key)
    return storages[key]
