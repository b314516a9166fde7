"""From the object tree of a torch pickle to a `Checkpoint`: what the zip and the legacy format share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from porter.errors import BnportError, Malformed
from porter.formats.model import Checkpoint, Checksum, Extent, LeftOut, OptimizerDict
from porter.formats.pickle_records import Global, PersistentId, Record
from porter.formats.torch_containers import StateDict, find_state_dict
from porter.formats.torch_modules import class_name
from porter.formats.torch_optimizer import find_optimizer, optimizer_keys
from porter.formats.torch_tensors import PickledTensor, pickled_tensor, place_all


class PickledCheckpoint(NamedTuple):
    """The chosen state dict of a torch pickle, its storages not yet located."""

    path: Path
    chosen: StateDict
    tensors: tuple[PickledTensor, ...]
    left_out: tuple[LeftOut, ...]
    optimizer: OptimizerDict | None

    def located(
        self,
        locate: Callable[[str], Extent],
        *,
        format: str,
        file_size: int,
        checksums: Callable[[], tuple[Checksum, ...]] = tuple,
        notes: tuple[str, ...] = (),
    ) -> Checkpoint:
        """The checkpoint, given where each storage lies.

        Args:
            locate: the place in the file of the storage with this key.
            checksums: called after all storages are located.
            notes: as in `Checkpoint`.

        Raises:
            Malformed, LimitExceeded: see `porter.formats.torch_tensors.place_all`.
        """
        tensors = place_all(self.tensors, locate, file_size=file_size)
        return Checkpoint(
            path=self.path,
            format=format,
            files=(self.path,),
            tensors=tensors,
            framework="torch",
            checksums=checksums(),
            left_out=self.left_out,
            container=self.chosen.container,
            siblings=self.chosen.siblings,
            other_containers=self.chosen.others,
            versions=self.chosen.versions,
            modules=self.chosen.modules,
            notes=notes,
            optimizer=self.optimizer,
        )


def pickled_checkpoint(path: Path, root: Any, *, key: str | None, optimizer: bool = False) -> PickledCheckpoint:
    """The state dict in `root`, the object tree of the torch file at `path`.

    Args:
        key: the state dict to take.
        optimizer: take the optimizer's state as well.

    Raises:
        Everything `find_state_dict`, `find_optimizer` and `pickled_tensor` raise.
    """
    chosen = find_state_dict(root, key=key)
    tensors, left_out = [], []
    for name, value in chosen.entries:
        tensor = pickled_tensor(name, value)
        if tensor is None:
            left_out.append(LeftOut(name, _what(value)))
        else:
            tensors.append(tensor)
    if not optimizer:
        left_out += [LeftOut(key, "an optimizer (--optimizer carries its state)") for key in optimizer_keys(root)]
    state, moments = (find_optimizer(root) if optimizer else None) or (None, [])
    both = {moment.spec.name for moment in moments} & {tensor.spec.name for tensor in tensors} if moments else None
    if both:
        raise Malformed("the network has a tensor by the name of the optimizer's state", entry=min(both))
    return PickledCheckpoint(path, chosen, (*tensors, *moments), tuple(left_out), state)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors from inside that name no file get `path`."""
    try:
        yield
    except BnportError as error:
        error.file = error.file or str(path)
        raise


def _what(value: Any) -> str:
    if isinstance(value, Record):
        return class_name(value) or "an object"
    if isinstance(value, (Global, PersistentId)):
        return value.path if isinstance(value, Global) else "a storage"
    return "None" if value is None else type(value).__name__
