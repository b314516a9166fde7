"""The plan for a checkpoint, from the layer rules.

What becomes of a layer's tensors follows from its kind, from which of them are there, and from a few facts more:
layers that are alike in these have one template, worked out once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

from porter.formats.dtypes import FLOAT32, INT64, TEXT, DType
from porter.formats.model import TensorSpec
from porter.layers.kinds import Dialect, Kind, Parameter
from porter.layers.model import Layer
from porter.layers.rules import names_differ
from porter.plan import Fate, Plan, Step, dropped_as, moved_with


def make_plan(
    specs: Sequence[TensorSpec], layers: Sequence[Layer], from_: Dialect, to: Dialect, left_out: Mapping[str, str]
) -> Plan:
    """The plan for a checkpoint, from the layer rules.

    Args:
        specs: every tensor of the source, in its order.
        layers: as recognised; all decided where `from_` and `to` have different names
            (`porter.layers.undecided`).
        from_, to: whose names the source bears and the target shall bear.
        left_out: tensors that do not travel, name -> what they are (optimizer state).
    """
    return Plan(from_, to, tuple(_Planner(specs, layers, from_, to, left_out).steps()))


class _Planner:
    def __init__(
        self,
        specs: Sequence[TensorSpec],
        layers: Sequence[Layer],
        from_: Dialect,
        to: Dialect,
        left_out: Mapping[str, str],
    ) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self.layers = layers
        self.from_: Dialect = from_
        self.to: Dialect = to
        self.left_out = left_out

    def steps(self) -> list[Step]:
        """In the source's order; what is created for a layer follows the last of its tensors."""
        moved: dict[str, Step] = {}
        created: dict[str | None, list[Step]] = {}
        for layer in self.layers:
            path = layer.path_in(self.to, came_from=self.from_)
            template = _template(_Case.of(layer, path), self.from_, self.to)
            prefix = f"{path}." if path else ""
            self._move(layer, prefix, template, moved)
            if template.created:
                last = max(layer.tensors.values(), key=self._position.__getitem__, default=None)
                created.setdefault(last, []).extend(self._created(layer, prefix, template))
        steps = []
        for name, spec in self.specs.items():
            steps.append(moved.get(name) or self._outside(spec))
            if name in created:
                steps += created[name]
        return [*steps, *created.get(None, ())]

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.specs)}

    def _move(self, layer: Layer, prefix: str, template: _Template, moved: dict[str, Step]) -> None:
        """Add to `moved` what becomes of the tensors of a layer, by their names."""
        for slot, name in layer.tensors.items():
            spec = self.specs[name]
            leaf, fate, reason, reshaped = template.moves[slot]
            if name in self.left_out:
                moved[name] = dropped_as(spec, self.left_out)._replace(layer=layer.name)
            elif spec.dtype is TEXT:
                moved[name] = self._outside(spec)
            elif leaf is None:
                moved[name] = moved_with(layer.name, spec, None, fate, reason)
            else:
                shape = spec.shape
                if reshaped:
                    shape = reshaped.shape_in(self.to, shape, came_from=self.from_)
                target = spec if fate == "copied" else TensorSpec(prefix + leaf, spec.dtype, shape)
                moved[name] = moved_with(layer.name, spec, target, fate, reason)

    def _outside(self, spec: TensorSpec) -> Step:
        if spec.name in self.left_out:
            return dropped_as(spec, self.left_out)
        if spec.dtype is TEXT:
            return Step(spec, None, "dropped", "a text entry, no tensor")
        return Step(spec, spec, "copied", "outside of the layers bnport has rules for: keeps its name")

    def _created(self, layer: Layer, prefix: str, template: _Template) -> Iterator[Step]:
        """The tensors that the target's layer has and the source's has not."""
        for parameter, leaf, reason in template.created:
            target = TensorSpec(prefix + leaf, *self._created_type(layer, parameter))
            yield Step(None, target, "created", reason, fill=parameter.fill, layer=layer.name)

    def _created_type(self, layer: Layer, parameter: Parameter) -> tuple[DType, tuple[int, ...]]:
        if parameter.torch_with:
            return INT64, ()
        assert layer.channels is not None, "a layer without a channel count is undecided"
        kin = next((self.specs[name] for slot, name in layer.tensors.items() if slot != "count"), None)
        if kin:
            return kin.dtype, kin.shape
        floats = Counter(spec.dtype for spec in self.specs.values() if spec.dtype.is_floating)
        usual = floats.most_common(1)[0][0] if floats else FLOAT32
        return usual, layer.shape or (layer.channels,)


class _Case(NamedTuple):
    """What a layer's template depends on.

    Attributes:
        kinds: as `Layer.kinds`.
        slots: of its tensors.
        is_root: whether the layer is the whole network.
        renamed: the last levels of its path in the source and in the target; None where the path is the same.
        keeps_no_statistics: whether PyTorch's layer, which behaves as MindSpore's does, has no running statistics.
    """

    kinds: tuple[Kind, ...]
    slots: tuple[str, ...]
    is_root: bool
    renamed: tuple[str, str] | None
    keeps_no_statistics: bool

    @classmethod
    def of(cls, layer: Layer, path: str) -> _Case:
        renamed = None if path == layer.name else (layer.name.rpartition(".")[2], path.rpartition(".")[2])
        by_batch = layer.settings is not None and layer.settings.statistics == "batch"
        without = by_batch or layer.kind.family == "InstanceNorm"
        return cls(layer.kinds, tuple(layer.tensors), not path, renamed, without)


class _Move(NamedTuple):
    """What becomes of a tensor of a layer.

    Attributes:
        leaf: its name below the layer in the target; None where it is dropped.
        fate, reason: as those of the step.
        reshaped: whose shape is another one in the target; None where it stays.
    """

    leaf: str | None
    fate: Fate
    reason: str
    reshaped: Parameter | None = None


class _Template(NamedTuple):
    """What becomes of the tensors of layers that are alike.

    Attributes:
        moves: by slot.
        created: parameter, its name below the layer, and the reason, of tensors that only the target has.
    """

    moves: Mapping[str, _Move]
    created: tuple[tuple[Parameter, str, str], ...]


@lru_cache(maxsize=1024)
def _template(case: _Case, from_: Dialect, to: Dialect) -> _Template:
    kind = case.kinds[0]
    kind_name = "|".join(one.name for one in case.kinds)
    moves = {slot: _move(case, kind.parameter(slot), from_, to) for slot in case.slots}
    return _Template(
        {slot: move._replace(reason=f"{kind_name}: {move.reason}") for slot, move in moves.items()},
        tuple(
            (parameter, leaf, f"{kind_name}: {_why_created(parameter, leaf, to)}")
            for parameter in kind.in_order(to)
            if (leaf := parameter.name_in(to, root=case.is_root)) and _is_needed(case, parameter, from_, to)
        ),
    )


_STATISTICS = ("mean", "variance")


def _move(case: _Case, parameter: Parameter, from_: Dialect, to: Dialect) -> _Move:
    kind = case.kinds[0]
    if names_differ(from_, to) and to != "mindspore" and parameter.slot in _STATISTICS and case.keeps_no_statistics:
        return _Move(None, "dropped", _no_statistics(kind))
    leaf = parameter.name_in(to, root=case.is_root)
    if leaf is None:
        return _Move(None, "dropped", f"MindSpore has no {parameter.torch}; kept in the record beside the output")
    fate: Fate = "copied"
    reason = "same name in both"
    if case.renamed or leaf != parameter.name_in(from_, root=case.is_root):
        fate, reason = "renamed", _renaming(case, parameter, from_)
    if parameter.extra_axis is None or not names_differ(from_, to):
        return _Move(leaf, fate, reason)
    return _Move(leaf, "reshaped", f"{reason}; MindSpore's has one axis more, of length 1", parameter)


def _renaming(case: _Case, parameter: Parameter, from_: Dialect) -> str:
    torch, mindspore = parameter.torch, parameter.mindspore
    if case.renamed is None:
        return f"PyTorch's {torch} is MindSpore's {mindspore}"
    ours, theirs = reversed(case.renamed) if from_ == "mindspore" else case.renamed
    return f"PyTorch's {ours}.{torch} is MindSpore's {theirs}.{mindspore}"


def _no_statistics(kind: Kind) -> str:
    if kind.family == "InstanceNorm":
        return "MindSpore never reads these; PyTorch's that never does (track_running_stats=False) has none"
    return "use_batch_statistics=True is track_running_stats=False, which keeps none"


def _is_needed(case: _Case, parameter: Parameter, from_: Dialect, to: Dialect) -> bool:
    if parameter.slot in case.slots:
        return False
    if to == "mindspore":
        return parameter.always_in_mindspore
    return parameter.torch_with in case.slots and from_ != to and not case.keeps_no_statistics


def _why_created(parameter: Parameter, leaf: str, to: Dialect) -> str:
    where = "MindSpore" if to == "mindspore" else "PyTorch"
    return f"{where} always has {leaf}; {parameter.fill:g} leaves the outputs as they are"
