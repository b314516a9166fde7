"""Files that appear at their destination only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from porter import record, stopping
from porter.errors import FileIOError, UsageError
from porter.formats import shards


@contextmanager
def staging(path: Path) -> Iterator[Path]:
    """A hidden folder on the destination's file system, gone at the end whatever happens."""
    folder = path.with_name(f".{path.name[:40]}.{os.urandom(4).hex()}.bnport")
    try:
        # Inside the try: a signal may arrive as soon as the folder is there.
        with writing_to(path):
            folder.mkdir(mode=0o700)
        yield folder
    finally:
        stopping.decided()
        _remove(folder)
        stopping.settled()


def _remove(folder: Path) -> None:
    with suppress(OSError):
        for file in folder.iterdir():
            with suppress(OSError):
                file.unlink()
        folder.rmdir()


@contextmanager
def writing_to(path: Path, placed: Sequence[Path] = ()) -> Iterator[None]:
    """What the operating system says of files on their way to `path` becomes a FileIOError.

    Args:
        placed: the files that are at their destinations by then.
    """
    try:
        yield
    except OSError as error:
        names = ", ".join(file.name for file in placed)
        hint = f"In place already, and whole: {names}." if placed else "Nothing was written at the destination."
        raise FileIOError(f"writing failed: {error.strerror}", file=path, found=error.filename, hint=hint) from error


@contextmanager
def new_file(path: Path, *, replaces: bool) -> Iterator[int]:
    """A descriptor of a new file, flushed to the disk at the end where it is to replace one that must not be lost.

    A new output is left to the operating system, as `cp` leaves it: after a power failure it can be made again.
    """
    # 0666 less the umask: the mode of any new file, where mkstemp's would be 0600.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
        if replaces:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raises UsageError, naming the first one that is there."""
    existing = next((path for path in paths if os.path.lexists(path)), None)
    if existing:
        raise _exists(existing)


def _exists(path: Path) -> UsageError:
    return UsageError("exists already", entry=str(path), hint="--force replaces it.")


def publish(folder: Path, names: Sequence[str], beside: str, destination: Path, *, force: bool) -> None:
    """Move files into place, the one the user named last, so that what it refers to is there before it.

    Without `force` none replaces a file that another process has put there in the meantime. The record does,
    and comes after the file that it is of: one that lies there is of a file that is gone.

    Args:
        folder: where the files are, on the same file system.
        names: of the files.
        beside: the name of the record.
        destination: the folder they go to.
        force: replace what is there.

    Raises:
        UsageError: one exists; those placed before it are removed.
        FileIOError: the operating system refused; the error names the files that are in place all the same.
    """
    placed: list[Path] = []
    with writing_to(destination / names[-1], placed):
        replaces = any(os.path.lexists(destination / name) for name in names)
        for name in names:
            try:
                (os.replace if force else _move_to_new)(folder / name, destination / name)
            except FileExistsError as error:
                for path in placed:
                    path.unlink()
                raise _exists(destination / name) from error
            placed.append(destination / name)
        os.replace(folder / beside, destination / beside)
        placed.append(destination / beside)
        if replaces:
            _flush_folder(destination)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move_to_new(file: Path, path: Path) -> None:
    """Raises FileExistsError where `path` is there; without hard links a moment lies between look and move."""
    try:
        os.link(file, path)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.replace(file, path)
    else:
        file.unlink()


def left_over(output: Path, published: Set[str]) -> list[str]:
    """A warning where files of earlier outputs of the same name lie beside this one, which may be taken for it."""
    index = f"{output.name}.index.json"
    single = {name for file in (output.name, index) for name in (file, record.path_beside(Path(file)).name)}
    there = [
        path.name for path in output.parent.iterdir() if path.name in single or shards.is_shard_of(path.name, output)
    ]
    names = sorted(set(there) - published)
    return [f"left from an earlier output, and no part of this one: {', '.join(names)}"] if names else []
