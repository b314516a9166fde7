"""From a class to a kind: what the user's network, or the module pickled in a file, says about its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from porter.formats.model import ModuleFacts
from porter.layers.kinds import BATCH_NORMS, KINDS, Kind
from porter.layers.settings import Settings, Statistics, meant_momentum

_BY_MINDSPORE_CLASS = {kind.mindspore: kind for kind in KINDS.values()}

# The attributes that every normalisation of PyTorch's _NormBase family has, whatever its class is called.
_NORM_ATTRIBUTES = {"num_features", "eps", "momentum", "affine", "track_running_stats"}


def kinds_of_class(facts: ModuleFacts) -> tuple[Kind, ...]:
    """The kinds that a module's class, or the nearest of its bases that is a framework's own, leaves possible.

    Empty where neither is a framework's layer. PyTorch's SyncBatchNorm stands for a batch normalisation of any rank:
    it is a way of training, which a MindSpore network chooses for itself.
    """
    for name in (facts.class_name, *facts.bases):
        kinds = _kinds_of_name(name)
        if kinds:
            return kinds
    return ()


def _kinds_of_name(class_name: str) -> tuple[Kind, ...]:
    package, last = class_name.split(".")[0], class_name.rpartition(".")[2]
    if package not in ("torch", "mindspore"):
        return ()
    if package == "torch" and last in ("SyncBatchNorm", "LazyBatchNorm"):
        return BATCH_NORMS
    # Lazy* become the plain class when they first run; the other is what MultiheadAttention makes its out_proj of.
    last = last.removeprefix("Lazy").removeprefix("NonDynamicallyQuantizable")
    kind = KINDS.get(last) or (_BY_MINDSPORE_CLASS.get(last) if package == "mindspore" else None)
    return (kind,) if kind else ()


def owns_no_tensor(facts: ModuleFacts) -> bool:
    """Whether a module is a normalisation of PyTorch or mint that has neither parameters nor statistics."""
    affine = facts.attributes.get("affine", facts.attributes.get("elementwise_affine", True))
    return is_norm(facts) and not affine and not facts.attributes.get("track_running_stats", False)


def is_norm(facts: ModuleFacts) -> bool:
    """Whether a module is a normalisation by its class."""
    return any(p.always_in_mindspore for kind in kinds_of_class(facts) for p in kind.parameters)


def looks_like_norm(facts: ModuleFacts) -> bool:
    """Whether a class of unknown descent carries the settings of a batch or instance normalisation."""
    return set(facts.attributes) >= _NORM_ATTRIBUTES


def settings_of(facts: ModuleFacts, origin: str) -> Settings | None:
    """The batch normalisation settings among a module's attributes, in PyTorch's terms.

    Args:
        facts: the module.
        origin: where it comes from, for `Settings.known_from`.

    Returns:
        None where the attributes are not those of a batch normalisation.
    """
    attributes = facts.attributes
    if "eps" not in attributes or "momentum" not in attributes:
        return None
    found: dict[str, Any] = {"eps": float(attributes["eps"])}
    momentum = attributes["momentum"]
    # MindSpore's cells keep `1.0 - momentum` under the name momentum, PyTorch's meaning with a rounding residue.
    found["momentum"] = None if momentum is None else meant_momentum(float(momentum))
    # PyTorch's way to say MindSpore's affine=False is a gamma that is not trained, whatever its own affine.
    if "affine" in attributes and not attributes.get("frozen"):
        found["affine"] = bool(attributes["affine"])
    statistics = _statistics(attributes)
    if statistics:
        found["statistics"] = statistics
    return replace(Settings(), **found, known_from=dict.fromkeys(found, origin))


def _statistics(attributes: Mapping[str, Any]) -> Statistics | None:
    if "use_batch_statistics" in attributes:
        flag = attributes["use_batch_statistics"]
        return "tracked" if flag is None else "batch" if flag else "frozen"
    if "track_running_stats" in attributes:
        return "tracked" if attributes["track_running_stats"] else "batch"
    return None
