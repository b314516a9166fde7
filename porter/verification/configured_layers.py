"""How the layers on both sides are configured, as far as anything says so: what they are run with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from porter import network
from porter.formats.model import ModuleFacts
from porter.layers.classes import settings_of
from porter.layers.kinds import Dialect
from porter.layers.model import Layer
from porter.layers.settings import DEFAULT_EPS, DEFAULT_MOMENTUM, TARGET, Given, Settings, invert_momentum, with_given
from porter.source import Source


@dataclass(frozen=True)
class TargetOptions:
    """How the layers on the output's side are configured; what is not given is the translated source setting.

    Attributes:
        network: the target network, `module:factory` or `file.py:factory`, in the output's framework.
        eps, momentum: for every batch normalisation, momentum in the output's own terms.
        given: layer -> settings as the output's config says them, in PyTorch's terms.
        networks_agree: whether both networks, run whole, compute the same; None where they were not run.
    """

    network: str | None = None
    eps: float | None = None
    momentum: float | None = None
    given: Mapping[str, Mapping[str, Given]] = field(default_factory=dict)
    networks_agree: bool | None = None


def target_modules(target: TargetOptions, dialect: Dialect) -> dict[str, ModuleFacts]:
    if not target.network:
        return {}
    load = network.torch_modules if dialect == "torch" else network.mindspore_modules
    return {facts.name: facts for facts in load(target.network)}


def target_settings(layer: Layer, facts: ModuleFacts | None, target: TargetOptions, dialect: Dialect) -> Settings:
    """How the layer is configured in the output's framework, in PyTorch's terms.

    Where both a network and a config say how, the network counts that is not as the source: either may be wrong.
    """
    source = layer.settings or Settings()
    settings = (settings_of(facts, "network") if facts else None) or source
    for setting, given in target.given.get(layer.name, {}).items():
        if getattr(settings, setting) == getattr(source, setting):
            settings = with_given(settings, setting, given)
    if target.eps is not None:
        settings = replace(settings, eps=target.eps)
    if target.momentum is not None:
        momentum = invert_momentum(target.momentum) if dialect == "mindspore" else target.momentum
        settings = replace(settings, momentum=momentum)
    return settings


def without_assumptions(layer: Layer) -> Layer:
    """`layer` with the defaults where the target's settings were assumed: they are what it is to be compared with."""
    settings = layer.settings
    if settings is None:
        return layer
    assumed = {key for key, origin in settings.known_from.items() if origin == TARGET and key in ("eps", "momentum")}
    if not assumed:
        return layer
    values = {key: getattr(Settings(), key) for key in assumed}
    known_from = {**settings.known_from, **dict.fromkeys(assumed, "default")}
    return layer._replace(settings=replace(settings, **values, known_from=known_from))


def assumed_settings(source: Source) -> Iterator[str]:
    """Settings that nothing in the source tells: the layers were run with assumed ones."""
    norms = [layer.settings for layer in source.layers if layer.settings]
    options = "--model, --eps or --momentum" if source.dialect == "torch" else "--net, --eps or --momentum"
    count = sum(TARGET in settings.known_from.values() for settings in norms)
    if count:
        yield (
            f"{count} layers were run with the target network's settings on both sides: nothing says the source's; "
            f"{options} does"
        )
    assumed: dict[int, list[str]] = {}
    for name, value in (("eps", DEFAULT_EPS), ("momentum", DEFAULT_MOMENTUM)):
        count = sum(settings.known_from.get(name, "default") == "default" for settings in norms)
        assumed.setdefault(count, []).append(f"{name} {value:g}")
    for count, settings in assumed.items():
        if count:
            yield (
                f"{count} layers were run with PyTorch's default {' and '.join(settings)}: the file does not say; "
                f"{options} does"
            )
