"""The doctor's report for people."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from porter.doctor import Report

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "bold red", "missing": "bold red"}


def render(report: Report) -> RenderableType:
    """One line per finding, conversion's first, with what to do below it; the conclusions last."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", "looked at", "found"):
        table.add_column(heading, overflow="fold")
    for finding in report.findings:
        found = Text(finding.detail)
        if finding.hint:
            found.append(f"\n{finding.hint}", style="italic")
        table.add_row(Text(finding.status, style=_COLOURS[finding.status]), Text(finding.name), found)
    backends = [name for name, runs in report.verifies.items() if runs]
    conclusion = "Conversion works." if report.ok else "Conversion does NOT work: see above."
    verification = f"Layers can be verified on {' and '.join(backends)}." if backends else "No layer can be verified."
    return Group(table, Text(f"\n{conclusion} {verification}"))
