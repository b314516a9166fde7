"""What a plan carries of an optimizer beside the steps for its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from porter.formats.strict_json import list_of, map_of, of_type
from porter.optimizer.classes import CLASSES


@dataclass(frozen=True)
class Carried:
    """An optimizer on its way, and what its way back needs.

    Attributes:
        name: MindSpore's class, as in `porter.optimizer.classes.CLASSES`.
        param_groups: PyTorch's settings, the source's or those to be written; `params` are numbers from 0 on.
        parameters: the name that each of these numbers has in MindSpore.
        steps: number -> how often PyTorch has stepped the parameter, where it counts.
        global_step: how often MindSpore had stepped when `steps` was what PyTorch had counted.
        order: the names of all tensors of a MindSpore source, in its order; empty where PyTorch is the source.
        notes: remarks for the user.
    """

    name: str
    param_groups: tuple[Mapping[str, Any], ...]
    parameters: tuple[str, ...]
    steps: Mapping[int, float]
    global_step: int
    order: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def by_the_rules(self, ruled: Mapping[str, str]) -> Carried:
        """With the names that the layer rules gave the parameters; `ruled` has them by those that renames made."""
        return replace(self, parameters=tuple(ruled.get(name, name) for name in self.parameters))

    def to_json(self) -> dict[str, Any]:
        return {
            "class": self.name,
            "param_groups": list(self.param_groups),
            "parameters": list(self.parameters),
            "steps": {str(number): step for number, step in self.steps.items()},
            "global_step": self.global_step,
            "order": list(self.order),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Carried:
        """Read `to_json` back.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        groups = list_of(dict, value["param_groups"])
        found = cls(
            of_type(str, value["class"]),
            tuple({key: _as_torch(key, setting) for key, setting in group.items()} for group in groups),
            tuple(list_of(str, value["parameters"])),
            {int(number): step for number, step in map_of(float, value["steps"]).items()},
            of_type(int, value["global_step"]),
            tuple(list_of(str, value["order"])),
        )
        found._check()
        return found

    def _check(self) -> None:
        """A record may come from a stranger: what is counted on later holds, or it is none (ValueError)."""
        numbers = [number for group in self.param_groups for number in group["params"]]
        counts = (self.global_step, *self.steps.values())
        if (
            self.name not in CLASSES
            or numbers != list(range(len(self.parameters)))
            or not set(self.steps) <= set(numbers)
            or not all(0 <= count < 2**31 for count in counts)
            or not all(type(group["lr"]) in (int, float) for group in self.param_groups)
        ):
            raise ValueError("an optimizer that bnport did not write")


def _as_torch(key: str, setting: Any) -> Any:
    """JSON has no tuples; PyTorch's `betas` is one, its `params` is a list."""
    return tuple(setting) if isinstance(setting, list) and not key.startswith("param") else setting
