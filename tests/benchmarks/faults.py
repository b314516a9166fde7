"""What `bnport verify` makes of wrong outputs, and of right ones.

    python tests/benchmarks/faults.py [--reduced] [--only TEXT] [--layers N] [--command-line N] [--json]

Real networks are converted, each fault of the catalogue (fault_catalogue.py) is written into the bytes of the output,
and `verify` is run as a user runs it: most in one process, `--command-line` of them by the command itself. A fault is

- named: verify fails, says of the right tensor what kind of fault it is, and accuses no other;
- detected: verify fails, but says something else;
- alike: several faults would have left these very bytes, and verify names all of them, the true one among them;
- hidden: the faulty output is, bit for bit, the right one (exchanging a gamma and a variance that are both 1);
- missed: verify passes.

Then come right conversions, which must pass: the networks there and back in every dtype, and 1,000 random layers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("GLOG_v", "3")

import fault_subjects
import numpy as np
import random_layers
import wrong_settings
from fault_catalogue import Fault, bit_faults, settings_faults, value_faults
from fault_subjects import Subject, Tensors
from rich.console import Console
from rich.table import Table

import porter
from porter.verification.cases import Options
from porter.verification.files import Verification

Verdict = Literal["named", "detected", "alike", "hidden", "missed"]
VERDICTS: tuple[Verdict, ...] = ("named", "alike", "detected", "missed", "hidden")
DTYPES = ("float32", "float16", "bfloat16", "float64")


@dataclass(frozen=True)
class Finding:
    """What verify made of one fault."""

    subject: str
    family: str
    what: str
    verdict: Verdict
    said: str


@dataclass(frozen=True)
class FalseAlarm:
    """A right conversion, or a layer of it, that verify objects to."""

    subject: str
    said: str


@dataclass(frozen=True)
class Score:
    """All findings, and what was said of right conversions."""

    findings: list[Finding]
    right_layers: int
    right_files: int
    false_alarms: list[FalseAlarm]

    def count(self, verdict: Verdict) -> int:
        return sum(finding.verdict == verdict for finding in self.findings)

    @property
    def detected(self) -> float:
        """Share of the faults that leave a trace."""
        visible = len(self.findings) - self.count("hidden")
        return 1 - self.count("missed") / max(visible, 1)

    @property
    def named(self) -> float:
        """Share of the faults that can be told from every other fault."""
        tellable = len(self.findings) - self.count("hidden") - self.count("alike")
        return self.count("named") / max(tellable, 1)


def judged(subject: Subject, fault: Fault, found: Verification) -> Finding:
    """Score what verify says; its words are those a person reads: a failed layer's diagnosis, else its tensors'."""
    said = {layer.name: layer.diagnosis or "" for layer in found.layers if layer.ok is False}
    for problem in found.problems:
        if problem.layer not in said:
            said[problem.name] = problem.text
    text = "; ".join(f"{name}: {words}" for name, words in said.items())
    verdict: Verdict = "missed" if found.ok else "detected"
    if set(said) and all(_told(said, name, patterns) for name, patterns in fault.victims.items()):
        innocent = [name for name in said if not any(_concerns(name, victim) for victim in fault.victims)]
        alike = any("not distinguishable" in words for words in said.values())
        verdict = verdict if innocent else "alike" if alike else "named"
    return Finding(subject.name, fault.family, fault.what, verdict, text)


def _told(said: dict[str, str], victim: str, patterns: tuple[str, ...]) -> bool:
    texts = [words for name, words in said.items() if _concerns(name, victim)]
    return any(all(re.search(pattern, text) for pattern in patterns) for text in texts)


def _concerns(name: str, victim: str) -> bool:
    """Whether the layer or tensor `name` is the victim, or a tensor or a layer of it."""
    return name == victim or name.startswith(f"{victim}.") or victim.startswith(f"{name}.")


def findings(subject: Subject, faults: Iterator[Fault], folder: Path, only: str) -> Iterator[Finding]:
    damaged = folder / f"damaged{subject.output.suffix}"
    for fault in faults:
        if only.lower() not in f"{subject.name} {fault.family}".lower():
            continue
        if fault.inject is not None:
            tensors = Tensors(subject.output)
            fault.inject(tensors)
            if not tensors.write(damaged):
                yield Finding(
                    subject.name, fault.family, fault.what, "hidden", "the output is bit for bit the right one"
                )
                continue
        output = damaged if fault.inject else subject.output
        given = {"source_options": subject.options, "write_options": subject.write, **fault.options}
        found = porter.verify(subject.source, output, **given)
        yield judged(subject, fault, found)


def every_finding(folder: Path, *, layers: int, reduced: bool, only: str) -> Iterator[Finding]:
    """All faults of all networks; `reduced` damages values of the sample alone, and bits of one network's float32."""
    random = np.random.default_rng(0)
    sample = fault_subjects.sample(folder)
    subjects = [sample, *(fault_subjects.monai(name, folder) for name in fault_subjects.NETWORKS if not reduced)]
    for subject in subjects:
        faults = value_faults(subject, Tensors(subject.output), random, layers)
        yield from findings(subject, faults, folder, only)
    for dtype in DTYPES[: 1 if reduced else None]:
        subject = fault_subjects.monai("UNet", folder, dtype=dtype)
        yield from findings(subject, bit_faults(subject, Tensors(subject.output), random), folder, only)
    network = fault_subjects.monai("UNet", folder)
    yield from findings(network, settings_faults(network), folder, only)
    yield from findings(sample, _settings_of_a_network(sample), folder, only)
    if not reduced:
        back = fault_subjects.back(network)
        yield from findings(back, bit_faults(back, Tensors(back.output), random), folder, only)
        half = fault_subjects.monai("UNet", folder, dtype="float16")
        yield from findings(half, value_faults(half, Tensors(half.output), random, layers), folder, only)
        yield from findings(back, value_faults(back, Tensors(back.output), random, layers), folder, only)


def _settings_of_a_network(sample: Subject) -> Iterator[Fault]:
    for factory, words in wrong_settings.WORDS.items():
        if words:
            options = replace(sample.options, net=f"{wrong_settings.__file__}:{factory}")
            victims = {wrong_settings.LAYER: (words,)}
            yield Fault("the network's settings", factory, victims, options={"source_options": options})


def right_conversions(folder: Path, *, reduced: bool) -> Iterator[tuple[str, Verification]]:
    """(name, verdict) of outputs as bnport wrote them."""
    seeds = range(1 if reduced else 3)
    for name in ["UNet"] if reduced else fault_subjects.NETWORKS:
        for seed in seeds:
            for dtype in DTYPES:
                there = fault_subjects.monai(name, folder, seed=seed, dtype=dtype)
                for subject in (there, fault_subjects.back(there)):
                    yield f"{subject.name}, seed {seed}", porter.verify(subject.source, subject.output)
    for seed in range((100 if reduced else 1000) // random_layers.PER_FILE):
        source, options = random_layers.save(seed, folder)
        subject = fault_subjects.converted(source.stem, source, source.with_suffix(".ckpt"), options=options)
        run = Options(seed=seed)
        yield subject.name, porter.verify(source, subject.output, source_options=options, options=run)


def score(folder: Path, *, layers: int = 1, reduced: bool = False, only: str = "") -> Score:
    found = list(every_finding(folder, layers=layers, reduced=reduced, only=only))
    files, right, alarms = 0, 0, []
    for name, verdict in right_conversions(folder, reduced=reduced) if not only else ():
        files, right = files + 1, right + len(verdict.layers)
        alarms += [FalseAlarm(name, f"{x.name}: {x.diagnosis}") for x in verdict.layers if x.ok is False]
        alarms += [FalseAlarm(name, f"{problem.name}: {problem.text}") for problem in verdict.problems]
    return Score(found, right, files, alarms)


def by_command(folder: Path, count: int) -> list[Finding]:
    """Run `bnport verify` on `count` damaged outputs of the sample: it must fail with exit code 1 and say so."""
    subject, random = fault_subjects.sample(folder), np.random.default_rng(1)
    faults = list(value_faults(subject, Tensors(subject.output), random, 1))
    found = []
    for i in random.permutation(len(faults))[:count]:
        tensors = Tensors(subject.output)
        faults[i].inject(tensors)
        tensors.write(folder / "damaged.ckpt")
        command = [sys.executable, "-c", "from porter.cli import main; main()", "verify"]
        arguments = [subject.source, folder / "damaged.ckpt", "--model", subject.options.model]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        failed = done.returncode == 1 and "VERIFICATION FAILED" in done.stdout
        said = (done.stdout + done.stderr).strip()[-200:]
        found.append(
            Finding("command line", faults[i].family, faults[i].what, "detected" if failed else "missed", said)
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="What bnport verify makes of wrong outputs, and of right ones.")
    parser.add_argument("--reduced", action="store_true", help="a part of it, in minutes")
    parser.add_argument("--only", default="", help="faults whose network and kind contain this text")
    parser.add_argument("--layers", type=int, default=1, help="layers of each network that are damaged")
    parser.add_argument("--command-line", type=int, default=3, help="faults that the command is run on")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = score(Path(folder), layers=given.layers, reduced=given.reduced, only=given.only)
        commands = by_command(Path(folder), given.command_line)
    if given.json:
        print(json.dumps(document(result, commands), indent=2))
    else:
        show(result, commands)
    passed = [finding for finding in commands if finding.verdict == "missed"]
    if passed or result.count("missed") or result.false_alarms or result.named < 0.95:
        sys.exit("not all detected, or fewer than 95% named, or a false alarm")


def document(result: Score, commands: list[Finding]) -> dict[str, Any]:
    return {
        "schema": "bnport.benchmark.faults/1",
        "families": {family: dict(counts) for family, counts in _by_family(result).items()},
        "detected": result.detected,
        "named": result.named,
        "right": {
            "files": result.right_files,
            "layers": result.right_layers,
            "false_alarms": [asdict(alarm) for alarm in result.false_alarms],
        },
        "command_line": [asdict(finding) for finding in commands],
        "not_named": [asdict(finding) for finding in result.findings if finding.verdict != "named"],
    }


def show(result: Score, commands: list[Finding]) -> None:
    console = Console(width=120)
    for finding in result.findings:
        if finding.verdict not in ("named", "hidden"):
            console.print(f"[bold]{finding.verdict}[/]", f"{finding.subject}: {finding.family}: {finding.what}")
            console.print(f"    {finding.said[:400]}", markup=False)
    for alarm in result.false_alarms:
        console.print(f"false alarm: {alarm.subject}: {alarm.said}", markup=False)
    table = Table("Fault", "number", *VERDICTS, box=None)
    families = _by_family(result)
    for family, counts in (*families.items(), ("all", sum(families.values(), Counter()))):
        table.add_row(family, str(counts.total()), *(str(counts[verdict] or "-") for verdict in VERDICTS))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    console.print(f"\ndetected {result.detected:.1%}, named {result.named:.1%}")
    right = f"{result.right_files} right files with {result.right_layers} layers"
    console.print(f"{right}: {len(result.false_alarms)} false alarms")
    failed = sum(finding.verdict == "detected" for finding in commands)
    console.print(f"by the command line: {failed} of {len(commands)} detected")


def _by_family(result: Score) -> dict[str, Counter[str]]:
    families: dict[str, Counter[str]] = {}
    for finding in result.findings:
        families.setdefault(finding.family, Counter())[finding.verdict] += 1
    return families


if __name__ == "__main__":
    main()
