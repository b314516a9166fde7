"""A verification as a person reads it: a folded table, failures spelled out, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from porter.errors import printable
from porter.report.console import counted, new_table, show_warnings, stdout
from porter.report.fold import fold
from porter.report.networks import show_network
from porter.report.shares import share_of
from porter.report.summary import Head, summary
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


def show_verification(verification: Verification, *, verbose: bool) -> None:
    console = stdout()
    if verification.layers:
        console.print(_verification_table(verification, verbose))
    for note, count in Counter(note for layer in verification.layers for note in layer.notes).items():
        console.print(f"[dim]note[/] {escape(printable(note, 1000))}" + (f" ({count} layers)" if count > 1 else ""))
    show_warnings(verification.warnings)
    failed = [layer for layer in verification.layers if layer.ok is False]
    told = {layer.name for layer in failed}
    # The values of a failed layer's tensors are told, better, by its diagnosis.
    alone = [p for p in verification.problems if p.problem != "values" or p.layer not in told]
    for problem in alone[:_SHOWN]:
        console.print(f"[bold red]WRONG[/]  {escape(_problem(problem))}")
    kinds_of_failure = _folded_results(failed, verbose)
    for name, layers in kinds_of_failure[:_SHOWN]:
        _show_failure(console, name, layers)
    unseen = max(len(alone) - _SHOWN, 0) + sum(len(layers) for _, layers in kinds_of_failure[_SHOWN:])
    if unseen:
        console.print(f"... and {unseen} more; --json lists all")
    if verification.network:
        show_network(console, verification.network, verbose=verbose)
    head, sentence = summary(verification)
    console.print(f"[bold {_COLOURS[head]}]{head}[/] {escape(printable(sentence, 2000))}")


def _verification_table(verification: Verification, verbose: bool) -> Table:
    """A row per layer: for each check the error as a share of its bound, then the worst check's error and bound."""
    checks = [check for layer in verification.layers for check in layer.checks if check.check != PARAMETERS]
    columns = list(dict.fromkeys(map(_column, checks)))
    table = new_table("", "Layer", "Kind", *columns, "error/bound")
    for name, layers in _folded_results(verification.layers, verbose):
        results = [check for layer in layers for check in layer.checks]
        cells = [_share([check for check in results if _column(check) == column]) for column in columns]
        mark = {True: "[green]ok[/]", False: "[bold red]NO[/]", None: "[yellow]--[/]"}[layers[0].ok]
        table.add_row(mark, counted(name, len(layers)), layers[0].kind, *cells, _extent(results))
    table.caption = "Shares of the rounding-error bound that the error against a float64 reference uses up."
    table.caption_justify = "left"
    return table


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
    text = f"{ratio:.0%}" if ratio < 10 else f"{ratio:.0e}x" if ratio < float("inf") else "inf"
    return f"[bold red]{text}[/]" if worst.ok is False else text


def _extent(checks: list[Check]) -> str:
    """Error and bound of the check that comes closest to its bound, or exceeds it most; equal copies say nothing."""
    telling = [check for check in checks if check.error is not None and (check.bound or check.error)]
    if not telling:
        return ""
    worst = max(telling, key=share_of)
    return f"{worst.error:.0e}/{worst.bound:.0e}"


def _show_failure(console: Console, name: str, layers: list[LayerResult]) -> None:
    """Layers that fail for one reason: the reason, and the worst figures among them."""
    first = layers[0]
    console.print(f"[bold red]FAILED[/] [bold]{counted(name, len(layers))}[/] ({first.kind})")
    if len(layers) > 1:
        console.print("       " + escape(printable(", ".join(layer.name for layer in layers), 400)))
    if first.diagnosis:
        console.print(f"       {escape(printable(first.diagnosis, 2000))}")
    failing = [check for layer in layers for check in layer.checks if check.ok is False]
    for title in dict.fromkeys(check.check for check in failing):
        worst = max((check for check in failing if check.check == title), key=share_of)
        size = "" if worst.error is None else f"error {worst.error:.2g}, allowed {worst.bound:.2g}"
        note = f" ({printable(worst.note, 1000)})" if worst.note else ""
        console.print(f"       [dim]{escape(f'{title}: {size}{note}')}[/]")


def _problem(problem: TensorProblem) -> str:
    came_from = f" (from {problem.source})" if problem.source and problem.source != problem.name else ""
    return printable(f"{problem.name}{came_from}: {problem.text}", 1000)
