"""How each dialect says the settings of a batch normalisation: names, order, defaults, and the sense of momentum.

| | torch.nn | mindspore.nn | mindspore.mint.nn, and the announced mindspore.nn |
|---|---|---|---|
| momentum | weight of the new batch, 0.1 | weight of the old value, 0.9 | as torch |
| statistics | track_running_stats | use_batch_statistics | track_running_stats |
| initial values | none | gamma_init, beta_init, moving_mean_init, moving_var_init | none |

Sources: `inspect.signature` of each class, torch 2.13 and MindSpore 2.10; the announced signature stands in the
docstring of mindspore.nn.BatchNorm3d of MindSpore 2.9 and 2.10.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Literal

from porter.layers.settings import decimal_text

# "announced" is mindspore.nn with the signature that MindSpore has announced.
Dialect = Literal["torch", "mindspore", "mint", "announced"]
Signature = Literal["classic", "announced"]

CLASSES = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")

# The arguments that all dialects share, in their common order; those after them have no common place.
SHARED = ("num_features", "eps", "momentum", "affine")
# Each with the value that it has where it is not given.
INITIAL: Mapping[str, str] = {
    "gamma_init": "ones",
    "beta_init": "zeros",
    "moving_mean_init": "zeros",
    "moving_var_init": "ones",
}
TRACK, USE_BATCH = "track_running_stats", "use_batch_statistics"


@dataclass(frozen=True)
class Terms:
    """One dialect.

    Attributes:
        package: where its classes live; a config's dotted name starts with it.
        inverted: its momentum is the weight of the old value, by default 0.9; else that of the new batch, 0.1.
        positional: the names of positional arguments, in order, by class.
        keywords: names of further arguments, by keyword only.
    """

    package: str
    inverted: bool
    positional: Mapping[str, tuple[str, ...]]
    keywords: tuple[str, ...] = ()

    def arguments(self, class_name: str) -> tuple[str, ...]:
        """Every argument of a class of `CLASSES`, by its last name."""
        return (*self.positional[class_name], *self.keywords)


def _like_torch(package: str, *last: str, keywords: tuple[str, ...] = ()) -> Terms:
    plain = dict.fromkeys(CLASSES[:3], (*SHARED, TRACK, *last))
    sync = {"SyncBatchNorm": (*SHARED, TRACK, "process_group", *last)}
    return Terms(package, False, {**plain, **sync}, keywords)


def _classic() -> Terms:
    shared = (*SHARED, *INITIAL, USE_BATCH)
    flat = dict.fromkeys(CLASSES[:2], (*shared, "data_format", "dtype"))
    deep = {"BatchNorm3d": (*shared, "dtype"), "SyncBatchNorm": (*shared, "process_groups", "dtype")}
    return Terms("mindspore.nn", True, {**flat, **deep})


TERMS: Mapping[Dialect, Terms] = {
    "torch": _like_torch("torch.nn", "device", "dtype", keywords=("bias",)),
    "mindspore": _classic(),
    "mint": _like_torch("mindspore.mint.nn", "dtype"),
    "announced": _like_torch("mindspore.nn", "dtype"),
}

# Every argument that a batch normalisation has in some dialect.
ARGUMENTS = frozenset(
    name for terms in TERMS.values() for class_name in CLASSES for name in terms.arguments(class_name)
)
# Arguments that say by themselves whose terms a layer is in: no other dialect has them.
ONLY_MINDSPORE = frozenset((*INITIAL, USE_BATCH))

# The packages a class is defined in, beside the one it is imported from.
_DEFINED_IN: Mapping[str, Dialect] = {
    "torch.nn": "torch",
    "torch.nn.modules": "torch",
    "torch.nn.modules.batchnorm": "torch",
    "mindspore.nn": "mindspore",
    "mindspore.nn.layer": "mindspore",
    "mindspore.nn.layer.normalization": "mindspore",
    "mindspore.mint.nn": "mint",
    "mindspore.mint.nn.layer": "mint",
    "mindspore.mint.nn.layer.normalization": "mint",
}


def class_of(name: str) -> tuple[Dialect, str] | None:
    """The dialect and class that a dotted name means; mindspore.nn is taken for classic, the caller may know better.

    >>> class_of("torch.nn.modules.batchnorm.BatchNorm3d")
    ('torch', 'BatchNorm3d')
    """
    package, _, last = name.rpartition(".")
    dialect = _DEFINED_IN.get(package)
    return (dialect, last) if dialect and last in CLASSES else None


def number(text: str) -> Decimal | None:
    """The decimal number that `text` spells, None where it spells none that a framework's floats hold."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() and isfinite(float(value)) else None


def inverted(text: str) -> str:
    """1 - the number that `text` spells, with as many decimals and a point where `text` has one.

    Subtracted as decimal text, after the residues of float32 and float64 arithmetic are taken off
    (`porter.layers.settings.decimal_text`). What has no exponent and no residue comes back as it was from a second
    inversion.

    >>> [inverted(text) for text in ("0.997", "0.10", ".1", "1", "1.0", "1e-2", "0.8999999761581421")]
    ['0.003', '0.90', '.9', '0', '0.0', '0.99', '0.1']

    Raises:
        ValueError: it spells no number.
    """
    value = number(text)
    if value is None:
        raise ValueError(f"no number: {text!r}")
    meant = Decimal(decimal_text(float(value)))
    if meant == value:
        meant = value
    result = f"{1 - meant:f}"
    if re.match(r"\.\d", text):
        return result.removeprefix("0")
    if "." not in result and re.search(r"[.eE]", text):
        return f"{result}." if text.endswith(".") else f"{result}.0"
    return result
