"""Carrying out a plan: bytes from the source into new files that appear only when they are whole.

Everything is written into a hidden folder beside the destination, checked there, and renamed into place at the end
(`porter.publishing`), so that an interrupted, failed or refuted conversion leaves what was there before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter import record, stopping
from porter.destination import Destination, WriteOptions, dropped_by, prefix_of
from porter.edits import rename_module
from porter.errors import FileIOError, InputError
from porter.formats import mindspore_ckpt, safetensors, shards, torch_zip
from porter.formats.casting import Overflow, cast_chunks, filled
from porter.formats.model import Layout, TensorSpec
from porter.formats.transfer import Chunk, TensorReader
from porter.formats.writing import write_layout
from porter.plan import Plan, Step
from porter.publishing import left_over, new_file, publish, refuse_existing, staging, writing_to
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
    job = _Job(plan, source, to, options)
    overflowed: dict[str, int] = {}
    main = f"{to.path.name}.index.json" if len(job.parts) > 1 else to.path.name
    if len(job.parts) > 1 and not options.force:
        refuse_existing([to.path.with_name(name) for name in (*job.parts, main)])
    before = _stamps(source)
    with staging(to.path) as folder:
        with TensorReader(source.checkpoint, check_crc=options.check_crc) as reader, writing_to(to.path):
            job.write(folder, reader, overflowed, progress)
            if len(job.parts) > 1:
                (folder / main).write_bytes(shards.index_json(job.parts))
            reader.check_unread()
            done = job.recorded(reader)
        if _stamps(source) != before:
            raise InputError("changed while it was read", file=source.checkpoint.path, hint="Run it again.")
        proof = check(folder / main) if check else None
        stopping.check()
        stopping.decided()
        with writing_to(to.path):
            beside = record.path_beside(folder / main)
            record.write(done._replace(proof=proof), beside)
        names = [name for name in job.parts if name != main]
        publish(folder, [*names, main], beside.name, to.path.parent, force=options.force)
    warnings = _overflow_note(plan, options, overflowed)
    return to.path.with_name(main), [*warnings, *left_over(to.path, {*job.parts, main, beside.name})]


def _overflow_note(plan: Plan, options: WriteOptions, overflowed: Mapping[str, int]) -> list[str]:
    # Threads came to the tensors in whatever order.
    in_order = {spec.name: overflowed[spec.name] for spec in plan.targets if spec.name in overflowed}
    return [str(Overflow(options.dtype, in_order))] if options.dtype and in_order else []


def bytes_of(step: Step, reader: TensorReader, overflowed: dict[str, int]) -> Iterable[Chunk]:
    """The bytes of a step's target, in chunks.

    Args:
        step: one that has a target.
        reader: of the source.
        overflowed: as in `cast_chunks`.
    """
    target, source = step.target, step.source
    assert target is not None
    if step.same_as is not None:
        source = reader.checkpoint.tensors[step.same_as].spec
    if source is None:
        return [step.data if step.data is not None else filled(target, step.fill or 0.0)]
    chunks = reader.chunks(source.name)
    return chunks if source.dtype == target.dtype else cast_chunks(chunks, source.dtype, target, overflowed)


@dataclass(frozen=True)
class _Job:
    """A plan, what it was made for, where that goes and how."""

    plan: Plan
    source: Source
    to: Destination
    options: WriteOptions

    @cached_property
    def parts(self) -> dict[str, list[TensorSpec]]:
        """File name -> tensors: one file, or as many shards as the limit asks for."""
        limit, name = self.options.max_shard_bytes, self.to.path.name
        parts = shards.split(self.plan.targets, limit) if limit else [self.plan.targets]
        if len(parts) == 1:
            return {name: parts[0]}
        return dict(zip(shards.shard_names(name, len(parts)), parts, strict=True))

    def write(
        self, folder: Path, reader: TensorReader, overflowed: dict[str, int], progress: Progress | None
    ) -> None:
        """Write the output's files into `folder`."""
        steps = {step.target.name: step for step in self.plan.steps if step.target}
        before, total = 0, sum(spec.nbytes for spec in self.plan.targets)

        def told(written: int) -> None:
            stopping.check()
            if progress:
                progress(before + written, total)

        for name, specs in self.parts.items():
            replaces = os.path.lexists(self.to.path.with_name(name))
            with new_file(folder / name, replaces=replaces) as descriptor:
                write_layout(
                    descriptor, self._layout(specs), lambda name: bytes_of(steps[name], reader, overflowed), told
                )
            before += sum(spec.nbytes for spec in specs)

    def _layout(self, specs: Sequence[TensorSpec]) -> Layout:
        if self.to.format == "mindspore-ckpt":
            return mindspore_ckpt.layout(specs, crc=self.options.crc)
        if self.to.format == "safetensors":
            metadata = {"format": "pt" if self.to.to == "torch" else "ms"}
            return safetensors.layout(specs, metadata=metadata, data_like=_data_start(self.source))
        state = {step.target for step in self.plan.steps if step.optimizer}
        network = [spec for spec in specs if spec not in state]
        shared = _shared(specs, self.plan)
        return torch_zip.layout(network, versions=self._versions(), beside=_optimizer_tree(self.plan), shared=shared)

    def _versions(self) -> Mapping[str, int] | None:
        """The `_metadata` of the state dict written: the source's own, or what the record kept of it."""
        source = self.source
        if source.dialect == "torch":
            prefix = prefix_of(source, self.options)
            versions = source.checkpoint.versions
            versions = versions and {f"{k}.".removeprefix(prefix).removesuffix("."): v for k, v in versions.items()}
        else:
            versions = source.record.versions if source.record else None
        return versions and {rename_module(name, self.options.renames): v for name, v in versions.items()}

    def recorded(self, reader: TensorReader) -> record.Record:
        plan, source, options = self.plan, self.source, self.options
        drop = tuple(sorted(dropped_by([step.source.name for step in plan.steps if step.source], options)))
        lost = [step for step in plan.steps if step.source and step.fate == "dropped" and not step.optimizer]
        small = [s.source for s in lost if s.source and s.source.name not in drop and record.is_recorded(s)]
        dropped = {spec.name: b"".join(bytes(chunk) for chunk in reader.chunks(spec.name)) for spec in small}
        prefix, versions = prefix_of(source, options), source.checkpoint.versions
        return record.Record.of(plan, source.layers, prefix, options.dtype, dropped, versions, drop, options.shared)


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


def _stamps(source: Source) -> list[tuple[int, int, int]]:
    try:
        found = [os.stat(path) for path in source.checkpoint.files]
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise FileIOError(message, file=source.checkpoint.path, found=error.filename) from error
    return [(status.st_ino, status.st_size, status.st_mtime_ns) for status in found]
