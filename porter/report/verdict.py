"""A verification as a person reads it: a folded table, failures spelled out, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from porter.errors import printable
from porter.report.console import counted, new_table, show_warnings, stdout
from porter.report.fold import fold
from porter.report.networks import show_network
from porter.report.shares import share_of, worst
from porter.report.summary import Call, Head, blanks, is_another_source, next_command, summary
from porter.report.terminal import FRAMEWORK
from porter.verification.copies import TensorProblem
from porter.verification.files import Verification
from porter.verification.results import PARAMETERS, Check, LayerResult

_COLOURS: dict[Head, str] = {"VERIFIED": "green", "NOT VERIFIED": "yellow", "VERIFICATION FAILED": "red"}
_SHORT = {
    "eval after training": "after",
    "statistics": "stats",
    "eval gradients": "grad",
    "train gradients": "grad",
    "edge inputs": "edges",
}
# More problems than this are counted, not printed: a wrong file has thousands.
_SHOWN = 12


def show_verification(verification: Verification, call: Call | None, *, verbose: bool) -> None:
    """Layers of a kind and verdict in one row with the check that comes closest; every layer and check if `verbose`.

    Args:
        call: of `bnport verify`, which a next command is made of; None where it was a conversion.
    """
    console = stdout()
    if call:
        console.print(_direction(verification, call))
    if verification.layers:
        console.print(_all_checks(verification) if verbose else _closest_checks(verification))
        hint = "" if verbose else "; -v: all"
        console.print(f"[dim]Error against a float64 reference as a share of what rounding explains{hint}.[/]")
    for note in _notes(verification.layers):
        console.print(f"[dim]note[/] {escape(printable(note, 1000))}")
    show_warnings(verification.warnings)
    failed = [layer for layer in verification.layers if layer.ok is False]
    told = {layer.name for layer in failed}
    # The values of a failed layer's tensors are told, better, by its diagnosis.
    problems = () if is_another_source(verification) else verification.problems
    alone = [p for p in problems if p.problem != "values" or p.layer not in told]
    for problem in alone[:_SHOWN]:
        console.print(f"[bold red]WRONG[/]  {escape(_problem(problem))}")
    kinds_of_failure = _folded_results(failed, verbose)
    for name, layers in kinds_of_failure[:_SHOWN]:
        _show_failure(console, name, layers, verbose)
    unseen = max(len(alone) - _SHOWN, 0) + sum(len(layers) for _, layers in kinds_of_failure[_SHOWN:])
    if unseen:
        console.print(f"... and {unseen} more; --json lists all")
    if verification.network:
        show_network(console, verification.network, verbose=verbose)
    head, sentence = summary(verification)
    console.print(f"[bold {_COLOURS[head]}]{head}[/] {escape(printable(sentence, 2000))}")
    command = next_command(verification, call) if call else None
    if command:
        console.print(f"Next:  {escape(printable(command, 4000))}", soft_wrap=True)
        if to_fill_in := blanks(command):
            console.print(f"       [dim]{to_fill_in}[/]")


def _notes(layers: Sequence[LayerResult]) -> Iterator[str]:
    """The notes on layers, each once, with the layer it is about or how many there are."""
    noted: dict[str, list[str]] = {}
    for layer in layers:
        for note in layer.notes:
            noted.setdefault(note, []).append(layer.name or "(root)")
    for note, names in noted.items():
        yield f"{note} ({names[0] if len(names) == 1 else f'{len(names)} layers'})"


def _direction(verification: Verification, call: Call) -> str:
    sides = (call.source, verification.from_), (call.output, verification.to)
    return " -> ".join(f"[bold]{escape(printable(path))}[/] ({FRAMEWORK[dialect]})" for path, dialect in sides)


def _closest_checks(verification: Verification) -> Table:
    """A row for layers that are alike: the check that comes closest to its bound, or exceeds it most."""
    table = _table("closest check", "error/bound")
    for name, layers in _folded_results(verification.layers, verbose=False):
        check = worst(*layers)
        cells = (check.check, _share([check])) if check else ("not run", "")
        table.add_row(_mark(layers[0].ok), counted(name, len(layers)), layers[0].kind, *cells)
    return table


def _all_checks(verification: Verification) -> Table:
    """A row for each layer: for each check the error as a share of its bound, then the worst check's figures."""
    checks = [check for layer in verification.layers for check in layer.checks if check.check != PARAMETERS]
    columns = list(dict.fromkeys(map(_column, checks)))
    table = _table(*columns, "error/bound")
    for layer in verification.layers:
        cells = [_share([check for check in layer.checks if _column(check) == column]) for column in columns]
        table.add_row(_mark(layer.ok), counted(layer.name or "(root)", 1), layer.kind, *cells, _extent(layer))
    return table


def _table(*columns: str) -> Table:
    """Where the terminal is narrow, the layers' names fold, and nothing else."""
    table = new_table("", "Layer", "Kind", *columns)
    for column in table.columns[2:]:
        column.no_wrap = True
    return table


def _mark(ok: bool | None) -> str:
    return {True: "[green]ok[/]", False: "[bold red]NO[/]", None: "[yellow]--[/]"}[ok]


def _folded_results(layers: Sequence[LayerResult], verbose: bool) -> list[tuple[str, list[LayerResult]]]:
    """Layers that failed fold only where one diagnosis says what is wrong with all of them."""
    if verbose:
        return [(layer.name or "(root)", [layer]) for layer in layers]
    return fold(layers, lambda layer: layer.name or "(root)", lambda layer: (layer.kind, layer.ok, layer.diagnosis))


def _column(check: Check) -> str:
    """Several checks may share a column; "eval [graph]" is a run of "eval"."""
    base = check.check.partition(" [")[0]
    return _SHORT.get(base, base)


def _share(checks: list[Check]) -> str:
    if not checks:
        return ""  # no check of this kind of layer
    ran = [check for check in checks if check.ok is not None]
    if not ran:
        return "[yellow]-[/]"
    worst = max(ran, key=share_of)
    ratio = share_of(worst)
    endless = "inf" if worst.error is not None else "wrong"
    text = f"{ratio:.0%}" if ratio < 10 else f"{ratio:.0e}x" if ratio < float("inf") else endless
    return f"[bold red]{text}[/]" if worst.ok is False else text


def _extent(layer: LayerResult) -> str:
    check = worst(layer)
    return "" if check is None or check.error is None else f"{check.error:.0e}/{check.bound:.0e}"


def _show_failure(console: Console, name: str, layers: list[LayerResult], verbose: bool) -> None:
    """Layers that fail for one reason: the reason, and which checks; if `verbose` with the worst figures of each."""
    first = layers[0]
    console.print(f"[bold red]FAILED[/] [bold]{counted(name, len(layers))}[/] ({first.kind})")
    lines = [
        *([printable(", ".join(layer.name for layer in layers), 400)] if len(layers) > 1 else []),
        *([printable(first.diagnosis, 2000)] if first.diagnosis else []),
        *_failing(
            [check for layer in layers for check in layer.checks if check.ok is False], first.diagnosis, verbose
        ),
    ]
    for line in lines:
        console.print(Padding(escape(line), (0, 0, 0, 7), expand=False))


def _failing(checks: list[Check], diagnosis: str | None, verbose: bool) -> Iterator[str]:
    titles = dict.fromkeys(check.check for check in checks)
    if not verbose:
        notes = dict.fromkeys(check.note for check in checks if check.note and check.note not in (diagnosis or ""))
        yield printable(f"fails {'; '.join([', '.join(titles), *notes])}", 2000)
        return
    for title in titles:
        most = max((check for check in checks if check.check == title), key=share_of)
        size = "" if most.error is None else f"error {most.error:.2g}, allowed {most.bound:.2g}"
        note = f" ({printable(most.note, 1000)})" if most.note else ""
        yield f"{title}: {size}{note}"


def _problem(problem: TensorProblem) -> str:
    came_from = f" (from {problem.source})" if problem.source and problem.source != problem.name else ""
    return printable(f"{problem.name}{came_from}: {problem.text}", 1000)
