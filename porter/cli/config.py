"""`bnport config`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from porter.cli.options import PATH, print_json, setting_option
from porter.configs.api import translate_config
from porter.configs.terms import Signature
from porter.configs.translated import ConfigOptions
from porter.errors import VerificationFailed
from porter.layers.kinds import DIALECTS


@click.command(short_help="Translate model configs.")
@click.argument("configs", metavar="FILE...", nargs=-1, required=True, type=PATH)
@click.option("--to", required=True, type=click.Choice(DIALECTS), help="The framework to write the settings for.")
@click.option(
    "--from", "from_", type=click.Choice(DIALECTS), help="Whose terms settings are in that do not say so themselves."
)
@click.option("-o", "--output", type=PATH, help="The file to write, or the folder for several.")
@click.option("--in-place", is_flag=True, help="Rewrite each FILE, and keep the old one as FILE.bak.")
@click.option("--no-backup", is_flag=True, help="With --in-place: keep no .bak.")
@click.option("--diff", is_flag=True, help="Print a unified diff instead of the table.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if anything would change.")
@setting_option
@click.option("--rules", multiple=True, type=PATH, help="A rules file with [settings]. Repeatable.")
@click.option(
    "--signature",
    type=click.Choice(["auto", *get_args(Signature)]),
    default="auto",
    show_default=True,
    help="mindspore.nn's: 'announced' is the one with PyTorch's momentum; 'auto' looks at the installed MindSpore.",
)
@click.option("--strict", is_flag=True, help="Exit with 4, and write nothing, where a person has to translate.")
@click.option("--force", is_flag=True, help="Replace an existing output.")
@click.option("--ignore-record", is_flag=True, help="Translate as if no earlier translation had left a record.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def config(
    configs: tuple[Path, ...],
    output: Path | None,
    in_place: bool,
    no_backup: bool,
    diff: bool,
    check: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Translate the batch normalisation settings of model configs, and leave every other character as it is.

    FILE is YAML, JSON, TOML or Python, or a folder of them; nothing in it is imported or run. Without -o and
    --in-place the changes are printed and nothing is written. The record OUTPUT.bnport.json says in whose terms the
    output is: it is not translated twice, and translating it back restores it exactly.
    """
    if sum((output is not None, in_place, check)) > 1:
        raise click.UsageError("-o, --in-place and --check exclude each other")
    done = translate_config(configs, ConfigOptions(**given), output=output, in_place=in_place, backup=not no_backup)
    if as_json:
        print_json(done.to_json())
    elif not quiet:
        from porter.report.config import show_config

        show_config(done, diff=diff)
    return VerificationFailed.exit_code if check and done.changed else 0
