"""One bit at every significance."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import numpy as np
from fault_subjects import Tensors

from fault_catalogue.model import SLOTS, Fault, Scene


def bits_of_layers(scene: Scene) -> Iterator[Fault]:
    """Of a parameter of a batch normalisation, of a weight, and of a counter where there is one."""
    tensors, layer = scene.tensors, next(scene.sample(scene.subject.norms, 1))
    slot, name = next(scene.sample(list(scene.norm(layer).items()), 1))
    wide = next(name for name in tensors if tensors[name].ndim > 2)
    yield from _bits(scene, layer.name, SLOTS[slot], name)
    yield from _bits(scene, scene.owner(wide), "", wide)
    counter = next((name for name in tensors if tensors.dtype(name) == "int64"), None)
    if counter:
        yield from _bits(scene, counter, "", counter)


def bits_of_every_tensor(scene: Scene) -> Iterator[Fault]:
    for name in scene.tensors:
        yield from _bits(scene, name, "", name)


def _bits(scene: Scene, victim: str, leaf: str, name: str) -> Iterator[Fault]:
    """`leaf` is what the diagnosis calls the tensor."""
    tensors = scene.tensors
    stored = tensors.bits(name)
    for bit in range(8 * stored.itemsize):
        place = int(scene.random.integers(stored.size))
        index = np.unravel_index(place, tensors[name].shape) if tensors[name].ndim else ()
        where = f"[{', '.join(str(int(i)) for i in index)}]" if index else ""
        words = (re.escape(f"{leaf}{where} is "), rf"one bit is flipped \(bit {bit}\b")
        inject = partial(_flip, name=name, place=place, bit=bit)
        yield Fault(f"one bit, {tensors.dtype(name)}", f"{name}{where}, bit {bit}", {victim: words}, inject)


def _flip(tensors: Tensors, *, name: str, place: int, bit: int) -> None:
    stored = tensors.bits(name)
    stored[place] ^= stored.dtype.type(1 << bit)
    tensors.set_bits(name, stored)
