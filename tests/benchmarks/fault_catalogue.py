"""The faults that `verify` must find: how each is put into a right output, and what its diagnosis must say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from fault_subjects import Subject, Tensors
from numpy.typing import NDArray

from porter.layers.model import Layer

Array = NDArray[Any]
Inject = Callable[[Tensors], None]

SLOTS = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
# So many wrong values among more right ones are told one by one.
FEW = 3
INITIAL = {"gamma": 1.0, "beta": 0.0, "mean": 0.0, "variance": 1.0}


@dataclass(frozen=True)
class Fault:
    """One fault of one output.

    Attributes:
        family: the row of the table it counts in.
        what: the fault in words, for the list of those that were not named.
        inject: changes the tensors of the output; None where only `verify` is told otherwise.
        victims: layer (or tensor outside of any) -> regular expressions that all must be found in what `verify` says
            of it; nothing else may be accused.
        options: keywords of `porter.verify` that say how the target is configured.
    """

    family: str
    what: str
    victims: dict[str, tuple[str, ...]]
    inject: Inject | None = None
    options: dict[str, Any] = field(default_factory=dict)


def value_faults(subject: Subject, tensors: Tensors, random: np.random.Generator, layers: int) -> Iterator[Fault]:
    """Every kind of fault of values, on up to `layers` batch normalisations and on as many other tensors."""
    chosen = list(_sample(random, subject.layers, layers))
    for layer in chosen:
        yield from _of_a_norm(subject, tensors, layer, random)
    norms = {subject.tensor(layer, slot) for layer in subject.layers for slot in SLOTS}
    others = [name for name in tensors if name not in norms and tensors[name].size > 1]
    for name in _sample(random, others, layers):
        yield from _of_a_tensor(name, name, "", tensors[name], tensors.dtype(name), random)
    yield from _transposed(tensors, others)
    yield from _exchanged_layers(subject, tensors, random)
    yield from _other_checkpoint(subject, tensors, random, chosen, others)


def bit_faults(subject: Subject, tensors: Tensors, random: np.random.Generator) -> Iterator[Fault]:
    """One bit at every significance, of a value of a batch normalisation and of another tensor; counters, too."""
    layer = next(_sample(random, subject.layers, 1))
    slot = str(random.choice(list(SLOTS)))
    wide = next(name for name in tensors if tensors[name].ndim > 2)
    places = [(layer.name, SLOTS[slot], subject.tensor(layer, slot)), (wide, "", wide)]
    counter = next((name for name in tensors if tensors.dtype(name) == "int64"), None)
    if counter:
        places.append((counter, "", counter))
    for victim, leaf, name in places:
        bits = tensors.bits(name)
        for bit in range(8 * bits.itemsize):
            place = int(random.integers(bits.size))
            index = np.unravel_index(place, tensors[name].shape) if tensors[name].ndim else ()
            where = f"[{', '.join(str(int(i)) for i in index)}]" if index else ""
            words = (re.escape(f"{leaf}{where} is "), rf"one bit is flipped \(bit {bit}\b")
            inject = partial(_flip, name=name, place=place, bit=bit)
            yield Fault(f"one bit, {tensors.dtype(name)}", f"{name}{where}, bit {bit}", {victim: words}, inject)


def _flip(tensors: Tensors, *, name: str, place: int, bit: int) -> None:
    bits = tensors.bits(name)
    bits[place] ^= bits.dtype.type(1 << bit)
    tensors.set_bits(name, bits)


def _of_a_norm(subject: Subject, tensors: Tensors, layer: Layer, random: np.random.Generator) -> Iterator[Fault]:
    names = {slot: subject.tensor(layer, slot) for slot in SLOTS if subject.tensor(layer, slot) in tensors}
    for a, b in combinations(names, 2):
        words = (rf"{SLOTS[a]} and {SLOTS[b]} are swapped \(swapping them back gives error",)
        change = {names[a]: tensors[names[b]], names[b]: tensors[names[a]]}
        yield _set("parameters swapped", f"{layer.name}: {a} and {b}", {layer.name: words}, change)
    for slot, name in names.items():
        yield from _of_a_tensor(layer.name, name, SLOTS[slot], tensors[name], tensors.dtype(name), random)
    yield from _channels(layer, names, tensors, random)
    yield from _initial(layer, names, tensors)
    yield from _variance(layer, names["variance"], tensors)


def _of_a_tensor(
    victim: str, name: str, leaf: str, right: Array, dtype: str, random: np.random.Generator
) -> Iterator[Fault]:
    """Changes of the numbers of any tensor; `leaf` is what the diagnosis calls it."""
    wide = right.astype(np.float64)

    def fault(family: str, detail: str, values: Array, words: str) -> Fault:
        wrong = np.count_nonzero(values.astype(right.dtype) != right)
        pattern = f"{leaf} {words}".strip()
        if _constant(right):
            pattern = r"is .* where .* was expected (in every channel|throughout)"
        elif wrong <= FEW:  # a small change that most values do not show in their dtype
            pattern = rf"{leaf}\[.*\] is .* where .* was expected"
        return _set(family, f"{name}: {detail}", {victim: (pattern,)}, {name: values})

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
    yield _set("one element", f"{name}[{index}]", {victim: (words,)}, {name: changed})
    if dtype == "float32":
        rounded = right.astype(np.float16).astype(np.float32)
        yield fault("rounded to float16", "", rounded, "looks rounded to float16")


def _channels(layer: Layer, names: dict[str, str], tensors: Tensors, random: np.random.Generator) -> Iterator[Fault]:
    count = len(tensors[names["variance"]])
    order = random.permutation(count)
    slots = {"one": [str(random.choice(list(names)))], "all": list(names)}
    for which, chosen in slots.items():
        leaves = [SLOTS[slot] for slot in chosen if not _constant(tensors[names[slot]])]
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
            yield _set(family, f"{layer.name}: {which}", {layer.name: (words + more,)}, change)


def _initial(layer: Layer, names: dict[str, str], tensors: Tensors) -> Iterator[Fault]:
    for family, slots in (("statistics reset", ("mean", "variance")), ("gamma reset", ("gamma",))):
        change = {names[slot]: np.full_like(tensors[names[slot]], INITIAL[slot]) for slot in slots}
        changed = [slot for slot in slots if not np.array_equal(change[names[slot]], tensors[names[slot]])]
        words = " and ".join(SLOTS[slot] for slot in changed) + " holds? (its|their) initial value"
        yield _set(family, layer.name, {layer.name: (words,)}, change)


def _variance(layer: Layer, name: str, tensors: Tensors) -> Iterator[Fault]:
    right = tensors[name].astype(np.float64)
    families = {
        "variance as its square root": (np.sqrt(right), "running_var holds its square root"),
        "variance as its inverse": (1 / right, "running_var holds its inverse"),
        "biased variance (n = 256)": (
            right * 255 / 256,
            "for 256 values per channel, the biased variance" if tensors.dtype(name) == "float32" else "multiplied",
        ),
    }
    for family, (values, words) in families.items():
        yield _set(family, layer.name, {layer.name: (words,)}, {name: values})


def _transposed(tensors: Tensors, others: Sequence[str]) -> Iterator[Fault]:
    """Weights of convolutions as another layout has them, under the shape that is expected."""
    for name in others:
        right = tensors[name]
        if right.ndim > 2 and right.shape[1] > 1 and right.shape[0] > 1:
            moved = right.swapaxes(0, 1).reshape(right.shape)
            words = ("has its axes 0 and 1 exchanged",)
            yield _set("convolution weight transposed", name, {name: words}, {name: moved})
            if max(right.shape[2:]) > 1:
                flipped = np.flip(right, tuple(range(2, right.ndim)))
                yield _set("convolution kernel mirrored", name, {name: ("is mirrored along",)}, {name: flipped})


def _exchanged_layers(subject: Subject, tensors: Tensors, random: np.random.Generator) -> Iterator[Fault]:
    """Two normalisations of one size, and two other tensors of one shape, in each other's place."""
    pairs = [
        (a, b) for a, b in combinations(subject.layers, 2) if a.channels == b.channels and a.tensors and b.tensors
    ]
    for a, b in _sample(random, pairs, 8):
        names = [(subject.tensor(a, slot), subject.tensor(b, slot)) for slot in SLOTS]
        change = {x: tensors[y] for pair in names for x, y in (pair, pair[::-1])}
        victims = {one.name: (rf"holds the .* of .*{re.escape(other.name)}",) for one, other in ((a, b), (b, a))}
        yield _set("layers exchanged", f"{a.name} and {b.name}", victims, change)
    weights = [name for name in tensors if tensors[name].ndim > 2]
    alike = [(a, b) for a, b in combinations(weights, 2) if tensors[a].shape == tensors[b].shape]
    for a, b in _sample(random, alike, 8):
        victims = {one: (rf"holds the values of .*{re.escape(other)}",) for one, other in ((a, b), (b, a))}
        yield _set("layers exchanged", f"{a} and {b}", victims, {a: tensors[b], b: tensors[a]})


def _other_checkpoint(
    subject: Subject, tensors: Tensors, random: np.random.Generator, layers: Sequence[Layer], others: Sequence[str]
) -> Iterator[Fault]:
    """Values with the distribution of the right ones, which another training would give."""
    norms = [
        (layer.name, SLOTS[slot], subject.tensor(layer, slot))
        for layer in layers
        for slot in SLOTS
        if subject.tensor(layer, slot) in tensors
    ]
    for victim, leaf, name in (*norms, *((name, "", name) for name in _sample(random, others, len(layers)))):
        right = tensors[name].astype(np.float64)
        values = right.mean() + (right.std() + 0.01) * random.standard_normal(right.shape)
        if leaf == "running_var":
            values = abs(values) + 0.01
        words = (f"{leaf} differs in .*no rule explains it: the values are another checkpoint's".strip(),)
        yield _set("tensor of another checkpoint", name, {victim: words}, {name: values})


def settings_faults(subject: Subject) -> Iterator[Fault]:
    """Layers of the target that are configured otherwise, all alike; momenta are MindSpore's."""
    names = [layer.name for layer in subject.layers]

    def fault(family: str, words: str, **options: float) -> Fault:
        what = f"{subject.name}: {', '.join(f'{key}={value:g}' for key, value in options.items())}"
        return Fault(family, what, dict.fromkeys(names, (words,)), options=options)

    for eps in (1e-3, 1e-4, 1.1e-5, 1e-6, 0.1):
        yield fault("eps changed", rf"eps is {eps:g} where 1e-05 was expected", target_eps=eps)
    yield fault("momentum not inverted", "it was not inverted", target_momentum=0.1)
    yield fault("momentum inverted twice", "or inverted twice", target_momentum=1 - (1 - 0.1))
    for momentum in (0.901, 0.899):
        words = rf"momentum is {momentum:.3g} where 0.9 was expected"
        yield fault("momentum 1e-3 off", words, target_momentum=momentum)


def _set(family: str, what: str, victims: dict[str, tuple[str, ...]], change: dict[str, Array]) -> Fault:
    def inject(tensors: Tensors) -> None:
        for name, values in change.items():
            tensors[name] = values

    return Fault(family, what, victims, inject)


def _sample(random: np.random.Generator, items: Sequence[Any], count: int) -> Iterator[Any]:
    for i in random.permutation(len(items))[:count]:
        yield items[i]


def _constant(values: Array) -> bool:
    return bool((values == values.flat[0]).all())
