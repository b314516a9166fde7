"""What the user changes in a plan: tensors left out, and names that fit a network whose modules are called otherwise.

Renames have a way back exactly where they give no two names of the output at hand one name: the record beside the
output keeps the pairs of names. No pattern is ever read backwards, so that it need not be possible.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from porter.errors import UsageError
from porter.layers.patterns import expression_of, levels_of
from porter.plan import Fate, Plan, Step

_REGEX = "re:"


@dataclass(frozen=True)
class Rename:
    """One `--rename 'PATTERN=REPLACEMENT'`, or a row of a rules file.

    Attributes:
        pattern: the name of a tensor, or of a module that it lies in: `*` is any part of one level, `**` is any
            number of whole levels (as many as possible). With `re:` in front a regular expression, replaced wherever
            it is found.
        replacement: what stands there instead; its wildcards take, in order, what those of the pattern matched.
            Empty, it takes the module's level out. For a regular expression, a template with `\\1` or `\\g<name>`.
        unchecked: proposed by `--align` although little tells that it is right, and confirmed by nobody since.

    Raises:
        UsageError: no regular expression, or more wildcards in the replacement than in the pattern.
    """

    pattern: str
    replacement: str
    unchecked: bool = False

    def __post_init__(self) -> None:
        if self.is_regex:
            try:
                self._expression.sub(self.replacement, "")
            except (re.error, IndexError) as error:
                raise UsageError("is no regular expression", entry=self.option, found=str(error)) from error
        elif any(_count(self.replacement, wildcard) > _count(self.pattern, wildcard) for wildcard in ("*", "**")):
            hint = "Each wildcard of the replacement takes what one of the pattern matched."
            message = "the replacement has more wildcards than the pattern"
            raise UsageError(message, entry=self.option, hint=hint)

    @property
    def is_regex(self) -> bool:
        return self.pattern.startswith(_REGEX)

    @property
    def option(self) -> str:
        return f"--rename '{self.pattern}={self.replacement}'"

    def apply(self, name: str) -> str:
        """`name` (dotted path of a tensor or module) as this renames it; unchanged where the pattern does not fit."""
        if self.is_regex:
            return self._expression.sub(self.replacement, name)
        found = self._expression.match(f"{name}.")
        if not found:
            return name
        taken = {"*": iter(_taken(found, "one")), "**": iter(_taken(found, "many"))}
        front = "".join(
            next(taken["**"]) if level == "**" else re.sub(r"\*", lambda _: next(taken["*"]), level) + "."
            for level in levels_of(self.replacement)
        )
        return (front + f"{name}."[found.end() :]).removesuffix(".")

    def fits(self, name: str) -> bool:
        """Whether the pattern is found in `name`, though it may leave it as it is."""
        return (self._expression.search(name) if self.is_regex else self._expression.match(f"{name}.")) is not None

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile(self.pattern.removeprefix(_REGEX) if self.is_regex else expression_of(self.pattern))


def _count(pattern: str, wildcard: str) -> int:
    many = sum(level == "**" for level in levels_of(pattern))
    return many if wildcard == "**" else pattern.count("*") - 2 * many


def _taken(found: re.Match[str], kind: str) -> list[str]:
    return [text for name, text in found.groupdict().items() if name.startswith(kind)]


def rename(plan: Plan, renames: Sequence[Rename]) -> Plan:
    """`plan` with every target's name changed by `renames`, one after the other.

    Raises:
        UsageError: a rename fits no name, leaves one empty or with an empty level, or gives two tensors one name.
    """
    if not renames:
        return plan
    names = [target.name for target in plan.targets]
    return renamed(plan, dict(zip(names, rename_all(names, renames), strict=True)))


def renamed(plan: Plan, names: Mapping[str, str]) -> Plan:
    """`plan` with targets called as `names` says (old name -> new name; others keep theirs)."""

    if not names:
        return plan

    def called(step: Step) -> Step:
        old = step.target.name if step.target else ""
        new = names.get(old, old)
        if step.target is None or new == old:
            return step
        fate: Fate = "renamed" if step.fate == "copied" else step.fate
        reason = f"{step.reason}; renamed on request"
        target = step.target._replace(name=new)
        return step._replace(target=target, fate=fate, reason=reason, ruled=step.ruled or old)

    return plan._replace(steps=tuple(called(step) for step in plan.steps))


def rename_module(name: str, renames: Sequence[Rename]) -> str:
    """What `renames` make of the module `name`; renames of single tensors leave it alone."""
    for one in renames:
        name = one.apply(name) if name else name
    return name


def rename_all(names: Sequence[str], renames: Sequence[Rename]) -> list[str]:
    """`names`, which are unique, after `renames`: unique again; raises as `rename` does."""
    now = list(names)
    for one in renames:
        if not any(one.fits(name) for name in now):
            hint = "--dry-run shows the names; * stands for one level, ** for any number."
            raise UsageError("fits no name of the output", entry=one.option, hint=hint)
        changed = [one.apply(name) for name in now]
        empty = next((pair for pair in zip(now, changed, strict=True) if _gains_empty_level(*pair)), None)
        if empty:
            found = "{} -> {!r}".format(*empty)
            raise UsageError("leaves an empty name or level", entry=one.option, expected="a name", found=found)
        _refuse_collision(one, names, changed)
        now = changed
    return now


def _gains_empty_level(old: str, new: str) -> bool:
    return new != old and ".." in f".{new}."


def _refuse_collision(one: Rename, names: Sequence[str], changed: Sequence[str]) -> None:
    """Refuse that `one`, the last of some renames, makes one name of two of `names`."""
    came_from: dict[str, str] = {}
    for old, new in zip(names, changed, strict=True):
        if new in came_from:
            raise UsageError(
                f"would call two tensors {new}",
                entry=one.option,
                expected="unique names",
                found=f"{came_from[new]} and {old}",
                hint="Make the pattern fit only one of them, or rename the other first.",
            )
        came_from[new] = old


def fitting(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    """The names that one of `patterns` fits, which are those of `Rename`.

    Raises:
        UsageError: a pattern fits none.
    """
    found: set[str] = set()
    for pattern in patterns:
        rule = Rename(pattern, "")
        fits = {name for name in names if rule.fits(name)}
        if not fits:
            hint = "`bnport inspect -v` lists the names; * stands for one level, ** for any number."
            raise UsageError("fits no tensor of the source", entry=f"drop {pattern!r}", hint=hint)
        found |= fits
    return found


def without(plan: Plan, names: Collection[str]) -> Plan:
    """`plan` without the source tensors `names`, and without what it would create for layers that lose all theirs.

    Of such a layer nothing is left: the steps that drop its tensors no longer name it.
    """
    if not names:
        return plan
    kept = {step.layer for step in plan.steps if step.source and step.source.name not in names}
    lost = {step.layer for step in plan.steps if step.source and step.source.name in names} - kept
    steps = []
    for step in plan.steps:
        if step.source and step.source.name in names:
            layer = None if step.layer in lost else step.layer
            steps.append(step._replace(target=None, fate="dropped", reason="dropped on request", layer=layer))
        elif step.source or step.layer not in lost:
            steps.append(step)
    return plan._replace(steps=tuple(steps))


def rename_called(text: str) -> Rename:
    """The rename that a user writes as PATTERN=REPLACEMENT; the last = divides, since expressions may hold others.

    Raises:
        UsageError: there is no =, or what `Rename` raises.
    """
    pattern, equals, replacement = text.rpartition("=")
    if not equals:
        expected = "PATTERN=REPLACEMENT, such as 'layer*.*.conv1.0=layer*.*.conv1.conv'"
        raise UsageError("says nothing to rename", entry=f"--rename {text!r}", expected=expected)
    return Rename(pattern, replacement)
