"""Writing translated configs: all of them or none, each with the record that says in whose terms it is."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from porter import stopping
from porter.errors import FileIOError, InputError, UsageError


@dataclass(frozen=True)
class Output:
    """One file to write.

    Attributes:
        source: the config it is made of.
        raw: that config as it was read.
        path: where it goes; the source itself, or what that is a link to, where it is rewritten in place.
        content: its bytes.
        record_path: where its record goes.
        record: that record's bytes; None where there is nothing to record, and one that lies there is removed.
    """

    source: Path
    raw: bytes
    path: Path
    content: bytes
    record_path: Path
    record: bytes | None

    @property
    def in_place(self) -> bool:
        return os.path.realpath(self.path) == os.path.realpath(self.source)

    @property
    def backup(self) -> Path:
        return self.path.with_name(self.path.name + ".bak")


def write_all(outputs: Sequence[Output], *, backup: bool, force: bool) -> None:
    """Write every output; where one cannot be written, none is. Raises as `staged` and `Staged` do."""
    with staged(outputs, backup=backup, force=force) as waiting:
        waiting.check()
        stopping.check()
        stopping.decided()
        waiting.publish()


@dataclass(frozen=True)
class Staged:
    """Outputs that wait beside their places: (output, its file, its record)."""

    files: Sequence[tuple[Output, Path, Path | None]]
    backup: bool

    def check(self) -> None:
        """Raise InputError where a config changed while it was translated."""
        with _writing():
            for output, _, _ in self.files:
                if output.source.read_bytes() != output.raw:
                    raise InputError("changed while it was translated", file=output.source, hint="Run it again.")

    def publish(self) -> None:
        """Move every file into its place.

        Raises:
            FileIOError: the operating system refused.
        """
        for output, content, record in self.files:
            with _writing(output.path):
                _publish(output, content, record, backup=self.backup)


@contextmanager
def staged(outputs: Sequence[Output], *, backup: bool, force: bool) -> Iterator[Staged]:
    """Write outputs beside their places; what is not published at the end is removed.

    Args:
        outputs: what to write.
        backup: keep what is rewritten in place as a .bak.
        force: replace files that exist.

    Raises:
        UsageError: a file is in the way.
        FileIOError: the operating system refused.
    """
    for output in outputs:
        if output.in_place and backup:
            _refuse(output.backup, "It may be the only original: move it away, or keep no new one with --no-backup.")
        elif not output.in_place and not force:
            _refuse(output.path, "--force replaces it.")
    with _staging() as stage:
        with _writing():
            files = [(output, *_staged(output, stage)) for output in outputs]
        yield Staged(files, backup)


def _refuse(path: Path, hint: str) -> None:
    if os.path.lexists(path):
        raise UsageError("exists already", entry=str(path), hint=hint)


_Stage = Callable[[Path, bytes], Path]


@contextmanager
def _staging() -> Iterator[_Stage]:
    """A function that writes a new file to wait beside its place; those left there at the end are removed."""
    waiting: list[Path] = []

    def stage(path: Path, content: bytes) -> Path:
        waiting.append(path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.bnport"))
        with _writing(path), waiting[-1].open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return waiting[-1]

    try:
        yield stage
    finally:
        stopping.decided()
        for path in waiting:
            path.unlink(missing_ok=True)
        stopping.settled()


@contextmanager
def _writing(path: Path | None = None) -> Iterator[None]:
    """Name `path`, which the user knows, where writing it fails, and not the file that waits for its place."""
    try:
        yield
    except OSError as error:
        raise FileIOError(f"writing failed: {error.strerror}", file=path or error.filename) from error


def _staged(output: Output, stage: _Stage) -> tuple[Path, Path | None]:
    output.path.parent.mkdir(parents=True, exist_ok=True)
    content = stage(output.path, output.content)
    if output.in_place:
        content.chmod(output.path.stat().st_mode & 0o7777)
    return content, stage(output.record_path, output.record) if output.record else None


def _publish(output: Output, content: Path, record: Path | None, *, backup: bool) -> None:
    """Move a file into place, its record first: beside the source, a record of it does not count yet."""
    if record:
        os.replace(record, output.record_path)
    else:
        output.record_path.unlink(missing_ok=True)
    if output.in_place and backup:
        _keep(output.path, output.backup)
    os.replace(content, output.path)


def _keep(path: Path, backup: Path) -> None:
    try:
        os.link(path, backup)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        shutil.copy2(path, backup)
