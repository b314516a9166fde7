"""Which layers the tensors of a checkpoint belong to.

Evidence for a layer's kind, strongest first:

1. the user's word (`--layer`), which beats all the others;
2. the user's network (`--model`, `--net`), by class;
3. a whole pickled module in the file, by class name;
4. the record of the conversion that wrote the file;
5. MindSpore's own names;
6. its siblings in repeated modules, the state dict's `_metadata`, the neighbouring layers, names and shapes.

1-4 settle a kind, and so does 5 where no other kind has these names and 6 does not contradict it. 6 narrows the
candidates down: the kind is inferred if one rule converts all that are left, undecided otherwise. Nothing is decided
without evidence that can be shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from porter.errors import UsageError
from porter.formats.model import Checkpoint, ModuleFacts, TensorSpec
from porter.layers.classes import kinds_of_class, looks_like_norm, owns_no_tensor, settings_of
from porter.layers.composites import Composites
from porter.layers.groups import (
    Group,
    candidates,
    group_tensors,
    owns_statistics,
    shapes_of,
    slots_of,
    subclass_candidates,
)
from porter.layers.kinds import KEEP, KINDS, Dialect, Kind, kind_called
from porter.layers.misfit import refuse_misfit
from porter.layers.model import Evidence, Layer
from porter.layers.neighbours import Neighbourhood, Norm, about_weight, kinds_beside, outer_norms
from porter.layers.patterns import matches
from porter.layers.settings import Settings
from porter.layers.siblings import by_siblings
from porter.layers.weighing import unlikely, weigh
from porter.layers.weights import Weight, weights_of

# PyTorch's float modules carry version 2 in `_metadata` only here: torch/nn/modules/batchnorm.py, instancenorm.py.
_VERSION_2 = tuple(kind for kind in KINDS.values() if kind.version == 2)
# Names in MindSpore's layers that any cell may give its own parameters.
_ANYBODYS = {"weight", "bias", "w", "a", "gamma", "beta"}


@dataclass(frozen=True)
class Hints:
    """What the user, or an earlier conversion, adds to the file's own evidence.

    Attributes:
        layers: (pattern, kind) pairs of `--layer`, the last match wins.
        network: the modules of the user's network, in order; empty without `--model` or `--net`.
        recorded: layer name -> kind name, from the record of the conversion that wrote the file.
        recorded_settings: layer name -> settings, from the same record.
        wrapper: a prefix of all names that the user's network does not have (`module.`).
        eps, momentum: settings for batch normalisations whose own are not known, momentum in PyTorch's terms.
    """

    layers: tuple[tuple[str, Kind], ...] = ()
    network: tuple[ModuleFacts, ...] = ()
    recorded: Mapping[str, str] = field(default_factory=dict)
    recorded_settings: Mapping[str, Settings] = field(default_factory=dict)
    wrapper: str = ""
    eps: float | None = None
    momentum: float | None = None


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
    recogniser = _Recogniser(checkpoint, dialect, specs, hints)
    layers = recogniser.layers()
    _check_patterns(hints, recogniser.patterns_used)
    return recogniser.composites.applied(layers)


class _Recogniser:
    def __init__(self, checkpoint: Checkpoint, dialect: Dialect, specs: list[TensorSpec], hints: Hints) -> None:
        self.dialect = dialect
        self.hints = hints
        self.patterns_used: set[str] = set()
        self.versions = checkpoint.versions or {}
        self.pickled = {facts.name: facts for facts in checkpoint.modules}
        self.network = {hints.wrapper + facts.name: facts for facts in hints.network}
        self.groups = group_tensors(specs, dialect, self._cells_named_bn2d(specs))
        self.weights = weights_of(self.groups, dialect)
        self.outer_norm = outer_norms(self.groups)
        self.outer_norms = set(self.outer_norm.values())
        self.candidates = {name: self._likely(group) for name, group in self.groups.items()}
        self.composites = Composites(dialect, self.candidates, self._said_of_composite)
        self.order = self._with_parameterless_layers()
        items = (self._neighbour(name) for name in self.order)
        self.neighbourhood = Neighbourhood([item for item in items if item is not None])

    def layers(self) -> list[Layer]:
        """In the checkpoint's order, those that are no layer bnport has a rule for left out."""
        found = {name: layer for name in self.order if (layer := self.layer(name))}
        for name, evidence in by_siblings(found.values()).items():
            found[name] = self.layer(name, evidence) or found[name]
        return list(found.values())

    def layer(self, name: str, *more: Evidence) -> Layer | None:
        """The layer called `name`, `more` being said about it; None where no rule is for its tensors."""
        possible = self.candidates[name] if name in self.candidates else self._possible_without_tensors(name)
        circumstantial = self._circumstantial(name, possible)
        evidence = [e for e in (*self._decisive(name, possible), *more, *circumstantial) if e]
        kinds, certainty = weigh(possible, self._fitting(name) or possible, evidence)
        group = self.groups.get(name, Group(name, {}))
        if not evidence and owns_statistics(group):
            evidence = [self._shapes(group)]
        if not evidence:
            return None
        kinds = kinds or (KEEP,)
        slots = slots_of(group, kinds[0], self.dialect)
        channels = kinds[0].channels(shapes_of(group, slots))
        shape = None
        if not group.tensors and kinds != (KEEP,):
            shape = self._normalised_shape(name)
            channels = shape[0] if shape else self._channels_without_tensors(name)
            if certainty != "undecided" and channels is None:
                certainty = "undecided"
                evidence.append(Evidence("shapes", kinds, "nothing says how many channels it has"))
        return Layer(
            name=name,
            kinds=kinds,
            certainty=certainty,
            evidence=tuple(evidence),
            tensors={slot: group.tensor_name(leaf) for slot, leaf in slots.items()},
            channels=channels,
            shape=shape,
            settings=self._settings(name, slots) if kinds[0].family == "BatchNorm" else None,
        )

    def _decisive(self, name: str, possible: tuple[Kind, ...]) -> list[Evidence | None]:
        said = self._class(name) or self._own_class(name, possible)
        if said and not possible and all(kind.keeps_names for kind in said.kinds):
            said = None  # such as a convolution under weight_norm, whose parameters are other ones
        settling = [self._user(name, possible), said, self._record(name), self._names(name, possible)]
        # A layer made of layers has no tensors of its own: those that a subclass adds are no part of its rule.
        return [evidence for evidence in settling if evidence and not any(kind.children for kind in evidence.kinds)]

    def _circumstantial(self, name: str, possible: tuple[Kind, ...]) -> list[Evidence | None]:
        if not possible:
            return []
        norm = any(kind.is_norm_with_statistics for kind in possible)
        return [
            self.composites.part(name),
            self._metadata(name) if norm else None,
            self._neighbours(name),
            self._shapes(self.groups[name]) if name in self.groups else None,
        ]

    def _user(self, name: str, possible: tuple[Kind, ...]) -> Evidence | None:
        """The last `--layer` that matches. A pattern that ends in a wildcard only speaks of likely kinds."""
        for pattern, kind in reversed(self.hints.layers):
            if not matches(pattern, name):
                continue
            group = self.groups.get(name)
            spelled = "*" not in pattern.rpartition(".")[2]
            if kind is KEEP or kind in possible or (spelled and kind in self._fitting(name)):
                self.patterns_used.add(pattern)
                return Evidence("user", (kind,), f"--layer '{pattern}={kind.name}'")
            if group and "*" not in pattern:
                raise UsageError(
                    f"its tensors cannot be those of a {kind.name}",
                    entry=f"--layer '{pattern}={kind.name}'",
                    expected=", ".join(kind.names_in(self.dialect, root=not name).values()),
                    found=", ".join(f"{leaf} {list(spec.shape)}" for leaf, spec in group.tensors.items()),
                )
        return None

    def _class(self, name: str) -> Evidence | None:
        for facts, option in ((self.network.get(name), True), (self.pickled.get(name), False)):
            kinds = kinds_of_class(facts) if facts else ()
            if facts and kinds:
                source = "your network" if option else "the pickled module"
                text = f"{facts.class_name} in {source}"
                return Evidence("network" if option else "pickled module", kinds, text)
        return None

    def _own_class(self, name: str, possible: tuple[Kind, ...]) -> Evidence | None:
        """What looks like a layer and is a class of the user's own, not even a subclass of one that bnport knows."""
        facts, group = self.network.get(name), self.groups.get(name)
        if not facts or not group or not possible or kinds_of_class(facts):
            return None
        if looks_like_norm(facts) or owns_statistics(group):
            return None
        return Evidence("network", (KEEP,), f"{facts.class_name} in your network is no kind bnport has a rule for")

    def _record(self, name: str) -> Evidence | None:
        named = (kind_called(kind) for kind in self.hints.recorded.get(name, "").split("|"))
        kinds = tuple(kind for kind in named if kind)
        return Evidence("record", kinds, "the record of the conversion that wrote this file") if kinds else None

    def _said_of_composite(self, path: str, parts: set[str]) -> Evidence | None:
        """What settles whether the modules below `path` are one layer; see `Composites`."""
        for pattern, kind in reversed(self.hints.layers):
            needed = {child.name_in(self.dialect) for child in kind.children}
            if needed and needed <= parts and matches(pattern, path):
                self.patterns_used.add(pattern)
                return Evidence("user", (kind,), f"--layer '{pattern}={kind.name}'")
        facts = self.network.get(path) or self.pickled.get(path)
        if facts:
            return self._class(path) or Evidence("network", (), f"{facts.class_name} is a class of its own")
        if self.hints.recorded:
            return self._record(path) or Evidence("record", (), "the record names no such layer")
        return None

    def _named(self, kind: Kind, name: str) -> bool:
        """Whether the user, a network or the record names this very kind."""
        said = (self._class(name), self._record(name))
        return any(kind in evidence.kinds for evidence in said if evidence) or any(
            kind is wanted and matches(pattern, name) for pattern, wanted in self.hints.layers
        )

    def _names(self, name: str, possible: tuple[Kind, ...]) -> Evidence | None:
        """MindSpore's names, where nobody else would choose them and they leave one rule.

        Those of BatchNorm2d are InstanceNorm3d's as well.
        """
        group = self.groups.get(name)
        if self.dialect != "mindspore" or group is None or not possible:
            return None
        own = sorted(set(group.tensors) - _ANYBODYS)
        subclass = len(slots_of(group, possible[0], self.dialect)) < len(group.tensors)
        if not own or subclass or len({kind.rule for kind in possible}) > 1:
            return None
        return Evidence("names", self._fitting(name), f"MindSpore's names: {', '.join(own)}")

    def _metadata(self, name: str) -> Evidence | None:
        facts = self.pickled.get(name)
        if facts and looks_like_norm(facts):
            text = f"{facts.class_name} has the settings of a batch or instance normalisation"
            return Evidence("metadata", _VERSION_2, text)
        version = self.versions.get(name)
        if version is None:
            return None
        if version == 2:
            return Evidence("metadata", _VERSION_2, "_metadata says version 2: batch or instance normalisation")
        others = tuple(kind for kind in KINDS.values() if kind.version != 2)
        return Evidence("metadata", others, f"_metadata says version {version}: no batch or instance normalisation")

    def _neighbours(self, name: str) -> Evidence | None:
        item = self._neighbour(self.outer_norm.get(name, name))
        if item is None:
            return None
        finding = about_weight(item) if isinstance(item, Weight) else self.neighbourhood.about(item)
        kinds = kinds_beside(item, finding.axes)
        return Evidence("neighbours", kinds, finding.text) if finding.axes else None

    def _shapes(self, group: Group) -> Evidence:
        found = ", ".join(f"{leaf} {list(spec.shape)}" for leaf, spec in group.tensors.items())
        return Evidence("shapes", self._fitting(group.name), found)

    def _fitting(self, name: str) -> tuple[Kind, ...]:
        """The candidates by names and shapes; () for a layer without tensors."""
        group = self.groups.get(name)
        if group is None:
            return ()
        fitting = candidates(group, self.dialect)
        if not fitting:
            fitting = tuple(kind for kind in subclass_candidates(group, self.dialect) if self._named(kind, name))
        return tuple(kind for kind in fitting if not kind.only_when_named or self._named(kind, name))

    def _likely(self, group: Group) -> tuple[Kind, ...]:
        """The candidates, less those that are never meant where another one fits."""
        if group.name in self.outer_norms:
            return ()
        fitting = self._fitting(group.name)
        likely = tuple(kind for kind in fitting if not unlikely(kind, group))
        return likely or fitting

    def _possible_without_tensors(self, name: str) -> tuple[Kind, ...]:
        """What a layer that owns no tensor may be: a normalisation whose parameters MindSpore has all the same."""
        facts = self.network.get(name) or self.pickled.get(name)
        known = kinds_of_class(facts) if facts else ()
        if known and all(kind.version != 2 for kind in known):
            return known
        return tuple(kind for kind in _VERSION_2 if not kind.only_when_named or self._named(kind, name))

    def _with_parameterless_layers(self) -> list[str]:
        """Names of all groups and, at their place in the network, of normalisations that own no tensor at all."""
        modules = list(self.network or self.pickled or self.versions)
        inner = {module.rpartition(".")[0] for module in modules}
        order, last = dict.fromkeys(self.groups), ""
        after: dict[str, list[str]] = {}
        for module in modules:
            if module in self.groups:
                last = module
            elif module not in inner and self._is_parameterless_norm(module):
                after.setdefault(last, []).append(module)
        names = [n for group in order for n in (group, *after.pop(group, ()))]
        return names + [n for rest in after.values() for n in rest]

    def _is_parameterless_norm(self, name: str) -> bool:
        if self.dialect == "mindspore":
            return False  # MindSpore's normalisations always have all their parameters
        facts = self.network.get(name) or self.pickled.get(name)
        return owns_no_tensor(facts) if facts else self.versions.get(name) == 2

    def _cells_named_bn2d(self, specs: list[TensorSpec]) -> set[str]:
        """Paths called bn2d of which the network, the user or the record speaks: no inner cells of a BatchNorm3d."""
        paths = {spec.name.rpartition(".")[0] for spec in specs}
        return {
            path
            for path in paths
            if path.rpartition(".")[2] == "bn2d"
            and (
                path in self.network
                or path in self.hints.recorded
                or any(p.endswith("bn2d") and matches(p, path) for p, _ in self.hints.layers)
            )
        }

    def _neighbour(self, name: str) -> Weight | Norm | None:
        """What `name` is in the order of weights and norms; None for the rest."""
        group = self.groups.get(name)
        if group is None:
            return Norm(name, self._channels_from_class(name))
        if name in self.weights:
            return self.weights[name]
        if name in self.outer_norms:
            return Norm(name, next(iter(group.tensors.values())).shape[0])
        norms = [kind for kind in self.candidates[name] if kind.is_norm_with_statistics]
        if not norms or name in self.outer_norm:
            return None
        slots = slots_of(group, norms[0], self.dialect)
        channels = norms[0].channels(shapes_of(group, slots))
        return Norm(name, channels, tracked="mean" in slots, alone=set(slots) == {"gamma"})

    def _channels_without_tensors(self, name: str) -> int | None:
        return self._channels_from_class(name) or self.neighbourhood.feeder_channels(Norm(name, None))

    def _channels_from_class(self, name: str) -> int | None:
        facts = self.network.get(name) or self.pickled.get(name)
        attributes = facts.attributes if facts else {}
        channels = attributes.get("num_features", attributes.get("num_channels"))
        return channels if isinstance(channels, int) else None

    def _normalised_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a LayerNorm's parameters as its class knows it."""
        facts = self.network.get(name) or self.pickled.get(name)
        shape = facts.attributes.get("normalized_shape") if facts else None
        return shape if isinstance(shape, tuple) and shape else None

    def _settings(self, name: str, slots: Mapping[str, str]) -> Settings:
        """From the strongest source that knows them; what none knows is the option's, or the framework's default."""
        settings = self._known_settings(name)
        known = dict(settings.known_from)
        if self.hints.eps is not None and known.get("eps", "default") == "default":
            settings, known["eps"] = replace(settings, eps=self.hints.eps), "option"
        if self.hints.momentum is not None and known.get("momentum", "default") == "default":
            settings, known["momentum"] = replace(settings, momentum=self.hints.momentum), "option"
        known = {"eps": "default", "momentum": "default", **known}
        if self.dialect != "mindspore":  # in MindSpore the parameters are there whatever the settings
            if "statistics" not in known:
                settings = replace(settings, statistics="tracked" if "mean" in slots else "batch")
            if "affine" not in known:
                settings = replace(settings, affine="gamma" in slots)
        return replace(settings, known_from=known)

    def _known_settings(self, name: str) -> Settings:
        for facts, origin in ((self.network.get(name), "network"), (self.pickled.get(name), "pickled module")):
            settings = settings_of(facts, origin) if facts else None
            if settings:
                return settings
        return self.hints.recorded_settings.get(name, Settings())


def _check_patterns(hints: Hints, used: set[str]) -> None:
    for pattern, kind in hints.layers:
        if pattern not in used:
            raise UsageError(
                f"matches no layer that could be a {kind.name}",
                entry=f"--layer '{pattern}={kind.name}'",
                hint="`bnport inspect FILE` lists the layers; * stands for one level of a name, ** for any number.",
            )
