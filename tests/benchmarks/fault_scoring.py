"""What `verify` made of a fault, and of right conversions, scored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from fault_catalogue import Fault

from porter.verification.files import Verification

Verdict = Literal["named", "alike", "detected", "missed", "hidden"]
VERDICTS: tuple[Verdict, ...] = ("named", "alike", "detected", "missed", "hidden")


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


@dataclass
class Score:
    """Findings, and what was said of right conversions.

    Attributes:
        files: number of right files.
        layers: kind -> number of right layers.
        not_run: kind -> number of those that could not be run, for a dtype or a kernel that is missing.
        commands: findings of the command itself, which are judged by its exit code alone.
    """

    findings: list[Finding] = field(default_factory=list)
    false_alarms: list[FalseAlarm] = field(default_factory=list)
    files: int = 0
    layers: Counter[str] = field(default_factory=Counter)
    not_run: Counter[str] = field(default_factory=Counter)
    commands: list[Finding] = field(default_factory=list)

    @classmethod
    def total(cls, parts: Iterable[Score]) -> Score:
        whole = cls()
        for part in parts:
            whole.findings += part.findings
            whole.false_alarms += part.false_alarms
            whole.files += part.files
            whole.layers += part.layers
            whole.not_run += part.not_run
            whole.commands += part.commands
        return whole

    def add_right(self, name: str, verdict: Verification) -> None:
        """A right conversion, which must pass; a layer that was not run must say why."""
        self.files += 1
        for layer in verdict.layers:
            self.layers[layer.kind] += 1
            reasons = [check.note for check in layer.checks if check.ok is None]
            if layer.ok is False:
                self.false_alarms.append(FalseAlarm(name, f"{layer.name}: {layer.diagnosis}"))
            elif layer.ok is None:
                self.not_run[layer.kind] += 1
                if not all(reasons):
                    self.false_alarms.append(FalseAlarm(name, f"{layer.name}: not run, and no reason given"))
        self.false_alarms += [FalseAlarm(name, f"{problem.name}: {problem.text}") for problem in verdict.problems]

    def count(self, verdict: Verdict) -> int:
        return sum(finding.verdict == verdict for finding in self.findings)

    def families(self) -> dict[str, Counter[str]]:
        found: dict[str, Counter[str]] = {}
        for finding in self.findings:
            found.setdefault(finding.family, Counter())[finding.verdict] += 1
        return found

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


def judged(subject: str, fault: Fault, found: Verification) -> Finding:
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
    return Finding(subject, fault.family, fault.what, verdict, text)


def _told(said: dict[str, str], victim: str, patterns: tuple[str, ...]) -> bool:
    texts = [words for name, words in said.items() if _concerns(name, victim)]
    return any(all(re.search(pattern, text) for pattern in patterns) for text in texts)


def _concerns(name: str, victim: str) -> bool:
    """Whether the layer or tensor `name` is the victim, or a tensor or a layer of it."""
    return name == victim or name.startswith(f"{victim}.") or victim.startswith(f"{name}.")
