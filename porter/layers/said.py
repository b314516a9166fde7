"""What somebody says of the layer at a path: evidence that can settle its kind, and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from porter.errors import UsageError
from porter.formats.model import Checkpoint, ModuleFacts
from porter.layers.classes import kinds_of_class, looks_like_norm, settings_of
from porter.layers.groups import Group, owns_statistics, read_as
from porter.layers.hints import Hints
from porter.layers.kinds import KEEP, Dialect, Kind, kind_called
from porter.layers.model import Evidence, EvidenceSource
from porter.layers.patterns import matches
from porter.layers.settings import TARGET, Settings


class Said:
    """The user, the network on either side, the pickled module in a file and the record of its conversion.

    Attributes:
        is_silent: whether nobody says anything of any layer.
        modules: of the network on the file's side, or of the pickled module: path in the file -> facts, in order.
    """

    def __init__(self, dialect: Dialect, checkpoint: Checkpoint, hints: Hints) -> None:
        self._dialect: Dialect = dialect
        self._hints = hints
        self._network = {hints.wrapper + facts.name: facts for facts in hints.network}
        self._pickled = {facts.name: facts for facts in checkpoint.modules}
        self.modules: Mapping[str, ModuleFacts] = self._network or self._pickled
        self.is_silent = hints.are_silent and not self._pickled
        self._patterns_used: set[str] = set()
        self._assumed: dict[tuple[bool, bool], Settings] = {}

    def facts(self, name: str) -> ModuleFacts | None:
        """The module at a path, as the file's own side knows it."""
        return self._network.get(name) or self._pickled.get(name)

    def pickled(self, name: str) -> ModuleFacts | None:
        return self._pickled.get(name)

    def channels(self, name: str) -> int | None:
        """As the class of a layer knows them, on either side."""
        facts = self.facts(name) or self._hints.counterpart(name)
        return _channels(facts) if facts else None

    def normalised_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a LayerNorm's parameters as its class knows it."""
        facts = self.facts(name) or self._hints.counterpart(name)
        shape = facts.attributes.get("normalized_shape") if facts else None
        return shape if isinstance(shape, tuple) and shape else None

    def is_a_layer(self, path: str) -> bool:
        """Whether somebody speaks of `path`, called bn2d, so that it is not the inner cell of a BatchNorm3d."""
        return (
            path in self._network
            or path in self._hints.recorded
            or self._hints.counterpart(path) is not None
            or any(pattern.endswith("bn2d") and matches(pattern, path) for pattern, _ in self._hints.layers)
        )

    def names(self, kind: Kind, name: str) -> bool:
        """Whether the user, a network or the record names this very kind."""
        if self.is_silent:
            return False
        there = self._hints.counterpart(name)
        said = (self._class(name), self._record(name))
        return (
            any(kind in evidence.kinds for evidence in said if evidence)
            or any(kind is wanted and matches(pattern, name) for pattern, wanted in self._hints.layers)
            or (there is not None and kind in kinds_of_class(there))
        )

    def settling(
        self, name: str, group: Group, possible: tuple[Kind, ...], fitting: tuple[Kind, ...]
    ) -> list[Evidence]:
        """The evidence of all who speak of a layer, strongest first.

        Args:
            possible: the likely kinds.
            fitting: the kinds that names and shapes allow.
        """
        if self.is_silent:
            return []
        by_class = self._class(name) or self._own_class(name, group, possible)
        if by_class and not possible and all(kind.keeps_names for kind in by_class.kinds):
            by_class = None  # such as a convolution under weight_norm, whose parameters are other ones
        said = [e for e in (self._user(name, group, possible, fitting), by_class, self._record(name)) if e]
        target = self._target(name, group, fitting or possible, said)
        # A layer made of layers has no tensors of its own: those that a subclass adds are no part of its rule.
        return [e for e in (*said, *target) if not any(kind.children for kind in e.kinds)]

    def _user(
        self, name: str, group: Group, possible: tuple[Kind, ...], fitting: tuple[Kind, ...]
    ) -> Evidence | None:
        """The last `--layer` that matches. A pattern that ends in a wildcard only speaks of likely kinds."""
        for pattern, kind in reversed(self._hints.layers):
            if not matches(pattern, name):
                continue
            spelled = "*" not in pattern.rpartition(".")[2]
            if kind is KEEP or kind in possible or (spelled and kind in fitting):
                self._patterns_used.add(pattern)
                return Evidence("user", (kind,), f"--layer '{pattern}={kind.name}'")
            if group.tensors and "*" not in pattern:
                raise UsageError(
                    f"its tensors cannot be those of a {kind.name}",
                    entry=f"--layer '{pattern}={kind.name}'",
                    expected=", ".join(kind.names_in(self._dialect, root=not name).values()),
                    found=", ".join(f"{leaf} {list(shape)}" for leaf, shape in group.form.shapes),
                )
        return None

    def _class(self, name: str) -> Evidence | None:
        for facts, option in ((self._network.get(name), True), (self._pickled.get(name), False)):
            kinds = kinds_of_class(facts) if facts else ()
            if facts and kinds:
                source = "your network" if option else "the pickled module"
                text = f"{facts.class_name} in {source}"
                return Evidence("network" if option else "pickled module", kinds, text)
        return None

    def _own_class(self, name: str, group: Group, possible: tuple[Kind, ...]) -> Evidence | None:
        """What looks like a layer and is of a class that is none, and no subclass of any, that bnport knows.

        Of a pickled class the name alone is known, and not what it derives from; PyTorch's own derive from no layer.
        """
        facts, where = self._network.get(name), "your network"
        pickled = self._pickled.get(name)
        if not facts and pickled and pickled.class_name.startswith("torch.nn.modules."):
            facts, where = pickled, "the file"
        if not facts or not group.tensors or not possible or kinds_of_class(facts):
            return None
        if looks_like_norm(facts) or owns_statistics(group):
            return None
        source: EvidenceSource = "network" if where == "your network" else "pickled module"
        return Evidence(source, (KEEP,), f"{facts.class_name} in {where} is no kind bnport has a rule for")

    def _record(self, name: str) -> Evidence | None:
        recorded = self._hints.recorded.get(name)
        kinds = tuple(kind for kind in map(kind_called, recorded.split("|")) if kind) if recorded else ()
        return Evidence("record", kinds, "the record of the conversion that wrote this file") if kinds else None

    def _target(
        self, name: str, group: Group, fitting: tuple[Kind, ...], stronger: Sequence[Evidence]
    ) -> list[Evidence]:
        """What the other side's network has there, if it can be this layer and nobody stronger contradicts."""
        facts = self._hints.counterpart(name)
        kinds = kinds_of_class(facts) if facts else ()
        for allowed in (fitting, *(evidence.kinds for evidence in stronger)):
            kinds = tuple(kind for kind in kinds if kind in allowed)
        if facts is None or not kinds:
            return []
        here, there = read_as(group.form, kinds[0], self._dialect).channels, _channels(facts)
        if None not in (here, there) and here != there:
            return []
        return [Evidence("target network", kinds, f"{facts.class_name} in the target network")]

    def of_composite(self, path: str, parts: set[str]) -> Evidence | None:
        """What settles whether the modules below `path` are one layer; see `porter.layers.composites.Composites`."""
        for pattern, kind in reversed(self._hints.layers):
            needed = {child.name_in(self._dialect) for child in kind.children}
            if needed and needed <= parts and matches(pattern, path):
                self._patterns_used.add(pattern)
                return Evidence("user", (kind,), f"--layer '{pattern}={kind.name}'")
        facts = self.facts(path)
        if facts:
            return self._class(path) or Evidence("network", (), f"{facts.class_name} is a class of its own")
        if self._hints.recorded:
            return self._record(path) or Evidence("record", (), "the record names no such layer")
        return self._target_composite(path, parts)

    def _target_composite(self, path: str, parts: set[str]) -> Evidence | None:
        facts = self._hints.counterpart(path)
        if facts is None:
            return None
        kinds = tuple(kind for kind in kinds_of_class(facts) if kind.children)
        text = f"{facts.class_name} in the target network"
        if kinds:
            return Evidence("target network", kinds, text)
        alike = all(self._hints.counterpart(f"{path}.{part}".removeprefix(".")) for part in parts)
        return Evidence("target network", (), f"{text}, whose parts are called alike") if alike else None

    def settings(self, name: str, slots: Mapping[str, str]) -> Settings:
        """From the strongest source that knows them; what none knows is assumed.

        Args:
            slots: of the layer in the file.
        """
        own = "mean" in slots, "gamma" in slots
        if not self.is_silent:
            known, target = self._known_settings(name), self._target_settings(name)
            if known or target:
                return self._completed(known or Settings(), target, *own)
        if own not in self._assumed:
            self._assumed[own] = self._completed(Settings(), {}, *own)
        return self._assumed[own]

    def _known_settings(self, name: str) -> Settings | None:
        for facts, origin in ((self._network.get(name), "network"), (self._pickled.get(name), "pickled module")):
            settings = settings_of(facts, origin) if facts else None
            if settings:
                return settings
        return self._hints.recorded_settings.get(name)

    def _target_settings(self, name: str) -> Mapping[str, Any]:
        """Setting -> its value in the other side's network; only those that the tensors in the file do not show."""
        facts = self._hints.counterpart(name)
        settings = settings_of(facts, TARGET) if facts else None
        if settings is None:
            return {}
        # In MindSpore the parameters are there whatever the settings.
        shown = () if self._dialect == "mindspore" else ("affine", "statistics")
        return {key: getattr(settings, key) for key in settings.known_from if key not in shown}

    def _completed(self, settings: Settings, target: Mapping[str, Any], tracks: bool, scales: bool) -> Settings:
        """`settings` with what nobody knows: the option's, the target network's, or the framework's default."""
        options = {"eps": self._hints.eps, "momentum": self._hints.momentum}
        options = {key: value for key, value in options.items() if value is not None}
        known: dict[str, str] = {"eps": "default", "momentum": "default", **settings.known_from}
        values: dict[str, Any] = {}
        for origin, said in (("option", options), (TARGET, target)):
            for key in (key for key in said if known.get(key, "default") == "default"):
                values[key], known[key] = said[key], origin
        if self._dialect != "mindspore":
            shown = {"statistics": "tracked" if tracks else "batch", "affine": scales}
            values |= {key: value for key, value in shown.items() if key not in known}
        return replace(settings, **values, known_from=known)

    def check_patterns(self) -> None:
        """Check that every `--layer` was of use.

        Raises:
            UsageError: one matches no layer that it could speak of.
        """
        for pattern, kind in self._hints.layers:
            if pattern not in self._patterns_used:
                raise UsageError(
                    f"matches no layer that could be a {kind.name}",
                    entry=f"--layer '{pattern}={kind.name}'",
                    hint="`bnport inspect FILE` lists the layers; * stands for one level, ** for any number.",
                )


def _channels(facts: ModuleFacts) -> int | None:
    channels = facts.attributes.get("num_features", facts.attributes.get("num_channels"))
    return channels if isinstance(channels, int) else None
