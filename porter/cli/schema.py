"""`bnport schema`."""

from __future__ import annotations

import click

from porter.cli.options import print_json
from porter.schemas import NAMES
from porter.schemas import schema as schema_of


@click.command(short_help="Print the JSON Schema of what a command prints with --json.")
@click.argument("document", type=click.Choice(NAMES))
def schema(document: str) -> None:
    """Print the JSON Schema (draft 2020-12) of a document, complete in itself.

    \b
    verify, convert, inspect, config: what that command prints with --json
    recheck: what bnport verify OUTPUT prints, without SOURCE
    error: what any of them prints when it fails
    """
    print_json(schema_of(document))
