"""What a verification proved, of which bytes, with what: told in reports, and kept in the record beside the output.

The hashes tell a file that changed from the one that was verified. They are no signature: whoever can write the file
can write the record.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from porter.errors import FileIOError, InputError
from porter.formats.model import Checkpoint
from porter.formats.strict_json import list_of, of_type
from porter.versions import environment

if TYPE_CHECKING:
    from porter.verification.files import Verification

Option = str | int | float | bool | None

_CHUNK = 1 << 20


@dataclass(frozen=True)
class FileHash:
    """One file: its name without the folder, its size in bytes, its SHA-256 in hexadecimal digits."""

    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, name: str, content: bytes) -> FileHash:
        return cls(name, len(content), sha256(content).hexdigest())

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> FileHash:
        """Raises KeyError or TypeError where it is none."""
        return cls(of_type(str, value["name"]), of_type(int, value["size"]), of_type(str, value["sha256"]))


@dataclass(frozen=True)
class Circumstances:
    """When, with what and on which bytes a verification ran.

    Attributes:
        date: UTC, ISO 8601 to the second.
        versions: as `porter.versions.environment` gives them.
        options: how layers were run, and which networks said how they are configured.
        source, output: the files of each side; of a sharded checkpoint the index, then the shards.
        configs: the model configs that said how layers are configured, the source's first.
    """

    date: str
    versions: Mapping[str, str | None]
    options: Mapping[str, Option]
    source: tuple[FileHash, ...]
    output: tuple[FileHash, ...]
    configs: tuple[FileHash, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Circumstances:
        """Raises KeyError, TypeError or ValueError where it is none."""
        options, versions = of_type(dict, value["options"]), of_type(dict, value["versions"])
        for told in (*options.values(), *versions.values()):
            if isinstance(told, (dict, list)):
                raise TypeError(f"{told!r:.60} is no single value")
        date = datetime.fromisoformat(of_type(str, value["date"]))
        source, output, configs = (
            tuple(FileHash.from_json(entry) for entry in list_of(dict, value[files]))
            for files in ("source", "output", "configs")
        )
        told = {name: version and str(version) for name, version in versions.items()}
        return cls(date.isoformat(), told, options, source, output, configs)


@dataclass(frozen=True)
class Proof:
    """The outcome of a verification that found nothing wrong.

    Attributes:
        complete: whether every layer could be run, and the networks compared where that was asked for.
        tensors: how many were compared, element by element.
        layers_run, layers_not_run: how many layers were.
        networks: whether both whole networks were run and agreed.
    """

    complete: bool
    tensors: int
    layers_run: int
    layers_not_run: int
    networks: bool
    circumstances: Circumstances

    @property
    def tolerances(self) -> dict[str, Option]:
        """Those that stood in the place of the rounding-error bounds, by option."""
        options = self.circumstances.options
        return {f"--{name}": options[name] for name in ("atol", "rtol") if options.get(name) is not None}

    @property
    def strength(self) -> tuple[bool, ...]:
        """What makes one proof of a file worth more than another, the most important first.

        A tolerance that somebody gave can explain anything; and what whole networks say of themselves outweighs what
        was assumed.
        """
        options = self.circumstances.options
        configured = options.get("model") is not None and options.get("net") is not None
        return not self.tolerances, self.complete, self.networks, configured

    @classmethod
    def of(cls, found: Verification) -> Proof | None:
        """None where something is wrong: that says nothing of the file, but of this source or these networks."""
        if not found.ok or found.circumstances is None:
            return None
        not_run = len(found.not_run)
        run = len(found.layers) - not_run
        agree = found.network is not None and found.network.ok is True
        return cls(found.verified is True, found.compared, run, not_run, agree, found.circumstances)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Proof:
        """Raises KeyError, TypeError or ValueError where it is none."""
        return cls(
            of_type(bool, value["complete"]),
            of_type(int, value["tensors"]),
            of_type(int, value["layers_run"]),
            of_type(int, value["layers_not_run"]),
            of_type(bool, value["networks"]),
            Circumstances.from_json(of_type(dict, value["circumstances"])),
        )


class Witness:
    """Hashes both sides' files in the background, while the frameworks are imported and the layers run.

    Raises (from `circumstances`):
        InputError: a file was changed or replaced in the meantime, so that what was verified is not what was hashed.
        FileIOError: it cannot be read.
    """

    def __init__(self, source: Checkpoint, output: Checkpoint) -> None:
        self._sides = (files_of(source), files_of(output))
        self._stamps = [_stamp(path) for side in self._sides for path in side]
        self._stopped = Event()
        self._pool = ThreadPoolExecutor(1)
        self._hashes: list[Future[tuple[FileHash, ...]]] = []

    def __enter__(self) -> Witness:
        self._hashes = [self._pool.submit(hashes, side, self._stopped) for side in self._sides]
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def circumstances(self, options: Mapping[str, Option], configs: tuple[FileHash, ...] = ()) -> Circumstances:
        source, output = (found.result() for found in self._hashes)
        paths = [path for side in self._sides for path in side]
        for path, before in zip(paths, self._stamps, strict=True):
            if _stamp(path) != before:
                raise InputError("changed while it was verified", file=path, hint="Run it again.")
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return Circumstances(now, environment(), options, source, output, configs)


def files_of(checkpoint: Checkpoint) -> list[Path]:
    """Every file of a checkpoint: its index first, where it has one."""
    return list(dict.fromkeys([checkpoint.path, *checkpoint.files]))


def hashes(paths: Sequence[Path], stopped: Event | None = None) -> tuple[FileHash, ...]:
    """Hash files; incomplete once `stopped` is set.

    Raises:
        FileIOError: one cannot be read.
    """
    return tuple(_hash(path, stopped or Event()) for path in paths)


def _hash(path: Path, stopped: Event) -> FileHash:
    digest, size, chunk = sha256(), 0, memoryview(bytearray(_CHUNK))
    try:
        with open(path, "rb", buffering=0) as file:
            while not stopped.is_set() and (length := file.readinto(chunk)):
                digest.update(chunk[:length])
                size += length
    except OSError as error:
        raise _unreadable(path, error) from error
    return FileHash(path.name, size, digest.hexdigest())


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return status.st_ino, status.st_size, status.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> FileIOError:
    return FileIOError(f"cannot be read: {error.strerror}", file=path)
