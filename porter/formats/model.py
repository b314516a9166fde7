"""What a checkpoint is to the rest of bnport: a list of tensors and where their bytes lie.

Reading a format means producing a `Checkpoint`: names, dtypes, shapes and byte positions, no tensor read.
Writing a format means producing a `Layout`: which bytes stand where, decided before a byte moves. Moving the
bytes between the two is one piece of code for all formats (`porter.conversion`).

What a checkpoint has one of for every tensor is a NamedTuple: made and hashed without running Python code. Where tens
of thousands are made, `tuple.__new__` makes them, past the Python function that a NamedTuple's constructor is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from porter.formats.dtypes import DType

# What a value has by default that has none. No MappingProxyType: results can be pickled, and copied deeply.
EMPTY: Mapping[str, Any] = {}


class TensorSpec(NamedTuple):
    """A tensor's facts: `name`, `dtype` and `shape` (C order, () for a scalar)."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class Extent(NamedTuple):
    """`length` bytes at `offset` (both in bytes) of the checkpoint's file number `file`."""

    file: int
    offset: int
    length: int


class StridedView(NamedTuple):
    """A tensor that is a window into a larger storage: `offset` and `strides` count elements, not bytes."""

    offset: int
    strides: tuple[int, ...]


class StoredTensor(NamedTuple):
    """A tensor in a file.

    The little-endian bytes of `extents`, one after the other, are the tensor in C order - or, where `view` is
    given, the storage out of which `view` picks the tensor's elements.
    """

    spec: TensorSpec
    extents: tuple[Extent, ...]
    view: StridedView | None = None


class Checksum(NamedTuple):
    """The file itself promises that the bytes of `extent` have this CRC-32; `entry` names them in messages."""

    extent: Extent
    crc32: int
    entry: str


class LeftOut(NamedTuple):
    """An entry of the state dict that is no tensor (an `_extra_state`, None, a number): listed, never converted."""

    name: str
    what: str


class ModuleFacts(NamedTuple):
    """What is known of one module of a network, from a whole pickled module or from the user's own network.

    Attributes:
        name: dotted path in the network, "" for the root.
        class_name: fully qualified (`torch.nn.modules.batchnorm.BatchNorm3d`).
        bases: the class's method resolution order, qualified likewise, nearest first, itself left out; empty
            where only the name is known (a pickled module is never imported).
        attributes: its plain settings (eps, momentum, affine, ...): numbers, booleans, strings, None.
        same_as: the first path of a module that stands in several places; None at that one and for all others.
    """

    name: str
    class_name: str
    bases: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = EMPTY
    same_as: str | None = None


class OptimizerDict(NamedTuple):
    """The state of a PyTorch optimizer in a checkpoint.

    Attributes:
        key: dotted path in the file.
        param_groups: as PyTorch keeps them, with plain settings and numbers that are tensors, those as in `state`;
            `params` counts parameters from 0 on.
        state: number of a parameter -> slot (`exp_avg`) -> tensor, whose name in `Checkpoint.tensors` is its path in
            the file, or plain number.
        left_out: entries that are neither tensors nor plain.
    """

    key: str
    param_groups: tuple[Mapping[str, Any], ...]
    state: Mapping[int, Mapping[str, TensorSpec | float | None]]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def tensor_names(self) -> list[str]:
        parts = (*self.param_groups, *self.state.values())
        return [value.name for part in parts for value in part.values() if isinstance(value, TensorSpec)]


class Checkpoint(NamedTuple):
    """An opened checkpoint: everything its own structure says, and no tensor data.

    Attributes:
        path: the file the user named.
        format: `torch-zip`, `torch-legacy`, `safetensors` or `mindspore-ckpt`; with `-sharded` appended where the
            path is an index over several files.
        files: the files that hold data (`Extent.file` counts into it).
        tensors: by name, in file order.
        framework: `torch` or `mindspore` where the format or its metadata says so; None where only names can tell.
        checksums: CRC-32 promises found in the file.
        left_out: entries that are no tensors.
        container: the key under which the state dict was found (`state_dict`), None for a bare one.
        siblings: names of the other entries of the dictionary that the state dict was found in; none of a bare one.
        other_containers: further state dicts in the same file that `--key` would take.
        metadata: text metadata of the file (safetensors' `__metadata__`).
        versions: module path -> version, from a PyTorch state dict's `_metadata`; None where there is none.
        modules: facts from a whole pickled module, in network order; empty otherwise.
        notes: remarks for the user about how the file was read.
        optimizer: of a torch file opened with it, whose tensors then are among `tensors`, after the network's.
    """

    path: Path
    format: str
    files: tuple[Path, ...]
    tensors: Mapping[str, StoredTensor]
    framework: str | None = None
    checksums: tuple[Checksum, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    container: str | None = None
    siblings: tuple[str, ...] = ()
    other_containers: tuple[str, ...] = ()
    metadata: Mapping[str, str] = EMPTY
    versions: Mapping[str, int] | None = None
    modules: tuple[ModuleFacts, ...] = ()
    notes: tuple[str, ...] = ()
    optimizer: OptimizerDict | None = None

    @property
    def specs(self) -> list[TensorSpec]:
        return [tensor.spec for tensor in self.tensors.values()]


class Slot(NamedTuple):
    """`length` bytes of the output at `offset`, to be filled with the next bytes of a tensor."""

    offset: int
    length: int


# CRC-32 of what was written into each slot of each tensor, by tensor name; in slot order.
SlotChecksums = Mapping[str, tuple[int, ...]]


class Layout(NamedTuple):
    """One output file, decided before it is written.

    Attributes:
        size: bytes in all, patches of `finish` included.
        literals: bytes that do not depend on tensor data, with their offsets, ascending.
        slots: for each tensor the places its C-order bytes go to, in order (several where the format slices).
        finish: given the slots' checksums, the bytes that depend on them (a zip's directory, a CRC trailer), with
            their offsets; None where there are none.
        crc_at: for tensors in one slot, where the slot's CRC-32 stands in the literals, in 4 bytes, little-endian;
            they are 0 there. Unlike what `finish` gives, it is written along with the tensor where they lie close.
    """

    size: int
    literals: tuple[tuple[int, bytes], ...]
    slots: Mapping[str, tuple[Slot, ...]]
    finish: Callable[[SlotChecksums], Iterable[tuple[int, bytes]]] | None = None
    crc_at: Mapping[str, int] = EMPTY
