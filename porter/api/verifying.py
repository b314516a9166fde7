"""Checking a converted file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from porter import record
from porter.api.preparing import (
    Prepared,
    StrPath,
    check_settings,
    config_files,
    output_names,
    prepared,
    unchecked_notes,
    with_rules,
)
from porter.destination import WriteOptions
from porter.dialect import dialect_of
from porter.errors import FileIOError, Malformed, UsageError
from porter.formats import open_checkpoint
from porter.layers.kinds import Dialect
from porter.layers.rules import FRAMEWORKS
from porter.plan import Plan, dtype_called
from porter.source import SourceOptions, open_source
from porter.verification.options import NetworkInput, Options

if TYPE_CHECKING:
    from porter.configured import Configs
    from porter.proof import Option
    from porter.verification.configured_layers import TargetOptions
    from porter.verification.files import Verification
    from porter.verification.network_results import NetworkResult


def verify(
    source: StrPath,
    output: StrPath,
    *,
    source_options: SourceOptions | None = None,
    write_options: WriteOptions | None = None,
    rules: Sequence[StrPath] = (),
    target_eps: float | None = None,
    target_momentum: float | None = None,
    options: Options | None = None,
    inputs: Sequence[NetworkInput] = (),
    configs: tuple[StrPath, StrPath] | None = None,
    settings: Sequence[tuple[str, str]] = (),
    on_layer: Callable[[int, int], None] | None = None,
) -> Verification:
    """Check a converted file against its source, tensor by tensor, layer by layer, and as whole networks.

    Args:
        source: what was converted.
        output: what the conversion wrote.
        source_options: as for `convert`; with both `model` and `net`, the one on the output's side says how the
            layers there are configured.
        write_options: names and dtype as they were given to `convert`; None takes them from the
            conversion's record where it lies beside `output`, unless there are `rules`.
        rules: as for `convert`.
        target_eps, target_momentum: how all layers on the output's side are configured, momentum in the terms of
            its framework.
        options: how layers are run.
        inputs: of both networks, which are then run whole; needs `model` and `net`.
        configs: the model configs of the source and of the output. They say how layers are configured where the
            network on their side does not.
        settings: the user's word on places in them, as for `translate_config`.
        on_layer: called with (layers verified, layers in all).

    Raises:
        InputError, Undecided, UsageError, BackendError: see `porter.errors`. A failed check is no error: it is in
        the result.
    """
    from porter.verification.configured_layers import TargetOptions

    check_settings("target-", eps=target_eps, momentum=target_momentum)
    target = Path(output)
    unread: list[str] = []
    if not (write_options or rules):
        write_options, unread = recorded_options(target)
    given, write = with_rules(rules, source_options, write_options)
    opened = open_source(Path(source), given, optimizer=write.optimizer is not None, names=output_names(write))
    to = write.to or dialect_of(open_checkpoint(target), "--to")
    _refuse_same_names(opened.dialect, to, write, target)
    known = None
    if configs or settings:
        from porter.configured import compared

        here, there = configs or (None, None)
        known = compared(opened, to, config_files(here, there, settings, rules, write))
        opened = known.source
    ready = prepared(opened, given, write, to, written=target)
    configured = TargetOptions(ready.network, target_eps, target_momentum, known.given if known else {})
    found = checked(ready, target, options or Options(), configured, inputs, on_layer, known)
    if ready.network and not inputs:
        found = replace(found, network=_misfit(ready.plan, ready.network))
    overflow = [str(found.overflow)] if found.overflow else []
    notes = [*found.warnings, *overflow, *unread, *(known.notes if known else ()), *_taken_from_the_record(write)]
    if not inputs:
        notes += unchecked_notes(write.renames)
        if ready.network and given.model and given.net and found.network is None:
            notes.append("--input-shape 2x3x8x32x32 (your network's own) runs the two networks whole, too")
    return replace(found, warnings=tuple(notes))


def _refuse_same_names(dialect: Dialect, to: Dialect, write: WriteOptions, output: Path) -> None:
    """Refuse two files with the same side's names, which is a copy or a mistake, unless a copy was asked for."""
    asked = write.to is not None and (write.like is None or write.like.plan.from_ == to)
    if to == dialect and not asked:
        raise UsageError(
            f"both files bear {FRAMEWORKS[to]}'s names: nothing was converted",
            entry=str(output),
            hint=f"Give the converted file; --to {to} checks a copy with the same names.",
        )


def checked(
    ready: Prepared,
    output: Path,
    options: Options,
    target: TargetOptions,
    inputs: Sequence[NetworkInput],
    on_layer: Callable[[int, int], None] | None,
    configs: Configs | None,
) -> Verification:
    """Verify the file `output`, and keep what the outcome holds for: hashes, versions, options.

    Args:
        configs: those that `target` was taken from; None where there are none.

    Raises:
        InputError, UsageError, BackendError: as `verify`.
    """
    from porter.proof import Witness
    from porter.verification.files import verify_output

    written = open_checkpoint(output, optimizer=ready.plan.optimizer is not None)
    with Witness(ready.source.checkpoint, written) as witness:
        whole = _compare_networks(ready, output, inputs, options) if inputs else None
        target = replace(target, networks_agree=None if whole is None else whole.ok is True)
        found = verify_output(ready.source, ready.plan, written, options, target, on_layer)
        found = replace(found, network=whole)
        told = _told(options, ready.given, target, configs)
        return replace(found, circumstances=witness.circumstances(told, configs.hashes if configs else ()))


def _told(run: Options, given: SourceOptions, target: TargetOptions, configs: Configs | None) -> dict[str, Option]:
    """What of the options decides what a verification shows."""
    sides: dict[str, Option] = {"model": given.model, "net": given.net, "eps": given.eps, "momentum": given.momentum}
    files = zip(("config", "output_config"), configs.files if configs else (), strict=False)
    named = {option: str(path) for option, path in files}
    return {**run._asdict(), **sides, "target_eps": target.eps, "target_momentum": target.momentum, **named}


def _compare_networks(
    ready: Prepared, output: Path, inputs: Sequence[NetworkInput], options: Options
) -> NetworkResult:
    from porter.verification.networks import check_networks
    from porter.verification.twins import open_twins

    given = ready.given
    if not (given.model and given.net and ready.network):
        hint = "--model names PyTorch's, --net MindSpore's; one of the two files belongs to each."
        raise UsageError("needs both networks", entry=f"--input-shape {inputs[0]}", hint=hint)
    # Networks own no state of an optimizer.
    written = open_checkpoint(output)
    twins = open_twins(ready.source, ready.plan, written, given.model, given.net, options.device)
    return check_networks(twins, inputs, options)


def _misfit(plan: Plan, reference: str) -> NetworkResult | None:
    """What the target network and the output do not share, as where they are run whole; None where they fit.

    dtypes may differ, as there: values are cast on loading.
    """
    from porter.target import misfit
    from porter.verification.network_results import NetworkResult, Problem

    problems = tuple(Problem(FRAMEWORKS[plan.to], one) for one in misfit(plan, reference) if one.problem != "dtype")
    return NetworkResult((), problems, (), {}) if problems else None


def recorded_options(output: Path) -> tuple[WriteOptions, list[str]]:
    """The options of the conversion that wrote `output`, from its record, and remarks on that record.

    The defaults where there is none that is its own, or that can be read: what it says is no more than a help.
    """
    try:
        found = record.read_beside(output)
    except (Malformed, FileIOError) as error:
        return WriteOptions(), [f"expected as without a record: {error}"]
    if found is None or not found.is_of(open_checkpoint(output).specs):
        return WriteOptions(), []
    dtype = dtype_called(found.dtype) if found.dtype else None
    optimizer, prefix = _class_written(found), found.strip_prefix
    options = WriteOptions(
        to=found.plan.to, strip_prefix=prefix, dtype=dtype, optimizer=optimizer, shared=found.shared, like=found
    )
    return options, []


def _class_written(found: record.Record) -> str | None:
    """The name of the optimizer's class in the output that a record is of."""
    if found.optimizer is None:
        return None
    from porter.optimizer.classes import class_written

    return class_written(found.optimizer.name, found.plan.to)


def _taken_from_the_record(options: WriteOptions) -> list[str]:
    """What the expectation rests on that the user did not say."""
    recorded = options.like
    if recorded is None:
        return []
    taken = [
        *([f"prefix {recorded.strip_prefix} removed"] if recorded.strip_prefix else []),
        *([f"cast to {recorded.dtype}"] if recorded.dtype else []),
        *([f"{len(recorded.renamed)} names changed"] if recorded.renamed else []),
        *([f"{len(recorded.drop)} tensors dropped"] if recorded.drop else []),
    ]
    return [f"expected as the record beside OUTPUT says: {', '.join(taken)}"] if taken else []
