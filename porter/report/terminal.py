"""Inspections and conversions as a person reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from porter.api import Conversion, Inspection
from porter.errors import printable
from porter.formats.dtypes import FLOAT32
from porter.formats.model import Checkpoint, TensorSpec
from porter.layers.kinds import Dialect
from porter.layers.model import Layer
from porter.layers.rules import FRAMEWORKS
from porter.plan import Fate, Plan, Step
from porter.report.console import counted, new_table, show_warnings, stdout
from porter.report.fold import NUMBER, fold

FRAMEWORK: Mapping[Dialect, str] = {**FRAMEWORKS, "mint": "MindSpore (mint)"}
_FATES: tuple[Fate, ...] = ("copied", "renamed", "reshaped", "cast", "created", "dropped", "shared")
_NOTHING = TensorSpec("-", FLOAT32, ())


def show_inspection(inspection: Inspection, *, verbose: bool) -> None:
    source, console = inspection.source, stdout()
    checkpoint = source.checkpoint
    container = _container(checkpoint)
    console.print(
        f"[bold]{escape(printable(str(checkpoint.path)))}[/]: {checkpoint.format}{escape(container)}, names of "
        f"{FRAMEWORK[source.dialect]}, {len(checkpoint.tensors)} tensors, {_megabytes(checkpoint.specs)}"
    )
    table = new_table("Layer", "Kind", "Channels", "Certainty", "Evidence")
    for name, layers in _folded_layers(source.layers, verbose):
        first = layers[0]
        # `_metadata` says the least of all evidence that is stronger than the bare shapes.
        telling = [piece for piece in first.evidence if piece.source != "metadata"][:1]
        evidence = first.evidence if verbose or first.certainty == "undecided" else telling
        channels = sorted({layer.channels for layer in layers if layer.channels is not None})
        table.add_row(
            counted(name, len(layers)),
            escape(first.kind_name or "?"),
            _range(channels),
            _certainty(first.certainty),
            escape("; ".join(printable(piece.text) for piece in evidence)),
        )
    console.print(table)
    show_warnings(source.notes)


def show_conversion(conversion: Conversion, *, verbose: bool) -> None:
    console, plan = stdout(), conversion.plan
    if conversion.written is None or verbose:
        console.print(_plan_table(plan, verbose))
    source = conversion.source.checkpoint
    counts = plan.fates
    fates = ", ".join(f"{counts[fate]} {fate}" for fate in _FATES if counts[fate])
    kinds = Counter(layer.kind_name for layer in conversion.source.layers if layer.kinds[0].family == "BatchNorm")
    norms = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no batch normalisation"
    console.print(
        f"[bold]{escape(printable(source.path.name))}[/] ({FRAMEWORK[plan.from_]}{escape(_container(source))}) -> "
        f"[bold]{escape(printable((conversion.written or conversion.to.path).name))}[/] ({FRAMEWORK[plan.to]}): "
        f"{len(plan.targets)} tensors ({fates}); {escape(norms)}"
    )
    show_warnings(conversion.warnings)
    if conversion.written is None:
        console.print("Dry run: nothing was written.")
        return
    if conversion.verification is None:
        console.print("[yellow]NOT VERIFIED[/] (--no-verify). Check it later with bnport verify SOURCE OUTPUT.")
        return
    # What knows of verifications, which is a lot, is imported where there is one.
    from porter.report.verdict import show_verification

    show_verification(conversion.verification, None, verbose=verbose)


def _plan_table(plan: Plan, verbose: bool) -> Table:
    table = new_table("Source", "Target", "Fate", "Reason")

    def name(step: Step) -> str:
        return (step.source or step.target or _NOTHING).name

    def alike(step: Step) -> tuple[str, str, str]:
        return step.fate, step.reason, NUMBER.sub("#", step.target.name) if step.target else ""

    for folded, steps in [(name(s), [s]) for s in plan.steps] if verbose else fold(plan.steps, name, alike):
        target = fold(steps, lambda s: s.target.name if s.target else "-", lambda s: None)[0][0]
        first = steps[0]
        table.add_row(
            counted(folded, len(steps)) if first.source else "-",
            escape(printable(target)) if first.source else counted(target, len(steps)),
            first.fate,
            escape(printable(first.reason)),
        )
    return table


def _folded_layers(layers: list[Layer], verbose: bool) -> list[tuple[str, list[Layer]]]:
    if verbose:
        return [(layer.label, [layer]) for layer in layers]
    return fold(
        layers, lambda layer: layer.label, lambda layer: (layer.kind_name, layer.certainty, layer.evidence[0].source)
    )


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


def _megabytes(specs: list[TensorSpec]) -> str:
    size = sum(spec.nbytes for spec in specs)
    return f"{size / 1e6:.1f} MB"
