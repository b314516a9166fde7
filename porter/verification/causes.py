"""Why two networks part at a layer: what the layer does with the other's input, and how both are configured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from porter.errors import BackendError
from porter.layers.classes import settings_of
from porter.layers.ordinary_settings import differing, settings_of_module
from porter.layers.settings import USE_BATCH_STATISTICS
from porter.layers.settings import differing as batch_norms_differing
from porter.network import facts_of
from porter.verification.activations import Arrays, Call, Inputs
from porter.verification.deviation import deviation, magnitude
from porter.verification.network_results import COUNT, Activation
from porter.verification.setting_faults import inverted_momentum
from porter.verification.twins import Twins

if TYPE_CHECKING:
    from porter.verification.cases import Array


@dataclass(frozen=True)
class Scene:
    """Both networks as they ran in one mode, and what was compared there, in PyTorch's order.

    `common` is `Twins.common`; `called` are the calls in MindSpore's order.
    """

    twins: Twins
    common: Mapping[str, str]
    inputs: Inputs
    training: bool
    activations: Sequence[Activation]
    called: Sequence[Call]


def likely_cause(scene: Scene, first: Activation) -> str:
    """The sentence about the first divergence."""
    return "; ".join(_cause(scene, first))


def _cause(scene: Scene, first: Activation) -> Iterator[str]:
    modules, cells = scene.twins.torch.modules, scene.twins.mindspore.modules
    differences = settings_that_differ(modules.get(first.layer), cells.get(first.target))
    if first.what == COUNT:
        (torch,), (mindspore,) = first.shapes
        yield f"PyTorch's network returns {torch} tensors, MindSpore's {mindspore}"
        return
    if not first.is_output:
        yield from differences or ["running statistics move differently although the outputs agree"]
        return
    yield from _shape(first)
    local = _given_the_same_input(scene, first)
    if local is None or not local.agrees(scene.training):
        if differences:
            yield from differences
        elif local and local.agrees(not scene.training):
            yield _wrong_mode(scene.training)
        else:
            yield _in_itself(scene, first, certain=local is not None)
    else:
        yield f"given the same input both compute the same, but the input differs: {_another_input(scene, first)}"


def _shape(first: Activation) -> Iterator[str]:
    torch, mindspore = first.shapes
    if torch != mindspore:
        yield f"its output has shape {list(torch)} in PyTorch and {list(mindspore)} in MindSpore"


def _wrong_mode(training: bool) -> str:
    mode, other = ("training", "evaluation") if training else ("evaluation", "training")
    return (
        f"in {mode} mode MindSpore computes it as PyTorch does in {other}: set_train does not reach a normalisation, "
        "or its use_batch_statistics is not None"
    )


def _in_itself(scene: Scene, first: Activation, *, certain: bool) -> str:
    within = f"{first.layer}." if first.layer else ""
    inside = [row for row in scene.activations if row.layer.startswith(within) and row.layer != first.layer]
    same = "given the same input " if certain else ""
    if inside:
        return (
            f"{same}it computes something else although every layer in it agrees: its own forward and construct "
            "differ in what they do with their layers' results (a shortcut, an activation, an interpolation)"
        )
    return (
        f"{same}it computes something else, and no setting that bnport reads differs: are its parameters those of "
        "this layer (a missing or wrong rename), and is it the same kind of layer?"
    )


def _another_input(scene: Scene, first: Activation) -> str:
    before, there = _before(scene, first), _before_in_mindspore(scene, first)
    if there not in (None, before):
        return (
            f"{first.label} follows {before} in PyTorch and {there} in MindSpore: these layers are called in another "
            "order, or bear each other's names (a wrong rename)"
        )
    return (
        f"look between {before} and {first.label} for an activation, a pooling, padding or another operation that "
        "only one network has"
    )


def _before(scene: Scene, first: Activation) -> str:
    rows = list(scene.activations)
    earlier = [row for row in rows[: rows.index(first)] if row.is_output]
    return earlier[-1].label if earlier else _INPUT


def _before_in_mindspore(scene: Scene, first: Activation) -> str | None:
    """What the layer before is called there, by its PyTorch name; None where its call was not met."""
    calls, this = list(scene.called), Call(first.layer, first.call)
    if this not in calls:
        return None
    labels = {Call(row.layer, row.call): row.label for row in scene.activations if row.is_output}
    earlier = [labels[call] for call in calls[: calls.index(this)] if call in labels]
    return earlier[-1] if earlier else _INPUT


_INPUT = "the input"


@dataclass(frozen=True)
class _Local:
    """A layer alone: MindSpore's output, and how PyTorch's layer computes it from MindSpore's own input."""

    scene: Scene
    first: Activation
    given: list[Array]
    found: Arrays

    def agrees(self, training: bool) -> bool:
        try:
            right = self.scene.twins.torch.apply(
                self.first.layer, self.scene.twins.values.torch, self.given, training=training
            )
        except BackendError:
            return False
        pairs = list(zip(self.found.values(), right.values(), strict=False))
        # The input may be larger than PyTorch's own, and rounding with it.
        size = max((magnitude(array) for array in right.values()), default=0.0)
        allowed = self.first.allowed * max(1.0, size / (self.first.magnitude or 1.0))
        return bool(pairs) and all(deviation(found, array) <= allowed for found, array in pairs)


def _given_the_same_input(scene: Scene, first: Activation) -> _Local | None:
    """None where the layer's input cannot be given again: it is no list of tensors, or the layer stopped."""
    caught: list[tuple[list[Array], Arrays]] = []
    if not first.layer:
        return None

    def catch(call: Call, given: tuple[Any, ...], output: Any) -> None:
        arrays = [array for part in given for array in scene.twins.mindspore.arrays(part).values()]
        if call == Call(first.layer, first.call) and len(arrays) == len(given) > 0:
            caught.append((arrays, scene.twins.mindspore.arrays(output)))

    paths = {path: told for path, told in scene.twins.watched()[1].items() if told == first.layer}
    # A network that stops was told by the caller, who met it before.
    with suppress(BackendError):
        scene.twins.mindspore.run(scene.twins.values.mindspore, scene.inputs, catch, paths, training=scene.training)
    return _Local(scene, first, *caught[0]) if caught else None


def settings_that_differ(module: Any, cell: Any) -> list[str]:
    """Settings of two layers that say different things, in words."""
    if module is None or cell is None:
        return []
    holder = getattr(cell, "bn2d", cell)
    found = differing(settings_of_module(module, mindspore=False), settings_of_module(holder, mindspore=True))
    return found + list(_of_batch_norms(module, holder))


def _of_batch_norms(module: Any, cell: Any) -> Iterator[str]:
    """What only batch normalisations have; their eps is compared with every other layer's."""
    here, there = (settings_of(facts_of("", layer), "network") for layer in (module, cell))
    if not (here and there and "statistics" in here.known_from and "statistics" in there.known_from):
        return
    differences = batch_norms_differing(here, there)
    if "momentum" in differences:
        meant, found = inverted_momentum(here), inverted_momentum(there)
        told = "" if meant is None else f", which is {meant} in MindSpore's terms,"
        yield f"momentum is {module.momentum} in PyTorch{told} and {found} in MindSpore"
    if "statistics" in differences:
        yield (
            f"use_batch_statistics is {cell.use_batch_statistics} in MindSpore where track_running_stats="
            f"{module.track_running_stats} asks for {USE_BATCH_STATISTICS[here.statistics]}"
        )
    if "affine" in differences:
        yield f"affine is {here.affine} in PyTorch and {there.affine} in MindSpore"
