"""What the record beside a file proves of it, as a person reads it."""

from __future__ import annotations

from rich.markup import escape

from porter.errors import printable
from porter.proof import Circumstances, FileHash, Proof
from porter.recheck import Recheck
from porter.report.console import stdout
from porter.report.summary import plural


def show_recheck(found: Recheck) -> None:
    """The verdict first, then when it was proven, of what, and with what."""
    console, proof = stdout(), found.proof
    name = escape(printable(str(found.output)))
    if not found.same:
        console.print(f"[bold red]ANOTHER FILE[/] {name} does not hold the bytes that were verified.", soft_wrap=True)
    elif proof.complete:
        console.print(
            f"[bold green]VERIFIED[/] {name} is, byte for byte, the file that was verified.", soft_wrap=True
        )
    else:
        console.print(
            f"[bold yellow]NOT VERIFIED[/] {name} is the file that was checked, but not all of it could be run then.",
            soft_wrap=True,
        )
    for line in _told(proof.circumstances, proof):
        console.print(f"    {escape(printable(line, 1000))}", soft_wrap=True)
    if found.verified is not True:
        console.print("bnport verify SOURCE OUTPUT checks it anew, against its source.")


def _told(when: Circumstances, proof: Proof) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in when.versions.items() if version)
    not_run = f", {proof.layers_not_run} not run" if proof.layers_not_run else ""
    networks = ", both networks run whole" if proof.networks else ""
    tolerances = " ".join(f"{option} {value}" for option, value in proof.tolerances.items())
    return [
        f"{when.date}: {plural(proof.tensors, 'tensor')} compared, {plural(proof.layers_run, 'layer')} run"
        f"{not_run}{networks}",
        *([f"with {tolerances} in place of the rounding-error bounds"] if tolerances else []),
        f"source {_named(when.source)}",
        *([f"layers configured by {_named(when.configs)}"] if when.configs else []),
        f"with {versions}",
    ]


def _named(files: tuple[FileHash, ...]) -> str:
    return ", ".join(f"{one.name} (sha256 {one.sha256[:16]}…)" for one in files[:3])
