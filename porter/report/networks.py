"""The check of two whole networks as a person reads it: where they part, what stands around it, and why."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from porter.errors import printable
from porter.report.console import new_table, plural
from porter.verification.network_results import Activation, ModeResult, NetworkResult

# Rows shown before and after the first divergence, and problems of loading.
_BEFORE, _AFTER, _SHOWN = 3, 2, 12


def show_network(console: Console, network: NetworkResult, *, verbose: bool) -> None:
    for problem in network.problems[:_SHOWN]:
        text = printable(f"{problem.name}: {problem.problem}, {problem.text}", 1000)
        console.print(f"[bold red]WRONG[/]  {problem.side}'s network: {escape(text)}")
    if network.problems:
        unseen = len(network.problems) - _SHOWN
        console.print(f"       {f'... and {unseen} more. ' if unseen > 0 else ''}The networks were not run.")
    for mode in network.modes:
        _show_mode(console, mode, verbose)
    for note in network.notes:
        console.print(f"[dim]note[/] {escape(printable(note, 1000))}")


def _show_mode(console: Console, mode: ModeResult, verbose: bool) -> None:
    first = mode.first_divergence
    if first or verbose:
        console.print(_table(mode, verbose))
    if first:
        console.print(f"[bold red]FAILED[/] [bold]the networks in {mode.mode}[/]")
        console.print(f"       the first divergence is at {escape(printable(first.label))}")
        console.print(f"       {escape(printable(mode.cause or '', 2000))}")
        return
    if mode.activations:
        closest = max(mode.activations, key=lambda row: row.share)
        console.print(
            f"[green]ok[/]  the networks in {mode.mode}: {plural(len(mode.activations), 'result')} compared, the "
            f"farthest apart uses {closest.share:.0%} of its allowance ({escape(printable(closest.label))})"
        )
    if mode.not_run:
        console.print(f"[yellow]--[/]  the networks in {mode.mode}: {escape(printable(mode.not_run, 1000))}")


def _table(mode: ModeResult, verbose: bool) -> Table:
    rows = list(mode.activations)
    first = mode.first_divergence
    if first and not verbose:
        at = rows.index(first)
        rows = rows[max(at - _BEFORE, 0) : at + _AFTER + 1]
    table = new_table("", f"Layer, in {mode.mode}", "error", "allowed", "largest value")
    for row in rows:
        mark = "[green]ok[/]" if row.ok else "[bold red]NO[/]"
        table.add_row(mark, _name(row), f"{row.error:.0e}", f"{row.allowed:.0e}", f"{row.magnitude:.0e}")
    return table


def _name(row: Activation) -> str:
    other = f" [dim]({escape(printable(row.target))})[/]" if row.target != row.layer else ""
    return escape(printable(row.label)) + other
