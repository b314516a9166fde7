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

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from porter.layers.settings import decimal_text

# "announced" is mindspore.nn with the signature that MindSpore has announced.
Dialect = Literal["torch", "mindspore", "mint", "announced"]

CLASSES = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")

_SHARED = ("num_features", "eps", "momentum", "affine")
_INITIAL = ("gamma_init", "beta_init", "moving_mean_init", "moving_var_init")


@dataclass(frozen=True)
class Terms:
    """One dialect.

    Attributes:
        package: where its classes live; a config's dotted name starts with it.
        momentum: the value it has where none is given.
        inverted: its momentum is the weight of the old value.
        positional: the names of positional arguments, in order, by class.
        keywords: names of further arguments, by keyword only.
    """

    package: str
    momentum: str
    inverted: bool
    positional: Mapping[str, tuple[str, ...]]
    keywords: tuple[str, ...] = ()


TERMS: Mapping[Dialect, Terms] = {
    "torch": Terms(
        "torch.nn",
        "0.1",
        False,
        {
            **dict.fromkeys(CLASSES[:3], (*_SHARED, "track_running_stats")),
            "SyncBatchNorm": (*_SHARED, "track_running_stats", "process_group"),
        },
        ("device", "dtype", "bias"),
    ),
}


def inverted(text: str) -> str:
    """1 - the number that `text` spells, spelled alike; see the module.

    >>> inverted("0.997"), inverted("0.10"), inverted(".1"), inverted("1")
    ('0.003', '0.90', '.9', '0')
    """
    return str(1 - Decimal(decimal_text(float(text))))
