"""The check of two whole networks as a person reads it: where they part, what stands around it, and why."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from porter.errors import printable
from porter.report.console import new_table
from porter.report.summary import plural
from porter.verification.network_results import Activation, ModeResult, NetworkResult, Where

# Rows shown before and after the first divergence, and problems of loading.
_BEFORE, _AFTER, _SHOWN = 3, 2, 12


def show_network(console: Console, network: NetworkResult, *, verbose: bool) -> None:
    for problem in network.problems[:_SHOWN]:
        text = printable(str(problem.difference), 1000)
        console.print(f"[bold red]WRONG[/]  {problem.side}'s network: {escape(text)}")
    if network.problems:
        unseen = len(network.problems) - _SHOWN
        console.print(f"       {f'... and {unseen} more. ' if unseen > 0 else ''}The networks were not run.")
    for mode in network.modes:
        _show_mode(console, mode, verbose)
    for note in network.notes:
        console.print(f"[dim]note[/] {escape(printable(note, 1000))}")


def _show_mode(console: Console, mode: ModeResult, verbose: bool) -> None:
    if mode.first_divergence:
        console.print(_table(mode, mode.told, mode.where or "activations", verbose))
        _show_divergence(console, mode, mode.first_divergence)
        return
    if verbose:
        console.print(_table(mode, mode.activations, "activations", verbose))
    if mode.activations:
        compared = plural(len(mode.activations), "result")
        by_layer = f"; layer by layer, {_farthest(mode.by_layer)}" if mode.by_layer else ""
        graph = f"; in graph mode, {_farthest(mode.graph)}" if mode.graph else ""
        console.print(
            f"[green]ok[/]  the networks in {mode.mode}: {compared} compared, the farthest apart uses "
            f"{_farthest(mode.activations)}{by_layer}{graph}"
        )
    if mode.not_run:
        console.print(f"[yellow]--[/]  the networks in {mode.mode}: {escape(printable(mode.not_run, 1000))}")


def _show_divergence(console: Console, mode: ModeResult, first: Activation) -> None:
    what = "layers of the networks" if all(row.ok for row in mode.told if not row.layer) else "the networks"
    console.print(f"[bold red]FAILED[/] [bold]{what} in {mode.mode}[/]")
    lines = [f"the first divergence is at {printable(first.label)}", printable(mode.cause or "", 2000)]
    others = dict.fromkeys(row.layer for row in mode.by_layer if not row.ok and row.layer not in ("", first.layer))
    if mode.where == "by_layer" and others:
        shown = ", ".join(list(others)[:_SHOWN])
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        lines.append(f"wrong by themselves, too: {printable(shown, 2000)}{more}")
    for line in lines:
        console.print(Padding(escape(line), (0, 0, 0, 7), expand=False))


def _farthest(rows: Sequence[Activation]) -> str:
    farthest = max(rows, key=lambda row: row.share)
    return f"{farthest.share:.0%} of its allowance ({escape(printable(farthest.label))})"


_TITLES: dict[Where, str] = {
    "by_layer": "Layer by layer, in {}",
    "activations": "Layer, in {}",
    "graph": "Layer, in {}, in graph mode",
}


def _table(mode: ModeResult, rows: Sequence[Activation], where: Where, verbose: bool) -> Table:
    first = mode.first_divergence
    if first and not verbose:
        at = rows.index(first)
        shown = rows[max(at - _BEFORE, 0) : at + _AFTER + 1]
        rows = [*shown, *(row for row in rows[at + _AFTER + 1 :] if not row.layer)]
    table = new_table("", _TITLES[where].format(mode.mode), "error", "allowed", "largest value")
    for row in rows:
        mark = "[green]ok[/]" if row.ok else "[bold red]NO[/]"
        table.add_row(mark, _name(row), f"{row.error:.0e}", f"{row.allowed:.0e}", f"{row.magnitude:.0e}")
    return table


def _name(row: Activation) -> str:
    other = f" [dim]({escape(printable(row.target))})[/]" if row.target != row.layer else ""
    return escape(printable(row.label)) + other
