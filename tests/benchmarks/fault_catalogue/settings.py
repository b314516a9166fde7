"""Layers of the target that are configured otherwise than the source's."""

from __future__ import annotations

from collections.abc import Iterator

import wrong_settings

from fault_catalogue.model import Fault, Scene


def settings_of_all(scene: Scene) -> Iterator[Fault]:
    """All batch normalisations alike, by the options that say how the target's are configured."""
    names = [layer.name for layer in scene.subject.norms]
    right = 0.9 if scene.subject.to == "mindspore" else 0.1

    def fault(family: str, words: str, **options: float) -> Fault:
        what = ", ".join(f"{key}={value:g}" for key, value in options.items())
        return Fault(family, what, dict.fromkeys(names, (words,)), options=options)

    for eps in (1e-3, 1e-4, 1.1e-5, 1e-6, 0.1):
        yield fault("eps changed", rf"eps is {eps:g} where 1e-05 was expected", target_eps=eps)
    # Inverting twice is what floating point makes of not inverting: 1 - (1 - 0.1) = 0.09999999999999998.
    for family, momentum in (("not inverted", round(1 - right, 1)), ("inverted twice", 1 - (1 - (1 - right)))):
        words = rf"momentum is {momentum:g} where {right:g} was expected.*: it was not inverted, or inverted twice"
        yield fault(f"momentum {family}", words, target_momentum=momentum)
    for momentum in (right + 1e-3, right - 1e-3):
        words = rf"momentum is {momentum:.3g} where {right:g} was expected"
        yield fault("momentum 1e-3 off", words, target_momentum=momentum)


def settings_of_one(scene: Scene) -> Iterator[Fault]:
    """One layer of the sample's MindSpore network, as `--net` gives it: eps, momentum, and its statistics flag."""
    for factory, words in wrong_settings.WORDS.items():
        options = scene.subject.options._replace(net=f"{wrong_settings.__file__}:{factory}")
        victims = {wrong_settings.LAYER: (words,)}
        yield Fault("the network's settings", factory, victims, options={"source_options": options})
