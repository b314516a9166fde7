"""bnport doctor"""

from __future__ import annotations

import click

from porter.cli.options import print_json
from porter.errors import BackendError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
def doctor(as_json: bool) -> int:
    """Show what this machine can do: versions, devices, which layers run, and known traps.

    Exits with 0 when conversion works; verification needs a framework as well, and the report says which one runs.
    """
    from porter.doctor import examine

    report = examine()
    if as_json:
        print_json(report.to_json())
    else:
        from porter.report.console import stdout
        from porter.report.doctor_text import render

        stdout().print(render(report))
    return 0 if report.ok else BackendError.exit_code
