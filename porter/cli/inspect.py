"""`bnport inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from porter import api, port_rules
from porter.cli.options import output_options, print_json, source_options, take_source_options
from porter.collector import collector_paused


@click.command(short_help="Show what a checkpoint holds.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--write-rules",
    type=click.Path(path_type=Path),
    help="Write what was recognised as a rules file, to edit and to convert with.",
)
@source_options
@output_options
@collector_paused()
def inspect(
    file: Path,
    write_rules: Path | None,
    rules: tuple[Path, ...],
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> None:
    """Show the layers and tensors of FILE, and why each layer is believed to be what it is.

    No tensor is read, and nothing in FILE is executed.
    """
    found = api.inspect(file, take_source_options(given), rules)
    if write_rules:
        port_rules.write(write_rules, found.rules)
    if as_json:
        print_json(found.to_json())
    elif not quiet:
        from porter.report.terminal import show_inspection

        show_inspection(found, verbose=verbose)
