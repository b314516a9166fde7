"""Which layer of one network is which of the other, and which values each gets: read off the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from porter.formats.dtypes import BFLOAT16, FLOAT32, TEXT, DType
from porter.formats.model import Checkpoint, TensorSpec
from porter.layers.kinds import Dialect, Kind
from porter.layers.model import Layer
from porter.plan import Plan
from porter.source import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from porter.verification.cases import Array


@dataclass(frozen=True)
class Values:
    """The parameters of both networks, by the names each network gives them.

    Attributes:
        torch: as the PyTorch file has them.
        rounded: the same, rounded to the types that the MindSpore file stores them in.
        mindspore: as the MindSpore file has them.
        torch_specs, mindspore_specs: what the two files say of them.
    """

    torch: Mapping[str, Array]
    rounded: Mapping[str, Array]
    mindspore: Mapping[str, Array]
    torch_specs: Sequence[TensorSpec]
    mindspore_specs: Sequence[TensorSpec]


def read_values(source: Source, plan: Plan, output: Checkpoint) -> Values:
    """Read both files whole.

    A prefix that a wrapper wrote in front of every name of the source is left out.
    """
    from porter.formats.transfer import TensorReader

    to_torch = plan.to == "torch"
    with TensorReader(source.checkpoint) as theirs, TensorReader(output) as ours:
        given = [s for s in source.checkpoint.specs if s.dtype is not TEXT and s.name not in source.left_out]
        made = [spec for spec in output.specs if spec.dtype is not TEXT]
        left = {spec.name.removeprefix(source.wrapper): theirs.array(spec.name) for spec in given}
        right = {spec.name: ours.array(spec.name) for spec in made}
    given = [spec._replace(name=spec.name.removeprefix(source.wrapper)) for spec in given]
    torch, mindspore = (right, left) if to_torch else (left, right)
    specs = (made, given) if to_torch else (given, made)
    stored: dict[str, DType] = {}
    for step in plan.steps:
        mine, other = (step.target, step.source) if to_torch else (step.source, step.target)
        if mine and other:
            stored[mine.name.removeprefix("" if to_torch else source.wrapper)] = other.dtype
    rounded = {name: _rounded(value, stored.get(name, FLOAT32)) for name, value in torch.items()}
    return Values(torch, rounded, mindspore, *specs)


def _rounded(value: NDArray[Any], dtype: DType) -> NDArray[Any]:
    from porter.formats.casting import narrow_to_bfloat16
    from porter.formats.transfer import widen_bfloat16

    if value.dtype.kind != "f" or not dtype.is_floating:
        return value
    if dtype is BFLOAT16:
        return widen_bfloat16(narrow_to_bfloat16(value))
    return value if dtype.numpy is None else value.astype(dtype.numpy)


@dataclass(frozen=True)
class Pairs:
    """PyTorch's name -> MindSpore's.

    Attributes:
        layers: of every layer that has parameters.
        around: of the modules around them, as far as the names below agree; "" -> "body" where a whole network
            became a part of another.
        tensors: of every tensor that travelled, by all its names.
        aliases: PyTorch's paths of layers whose tensors MindSpore keeps under other names; it may have them, too.
    """

    layers: Mapping[str, str]
    around: Mapping[str, str]
    tensors: Mapping[str, str]
    aliases: Set[str] = frozenset()

    def places_of(self, path: str) -> tuple[str, ...]:
        """Where a PyTorch module may stand in MindSpore's network, the likeliest place first."""
        return (self.of(path), path) if path in self.aliases else (self.of(path),)

    def of(self, path: str) -> str:
        """MindSpore's path of a PyTorch module; one without parameters stands where the module around it stands."""
        if path in self.layers:
            return self.layers[path]
        outer, inner = path, ""
        while outer not in self.around and outer:
            outer, _, last = outer.rpartition(".")
            inner = f"{last}.{inner}".removesuffix(".")
        return f"{self.around.get(outer, outer)}.{inner}".strip(".")


def pairs_of(source: Source, plan: Plan) -> Pairs:
    layers = {layer.name: layer for layer in source.layers}
    paths: dict[str, str] = {}
    around: dict[str, str] = {}
    tensors: dict[str, str] = {}
    for step in plan.steps:
        if step.source is None or step.target is None:
            continue
        layer = layers.get(step.layer) if step.layer is not None else None
        here = step.source.name.removeprefix(source.wrapper)
        ends = _path(here, layer, plan.from_), _path(step.target.name, layer, plan.to)
        names = here, step.target.name
        if plan.to == "torch":
            ends, names = ends[::-1], names[::-1]
        tensors[names[0]] = names[1]
        paths[ends[0]] = ends[1]
        for torch, mindspore in _parents(*ends):
            around.setdefault(torch, mindspore)
    aliases = dict(_aliases(source, plan))
    return Pairs(paths, around, tensors | aliases, {name.rpartition(".")[0] for name in aliases})


def _aliases(source: Source, plan: Plan) -> Iterator[tuple[str, str]]:
    """(PyTorch's name, MindSpore's) of tensors under names that PyTorch alone has for them."""
    written = {step.source.name: step.target.name for step in plan.steps if step.source and step.target}
    for step in plan.steps:
        if step.same_as is None:
            continue
        if step.source:
            yield step.source.name.removeprefix(source.wrapper), written[step.same_as]
        elif step.target:
            yield step.target.name, step.same_as.removeprefix(source.wrapper)


def _path(tensor: str, layer: Layer | None, dialect: Dialect) -> str:
    return tensor.rpartition(".")[0] if layer is None else layer_path(tensor, layer.kind, dialect)


def layer_path(tensor: str, kind: Kind, dialect: Dialect) -> str:
    """A layer's path, from the name of one of its tensors; a name that the kind does not have loses its last part."""
    leaves = {*kind.names_in(dialect).values(), *kind.names_in(dialect, root=True).values()}
    for leaf in sorted(leaves, key=len, reverse=True):
        if f".{tensor}".endswith(f".{leaf}"):
            return f".{tensor}".removesuffix(f".{leaf}").removeprefix(".")
    return tensor.rpartition(".")[0]


def _parents(torch: str, mindspore: str) -> Iterable[tuple[str, str]]:
    """The modules around both for as long as the names below them agree."""
    while torch and mindspore:
        (torch, _, mine), (mindspore, _, other) = torch.rpartition("."), mindspore.rpartition(".")
        if mine != other:
            return
        yield torch, mindspore
