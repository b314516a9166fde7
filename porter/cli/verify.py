"""`bnport verify`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from porter import api
from porter.cli.again import recorded, repeated
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
    write_text,
)
from porter.destination import WriteOptions
from porter.errors import BackendError, FileIOError, Malformed, UsageError, VerificationFailed
from porter.recheck import recheck, remember
from porter.report.summary import Call
from porter.verification.files import Verification
from porter.verification.options import NetworkInput

# What means something with OUTPUT alone; it is taken for SOURCE by the parser.
_ALONE = {"source", "as_json", "quiet", "verbose"}


class _Verify(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the options as they were typed: the conversion that is proposed repeats them."""
        ctx.obj = list(args)
        return super().parse_args(ctx, args)


@click.command(cls=_Verify, short_help="Check a converted file against its source.")
@click.argument("source", type=PATH, metavar="[SOURCE]")
@click.argument("output", type=PATH, metavar="OUTPUT", required=False)
@click.option("--html", type=PATH, help="Write a report to look at: one page, with everything in it.")
@click.option("--junit", type=PATH, help="Write a report for CI systems, as JUnit's XML.")
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
    output: Path | None,
    html: Path | None,
    junit: Path | None,
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

    Every tensor is compared bit for bit, and every layer of a known kind is run in both frameworks, forwards and
    backwards, and measured against a float64 reference; batch normalisations in evaluation, in training, with their
    statistics over several steps, and on edge inputs. --model and --net name the two networks, whose own eps and
    momentum these then use, --config the two model configs: a momentum that was pasted without inverting it shows
    here. With --input-shape, the two networks are loaded, strictly, and run whole on one input, in evaluation and in
    training; the first layer whose results part is named, with the likely cause. --verbose shows every check.

    OUTPUT alone is compared with its record, OUTPUT.bnport.json, which keeps the hashes of the files that were last
    verified: whether it is still the same, and what was proven of it, when, and with which versions.
    """
    if output is None:
        return _recheck(source, as_json, quiet)
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
    again = [] if found.ok else repeated(click.get_current_context())
    if not (found.ok or rules or write != WriteOptions()):
        again += recorded(output)
    call = Call(shlex.join(["bnport", *sys.argv[1:]]), str(source), str(output), tuple(again))
    _write_reports(found, call, html, junit)
    if as_json:
        print_json({"schema": "bnport.verify/1", **found.to_json()})
    elif not quiet:
        from porter.report.verdict import show_verification

        show_verification(found, call, verbose=verbose)
    _keep(output, found)
    return _exit_code(found.verified)


def _keep(output: Path, found: Verification) -> None:
    """Put what was proven into the record. That this is impossible says nothing of the file: the verdict stands."""
    try:
        remember(output, found)
    except (Malformed, FileIOError) as error:
        from porter.report.console import show_warnings

        show_warnings([f"the record does not tell of this verification: {error}"])


def _exit_code(verified: bool | None) -> int:
    return {True: 0, False: VerificationFailed.exit_code, None: BackendError.exit_code}[verified]


def _write_reports(found: Verification, call: Call, html: Path | None, junit: Path | None) -> None:
    if html:
        from porter.report.html import render

        write_text(html, render(found, call))
    if junit:
        from porter.report import junit as report

        write_text(junit, report.render(found, call.output))


def _recheck(output: Path, as_json: bool, quiet: bool) -> int:
    """Compare OUTPUT with its record; of the options only those of the output mean something then."""
    _refuse_options_without_source(output)
    found = recheck(output)
    if as_json:
        print_json(found.to_json())
    elif not quiet:
        from porter.report.recheck import show_recheck

        show_recheck(found)
    return _exit_code(found.verified)


def _refuse_options_without_source(output: Path) -> None:
    context = click.get_current_context()
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    idle = next((option.opts[0] for option in context.command.params if option.name in given - _ALONE), None)
    if idle:
        hint = f"bnport verify SOURCE {output} {idle} ... runs the layers."
        raise UsageError("needs SOURCE: nothing is run on OUTPUT alone", entry=idle, hint=hint)
