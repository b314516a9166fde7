"""What `bnport verify` makes of wrong outputs, and of right ones.

    python tests/benchmarks/faults.py [--reduced] [--only TEXT] [--layers N] [--command-line N] [--jobs N] [--json]

Real networks are converted, each fault of the catalogue (fault_catalogue/) is written into the bytes of the output,
and `verify` is run as a user runs it: most in one process, `--command-line` of them by the command itself. A fault is

- named: verify fails, says of the right tensor what kind of fault it is, and accuses no other;
- detected: verify fails, but says something else;
- alike: several faults would have left these very bytes, and verify names all of them, the true one among them;
- hidden: the faulty output is, bit for bit, the right one (exchanging a gamma and a variance that are both 1);
- missed: verify passes.

Then come right conversions, which must pass: networks in every dtype, 1,200 random batch normalisations and 600
random layers of other kinds, all there and back.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

os.environ.setdefault("GLOG_v", "3")

from fault_parts import Choice, all_parts, scores
from fault_scoring import VERDICTS, Score
from rich.console import Console
from rich.table import Table


def score(choice: Choice, *, jobs: int = 1, on_part: Callable[[Score], None] = lambda _: None) -> Score:
    return Score.total(scores(all_parts(choice), jobs, on_part))


def main() -> None:
    parser = argparse.ArgumentParser(description="What bnport verify makes of wrong outputs, and of right ones.")
    parser.add_argument("--reduced", action="store_true", help="a part of it, in minutes")
    parser.add_argument("--only", default="", help="faults whose network and kind contain this text")
    parser.add_argument("--layers", type=int, default=1, help="layers of each network that are damaged")
    parser.add_argument("--command-line", type=int, default=3, help="faults that the command is run on")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one per processor)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    choice = Choice(given.reduced, given.only, given.layers, given.command_line)
    begun, progress = time.monotonic(), Progress(len(all_parts(choice)))
    result = score(choice, jobs=given.jobs, on_part=progress)
    seconds = time.monotonic() - begun
    if given.json:
        print(json.dumps(document(result), indent=2))
    else:
        show(result)
        print(f"in {seconds / 60:.0f} minutes by {given.jobs} processes")
    missed = result.count("missed") or any(finding.verdict == "missed" for finding in result.commands)
    if missed or result.false_alarms or result.named < 0.95:
        sys.exit("not all detected, or fewer than 95% named, or a false alarm")


class Progress:
    """A line on stderr for each part that is done."""

    def __init__(self, parts: int) -> None:
        self._parts, self._so_far = parts, list[Score]()

    def __call__(self, part: Score) -> None:
        self._so_far.append(part)
        whole = Score.total(self._so_far)
        unnamed = sum(whole.count(verdict) for verdict in ("detected", "missed"))
        print(
            f"{len(self._so_far)} of {self._parts} parts: {len(whole.findings)} faults, {unnamed} not named; "
            f"{whole.layers.total()} right layers, {len(whole.false_alarms)} false alarms",
            file=sys.stderr,
        )


def document(result: Score) -> dict[str, Any]:
    return {
        "schema": "bnport.benchmark.faults/2",
        "families": {family: dict(counts) for family, counts in result.families().items()},
        "detected": result.detected,
        "named": result.named,
        "right": {
            "files": result.files,
            "layers": dict(result.layers),
            "not_run": dict(result.not_run),
            "false_alarms": [asdict(alarm) for alarm in result.false_alarms],
        },
        "command_line": [asdict(finding) for finding in result.commands],
        "not_named": [asdict(finding) for finding in result.findings if finding.verdict != "named"],
    }


def show(result: Score) -> None:
    console = Console(width=120)
    for finding in result.findings:
        if finding.verdict not in ("named", "hidden"):
            console.print(f"[bold]{finding.verdict}[/]", f"{finding.subject}: {finding.family}: {finding.what}")
            console.print(f"    {finding.said[:400]}", markup=False)
    for alarm in result.false_alarms:
        console.print(f"false alarm: {alarm.subject}: {alarm.said}", markup=False)
    families = result.families()
    faults = Table("Fault", "number", *VERDICTS, box=None)
    for family, counts in (*families.items(), ("all", sum(families.values(), Counter()))):
        faults.add_row(family, str(counts.total()), *(str(counts[verdict] or "-") for verdict in VERDICTS))
    right = Table("Right layers", "number", "of these not run", box=None)
    for kind in (*sorted(result.layers), "all"):
        counted = [sum(c.values()) if kind == "all" else c[kind] for c in (result.layers, result.not_run)]
        right.add_row(kind, *(str(count or "-") for count in counted))
    for table in (faults, right) if result.files else (faults,):
        for column in table.columns[1:]:
            column.justify = "right"
        console.print(table, "")
    console.print(f"detected {result.detected:.1%}, named {result.named:.1%}")
    console.print(f"{result.files} right files: {len(result.false_alarms)} false alarms")
    failed = sum(finding.verdict == "detected" for finding in result.commands)
    console.print(f"by the command line: {failed} of {len(result.commands)} detected")


if __name__ == "__main__":
    main()
