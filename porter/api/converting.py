"""Converting a checkpoint, with the verification of what was written before it appears."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from porter import conversion
from porter.api.inspecting import layer_to_json
from porter.api.preparing import (
    Prepared,
    StrPath,
    config_files,
    output_names,
    prepared,
    unchecked_notes,
    with_rules,
)
from porter.api.verifying import checked
from porter.collector import collector_paused, collector_running
from porter.destination import Destination, WriteOptions, destination
from porter.errors import BackendError, UsageError, VerificationFailed
from porter.plan import Plan
from porter.remarks import inference_notes, left_out_notes, remarks
from porter.source import Source, SourceOptions, open_source
from porter.verification.options import NetworkInput, Options
from porter.way_back import remarks_on_the_way_back

# Start-up is kept short: what verifies, or builds networks, is imported where that is done.
if TYPE_CHECKING:
    from porter.configs.api import ConfigTranslation
    from porter.proof import Proof
    from porter.target import Fit
    from porter.verification.files import Verification

Align = Literal["propose", "apply"]


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
        verify: True demands that every layer of a known kind is run on the target's framework; None runs those that
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
    _demand_sense(verify, align, inputs)
    given, write = with_rules(rules, source_options, write_options)
    opened = open_source(Path(source), given, optimizer=write.optimizer is not None, names=output_names(write))
    to = destination(Path(output), opened, write)
    configs = None
    if config or config_output or settings:
        from porter.configured import translated

        configs = translated(opened, to.to, config_files(config, config_output, settings, rules, write))
        opened = configs.source
    ready = prepared(opened, given, write, to.to)
    fitting = _fit(ready, align, None if dry_run else Path(f"{os.fspath(output)}.rules.toml"))
    renames, fit_notes = fitting or ((), ())
    ready = ready.renamed(renames)
    notes = (
        *_notes(ready, to.format),
        *(f"applied to fit {ready.network}: {one.option}" for one in renames),
        *fit_notes,
        *([] if inputs else unchecked_notes(ready.write.renames)),
        *(configs.notes if configs else ()),
    )
    translation = configs.translation if configs else None
    if dry_run:
        return Conversion(opened, to, ready.plan, None, None, notes, translation)
    verdicts: list[Verification] = []

    @collector_running()
    def check(path: Path) -> Proof | None:
        from porter.proof import Proof
        from porter.verification.configured_layers import TargetOptions

        # Settings can only be compared where those of both sides are known.
        network = ready.network if given.model and given.net else None
        target = TargetOptions(network, given=configs.given if configs else {})
        found = checked(ready, path, verify_options or Options(), target, inputs, on_layer, configs)
        verdicts.append(found)
        _demand(found, strict=verify is True or align == "apply", file=to.path)
        return Proof.of(found)

    with ExitStack() as stack:
        publish_config = stack.enter_context(configs.staged()) if configs else None
        checks = None if verify is False else check
        written, warnings = conversion.execute(ready.plan, opened, to, ready.write, checks, on_bytes)
        if publish_config:
            publish_config()
    verdict = verdicts[0] if verdicts else None
    return Conversion(opened, to, ready.plan, written, verdict, (*notes, *warnings), translation)


def _demand_sense(verify: bool | None, align: Align | None, inputs: Sequence[NetworkInput]) -> None:
    if align == "apply" and not inputs:
        hint = "Give --input-shape 2x3x8x32x32 (your network's own), --model and --net."
        raise UsageError("what it does must be verified on whole networks", entry="--align=apply", hint=hint)
    if inputs and verify is False:
        raise UsageError("asks for a verification", entry="--input-shape", found="--no-verify")


def _notes(ready: Prepared, format: str) -> list[str]:
    """Remarks on a plan and on how its source was read."""
    return [
        *ready.source.notes,
        *left_out_notes(ready.source, ready.plan),
        *inference_notes(ready.source.layers, ready.plan),
        *remarks(ready.plan, ready.source.layers, format),
        *remarks_on_the_way_back(ready.source, ready.plan),
    ]


def _fit(ready: Prepared, align: Align | None, rules_file: Path | None) -> Fit | None:
    """What `align` adds to a plan so that it fits its target network, and the check that it does; None for none."""
    if ready.network:
        from porter.target import fit

        return fit(ready.plan, ready.network, align, rules_file, ready.write.dtype)
    if align:
        hint = "Name it with --net, or --model where the output is PyTorch's."
        raise UsageError("needs the target network", entry="--align", hint=hint)
    return None


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
            expected="every layer run (--verify)",
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
            hint=f"With --dtype, {verification.overflow}." if verification.overflow else None,
        )
        self.verification = verification

    def document(self) -> dict[str, Any]:
        return {**super().document(), "verification": self.verification.to_json()}
