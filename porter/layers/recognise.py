"""Which layers the tensors of a checkpoint belong to.

Evidence for a layer's kind, strongest first:

1. the user's word (`--layer`), which beats all the others;
2. the user's network on the file's side (`--model`, `--net`), by class;
3. a whole pickled module in the file, by class name;
4. the record of the conversion that wrote the file;
5. the network on the other side, the target of a conversion, by class;
6. MindSpore's own names;
7. its siblings in repeated modules, the state dict's `_metadata`, the neighbouring layers, names and shapes.

1-5 (`porter.layers.said`) settle a kind, and so does 6 where no other kind has these names and 7 does not contradict
it; for a BatchNorm3d, 7 must agree, since any cell may call a BatchNorm2d of its own `bn2d`. Otherwise 7 narrows the
candidates down: the kind is inferred if one rule converts all that are left, undecided otherwise.
Nothing is decided without evidence that can be shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from porter.formats.model import Checkpoint, TensorSpec
from porter.layers.classes import kinds_of_class, looks_like_norm, owns_no_tensor
from porter.layers.composites import Composites
from porter.layers.groups import (
    Group,
    Shapes,
    candidates,
    channels_of,
    group_tensors,
    owns_statistics,
    slots_of,
    subclass_candidates,
)
from porter.layers.hints import Hints
from porter.layers.kinds import KEEP, KINDS, Dialect, Kind
from porter.layers.misfit import refuse_misfit
from porter.layers.model import Evidence, Layer
from porter.layers.neighbours import Neighbourhood, Norm, about_weight, kinds_beside, outer_norms
from porter.layers.rules import share_a_rule
from porter.layers.said import Said
from porter.layers.siblings import by_siblings
from porter.layers.weighing import likely, weigh
from porter.layers.weights import Weight, weights_of

# PyTorch's float modules carry version 2 in `_metadata` only here: torch/nn/modules/batchnorm.py, instancenorm.py.
_VERSION_2 = tuple(kind for kind in KINDS.values() if kind.version == 2)
_OTHER_VERSIONS = tuple(kind for kind in KINDS.values() if kind.version != 2)
_SAYS_VERSION_2 = Evidence("metadata", _VERSION_2, "_metadata says version 2: batch or instance normalisation")
# Names in MindSpore's layers that any cell may give its own parameters.
_ANYBODYS = {"weight", "bias", "w", "a", "gamma", "beta"}


def recognise(checkpoint: Checkpoint, dialect: Dialect, specs: Iterable[TensorSpec], hints: Hints) -> list[Layer]:
    """The layers of a checkpoint, in its order.

    Args:
        checkpoint: for its evidence: `versions` and `modules`.
        dialect: whose names the tensors bear.
        specs: the model's tensors (no optimizer state).
        hints: what else is known.

    Raises:
        UsageError: `--layer` names a kind that the tensors of a layer cannot be, or matches no layer; or the network
            does not fit the file.
    """
    specs = list(specs)
    refuse_misfit(hints.network, hints.wrapper, [spec.name for spec in specs], checkpoint.path, dialect)
    said = Said(dialect, checkpoint, hints)
    recogniser = _Recogniser(checkpoint, dialect, specs, said)
    layers = recogniser.layers()
    said.check_patterns()
    return recogniser.composites.applied(layers)


class _Recogniser:
    def __init__(self, checkpoint: Checkpoint, dialect: Dialect, specs: list[TensorSpec], said: Said) -> None:
        self.dialect: Dialect = dialect
        self.said = said
        self.versions = checkpoint.versions or {}
        self.groups = group_tensors(specs, dialect, self._cells_named_bn2d(specs))
        self.weights = weights_of(self.groups, dialect)
        self.outer_norm = outer_norms(self.groups)
        self.outer_norms = set(self.outer_norm.values())
        self.fitting = {name: self._fitting(group) for name, group in self.groups.items()}
        self.candidates = {name: self._likely(group) for name, group in self.groups.items()}
        self.composites = Composites(dialect, self.candidates, said.of_composite)
        self.order = self._with_parameterless_layers()
        self.items = {name: item for name in self.order if (item := self._item(name))}
        self.neighbourhood = Neighbourhood(list(self.items.values()))

    def layers(self) -> list[Layer]:
        """In the checkpoint's order, those that are no layer bnport has a rule for left out."""
        found = {name: layer for name in self.order if (layer := self.layer(name))}
        for name, evidence in by_siblings(found.values()).items():
            found[name] = self.layer(name, evidence) or found[name]
        return list(found.values())

    def layer(self, name: str, *more: Evidence) -> Layer | None:
        """The layer called `name`, `more` being said about it; None where no rule is for its tensors."""
        group = self.groups.get(name) or Group(name, {}, ())
        possible = self.candidates[name] if group.tensors else self._possible_without_tensors(name)
        fitting = self.fitting.get(name, ())
        names = [e for e in (self._names(group, possible),) if e]
        evidence = [*self.said.settling(name, group, possible, fitting), *names, *more]
        evidence += self._circumstantial(name, group, possible)
        kinds, certainty = weigh(possible, fitting or possible, evidence)
        if not evidence and owns_statistics(group):
            evidence = [_by_shapes(group.shapes, fitting)]
        if not evidence:
            return None
        kinds = kinds or (KEEP,)
        slots = slots_of(group, kinds[0], self.dialect)
        channels, shape = channels_of(group, kinds[0], self.dialect), None
        if not group.tensors and kinds != (KEEP,):
            shape = self.said.normalised_shape(name)
            channels = shape[0] if shape else self._channels_without_tensors(name)
            if certainty != "undecided" and channels is None:
                certainty = "undecided"
                evidence.append(Evidence("shapes", kinds, "nothing says how many channels it has"))
        return Layer(
            name=name,
            kinds=kinds,
            certainty=certainty,
            evidence=tuple(evidence),
            tensors={slot: group.tensors[leaf].name for slot, leaf in slots.items()},
            channels=channels,
            shape=shape,
            settings=self.said.settings(name, slots) if kinds[0].family == "BatchNorm" else None,
        )

    def _circumstantial(self, name: str, group: Group, possible: tuple[Kind, ...]) -> list[Evidence]:
        if not possible:
            return []
        found = (
            self.composites.part(name),
            self._metadata(name) if _may_be_norm(possible) else None,
            self._neighbours(name),
            _by_shapes(group.shapes, self.fitting[name]) if group.tensors else None,
        )
        return [evidence for evidence in found if evidence]

    def _names(self, group: Group, possible: tuple[Kind, ...]) -> Evidence | None:
        """MindSpore's names, where nobody else would choose them and they leave one rule.

        Those of BatchNorm2d are InstanceNorm3d's as well.
        """
        if self.dialect != "mindspore" or not group.tensors or not share_a_rule(possible):
            return None
        if len(slots_of(group, possible[0], self.dialect)) < len(group.tensors):
            return None  # a subclass
        return _by_names(tuple(group.tensors), self.fitting[group.name])

    def _metadata(self, name: str) -> Evidence | None:
        facts = self.said.pickled(name)
        if facts and looks_like_norm(facts):
            text = f"{facts.class_name} has the settings of a batch or instance normalisation"
            return Evidence("metadata", _VERSION_2, text)
        version = self.versions.get(name)
        if version is None or version == 2:
            return None if version is None else _SAYS_VERSION_2
        text = f"_metadata says version {version}: no batch or instance normalisation"
        return Evidence("metadata", _OTHER_VERSIONS, text)

    def _neighbours(self, name: str) -> Evidence | None:
        item = self.items.get(self.outer_norm.get(name, name))
        if item is None:
            return None
        finding = about_weight(item) if isinstance(item, Weight) else self.neighbourhood.about(item)
        if not finding.axes and isinstance(item, Norm) and self.candidates.get(name) == (KINDS["BatchNorm3d"],):
            finding = self.neighbourhood.volumes_around(item)
        return Evidence("neighbours", kinds_beside(item, finding.axes), finding.text) if finding.axes else None

    def _fitting(self, group: Group) -> tuple[Kind, ...]:
        """The candidates by names and shapes."""
        fitting = candidates(group, self.dialect)
        if not fitting:
            subclasses = subclass_candidates(group, self.dialect)
            fitting = tuple([kind for kind in subclasses if self.said.names(kind, group.name)])
        return tuple([kind for kind in fitting if not kind.only_when_named or self.said.names(kind, group.name)])

    def _likely(self, group: Group) -> tuple[Kind, ...]:
        """The candidates, less those that are never meant where another one fits."""
        return () if group.name in self.outer_norms else likely(self.fitting[group.name], group)

    def _possible_without_tensors(self, name: str) -> tuple[Kind, ...]:
        """What a layer that owns no tensor may be: a normalisation whose parameters MindSpore has all the same."""
        facts = self.said.facts(name)
        known = kinds_of_class(facts) if facts else ()
        if known and all(kind.version != 2 for kind in known):
            return known
        return tuple(kind for kind in _VERSION_2 if not kind.only_when_named or self.said.names(kind, name))

    def _with_parameterless_layers(self) -> list[str]:
        """Names of all groups and, at their place in the network, of normalisations that own no tensor at all."""
        modules = list(self.said.modules or self.versions)
        bare = {module for module in modules if module not in self.groups and self._is_parameterless_norm(module)}
        if not bare:
            return list(self.groups)
        bare -= {module.rpartition(".")[0] for module in modules}
        order, last = dict.fromkeys(self.groups), ""
        after: dict[str, list[str]] = {}
        for module in modules:
            if module in self.groups:
                last = module
            elif module in bare:
                after.setdefault(last, []).append(module)
        names = [n for group in order for n in (group, *after.pop(group, ()))]
        return names + [n for rest in after.values() for n in rest]

    def _is_parameterless_norm(self, name: str) -> bool:
        if self.dialect == "mindspore":
            return False  # MindSpore's normalisations always have all their parameters
        facts = self.said.facts(name)
        return owns_no_tensor(facts) if facts else self.versions.get(name) == 2

    def _cells_named_bn2d(self, specs: list[TensorSpec]) -> set[str]:
        """Paths called bn2d of which a network, the user or the record speaks: no inner cells of a BatchNorm3d."""
        if self.dialect != "mindspore":
            return set()
        paths = {spec.name.rpartition(".")[0] for spec in specs}
        return {path for path in paths if path.rpartition(".")[2] == "bn2d" and self.said.is_a_layer(path)}

    def _item(self, name: str) -> Weight | Norm | None:
        """What `name` is in the order of weights and norms; None for the rest."""
        group = self.groups.get(name)
        if group is None:
            return Norm(name, self.said.channels(name))
        if name in self.weights:
            return self.weights[name]
        if name in self.outer_norms:
            return Norm(name, next(iter(group.tensors.values())).shape[0])
        norms = [kind for kind in self.candidates[name] if kind.is_norm_with_statistics]
        if not norms or name in self.outer_norm:
            return None
        slots = slots_of(group, norms[0], self.dialect)
        channels = channels_of(group, norms[0], self.dialect)
        return Norm(name, channels, tracked="mean" in slots, alone=set(slots) == {"gamma"})

    def _channels_without_tensors(self, name: str) -> int | None:
        return self.said.channels(name) or self.neighbourhood.feeder_channels(Norm(name, None))


@lru_cache(maxsize=1024)
def _may_be_norm(kinds: tuple[Kind, ...]) -> bool:
    return any(kind.is_norm_with_statistics for kind in kinds)


# Networks repeat themselves: the same names and shapes come again and again.
@lru_cache(maxsize=4096)
def _by_shapes(shapes: Shapes, kinds: tuple[Kind, ...]) -> Evidence:
    return Evidence("shapes", kinds, ", ".join(f"{leaf} {list(shape)}" for leaf, shape in shapes))


@lru_cache(maxsize=256)
def _by_names(leaves: tuple[str, ...], kinds: tuple[Kind, ...]) -> Evidence | None:
    own = sorted(set(leaves) - _ANYBODYS)
    return Evidence("names", kinds, f"MindSpore's names: {', '.join(own)}") if own else None
