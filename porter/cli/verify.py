"""`bnport verify`."""

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
    source_options,
    take_name_options,
    take_run_options,
    take_source_options,
)
from porter.destination import WriteOptions
from porter.errors import BackendError, VerificationFailed
from porter.verification.activations import NetworkInput


@click.command(short_help="Check a converted file against its source.")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@name_options
@click.option("--target-eps", type=float, help="eps of the layers on OUTPUT's side (default: the source's).")
@click.option(
    "--target-momentum", type=float, help="Their momentum, in OUTPUT's terms (default: the source's, translated)."
)
@click.option(
    "--config",
    "configs",
    nargs=2,
    type=PATH,
    metavar="CONFIG CONFIG",
    help="The model configs of SOURCE and of OUTPUT: each layer is run as its own side's config says.",
)
@setting_option
@source_options
@input_shape_option
@run_options
@output_options
def verify(
    source: Path,
    output: Path,
    target_eps: float | None,
    target_momentum: float | None,
    inputs: tuple[NetworkInput, ...],
    configs: tuple[Path, Path] | None,
    settings: tuple[tuple[str, str], ...],
    rules: tuple[Path, ...],
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Check OUTPUT, which was converted from SOURCE.

    Every tensor is compared bit for bit, and every batch normalisation is run in both frameworks - in evaluation, in
    training, and its statistics over several steps - and measured against a float64 reference. --model and --net name
    the two networks, whose own eps and momentum the layers then use, --config the two model configs: a momentum that
    was pasted without inverting it shows here. With --input-shape, the two networks are loaded, strictly, and run
    whole on one input, in evaluation and in training; the first layer whose results part is named, with the likely
    cause.
    """
    write = take_name_options(given)
    with progress(show=not (quiet or as_json)) as advance:
        found = api.verify(
            source,
            output,
            source_options=take_source_options(given),
            write_options=None if write == WriteOptions() else write,
            rules=rules,
            target_eps=target_eps,
            target_momentum=target_momentum,
            options=take_run_options(given),
            inputs=inputs,
            configs=configs,
            settings=settings,
            on_layer=advance("verifying"),
        )
    if as_json:
        print_json({"schema": "bnport.verify/1", **found.to_json()})
    elif not quiet:
        from porter.report.verdict import show_verification

        show_verification(found, verbose=verbose)
    if not found.ok:
        return VerificationFailed.exit_code
    return 0 if found.verified else BackendError.exit_code
