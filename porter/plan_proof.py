"""What must be true of every plan before a byte is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

from porter.errors import UsageError
from porter.formats.model import TensorSpec
from porter.layers.kinds import Dialect, Kind, Parameter
from porter.layers.model import Layer
from porter.plan import Plan


def prove(
    plan: Plan, specs: Sequence[TensorSpec], layers: Sequence[Layer] | None, *, removed: str = "", restored: str = ""
) -> None:
    """Check a plan, before a byte is written, against the source and the layers it was made from.

    Args:
        layers: whose rules must give every name; None where names are no longer theirs.
        removed: the prefix that names lose.
        restored: the prefix that names get back.

    Raises:
        UsageError: two tensors would get one name.
        AssertionError: a fault in bnport or in a record: a tensor is unaccounted for or changes its size, or the
            rules read from right to left do not give the source back.
    """
    names = [step.target.name for step in plan.steps if step.target]
    if len(set(names)) < len(names):
        raise _same_name(plan)
    sources = [step.source for step in plan.steps if step.source]
    must(sources == list(specs) or Counter(sources) == Counter(specs), "a source tensor is unaccounted for")
    carried = {step.source.name: (step.source, step.target) for step in plan.steps if step.source and step.target}
    for keeper in {step.same_as for step in plan.steps if step.fate == "shared"} - carried.keys():
        raise AssertionError(f"nothing keeps {keeper}, which is shared")
    for source, target in carried.values():
        if source[2] != target[2] and prod(source.shape) != prod(target.shape):
            raise AssertionError(f"{source.name} changes its size")
    if layers is not None:
        _Names(plan.from_, plan.to, removed, restored).prove(carried, layers)


def must(holds: bool, fault: str) -> None:
    """An assertion that `python -O` keeps."""
    if not holds:
        raise AssertionError(fault)


def _same_name(plan: Plan) -> UsageError:
    takers: dict[str, str] = {}
    for step in plan.steps:
        if step.target is None:
            continue
        name, came_from = step.target.name, step.source.name if step.source else "a created tensor"
        if name in takers:
            break
        takers[name] = came_from
    return UsageError(
        "two tensors would get the same name",
        entry=name,
        expected="unique names",
        found=f"{takers[name]} and {came_from}",
        hint="Choose another --strip-prefix or --layer.",
    )


class _Names(NamedTuple):
    """The names and shapes that the rules give, of which a plan may know more than the rules do: prefixes."""

    from_: Dialect
    to: Dialect
    removed: str
    restored: str

    def prove(self, carried: Mapping[str, tuple[TensorSpec, TensorSpec]], layers: Sequence[Layer]) -> None:
        """Hold the tensors that are carried, source and target, against the rules.

        Undecided layers have none: between PyTorch and mint they keep their names.
        """
        outside = dict(carried)
        for layer in layers:
            if layer.certainty == "undecided":
                continue
            path = layer.path_in(self.to, came_from=self.from_)
            here, there = f"{layer.name}." if layer.name else "", f"{path}." if path else ""
            rules = _rules(layer.kind, self.from_, self.to, not path)
            for slot, name in layer.tensors.items():
                if name in outside:
                    leaf, other, parameter = rules[slot]
                    if name != f"{here}{leaf}":
                        raise AssertionError(f"{name}: no way back")
                    self._prove(*outside.pop(name), f"{there}{other}", parameter)
        for source, target in outside.values():
            self._prove(source, target, source.name, None)

    def _prove(self, source: TensorSpec, target: TensorSpec, ruled: str, reshaped: Parameter | None) -> None:
        """Hold a target against the name that the rules give it."""
        shape = reshaped.shape_in(self.from_, target.shape, came_from=self.to) if reshaped else target.shape
        if source.shape != shape:
            raise AssertionError(f"{source.name}: its shape has no way back")
        if target.name != ruled if not self.removed and not self.restored else target.name not in self._named(ruled):
            raise AssertionError(f"{source.name}: the rules do not give {target.name}")

    def _named(self, ruled: str) -> set[str]:
        """A prefix that is removed, or put back, need not stand before every name."""
        return {name.removeprefix(self.removed) for name in (ruled, self.restored + ruled)}


# A slot's name below the layer here and there, and the parameter itself where its shape differs.
_Rule = tuple[str | None, str | None, Parameter | None]


@lru_cache(maxsize=1024)
def _rules(kind: Kind, from_: Dialect, to: Dialect, is_root: bool) -> Mapping[str, _Rule]:
    """By slot."""
    return {
        parameter.slot: (
            parameter.name_in(from_, root=is_root),
            parameter.name_in(to, root=is_root),
            None if parameter.extra_axis is None else parameter,
        )
        for parameter in kind.parameters
    }
