"""bnport doctor"""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
def doctor(as_json: bool) -> None:
    """Show what this machine can do: versions, devices, which layers run, and known traps.

    Exits with 0 when conversion works; verification needs a framework as well, and the report says which one runs.
    """
    from porter.doctor import examine

    report = examine()
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        from rich.console import Console

        from porter.report.doctor_text import render

        Console(highlight=False).print(render(report))
    if not report.ok:
        raise SystemExit(5)
