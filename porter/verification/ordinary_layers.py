"""The layers of a converted file that are no batch normalisations, read one at a time, and run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from porter.formats.model import ModuleFacts
from porter.formats.transfer import TensorReader
from porter.layers.classes import kinds_of_class
from porter.layers.kinds import Dialect, Kind
from porter.layers.ordinary_settings import BESIDE, Settings, differing, read_settings
from porter.plan import Plan
from porter.verification.cases import OrdinaryCase, Stored, computed_with
from porter.verification.layer_pairs import LayerPair
from porter.verification.options import Options
from porter.verification.results import Check, LayerResult

if TYPE_CHECKING:
    from porter.verification.runs import Bench

_BESIDE_THE_LAYER = (
    "if the network does the same beside the layer, --input-shape 2x3x8x32x32 (your network's own) proves it on both "
    "networks whole"
)
_FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Networks:
    """What is known of the networks that the two files belong to.

    Attributes:
        source, target: path in the file -> module; empty where no network is given.
        agree: whether, run whole, they compute the same; None where they were not run.
    """

    source: Mapping[str, ModuleFacts]
    target: Mapping[str, ModuleFacts]
    agree: bool | None = None


class OrdinaryLayers:
    """Those of `pairs` that can be run from their parameters alone.

    Args:
        theirs, ours: the source and the output, open while the layers are verified.
    """

    def __init__(
        self,
        plan: Plan,
        theirs: TensorReader,
        ours: TensorReader,
        pairs: Sequence[LayerPair],
        networks: Networks,
    ) -> None:
        from porter.verification.recipes import RECIPES

        self._plan, self._theirs, self._ours, self._networks = plan, theirs, ours, networks
        self._pairs = [pair for pair in pairs if pair.layer.kind.name in RECIPES]

    def __len__(self) -> int:
        return len(self._pairs)

    def verified(self, options: Options) -> Iterator[LayerResult]:
        """One result per layer that has parameters or can be run; memory is that of the largest."""
        from porter.verification.runs import Bench

        bench = Bench(options)
        for pair in self._pairs:
            reason = _unfit(pair, self._theirs, self._ours)
            if reason:
                check = Check("eval", None, note=f"{pair.layer.label}: {reason}")
                result = LayerResult(pair.layer.name, pair.layer.kind.name, None, (check,))
            else:
                result = self._verified(self._case(pair), bench)
            # Of a layer without parameters nothing was converted: that it does not run here leaves nothing unproven.
            if pair.theirs or result.ok is not None:
                yield result

    def _verified(self, case: OrdinaryCase, bench: Bench) -> LayerResult:
        """The result, with what else could prove the layer right where only its network can tell."""
        from porter.verification.ordinary import verify_ordinary

        result, theirs = verify_ordinary(case, bench), case.source.settings
        beside = {name: theirs[name] for name in BESIDE if name in theirs}
        if result.cause != "settings" or self._networks.agree is not None:
            return result
        if not differing(beside, case.target.settings):
            return result
        return replace(result, diagnosis=f"{result.diagnosis}; {_BESIDE_THE_LAYER}")

    def _case(self, pair: LayerPair) -> OrdinaryCase:
        kind, networks = pair.layer.kind, self._networks
        theirs = _settings(networks.source.get(pair.layer.name), kind, self._plan.from_)
        ours = _settings(networks.target.get(pair.path), kind, self._plan.to)
        made_up_for = [name for name in BESIDE if networks.agree and name in theirs and name in ours]
        return OrdinaryCase(
            pair.layer.name,
            kind,
            _stored(self._plan.from_, pair.theirs, self._theirs, theirs),
            _stored(self._plan.to, pair.ours, self._ours, {**ours, **{name: theirs[name] for name in made_up_for}}),
        )


def _unfit(pair: LayerPair, theirs: TensorReader, ours: TensorReader) -> str | None:
    """Why no framework can run a layer with these tensors; None where one can."""
    sides = ((computed_with(pair.theirs), theirs), (computed_with(pair.ours), ours))
    specs = [reader.checkpoint.tensors[name].spec for tensors, reader in sides for name in tensors.values()]
    if not specs:
        return "neither file has a parameter of it that says its size"
    for spec in specs:
        if spec.dtype.name not in _FLOATS:
            return f"{spec.dtype.name} parameters are compared, but not computed with"
        if 0 in spec.shape:
            return "a parameter without elements leaves nothing to compute"
    return None


def _stored(dialect: Dialect, tensors: Mapping[str, str], reader: TensorReader, settings: Settings) -> Stored:
    parameters = {slot: reader.array(name) for slot, name in computed_with(tensors).items()}
    dtypes = [reader.checkpoint.tensors[name].spec.dtype.name for name in computed_with(tensors).values()]
    return Stored(dialect, parameters, dtypes[0] if dtypes else "float32", settings)


def _settings(facts: ModuleFacts | None, kind: Kind, dialect: Dialect) -> Settings:
    """As the network says them; none of a class that is no layer of this kind."""
    if facts is None or kind not in kinds_of_class(facts):
        return {}
    transposed = kind.name.startswith("ConvTranspose")
    return read_settings(facts.attributes, mindspore=dialect == "mindspore", transposed=transposed)
