"""Carrying out a plan: bytes from the source into new files that appear only when they are whole.

Everything is written into a hidden folder beside the destination, checked there, and renamed into place at the end,
so that an interrupted, failed or refuted conversion leaves what was there before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter import record, stopping
from porter.destination import Destination, WriteOptions, dropped_by, prefix_of
from porter.edits import rename_module
from porter.errors import FileIOError, InputError, UsageError
from porter.formats import mindspore_ckpt, safetensors, shards, torch_zip
from porter.formats.casting import cast_chunks, filled
from porter.formats.model import Layout, TensorSpec
from porter.formats.transfer import Chunk, TensorReader
from porter.formats.writing import write_layout
from porter.plan import Plan, Step
from porter.source import Source

if TYPE_CHECKING:
    from porter.proof import Proof

Progress = Callable[[int, int], None]


def execute(
    plan: Plan,
    source: Source,
    to: Destination,
    options: WriteOptions,
    check: Callable[[Path], Proof | None] | None = None,
    progress: Progress | None = None,
) -> tuple[Path, list[str]]:
    """Write what a plan says.

    Args:
        plan: proven.
        source: what it was made for.
        to: where it goes.
        options: how it is written.
        check: called with the path of the whole, written, not yet visible output; what it raises stops the
            conversion and leaves the destination as it was, what it returns goes into the record.
        progress: called with (bytes written, bytes in all).

    Returns:
        The file that now holds the output (the index, where it is sharded), and warnings.

    Raises:
        InputError: the source is damaged, or changed while it was read.
        UsageError: a shard or index of that name exists and `options.force` is not given.
        FileIOError: the operating system refused.
    """
    warnings: list[str] = []
    parts = _parts(plan, to, options)
    main = f"{to.path.name}.index.json" if len(parts) > 1 else to.path.name
    if len(parts) > 1:
        _refuse_existing([to.path.with_name(name) for name in (*parts, main)], options)
    before = _stamps(source)
    with _staging(to.path) as folder:
        with TensorReader(source.checkpoint, check_crc=options.check_crc) as reader, _writing(to.path):
            _write_parts(folder, parts, plan, source, to, options, reader, warnings, progress)
            if len(parts) > 1:
                (folder / main).write_bytes(shards.index_json(parts))
            reader.check_unread()
            done = _record(plan, source, options, reader)
        if _stamps(source) != before:
            raise InputError("changed while it was read", file=source.checkpoint.path, hint="Run it again.")
        proof = check(folder / main) if check else None
        stopping.check()
        with _writing(to.path):
            beside = record.path_beside(folder / main)
            record.write(replace(done, proof=proof), beside)
            names = [name for name in parts if name != main]
            _publish(folder, [*names, main], beside.name, to.path.parent, options)
    return to.path.with_name(main), [*warnings, *_stale(to.path, {*parts, main, beside.name})]


def _parts(plan: Plan, to: Destination, options: WriteOptions) -> dict[str, list[TensorSpec]]:
    """File name -> tensors: one file, or as many shards as the limit asks for."""
    limit = options.max_shard_bytes
    parts = shards.split(plan.targets, limit) if limit else [plan.targets]
    if len(parts) == 1:
        return {to.path.name: parts[0]}
    return dict(zip(shards.shard_names(to.path.name, len(parts)), parts, strict=True))


def _write_parts(
    folder: Path,
    parts: Mapping[str, Sequence[TensorSpec]],
    plan: Plan,
    source: Source,
    to: Destination,
    options: WriteOptions,
    reader: TensorReader,
    warnings: list[str],
    progress: Progress | None,
) -> None:
    """Write the output's files into `folder`."""
    steps = {step.target.name: step for step in plan.steps if step.target}
    before, total = 0, sum(spec.nbytes for spec in plan.targets)
    for name, specs in parts.items():
        layout = _layout(specs, plan, source, to, options)
        with _new_file(folder / name, replaces=os.path.lexists(to.path.with_name(name))) as descriptor:
            write_layout(
                descriptor,
                layout,
                lambda name: bytes_of(steps[name], reader, warnings),
                progress and (lambda written, before=before: progress(before + written, total)),
            )
        before += sum(spec.nbytes for spec in specs)


def bytes_of(step: Step, reader: TensorReader, warnings: list[str]) -> Iterable[Chunk]:
    """The bytes of a step's target, in chunks.

    Args:
        step: one that has a target.
        reader: of the source.
        warnings: gets a sentence when a cast makes finite numbers infinite.
    """
    target, source = step.target, step.source
    assert target is not None
    if step.same_as is not None:
        source = reader.checkpoint.tensors[step.same_as].spec
    if source is None:
        return [step.data if step.data is not None else filled(target, step.fill or 0.0)]
    chunks = reader.chunks(source.name)
    return chunks if source.dtype == target.dtype else cast_chunks(chunks, source.dtype, target, warnings)


def _layout(
    specs: Sequence[TensorSpec], plan: Plan, source: Source, to: Destination, options: WriteOptions
) -> Layout:
    if to.format == "mindspore-ckpt":
        return mindspore_ckpt.layout(specs, crc=options.crc)
    if to.format == "safetensors":
        metadata = {"format": "pt" if to.to == "torch" else "ms"}
        return safetensors.layout(specs, metadata=metadata, data_like=_data_start(source))
    beside = _optimizer_tree(plan)
    state = {step.target for step in plan.steps if step.optimizer}
    network = [spec for spec in specs if spec not in state]
    return torch_zip.layout(network, versions=_versions(source, options), beside=beside, shared=_shared(specs, plan))


def _data_start(source: Source) -> int:
    """Where the tensors of a safetensors file begin; 0 of any other source."""
    checkpoint = source.checkpoint
    if checkpoint.format != "safetensors":
        return 0
    return min((tensor.extents[0].offset for tensor in checkpoint.tensors.values()), default=0)


def _optimizer_tree(plan: Plan) -> dict[str, Any] | None:
    if plan.optimizer is None:
        return None
    from porter.optimizer.carry import optimizer_tree

    return optimizer_tree(plan)


def _shared(specs: Sequence[TensorSpec], plan: Plan) -> dict[str, str]:
    """Target -> the target whose storage it shares, both among `specs`."""
    kept = {step.source.name: step.target for step in plan.steps if step.source and step.target}
    pairs = ((step.target, kept[step.same_as]) for step in plan.steps if step.target and step.same_as)
    return {alias.name: keeper.name for alias, keeper in pairs if {alias, keeper} <= set(specs)}


def _versions(source: Source, options: WriteOptions) -> Mapping[str, int] | None:
    """The `_metadata` of the state dict written: the source's own, or what the record kept of it."""
    if source.dialect == "torch":
        prefix = prefix_of(source, options)
        versions = source.checkpoint.versions
        versions = versions and {f"{name}.".removeprefix(prefix).removesuffix("."): v for name, v in versions.items()}
    else:
        versions = source.record.versions if source.record else None
    return versions and {rename_module(name, options.renames): v for name, v in versions.items()}


@contextmanager
def _new_file(path: Path, *, replaces: bool) -> Iterator[int]:
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


def _record(plan: Plan, source: Source, options: WriteOptions, reader: TensorReader) -> record.Record:
    drop = tuple(sorted(dropped_by([step.source.name for step in plan.steps if step.source], options)))
    lost = [step for step in plan.steps if step.source and step.fate == "dropped" and not step.optimizer]
    small = [s.source for s in lost if s.source and s.source.name not in drop and record.is_recorded(s)]
    dropped = {spec.name: b"".join(bytes(chunk) for chunk in reader.chunks(spec.name)) for spec in small}
    prefix, versions = prefix_of(source, options), source.checkpoint.versions
    return record.Record.of(plan, source.layers, prefix, options.dtype, dropped, versions, drop, options.shared)


def _stamps(source: Source) -> list[tuple[int, int, int]]:
    try:
        found = [os.stat(path) for path in source.checkpoint.files]
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise FileIOError(message, file=source.checkpoint.path, found=error.filename) from error
    return [(status.st_ino, status.st_size, status.st_mtime_ns) for status in found]


@contextmanager
def _staging(path: Path) -> Iterator[Path]:
    """A hidden folder on the destination's file system, gone at the end whatever happens."""
    folder = path.with_name(f".{path.name[:40]}.{os.urandom(4).hex()}.bnport")
    try:
        # Inside the try: a signal may arrive as soon as the folder is there.
        with _writing(path):
            folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What the operating system says of files on their way to `path` becomes a FileIOError."""
    try:
        yield
    except OSError as error:
        hint = "Nothing was written at the destination."
        raise FileIOError(f"writing failed: {error.strerror}", file=path, found=error.filename, hint=hint) from error


def _refuse_existing(paths: Sequence[Path], options: WriteOptions) -> None:
    existing = next((path for path in paths if os.path.lexists(path)), None)
    if existing and not options.force:
        raise _exists(existing)


def _exists(path: Path) -> UsageError:
    return UsageError("exists already", entry=str(path), hint="--force replaces it.")


def _publish(folder: Path, names: Sequence[str], beside: str, destination: Path, options: WriteOptions) -> None:
    """Move the files into place, the one the user named last, so that what it refers to is there before it.

    Without `options.force` none replaces a file that another process has put there in the meantime. The record does,
    and comes after the file that it is of: one that lies there is of a file that is gone.
    """
    placed: list[Path] = []
    for name in names:
        try:
            (os.replace if options.force else _move_to_new)(folder / name, destination / name)
        except FileExistsError as error:
            for path in placed:
                path.unlink()
            raise _exists(destination / name) from error
        placed.append(destination / name)
    os.replace(folder / beside, destination / beside)
    descriptor = os.open(destination, os.O_RDONLY)
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


def _stale(output: Path, published: Set[str]) -> list[str]:
    """A warning where files of earlier outputs of the same name lie beside this one, which may be taken for it."""
    index = f"{output.name}.index.json"
    single = {name for file in (output.name, index) for name in (file, record.path_beside(Path(file)).name)}
    there = [
        path.name for path in output.parent.iterdir() if path.name in single or shards.is_shard_of(path.name, output)
    ]
    names = sorted(set(there) - published)
    return [f"left from an earlier output, and no part of this one: {', '.join(names)}"] if names else []
