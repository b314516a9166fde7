"""Wrong numbers: parameters exchanged, scaled, rounded, reset, permuted, another training's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from fault_catalogue.model import SLOTS, Array, Fault, Scene, constant, setting
from porter.layers.model import Layer

# So many wrong values among more right ones are told one by one.
FEW = 3
INITIAL = {"gamma": 1.0, "beta": 0.0, "mean": 0.0, "variance": 1.0}


def of_norms(scene: Scene) -> Iterator[Fault]:
    """What batch normalisations can hold that they should not."""
    for layer in scene.sample(scene.subject.norms):
        names = scene.norm(layer)
        for a, b in combinations(names, 2):
            words = (rf"{SLOTS[a]} and {SLOTS[b]} are swapped \(swapping them back gives error",)
            change = {names[a]: scene.tensors[names[b]], names[b]: scene.tensors[names[a]]}
            yield setting("parameters swapped", f"{layer.name}: {a} and {b}", {layer.name: words}, change)
        yield from _channels(scene, layer)
        yield from _initial(scene, layer)
        yield from _variance(scene, layer, names["variance"])
        for slot, name in names.items():
            yield from _of_a_tensor(scene, layer.name, name, SLOTS[slot])


def of_others(scene: Scene) -> Iterator[Fault]:
    """The same changes of tensors that are no batch normalisation's; two of one layer and shape exchanged."""
    for name in scene.sample(scene.others):
        yield from _of_a_tensor(scene, scene.owner(name), name, "")
    others = [layer for layer in scene.subject.layers if layer not in scene.subject.norms]
    for layer in others:
        names = scene.subject.tensors(layer).values()
        alike = [(a, b) for a, b in combinations(names, 2) if scene.tensors[a].shape == scene.tensors[b].shape]
        for a, b in scene.sample(alike):
            words = tuple(
                rf"{re.escape(one)} holds the values of .*{re.escape(other)}" for one, other in ((a, b), (b, a))
            )
            change = {a: scene.tensors[b], b: scene.tensors[a]}
            yield setting("parameters swapped", f"{a} and {b}", {layer.name: words}, change)


def of_another_checkpoint(scene: Scene) -> Iterator[Fault]:
    """One tensor, and a whole batch normalisation, as another training left them."""
    unexplained = r"differs in .*no rule explains it: the values are another checkpoint's"
    for layer in scene.sample(scene.subject.norms):
        names = scene.norm(layer)
        for slot, name in names.items():
            words = (f"{SLOTS[slot]} {unexplained}",)
            yield setting("tensor of another checkpoint", name, {layer.name: words}, {name: scene.foreign[name]})
        every = tuple(f"{SLOTS[slot]} {unexplained}" for slot in names)
        change = {name: scene.foreign[name] for name in names.values()}
        yield setting("layer of another checkpoint", layer.name, {layer.name: every}, change)
    for name in scene.sample(scene.others, 4 * scene.layers):
        victims = {scene.owner(name): (unexplained,)}
        yield setting("tensor of another checkpoint", name, victims, {name: scene.foreign[name]})


def _of_a_tensor(scene: Scene, victim: str, name: str, leaf: str) -> Iterator[Fault]:
    """Changes of the numbers of any tensor; `leaf` is what the diagnosis calls it."""
    right, random = scene.tensors[name], scene.random
    wide = right.astype(np.float64)

    def fault(family: str, detail: str, values: Array, words: str) -> Fault:
        wrong = np.count_nonzero(values.astype(right.dtype) != right)
        pattern = f"{leaf} {words}".strip()
        if constant(right):
            pattern = r"is .* where .* was expected (in every channel|throughout)"
        elif wrong == 1 or (wrong <= FEW and 2 * wrong < right.size):
            # A small change that most values do not show in their dtype.
            pattern = rf"{leaf}\[.*\] is .* where .* was expected"
        return setting(family, f"{name}: {detail}", {victim: (pattern,)}, {name: values})

    yield fault("sign", "negated", -right, "has the opposite sign")
    for exponent in range(2, 7):
        factor = 1 + 10.0**-exponent
        yield fault(f"scale 1e-{exponent}", f"scaled by {factor:g}", wide * factor, r"is multiplied by 1\.0")
    for exponent in range(1, 6):
        yield fault("offset", f"offset by 1e-{exponent}", wide + 10.0**-exponent, "(.*, or )?is offset by ")
    place = int(random.integers(right.size))
    index = ", ".join(str(int(i)) for i in np.unravel_index(place, right.shape))
    changed = right.copy()
    changed.flat[place] += changed.dtype.type(random.normal())
    words = re.escape(f"{leaf}[{index}] is ")
    yield setting("one element", f"{name}[{index}]", {victim: (words,)}, {name: changed})
    if right.ndim > 2 and len(right) > 1 and right.size > FEW * len(right):
        factors = random.uniform(0.5, 2, (len(right), *(1,) * (right.ndim - 1)))
        told = "has .* channels along axis 0 multiplied by factors of their own"
        yield fault("normalisation folded in", "", wide * factors, told)
    if scene.tensors.dtype(name) == "float32":
        rounded = right.astype(np.float16).astype(np.float32)
        yield fault("rounded to float16", "", rounded, "looks rounded to float16")


def _channels(scene: Scene, layer: Layer) -> Iterator[Fault]:
    names, tensors = scene.norm(layer), scene.tensors
    count = len(tensors[names["variance"]])
    order = scene.random.permutation(count)
    slots = {"one": [str(scene.random.choice(list(names)))], "all": list(names)}
    for which, chosen in slots.items():
        leaves = [SLOTS[slot] for slot in chosen if not constant(tensors[names[slot]])]
        listed = " and ".join([", ".join(leaves[:-1]), leaves[-1]] if len(leaves) > 1 else leaves)
        words = rf"channels of {listed} are permuted: "
        for family, taken, more in (
            ("channels permuted", order, ""),
            (
                "channels shifted by one",
                np.roll(np.arange(count), 1),
                r"(shifted by 1|channels 0 and 1 are exchanged)",
            ),
        ):
            change = {names[slot]: tensors[names[slot]][taken] for slot in chosen}
            yield setting(family, f"{layer.name}: {which}", {layer.name: (words + more,)}, change)


def _initial(scene: Scene, layer: Layer) -> Iterator[Fault]:
    names, tensors = scene.norm(layer), scene.tensors
    for family, slots in (("statistics reset", ("mean", "variance")), ("gamma reset", ("gamma",))):
        change = {names[slot]: np.full_like(tensors[names[slot]], INITIAL[slot]) for slot in slots}
        changed = [slot for slot in slots if not np.array_equal(change[names[slot]], tensors[names[slot]])]
        words = " and ".join(SLOTS[slot] for slot in changed) + " holds? (its|their) initial value"
        yield setting(family, layer.name, {layer.name: (words,)}, change)


def _variance(scene: Scene, layer: Layer, name: str) -> Iterator[Fault]:
    right = scene.tensors[name].astype(np.float64)
    families = {
        "variance as its square root": (np.sqrt(right), "running_var holds its square root"),
        "variance as its inverse": (1 / right, "running_var holds its inverse"),
        "variance as inverse deviation": (
            1 / np.sqrt(right + 1e-3),
            # Short dtypes do not show the eps.
            r"running_var (holds (1 / sqrt\(variance|the inverse of its square root)|is .* in every channel)",
        ),
        "biased variance (n = 256)": (
            right * 255 / 256,
            "for 256 values per channel, the biased variance"
            if scene.tensors.dtype(name) == "float32"
            else "multiplied",
        ),
    }
    for family, (values, words) in families.items():
        yield setting(family, layer.name, {layer.name: (words,)}, {name: values})
