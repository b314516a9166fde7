"""The library: what the commands do, as functions that take paths and return facts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence, Set
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from porter import conversion, record
from porter.collector import collector_paused, collector_running
from porter.counterparts import OutputNames
from porter.destination import Destination, WriteOptions, destination, plan_for
from porter.edits import Rename
from porter.errors import BackendError, UsageError, VerificationFailed
from porter.formats import open_checkpoint
from porter.layers.hyperparameters import check_hyperparameters
from porter.layers.kinds import Dialect
from porter.layers.model import Layer
from porter.plan import Plan, dtype_called
from porter.remarks import inference_notes, left_out_notes, remarks
from porter.source import Source, SourceOptions, dialect_of, open_source
from porter.verification.activations import NetworkInput
from porter.verification.cases import Options
from porter.way_back import remarks_on_the_way_back

# Start-up is kept short: what verifies, or builds networks, is imported where that is done.
if TYPE_CHECKING:
    from porter.configs.api import ConfigTranslation
    from porter.configured import ConfigFiles
    from porter.proof import Option, Proof
    from porter.verification.files import TargetOptions, Verification
    from porter.verification.network_results import NetworkResult

Align = Literal["propose", "apply"]
StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint holds."""

    source: Source

    @property
    def rules(self) -> str:
        """What was recognised as the text of a rules file; used unchanged, it leads to the same conversion."""
        from porter import port_rules

        return port_rules.text_of(self.source)

    def to_json(self) -> dict[str, Any]:
        checkpoint = self.source.checkpoint
        return {
            "schema": "bnport.inspect/1",
            "file": str(checkpoint.path),
            "format": checkpoint.format,
            "framework": self.source.dialect,
            "container": checkpoint.container,
            "other_containers": list(checkpoint.other_containers),
            "prefix": self.source.wrapper or None,
            "layers": [layer_to_json(layer) for layer in self.source.layers],
            "tensors": [
                {"name": spec.name, "dtype": spec.dtype.name, "shape": list(spec.shape)} for spec in checkpoint.specs
            ],
            "left_out": [
                *({"name": entry.name, "what": entry.what} for entry in checkpoint.left_out),
                *({"name": name, "what": what} for name, what in self.source.left_out.items()),
            ],
            "warnings": list(self.source.notes),
        }


@dataclass(frozen=True)
class Conversion:
    """A conversion that was done, or only planned.

    Attributes:
        source: what was read.
        to: where it went.
        plan: the fate of every tensor.
        written: the file that now holds the output; None after a dry run.
        verification: None where it was not asked for.
        warnings: remarks for the user.
        config: what became of the config that was translated in the same go; None where none was.
    """

    source: Source
    to: Destination
    plan: Plan
    written: Path | None
    verification: Verification | None
    warnings: tuple[str, ...]
    config: ConfigTranslation | None = None

    @property
    def verified(self) -> bool | None:
        return self.verification.verified if self.verification else None

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": "bnport.convert/1",
            "source": str(self.source.checkpoint.path),
            "output": str(self.written or self.to.path),
            "from": self.plan.from_,
            "to": self.plan.to,
            "written": self.written is not None,
            "layers": [layer_to_json(layer) for layer in self.source.layers],
            "tensors": [step.to_json() for step in self.plan.steps],
            "optimizer": self.plan.optimizer and self.plan.optimizer.to_json(),
            "verified": self.verified,
            "verification": self.verification.to_json() if self.verification else None,
            "config": self.config and self.config.to_json(),
            "warnings": list(self.warnings),
        }


def layer_to_json(layer: Layer) -> dict[str, Any]:
    settings = layer.settings
    return {
        "name": layer.name,
        "kind": layer.kind_name,
        "channels": layer.channels,
        "certainty": layer.certainty,
        "evidence": [{"source": evidence.source, "text": evidence.text} for evidence in layer.evidence],
        "hyperparameters": None if settings is None else settings.to_json(),
    }


def inspect(path: StrPath, options: SourceOptions | None = None, rules: Sequence[StrPath] = ()) -> Inspection:
    """What a checkpoint holds: its format, its tensors, and its layers with the evidence for their kind.

    Args:
        path: the checkpoint.
        options: what to know about it beyond what it says itself.
        rules: rules files (`porter.port_rules`), of which only what they say of the source counts here.

    Raises:
        InputError: it cannot be read, or must not be trusted.
        Undecided: several state dicts, or names that may be either framework's.
    """
    given, write = _with_rules(rules, options, None)
    return Inspection(open_source(Path(path), given, names=_output_names(write)))


def _output_names(write: WriteOptions) -> OutputNames:
    return OutputNames(write.strip_prefix, write.renames, write.like.renamed if write.like else {})


def _with_rules(
    rules: Sequence[StrPath], source: SourceOptions | None, write: WriteOptions | None
) -> tuple[SourceOptions, WriteOptions]:
    """Both kinds of options with what rules files say in front of them, the last file nearest."""
    given, how = source or SourceOptions(), write or WriteOptions()
    for path in reversed(rules):
        from porter import port_rules

        read = port_rules.read(Path(path))
        given, how = read.for_source(given), read.for_output(how)
    _check_settings("", eps=given.eps, momentum=given.momentum)
    for pattern, values in given.hyperparameters:
        check_hyperparameters(f"hyperparameters {pattern!r}", values)
    return given, how


def _check_settings(prefix: str, **values: float | None) -> None:
    """Check the settings that are given, those of options called as they are behind `prefix`."""
    for name, value in values.items():
        if value is not None:
            check_hyperparameters(f"--{prefix}{name}", {name: value})


@collector_paused()
def convert(
    source: StrPath,
    output: StrPath,
    *,
    source_options: SourceOptions | None = None,
    write_options: WriteOptions | None = None,
    rules: Sequence[StrPath] = (),
    verify: bool | None = None,
    verify_options: Options | None = None,
    dry_run: bool = False,
    align: Align | None = None,
    inputs: Sequence[NetworkInput] = (),
    config: StrPath | None = None,
    config_output: StrPath | None = None,
    settings: Sequence[tuple[str, str]] = (),
    on_bytes: Callable[[int, int], None] | None = None,
    on_layer: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Convert a checkpoint.

    Args:
        source: the file to read.
        output: the file to write; its suffix chooses the format.
        source_options: what to know about the source beyond what it says itself.
        write_options: how to write.
        rules: rules files (`porter.port_rules`); what the options say besides outweighs them.
        verify: True demands that every batch normalisation is run on the target's framework; None runs those that
            can be run here; False verifies nothing.
        verify_options: how layers are run.
        dry_run: plan only.
        align: where the output's names are not the target network's, propose renames ("propose": always raises
            DoesNotFit with them, and writes them beside the output as a rules file), or "apply" them where the
            structure leaves no other choice; that needs `inputs`, so that the outcome is verified.
        inputs: of both networks, which are then run whole; needs `model` and `net`.
        config: a model config that says how layers are configured where `model` or `net` do not.
        config_output: where that config is written, translated; the layers of the output are then configured as it
            says. Neither file appears unless both are whole.
        settings: the user's word on places in it, as for `translate_config`.
        on_bytes: called with (bytes written, bytes in all).
        on_layer: called with (layers verified, layers in all).

    Raises:
        DoesNotFit: the output does not fit the target network (`model` or `net`, of the output's framework).
        BnportError: one of its subclasses, see `porter.errors`; nothing is written then.
    """
    given, write = _with_rules(rules, source_options, write_options)
    run = verify_options or Options()
    if align == "apply" and not inputs:
        hint = "Give --input-shape 1x3x8x32x32 (your network's own), --model and --net."
        raise UsageError("what it does must be verified on whole networks", entry="--align=apply", hint=hint)
    if inputs and verify is False:
        raise UsageError("asks for a verification", entry="--input-shape", found="--no-verify")
    opened = open_source(Path(source), given, optimizer=write.optimizer is not None, names=_output_names(write))
    to = destination(Path(output), opened, write)
    configs = None
    if config or config_output or settings:
        from porter.configured import translated

        configs = translated(opened, to.to, _config_files(config, config_output, settings, rules, write))
        opened = configs.source
    network = _target_network(given, opened.dialect, to.to)
    write = replace(write, own=_names_of(network, to.to))
    plan = plan_for(opened, to.to, write)
    write, plan = _spread(opened, write, plan, network)
    renames = _fitting_renames(plan, network, align, None if dry_run else Path(f"{os.fspath(output)}.rules.toml"))
    if renames:
        write = replace(write, renames=(*write.renames, *renames))
        plan = plan_for(opened, to.to, write)
    notes = (
        *opened.notes,
        *left_out_notes(opened, plan),
        *inference_notes(opened.layers, plan),
        *remarks(plan, opened.layers),
        *remarks_on_the_way_back(opened, plan),
        *(f"applied to fit {network}: {one.option}" for one in renames),
        *([] if inputs else _unchecked_notes(write.renames)),
        *(configs.notes if configs else ()),
    )
    translation = configs.translation if configs else None
    if dry_run:
        return Conversion(opened, to, plan, None, None, notes, translation)
    verdicts: list[Verification] = []

    @collector_running()
    def check(path: Path) -> Proof | None:
        from porter.proof import Proof, Witness
        from porter.verification.files import TargetOptions, verify_output

        # Settings can only be compared where those of both sides are known.
        configured = TargetOptions(
            network if given.model and given.net else None, given=configs.given if configs else {}
        )
        with Witness(opened.checkpoint, open_checkpoint(path)) as witness:
            found = verify_output(opened, plan, path, run, configured, on_layer)
            if inputs:
                found = replace(found, network=_compare_networks(opened, plan, path, given, inputs, run))
            found = replace(found, circumstances=witness.circumstances(_told(run, given, configured)))
        verdicts.append(found)
        _demand(found, strict=verify is True or align == "apply", file=to.path)
        return Proof.of(found)

    with ExitStack() as stack:
        publish_config = stack.enter_context(configs.staged()) if configs else None
        written, warnings = conversion.execute(plan, opened, to, write, None if verify is False else check, on_bytes)
        if publish_config:
            publish_config()
    verdict = verdicts[0] if verdicts else None
    return Conversion(opened, to, plan, written, verdict, (*notes, *warnings), translation)


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
    from porter.proof import Witness
    from porter.verification.files import TargetOptions, verify_output

    _check_settings("target-", eps=target_eps, momentum=target_momentum)
    target = Path(output)
    if not (write_options or rules):
        write_options = _recorded_options(target)
    given, write = _with_rules(rules, source_options, write_options)
    opened = open_source(Path(source), given, optimizer=write.optimizer is not None, names=_output_names(write))
    to = write.to or dialect_of(open_checkpoint(target))
    known = None
    if configs or settings:
        from porter.configured import compared

        here, there = configs or (None, None)
        known = compared(opened, to, _config_files(here, there, settings, rules, write))
        opened = known.source
    network = _target_network(given, opened.dialect, to)
    write = replace(write, own=_names_of(network, to, written=target))
    plan = plan_for(opened, to, write)
    write, plan = _spread(opened, write, plan, network)
    configured = TargetOptions(network, target_eps, target_momentum, known.given if known else {})
    run = options or Options()
    with Witness(opened.checkpoint, open_checkpoint(target)) as witness:
        found = verify_output(opened, plan, target, run, configured, on_layer)
        if inputs:
            found = replace(found, network=_compare_networks(opened, plan, target, given, inputs, run))
        found = replace(found, circumstances=witness.circumstances(_told(run, given, configured)))
    notes = [*found.warnings, *(known.notes if known else ()), *_taken_from_the_record(write)]
    if not inputs:
        notes += _unchecked_notes(write.renames)
        if network and given.model and given.net:
            notes.append("--input-shape 1x3x8x32x32 (your network's own) runs the two networks whole, too")
    return replace(found, warnings=tuple(notes))


def _told(run: Options, given: SourceOptions, target: TargetOptions) -> dict[str, Option]:
    """What of the options decides what a verification shows."""
    sides: dict[str, Option] = {"model": given.model, "net": given.net, "eps": given.eps, "momentum": given.momentum}
    return {**asdict(run), **sides, "target_eps": target.eps, "target_momentum": target.momentum}


def _config_files(
    source: StrPath | None,
    output: StrPath | None,
    settings: Sequence[tuple[str, str]],
    rules: Sequence[StrPath],
    write: WriteOptions,
) -> ConfigFiles:
    from porter.configured import ConfigFiles

    here, there = (None if path is None else Path(path) for path in (source, output))
    return ConfigFiles(here, there, settings, [Path(path) for path in rules], write.force)


def _names_of(network: str | None, to: Dialect, written: Path | None = None) -> Callable[[], Set[str]] | None:
    """The parameters of the target network, or else of a file `written`, looked up when they are asked for."""
    if network:
        from porter.target import parameters_of

        return cache(lambda: {spec.name for spec in parameters_of(network, to)})
    return cache(lambda: set(open_checkpoint(written).tensors)) if written else None


def _spread(source: Source, write: WriteOptions, plan: Plan, network: str | None) -> tuple[WriteOptions, Plan]:
    """Options and plan with every name that PyTorch's network, where it is the target, has for a tensor."""
    if not network or plan.to != "torch":
        return write, plan
    from porter.network import torch_aliases

    aliases = torch_aliases(network)
    if not aliases:
        return write, plan
    write = replace(write, shared=aliases)
    return write, plan_for(source, plan.to, write)


def _fitting_renames(
    plan: Plan, network: str | None, align: Align | None, rules_file: Path | None
) -> tuple[Rename, ...]:
    """What `align` adds to a plan so that it fits its target network, and the check that it does."""
    if network:
        from porter.target import fit

        return fit(plan, network, align, rules_file)
    if align:
        hint = "Name it with --net, or --model where the output is PyTorch's."
        raise UsageError("needs the target network", entry="--align", hint=hint)
    return ()


def _compare_networks(
    source: Source, plan: Plan, output: Path, given: SourceOptions, inputs: Sequence[NetworkInput], options: Options
) -> NetworkResult:
    from porter.verification.networks import check_networks
    from porter.verification.twins import open_twins

    if not (given.model and given.net and _target_network(given, plan.from_, plan.to)):
        hint = "--model names PyTorch's, --net MindSpore's; one of the two files belongs to each."
        raise UsageError("needs both networks", entry=f"--input-shape {inputs[0]}", hint=hint)
    twins = open_twins(source, plan, open_checkpoint(output), given.model, given.net, options.device)
    return check_networks(twins, inputs, options)


def _target_network(options: SourceOptions, from_: Dialect, to: Dialect) -> str | None:
    """The network on the output's side, where the two sides are different frameworks."""
    if (from_ == "torch") == (to == "torch"):
        return None
    return options.model if to == "torch" else options.net


def _recorded_options(output: Path) -> WriteOptions:
    """The options of the conversion that wrote `output`: they say which names and dtypes to expect, no more."""
    found = record.read_beside(output)
    if found is None or not found.is_of(open_checkpoint(output).specs):
        return WriteOptions()
    dtype = dtype_called(found.dtype) if found.dtype else None
    optimizer, prefix = _class_written(found), found.strip_prefix
    return WriteOptions(
        to=found.plan.to, strip_prefix=prefix, dtype=dtype, optimizer=optimizer, shared=found.shared, like=found
    )


def _class_written(found: record.Record) -> str | None:
    """The name of the optimizer's class in the output that a record is of."""
    if found.optimizer is None:
        return None
    from porter.optimizer.classes import class_written

    return class_written(found.optimizer.name, found.plan.to)


def _unchecked_notes(renames: Sequence[Rename]) -> list[str]:
    """What to do about renames of rules files that nobody has confirmed."""
    if not renames:
        return []
    from porter.port_rules import unchecked_notes

    return list(unchecked_notes(renames))


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


def _demand(found: Verification, *, strict: bool, file: Path) -> None:
    if not found.ok:
        raise Refuted(found, file)
    if strict and found.network and found.network.ok is None:
        message = "the networks could not be compared whole"
        reasons = (mode.not_run for mode in found.network.modes if mode.not_run)
        raise BackendError(message, file=file, found=next(reasons, "no reason given"))
    if strict and found.verified is None:
        first = found.not_run[0]
        reason = next((check.note for check in first.checks if check.ok is None and check.note), "no reason given")
        raise BackendError(
            f"{len(found.not_run)} layers could not be run",
            file=file,
            entry=first.name,
            expected="every batch normalisation run (--verify)",
            found=reason,
            hint="Leave --verify out to convert all the same.",
        )


class Refuted(VerificationFailed):
    """What was written is wrong; `verification` says what. The destination is untouched."""

    def __init__(self, verification: Verification, file: Path) -> None:
        failed = [layer for layer in verification.layers if layer.ok is False]
        super().__init__(
            "verification failed, nothing was written",
            file=file,
            found=f"{len(failed)} of {len(verification.layers)} layers, {len(verification.problems)} tensors wrong"
            + ("; the networks differ" if verification.network and verification.network.ok is False else ""),
        )
        self.verification = verification

    def document(self) -> dict[str, Any]:
        return {**super().document(), "verification": self.verification.to_json()}
