"""`bnport convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from porter import api
from porter.cli.options import (
    PATH,
    input_shape_option,
    name_options,
    output_options,
    print_json,
    progress,
    run_options,
    setting_option,
    size,
    source_options,
    take_name_options,
    take_run_options,
    take_source_options,
)
from porter.collector import collector_paused
from porter.verification.options import NetworkInput


class _Convert(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A bare `--align` means propose. Click's own optional values would take SOURCE for the value."""
        return super().parse_args(ctx, ["--align=propose" if arg == "--align" else arg for arg in args])


@click.command(cls=_Convert, short_help="Convert a checkpoint.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write: its suffix (.ckpt, .safetensors, .pth, .pt, .bin) chooses the format.",
)
@name_options
@click.option(
    "--verify/--no-verify",
    default=None,
    help="Demand, or skip, running the converted layers (default: run what can be run here).",
)
@click.option("--dry-run", is_flag=True, help="Print the fate of every tensor; write nothing.")
@click.option("--force", is_flag=True, help="Replace an existing output.")
@click.option("--no-checksum", is_flag=True, help="Do not verify the checksums that SOURCE carries.")
@click.option("--crc", is_flag=True, help="End a .ckpt with its CRC-32 (MindSpore 2.0 cannot read such a file).")
@click.option(
    "--max-shard-size",
    callback=size,
    metavar="SIZE",
    help="Split a .safetensors, .pth or .bin into shards of at most 5GB, 512MiB, ...",
)
@click.option(
    "--align",
    type=click.Choice(["propose", "apply"]),
    metavar="[=apply]",
    help="Where names do not match the target network's (--net, or --model for PyTorch), propose renames from the "
    "structure, as a rules file; =apply applies them where they are unique (needs --input-shape).",
)
@click.option(
    "--config",
    type=PATH,
    help="A model config of SOURCE's network. It says eps, momentum and the like where --model and --net do not.",
)
@click.option(
    "--config-output",
    type=PATH,
    help="Write that config translated, too; layers are then verified as it says. Neither file appears alone.",
)
@setting_option
@source_options
@input_shape_option
@run_options
@output_options
@collector_paused()
def convert(
    source: Path,
    output: Path,
    verify: bool | None,
    dry_run: bool,
    force: bool,
    no_checksum: bool,
    crc: bool,
    max_shard_size: int | None,
    align: api.Align | None,
    rules: tuple[Path, ...],
    inputs: tuple[NetworkInput, ...],
    config: Path | None,
    config_output: Path | None,
    settings: tuple[tuple[str, str], ...],
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> None:
    """Convert SOURCE to the other framework, and run its layers in both to prove it.

    SOURCE is a .pth, .safetensors, .ckpt or an index of shards; its content tells which. OUTPUT appears only when it
    is whole and, where layers can be run here, verified. The record OUTPUT.bnport.json beside it holds what the way
    back needs. With the target network given (--net, or --model where OUTPUT is PyTorch's), every name, shape and
    dtype must be as the network has it.
    """
    write = take_name_options(given)._replace(
        force=force,
        check_crc=not no_checksum,
        crc=crc,
        max_shard_bytes=max_shard_size,
    )
    options = take_source_options(given)
    run = take_run_options(given)
    try:
        with progress(show=not (quiet or as_json)) as advance:
            done = api.convert(
                source,
                output,
                source_options=options,
                write_options=write,
                rules=rules,
                verify=verify,
                verify_options=run,
                dry_run=dry_run,
                align=align,
                inputs=inputs,
                config=config,
                config_output=config_output,
                settings=settings,
                on_bytes=advance("writing"),
                on_layer=advance("verifying"),
            )
    except api.Refuted as refuted:
        if not (as_json or quiet):
            from porter.report.verdict import show_verification

            show_verification(refuted.verification, None, verbose=verbose)
        raise
    if as_json:
        print_json(done.to_json())
    elif not quiet:
        from porter.report.terminal import show_conversion

        if done.config:
            from porter.report.config import show_config_beside

            show_config_beside(done.config)
        show_conversion(done, verbose=verbose)
