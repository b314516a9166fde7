"""Right numbers in the wrong place: axes, kernels, rows, gates, layers exchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from fault_catalogue.model import Array, Fault, Scene, setting

# Kind -> (what its rows come in parts of, orders in which another library, or a mistake, has those parts).
PARTS: dict[str, tuple[str, Sequence[Sequence[int]]]] = {
    "LSTM": ("gates in another order", ((0, 2, 1, 3), (0, 1, 3, 2), (3, 0, 1, 2))),
    "GRU": ("gates in another order", ((1, 0, 2), (2, 1, 0), (1, 2, 0))),
    "MultiheadAttention": ("queries, keys, values exchanged", ((1, 0, 2), (0, 2, 1), (2, 1, 0))),
}


def of_weights(scene: Scene) -> Iterator[Fault]:
    """Weights as another layout has them, under the shape that is expected."""
    weights = [name for name in scene.others if scene.tensors[name].ndim > 1]
    for name in scene.sample(weights, 6 * scene.layers):
        right, victim = scene.tensors[name], scene.owner(name)

        def fault(family: str, values: Array, words: str, name: str = name, victim: str = victim) -> Fault:
            return setting(family, name, {victim: (words,)}, {name: values})

        kind = "convolution" if right.ndim > 2 else "matrix"
        if right.shape[0] > 1 and right.shape[1] > 1:
            moved = right.swapaxes(0, 1).reshape(right.shape)
            yield fault(f"{kind} weight transposed", moved, "has its axes 0 and 1 exchanged")
        if right.ndim > 2 and max(right.shape[2:]) > 1:
            flipped = np.flip(right, tuple(range(2, right.ndim)))
            yield fault("convolution kernel mirrored", flipped, "is mirrored along")
        for a, b in combinations(range(2, right.ndim), 2):
            if right.shape[a] > 1 and right.shape[b] > 1:
                moved = right.swapaxes(a, b).reshape(right.shape)
                yield fault("kernel axes exchanged", moved, f"has its axes {a} and {b} exchanged")


def of_parts(scene: Scene) -> Iterator[Fault]:
    """Gates, or the projections of an attention, in another order: in one tensor, and in all of the layer."""
    for layer in scene.subject.layers:
        family, orders = PARTS.get(layer.kind.name.removesuffix("Cell"), ("", ()))
        names = [
            name for slot, name in scene.subject.tensors(layer).items() if slot[:4] not in ("q_pr", "k_pr", "v_pr")
        ]
        names = [name for name in names if "proj" in name or "_ih" in name or "_hh" in name]
        for order in orders:
            listed = ", ".join(map(str, order))
            changes = {name: _reordered(scene.tensors[name], order) for name in names}
            for chosen in (*scene.sample(names), None):
                change = changes if chosen is None else {chosen: changes[chosen]}
                parts = rf"parts of \d+ .* in the order {listed}"
                words = tuple(rf"{re.escape(name)} .*{parts}" for name in change)
                if len(change) > 3:  # many tensors that are wrong in one way are told together
                    words = (rf"\({len(change)} tensors\): each has its .*{parts}",)
                what = f"{chosen or layer.name}: {listed}"
                yield setting(family, what, {layer.name: words}, change)
        if layer.kind.name == "Embedding":
            (name,) = scene.subject.tensors(layer).values()
            for shift in (1, -1):
                words = (rf"is permuted along axis 0: shifted by {shift}",)
                change = {name: np.roll(scene.tensors[name], shift, axis=0)}
                yield setting("embedding rows shifted", f"{name} by {shift}", {layer.name: words}, change)


def of_layers(scene: Scene) -> Iterator[Fault]:
    """Two normalisations of one size, and two other tensors of one shape, in each other's place."""
    pairs = [(a, b) for a, b in combinations(scene.subject.norms, 2) if a.channels == b.channels]
    for a, b in scene.sample(pairs, 8):
        change = {}
        for slot, name in scene.norm(a).items():
            other = scene.norm(b)[slot]
            change |= {name: scene.tensors[other], other: scene.tensors[name]}
        victims = {one.name: (rf"holds the .* of .*{re.escape(other.name)}",) for one, other in ((a, b), (b, a))}
        yield setting("layers exchanged", f"{a.name} and {b.name}", victims, change)
    weights = [name for name in scene.tensors if scene.tensors[name].ndim > 1]
    alike = [(a, b) for a, b in combinations(weights, 2) if scene.tensors[a].shape == scene.tensors[b].shape]
    for a, b in scene.sample(alike, 8):
        told: dict[str, tuple[str, ...]] = {}
        for one, other in ((a, b), (b, a)):
            victim = scene.owner(one)
            told[victim] = (*told.get(victim, ()), rf"{re.escape(one)}.* holds the values of .*{re.escape(other)}")
        yield setting("layers exchanged", f"{a} and {b}", told, {a: scene.tensors[b], b: scene.tensors[a]})


def _reordered(values: Array, order: Sequence[int]) -> Array:
    parts = np.split(values, len(order))
    return np.concatenate([parts[i] for i in order])
