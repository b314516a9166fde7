"""What a person reads in a terminal: folded tables, failures spelled out, and the sentence that says what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from porter.api import Conversion, Inspection
from porter.errors import printable
from porter.formats.dtypes import FLOAT32
from porter.formats.model import Checkpoint, TensorSpec
from porter.layers.kinds import Dialect
from porter.layers.model import Layer
from porter.plan import Fate, Plan, Step
from porter.report.fold import NUMBER, fold
from porter.verification.copies import TensorProblem
from porter.verification.files import Verification
from porter.verification.results import PARAMETERS, Check, LayerResult

if TYPE_CHECKING:
    from rich.progress import TaskID

FRAMEWORK: dict[Dialect, str] = {"torch": "PyTorch", "mindspore": "MindSpore", "mint": "MindSpore (mint)"}
_FATES: tuple[Fate, ...] = ("copied", "renamed", "reshaped", "cast", "created", "dropped")
_SHORT = {"eval after training": "after", "statistics": "stats"}
_NOTHING = TensorSpec("-", FLOAT32, ())
# More problems than this are counted, not printed: a wrong file has thousands.
_SHOWN = 12


def stdout() -> Console:
    return Console(highlight=False, soft_wrap=False)


def stderr() -> Console:
    return Console(stderr=True, highlight=False)


def show_inspection(inspection: Inspection, *, verbose: bool) -> None:
    source, console = inspection.source, stdout()
    checkpoint = source.checkpoint
    container = _container(checkpoint)
    console.print(
        f"[bold]{escape(printable(str(checkpoint.path)))}[/]: {checkpoint.format}{escape(container)}, names of "
        f"{FRAMEWORK[source.dialect]}, {len(checkpoint.tensors)} tensors, {_megabytes(checkpoint.specs)}"
    )
    table = _table("Layer", "Kind", "Channels", "Certainty", "Evidence")
    for name, layers in _folded_layers(source.layers, verbose):
        first = layers[0]
        # `_metadata` says the least of all evidence that is stronger than the bare shapes.
        telling = [piece for piece in first.evidence if piece.source != "metadata"][:1]
        evidence = first.evidence if verbose or first.certainty == "undecided" else telling
        channels = sorted({layer.channels for layer in layers if layer.channels is not None})
        table.add_row(
            _counted(name, len(layers)),
            escape(first.kind_name or "?"),
            _range(channels),
            _certainty(first.certainty),
            escape("; ".join(printable(piece.text) for piece in evidence)),
        )
    console.print(table)
    _show_warnings(source.notes)


def show_conversion(conversion: Conversion, *, verbose: bool) -> None:
    console, plan = stdout(), conversion.plan
    if conversion.written is None or verbose:
        console.print(_plan_table(plan, verbose))
    source = conversion.source.checkpoint
    fates = ", ".join(f"{plan.count(fate)} {fate}" for fate in _FATES if plan.count(fate))
    kinds = Counter(layer.kind_name for layer in conversion.source.layers if layer.kinds[0].family == "BatchNorm")
    norms = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no batch normalisation"
    console.print(
        f"[bold]{escape(printable(source.path.name))}[/] ({FRAMEWORK[plan.from_]}{escape(_container(source))}) -> "
        f"[bold]{escape(printable((conversion.written or conversion.to.path).name))}[/] ({FRAMEWORK[plan.to]}): "
        f"{len(plan.targets)} tensors ({fates}); {escape(norms)}"
    )
    _show_warnings(conversion.warnings)
    if conversion.written is None:
        console.print("Dry run: nothing was written.")
        return
    if conversion.verification is None:
        console.print("[yellow]NOT VERIFIED[/] (--no-verify). Check it later with bnport verify SOURCE OUTPUT.")
        return
    show_verification(conversion.verification, verbose=verbose)


def show_verification(verification: Verification, *, verbose: bool) -> None:
    console = stdout()
    if verification.layers:
        console.print(_verification_table(verification, verbose))
    for note, count in Counter(note for layer in verification.layers for note in layer.notes).items():
        console.print(f"[dim]note[/] {escape(printable(note, 1000))}" + (f" ({count} layers)" if count > 1 else ""))
    _show_warnings(verification.warnings)
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
    console.print(_summary(verification, failed))


def show_error(text: str) -> None:
    stderr().print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)


@contextmanager
def progress_bars() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Bars on standard error, one for each description, gone when they are done with."""
    from rich.progress import Progress

    with Progress(console=stderr(), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(description: str) -> Callable[[int, int], None]:
            def report(done: int, total: int) -> None:
                if description not in tasks:
                    tasks[description] = bars.add_task(description)
                bars.update(tasks[description], completed=done, total=total)

            return report

        yield advance


def _plan_table(plan: Plan, verbose: bool) -> Table:
    table = _table("Source", "Target", "Fate", "Reason")

    def name(step: Step) -> str:
        return (step.source or step.target or _NOTHING).name

    def alike(step: Step) -> tuple[str, str, str]:
        return step.fate, step.reason, NUMBER.sub("#", step.target.name) if step.target else ""

    for folded, steps in [(name(s), [s]) for s in plan.steps] if verbose else fold(plan.steps, name, alike):
        target = fold(steps, lambda s: s.target.name if s.target else "-", lambda s: None)[0][0]
        first = steps[0]
        table.add_row(
            _counted(folded, len(steps)) if first.source else "-",
            escape(printable(target)) if first.source else _counted(target, len(steps)),
            first.fate,
            escape(printable(first.reason)),
        )
    return table


def _verification_table(verification: Verification, verbose: bool) -> Table:
    """A row per layer: for each check the error as a share of its bound, then the worst check's error and bound."""
    names = [_base(check) for layer in verification.layers for check in layer.checks if check.check != PARAMETERS]
    checks = list(dict.fromkeys(names))
    table = _table("", "Layer", "Kind", *(_SHORT.get(check, check) for check in checks), "error/bound")
    for name, layers in _folded_results(verification.layers, verbose):
        results = [check for layer in layers for check in layer.checks]
        cells = [_share([check for check in results if _base(check) == column]) for column in checks]
        mark = {True: "[green]ok[/]", False: "[bold red]NO[/]", None: "[yellow]--[/]"}[layers[0].ok]
        table.add_row(mark, _counted(name, len(layers)), layers[0].kind, *cells, _extent(results))
    table.caption = "Shares of the rounding-error bound that the error against a float64 reference uses up."
    table.caption_justify = "left"
    return table


# "eval [graph]" is a run of "eval".
def _base(check: Check) -> str:
    return check.check.partition(" [")[0]


def _share(checks: list[Check]) -> str:
    ran = [check for check in checks if check.ok is not None]
    if not ran:
        return "[yellow]-[/]"
    worst = max(ran, key=_ratio)
    ratio = _ratio(worst)
    text = f"{ratio:.0%}" if ratio < 10 else f"{ratio:.0e}x" if ratio < float("inf") else "inf"
    return f"[bold red]{text}[/]" if worst.ok is False else text


def _extent(checks: list[Check]) -> str:
    ran = [check for check in checks if check.ok is not None and check.error is not None and check.bound is not None]
    if not ran:
        return ""
    worst = max(ran, key=_ratio)
    return f"{worst.error:.0e}/{worst.bound:.0e}"


def _ratio(check: Check) -> float:
    if check.error is None or not check.bound:
        return 0.0 if not check.error else float("inf")
    return check.error / check.bound


def _show_failure(console: Console, name: str, layers: list[LayerResult]) -> None:
    """Layers that fail for one reason: the reason, and the worst figures among them."""
    first = layers[0]
    console.print(f"[bold red]FAILED[/] [bold]{_counted(name, len(layers))}[/] ({first.kind})")
    if len(layers) > 1:
        console.print("       " + escape(printable(", ".join(layer.name for layer in layers), 400)))
    if first.diagnosis:
        console.print(f"       {escape(printable(first.diagnosis, 2000))}")
    failing = [check for layer in layers for check in layer.checks if check.ok is False]
    for title in dict.fromkeys(check.check for check in failing):
        worst = max((check for check in failing if check.check == title), key=_ratio)
        size = "" if worst.error is None else f"error {worst.error:.2g}, allowed {worst.bound:.2g}"
        note = f" ({printable(worst.note, 1000)})" if worst.note else ""
        console.print(f"       [dim]{escape(f'{title}: {size}{note}')}[/]")


def _problem(problem: TensorProblem) -> str:
    came_from = f" (from {problem.source})" if problem.source and problem.source != problem.name else ""
    return printable(f"{problem.name}{came_from}: {problem.text}", 1000)


def _summary(verification: Verification, failed: list[LayerResult]) -> str:
    layers, compared = len(verification.layers), verification.compared
    if verification.verified:
        return f"[bold green]VERIFIED[/] {compared} tensors equal the source's; {_ran(layers)}."
    if verification.ok:
        skipped = verification.not_run
        note = next((check.note for check in skipped[0].checks if check.ok is None and check.note), "")
        return (
            f"[bold yellow]NOT VERIFIED[/] {compared} tensors equal the source's, but {len(skipped)} of {layers} "
            f"layers were not run: {escape(note)}. bnport doctor says what runs here."
        )
    return f"[bold red]VERIFICATION FAILED[/] {_next_step(verification, failed)}"


def _ran(layers: int) -> str:
    return f"{_plural(layers, 'layer')} run, all within bounds" if layers else "no batch normalisation to run"


def _next_step(verification: Verification, failed: list[LayerResult]) -> str:
    by_settings = [layer for layer in failed if all(c.ok is not False for c in layer.checks if c.check == PARAMETERS)]
    if verification.problems or not by_settings:
        counts = " and ".join(
            [_plural(len(verification.problems), "tensor"), *([_plural(len(failed), "layer")] if failed else [])]
        )
        return f"{counts} wrong in the output. Write it anew: bnport convert SOURCE -o OUTPUT --force"
    return (
        f"{_plural(len(by_settings), 'layer')} behave differently although the parameters are right: the settings "
        "differ. Mend them in the target network, as said above, and verify again."
    )


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _show_warnings(notes: tuple[str, ...]) -> None:
    console = stderr()
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(printable(note, 1000))}", soft_wrap=True)


def _folded_layers(layers: list[Layer], verbose: bool) -> list[tuple[str, list[Layer]]]:
    if verbose:
        return [(layer.label, [layer]) for layer in layers]
    return fold(
        layers, lambda layer: layer.label, lambda layer: (layer.kind_name, layer.certainty, layer.evidence[0].source)
    )


def _folded_results(layers: Sequence[LayerResult], verbose: bool) -> list[tuple[str, list[LayerResult]]]:
    """Layers that failed fold only where one diagnosis says what is wrong with all of them."""
    if verbose:
        return [(layer.name or "(root)", [layer]) for layer in layers]
    return fold(layers, lambda layer: layer.name or "(root)", lambda layer: (layer.kind, layer.ok, layer.diagnosis))


def _counted(name: str, count: int) -> str:
    return escape(printable(name)) + (f" [dim]x{count}[/]" if count > 1 else "")


def _container(checkpoint: Checkpoint) -> str:
    """Which of a file's state dicts was taken."""
    return f", under {printable(checkpoint.container)}" if checkpoint.container else ""


def _range(numbers: list[int]) -> str:
    if not numbers:
        return "-"
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}..{numbers[-1]}"


def _certainty(certainty: str) -> str:
    style = {"certain": "green", "inferred": "yellow", "undecided": "bold red"}[certainty]
    return f"[{style}]{certainty}[/]"


def _megabytes(specs: list[Any]) -> str:
    size = sum(spec.nbytes for spec in specs)
    return f"{size / 1e6:.1f} MB"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 1))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
