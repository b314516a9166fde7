"""The configs of a conversion's two sides: how each says that the layers of its checkpoint are configured.

A config is a layer's where the layer's own network, or the user, does not say otherwise. Then the layer on the other
side is configured as the config there says: one that was not translated shows in how the layer runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any

from porter.configs.files import read
from porter.configs.layers import Said, Unsaid, of_layers, unsaid_in, values_in
from porter.configs.model import Found, Site
from porter.configs.record import read_beside
from porter.configs.signature import installed_signature
from porter.configs.sites import search
from porter.configs.terms import ONLY_MINDSPORE, TRACK, Dialect, Signature
from porter.configs.told import KEEP, Told, option
from porter.configs.tree import Document
from porter.errors import Undecided
from porter.layers import kinds
from porter.layers.model import Layer
from porter.layers.settings import CONFIG, NOT_SAID, TARGET, Given, Settings, Value, invert_momentum, with_given

# Settings that went through float32, or momentum through 1 - momentum, are still the same.
_SAME = 1e-6
# So many further names are counted.
_COUNTED = 2


@dataclass(frozen=True)
class SideConfig:
    """The config on one side.

    Attributes:
        name: of the file, as the user knows it.
        said: what it says of batch normalisations.
        unsaid: settings that it gives and whose value it does not tell.
        unread: (line, why) of what may hold settings and is not read.
        frameworks: "torch" and "mindspore", as far as its class names and the record of its translation say.
    """

    name: str
    said: tuple[Said, ...]
    unsaid: tuple[Unsaid, ...] = ()
    unread: tuple[tuple[int, str], ...] = ()
    frameworks: frozenset[str] = frozenset()

    def origin(self, one: Said) -> str:
        """Where one value comes from, for `Settings.known_from`."""
        return f"{CONFIG} {self.name}:{one.place.line}"

    def hides(self, setting: str) -> bool:
        """Whether it gives `setting` somewhere without telling the value."""
        return any(one.setting == setting for one in self.unsaid)

    def unread_note(self) -> Iterator[str]:
        """What is not read of it, in one note."""
        if self.unread:
            (line, text), more = self.unread[0], len(self.unread) - 1
            others = f"; bnport config lists {more} more" if more else ""
            yield f"{self.name}:{line}: not read for the layers' settings: {text}{others}"


@dataclass(frozen=True)
class Configured:
    """Layers with what their config says of them.

    Attributes:
        layers: all of them, settings filled in.
        agreed: layer -> settings that are as the config says.
        contradicted: (layer, setting) of which somebody nearer says something else than the config.
        hidden: (layer, setting) that nobody says, and that the config computes.
        notes: remarks for the user on those.
    """

    layers: list[Layer]
    agreed: Mapping[str, Mapping[str, Said]]
    contradicted: Set[tuple[str, str]]
    hidden: Set[tuple[str, str]]
    notes: tuple[str, ...]


def read_side(path: Path, side: kinds.Dialect, told: Told) -> SideConfig:
    """Read the config on one side.

    Args:
        path: the file.
        side: whose names the checkpoint there bears. Its framework is the one that reads the config, so that settings
            are in its terms unless a class name or the record of a translation says which of that framework's.
        told: the user's word on places.

    Raises:
        Undecided: a momentum that may be a batch normalisation's, or something else's.
        InputError: it cannot be read as a config.
        FileIOError: the operating system refused.
    """
    file = read(path)
    record = read_beside(path)
    if record is None or not record.is_of(file):
        return side_of(file.document, str(path), side, told, None, installed_signature())
    return side_of(file.document, str(path), side, told.after(record.settings), record.to, record.signature)


def side_of(
    document: Document, name: str, side: kinds.Dialect, told: Told, recorded: Dialect | None, signature: Signature
) -> SideConfig:
    """`read_side` for a config that is read already, in the terms of `recorded` by its record."""

    def terms(site: Site) -> Dialect:
        only_classic = any(setting.name in ONLY_MINDSPORE for setting in site.settings)
        known = next((d for d in (site.dialect, recorded) if d and framework_of(d) == framework_of(side)), side)
        return "announced" if known == "mindspore" and signature == "announced" and not only_classic else known

    found = search(document, told)
    _demand_certain(found, name, document, terms)
    certain = [site for site in found.sites if not site.doubt]
    said, unsaid = tuple(values_in(document, certain, terms)), tuple(unsaid_in(document, certain, terms))
    places = [(place.span, place.text) for place in found.unread]
    places += [(place.span, place.text) for place in document.needs_person]
    unread = tuple((document.place(span.start).line, text) for span, text in sorted(places))
    frameworks = frozenset(framework_of(dialect) for site in certain if (dialect := site.dialect or recorded))
    return SideConfig(name, said, unsaid, unread, frameworks)


def framework_of(dialect: Dialect) -> str:
    """\"torch\" or \"mindspore\", whose dialect it is."""
    return "torch" if dialect == "torch" else "mindspore"


def _demand_certain(found: Found, name: str, document: Document, terms: Any) -> None:
    name_of = {"momentum": "momentum", "statistics": TRACK}
    details = [
        f"{name}:{one.place.line}:{one.place.column}: {path}: {site.doubt}: "
        f"{option(path, name_of[one.setting])} or {option(path, KEEP)}"
        for site in found.undecided
        for one in values_in(document, [site], terms)
        if one.setting in name_of and (path := ".".join(one.path))
    ]
    if details:
        message = "it is not certain that these are settings of batch normalisations"
        raise Undecided(message, details=details, hint="Add for each what it is.")


def configured(layers: Sequence[Layer], config: SideConfig, dialect: kinds.Dialect) -> Configured:
    """`layers` with the settings that only their config knows.

    Args:
        layers: of a checkpoint.
        config: of the same side.
        dialect: whose names the checkpoint bears.

    Raises:
        Undecided: the config says several values, and nothing tells which one is a layer's.
    """
    about = of_layers(config.said, [layer.name for layer in layers if layer.settings])
    work = _Reading(config, dialect)
    done = [work.layer(layer, about[layer.name]) if layer.settings else layer for layer in layers]
    work.demand_settled()
    contradicted = {(name, setting) for (setting, _, _), names in work.disputed.items() for name in names}
    hidden = {(name, setting) for (setting, told), names in work.hidden.items() for name in names if not told}
    return Configured(done, work.agreed, contradicted, hidden, tuple(work.notes()))


@dataclass
class _Reading:
    """Layers beside their config. Disputed: (setting, the config's word, the other's) -> layers; hidden: (setting,
    whether the config tells another value of it) -> layers."""

    config: SideConfig
    dialect: kinds.Dialect
    agreed: dict[str, dict[str, Said]] = field(default_factory=dict)
    disputed: dict[tuple[str, Said, str], list[str]] = field(default_factory=dict)
    unsettled: dict[tuple[str, tuple[Said, ...]], list[str]] = field(default_factory=dict)
    hidden: dict[tuple[str, bool], list[str]] = field(default_factory=dict)

    def layer(self, layer: Layer, about: Mapping[str, Sequence[Said]]) -> Layer:
        self.agreed[layer.name] = {}
        settings = layer.settings or Settings()
        for setting in dict.fromkeys(one.setting for one in self.config.unsaid):
            if not self._is_known(settings, setting):
                self.hidden.setdefault((setting, setting in about), []).append(layer.name)
        for setting, candidates in about.items():
            settings = self._setting(layer.name, settings, setting, candidates)
        return layer._replace(settings=settings)

    def _setting(self, name: str, settings: Settings, setting: str, candidates: Sequence[Said]) -> Settings:
        chosen = candidates[0]
        if self._is_known(settings, setting):
            own = getattr(settings, setting)
            match = next((one for one in candidates if _same(one.value, own)), None)
            if match:
                self.agreed[name][setting] = match
            else:
                known = f"{self._own_terms(setting, own)} ({settings.known_from.get(setting, 'its tensors')})"
                self.disputed.setdefault((setting, chosen, known), []).append(name)
            return settings
        if len(candidates) > 1:
            self.unsettled.setdefault((setting, tuple(candidates)), []).append(name)
            return settings
        self.agreed[name][setting] = chosen
        return with_given(settings, setting, Given(chosen.value, self.config.origin(chosen)))

    def _is_known(self, settings: Settings, setting: str) -> bool:
        """Whether somebody nearer to the layer than its config says it; in PyTorch's files, its tensors do."""
        origin = settings.known_from.get(setting)
        if origin is None:
            return self.dialect != "mindspore"
        return origin not in ("default", TARGET) and not origin.startswith(CONFIG)

    def _own_terms(self, setting: str, value: Value) -> str:
        """A value as this side's framework writes it."""
        is_inverted = setting == "momentum" and self.dialect == "mindspore" and isinstance(value, float)
        return f"{invert_momentum(value) if is_inverted else value}"  # type: ignore[arg-type]  # a float then

    def notes(self) -> Iterator[str]:
        for (setting, is_told), names in self.hidden.items():
            places = [one for one in self.config.unsaid if one.setting == setting]
            first, more = places[0], f" and {len(places) - 1} more like it" if len(places) > 1 else ""
            taken = "what it says elsewhere" if is_told else f"the default {setting}"
            instead = f"--{setting}" if setting in ("eps", "momentum") else "a rules file"
            where = f"{self.config.name}:{first.place.line}: {'.'.join(first.path)}"
            yield (
                f"{where}: {first.text}{more} is computed where the config is used, which bnport does not do: "
                f"layers {_counted(names)} run with {taken}; give it with {instead}"
            )
        for (setting, one, known), names in self.disputed.items():
            place = f"{self.config.name}:{one.place.line}"
            yield f"{place} says {setting} {one.text}, but {known} counts for {_counted(names)}"

    def demand_settled(self) -> None:
        """Raise Undecided where the config says several values of a layer."""
        details = [
            f"{setting} of {_counted(names)}: "
            + " or ".join(f"{one.text} ({self.config.name}:{one.place.line})" for one in candidates)
            for (setting, candidates), names in self.unsettled.items()
        ]
        if details:
            network = "--model" if self.dialect == "torch" else "--net"
            message = "nothing tells which of several values in the config is a layer's"
            hint = (
                f'Give the network ({network}), or a rules file: [hyperparameters] "head.**" = {{ momentum = 0.1 }}'
            )
            raise Undecided(message, details=details, hint=hint)


def in_output(source: Configured, target: SideConfig) -> dict[str, dict[str, Given]]:
    """Layer -> settings of it on the output's side, as the config there says.

    Of what the source's config says of a layer and the output's does not, the output's framework takes the default.
    """
    about = of_layers(target.said, list(source.agreed))
    found: dict[str, dict[str, Given]] = {}
    for name, agreed in source.agreed.items():
        left_out = {key for one, key in source.contradicted | source.hidden if one == name}
        left_out |= {key for key in agreed if key not in about[name] and target.hides(key)}
        wanted = [key for key in {**agreed, **about[name]} if key not in left_out]
        found[name] = {key: _in_output(key, agreed.get(key), about[name].get(key, ()), target) for key in wanted}
    return found


def _in_output(setting: str, right: Said | None, candidates: Sequence[Said], target: SideConfig) -> Given:
    if not candidates:
        return Given(getattr(Settings(), setting), f"{NOT_SAID} {target.name}")
    one = next((one for one in candidates if right and _same(one.value, right.value)), candidates[0])
    return Given(one.value, target.origin(one))


def _same(a: Value, b: Value) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return isclose(a, b, rel_tol=_SAME, abs_tol=0)
    return a == b


def _counted(names: Sequence[str]) -> str:
    first, *others = [name or "(root)" for name in names]
    more = others if len(others) < _COUNTED else [f"{len(others)} more"]
    return " and ".join([first, *more])
