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

from porter.formats.model import Checkpoint, TensorSpec
from porter.layers.classes import kinds_of_class, looks_like_norm, owns_no_tensor
from porter.layers.composites import Composites
from porter.layers.groups import (
    Group,
    candidates,
    group_tensors,
    owns_statistics,
    read_as,
    subclass_candidates,
)
from porter.layers.hints import Hints
from porter.layers.kinds import KEEP, KINDS, Dialect, Kind
from porter.layers.looks import Look, by_shapes, look_of
from porter.layers.misfit import refuse_misfit
from porter.layers.model import Evidence, Layer
from porter.layers.neighbours import Neighbourhood, Norm, about_weight, kinds_beside, outer_norms
from porter.layers.said import Said
from porter.layers.siblings import by_siblings
from porter.layers.weighing import sounds_like_an_embedding, weigh
from porter.layers.weights import Weight, weights_of

# PyTorch's float modules carry version 2 in `_metadata` only here: torch/nn/modules/batchnorm.py, instancenorm.py.
_VERSION_2 = tuple(kind for kind in KINDS.values() if kind.version == 2)
_OTHER_VERSIONS = tuple(kind for kind in KINDS.values() if kind.version != 2)
_SAYS_VERSION_2 = Evidence("metadata", _VERSION_2, "_metadata says version 2: batch or instance normalisation")
_EMBEDDING = KINDS["Embedding"]


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
        self.looks = {name: self._look(group) for name, group in self.groups.items()}
        likely = {name: look.likely for name, look in self.looks.items()}
        self.composites = Composites(dialect, likely, said.of_composite)
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
        group = self.groups.get(name) or Group.of(name, {})
        look = self.looks.get(name) or self._look_without_tensors(name)
        evidence = self.said.settling(name, group, look.likely, look.fitting)
        if look.names:
            evidence.append(look.names)
        evidence += more
        evidence += self._circumstantial(name, look)
        kinds, certainty = weigh(look.likely, look.fitting or look.likely, evidence)
        if not evidence and owns_statistics(group):
            evidence = [by_shapes(group.form, look.fitting)]
        if not evidence:
            return None
        kinds = kinds or (KEEP,)
        (slots, channels), shape = read_as(group.form, kinds[0], self.dialect), None
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

    def _circumstantial(self, name: str, look: Look) -> list[Evidence]:
        if not look.likely:
            return []
        found = (
            self.composites.part(name),
            self._metadata(name) if look.may_be_norm else None,
            self._neighbours(name, look),
            look.shapes,
        )
        return [evidence for evidence in found if evidence]

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

    def _neighbours(self, name: str, look: Look) -> Evidence | None:
        item = self.items.get(self.outer_norm.get(name, name))
        if item is None:
            return None
        finding = about_weight(item) if isinstance(item, Weight) else self.neighbourhood.about(item)
        if not finding.axes and isinstance(item, Norm) and look.likely == (KINDS["BatchNorm3d"],):
            finding = self.neighbourhood.volumes_around(item)
        return Evidence("neighbours", kinds_beside(item, finding.axes), finding.text) if finding.axes else None

    def _fitting(self, group: Group) -> tuple[Kind, ...]:
        """The candidates by names and shapes."""
        fitting = candidates(group, self.dialect)
        if not fitting:
            subclasses = subclass_candidates(group, self.dialect)
            fitting = tuple([kind for kind in subclasses if self.said.names(kind, group.name)])
        return tuple([kind for kind in fitting if not kind.only_when_named or self.said.names(kind, group.name)])

    def _look(self, group: Group) -> Look:
        fitting = self._fitting(group)
        if group.name in self.outer_norms:
            return Look(fitting, likely=())
        is_embedding = _EMBEDDING in fitting and sounds_like_an_embedding(group.name)
        return look_of(group.form, fitting, self.dialect, is_embedding)

    def _look_without_tensors(self, name: str) -> Look:
        possible = self._possible_without_tensors(name)
        return Look((), possible, may_be_norm=any(kind.is_norm_with_statistics for kind in possible))

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
        if self.dialect != "mindspore" or self.said.is_silent:
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
        norm = self.looks[name].norm
        if not norm or name in self.outer_norm:
            return None
        return Norm(name, norm.channels, tracked="mean" in norm.slots, alone=norm.slots.keys() == {"gamma"})

    def _channels_without_tensors(self, name: str) -> int | None:
        return self.said.channels(name) or self.neighbourhood.feeder_channels(Norm(name, None))
