"""A batch normalisation's settings, and how each dialect says them.

| | torch, mint | mindspore |
|---|---|---|
| momentum | weight of the new batch, 0.1 | weight of the old value, 0.9: 1 - torch |
| statistics | track_running_stats True | use_batch_statistics None |
| | track_running_stats False | use_batch_statistics True |
| | none: a layer kept in eval() | use_batch_statistics False |

Sources: torch/nn/modules/batchnorm.py; mindspore/nn/layer/normalization.py; each row was run in both frameworks.
A MindSpore whose BatchNorm3d takes `track_running_stats` (the announced signature) means momentum as PyTorch
does; the MindSpore backend asks the installed one (`porter.verification.mindspore_backend`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

from porter.formats.strict_json import map_of, of_type, one_of

# How a layer treats its running statistics: moved in training and used in evaluation; never used (batch
# statistics always); or used always and never moved.
Statistics = Literal["tracked", "batch", "frozen"]

USE_BATCH_STATISTICS: Mapping[Statistics, bool | None] = {"tracked": None, "batch": True, "frozen": False}

# Where settings come from that are assumed to be those of the network on the other side; see `Settings.known_from`.
TARGET = "target network"
# A model config; behind it file and line.
CONFIG = "config"
# The framework's default, for the config behind this could say it and does not.
NOT_SAID = "default, not said in"

DEFAULT_EPS = 1e-5
DEFAULT_MOMENTUM = 0.1
# What is said where a layer's momentum is None, and MindSpore's layer has to have one.
NO_CUMULATIVE_AVERAGE = (
    "MindSpore has no cumulative average, which momentum None asks for; a rules file says what takes its place: "
    '[hyperparameters] "LAYER" = { momentum = 0.1 }'
)
# How far a number between 0 and 1 may be off after it was subtracted from 1.
_ONE_SUBTRACTION = 2**-52


@dataclass(frozen=True)
class Settings:
    """Settings of one batch normalisation, in PyTorch's terms.

    Attributes:
        eps: added to the variance.
        momentum: weight of the new batch in the running statistics; None is PyTorch's cumulative average.
        affine: whether gamma and beta are trained (their values count either way).
        statistics: see `Statistics`.
        known_from: setting name -> where its value comes from ("network", "pickled module", "option", "rules",
            "record", "config net.yaml:3"; assumed from "target network" or "default").
    """

    eps: float = DEFAULT_EPS
    momentum: float | None = DEFAULT_MOMENTUM
    affine: bool = True
    statistics: Statistics = "tracked"
    known_from: Mapping[str, str] = field(default_factory=dict, compare=False)

    def to_json(self) -> dict[str, object]:
        """The fields by name."""
        return {**vars(self), "known_from": dict(self.known_from)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Settings:
        """Read `to_json` back.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        return cls(
            of_type(float, value["eps"]),
            None if value["momentum"] is None else of_type(float, value["momentum"]),
            of_type(bool, value["affine"]),
            one_of(get_args(Statistics), value["statistics"]),
            map_of(str, value["known_from"]),
        )


# Of any of the settings.
Value = float | bool | Statistics | None


class Given(NamedTuple):
    """A setting of a layer, and where it comes from as in `Settings.known_from`."""

    value: Value
    origin: str


def with_given(settings: Settings, setting: str, given: Given) -> Settings:
    """`settings` with one of them given."""
    changed: dict[str, Any] = {setting: given.value, "known_from": {**settings.known_from, setting: given.origin}}
    return replace(settings, **changed)


def differing(one: Settings, other: Settings) -> tuple[str, ...]:
    """Names of the settings in which two batch normalisations differ.

    Momentum counts where both track their statistics, affine where both sides say it: a file shows that there are
    gamma and beta, not that they are trained.
    """
    tracked = one.statistics == other.statistics == "tracked"
    said = "affine" in one.known_from and "affine" in other.known_from
    differ = {
        "eps": not same_number(one.eps, other.eps),
        "statistics": one.statistics != other.statistics,
        "momentum": tracked and not same_momentum(one.momentum, other.momentum),
        "affine": said and one.affine != other.affine,
    }
    return tuple(name for name, does in differ.items() if does)


def same_number(one: float, other: float) -> bool:
    """Whether two settings are one decimal number, as `decimal_text` reads them, or one is float32's of the other.

    A relative tolerance would pass an eps of 1.00001e-5 for 1e-5, which nobody means; what float32 or 1 - x leave
    behind in a number is told from that exactly.
    """
    return decimal_text(one) == decimal_text(other) or _as_float32(one) == other or one == _as_float32(other)


def same_momentum(one: float | None, other: float | None) -> bool:
    """Whether two momenta, in the same terms, are one: as they are, or as the other framework's terms have them.

    MindSpore given float32's 0.9 keeps 1 - 0.9 = 0.10000002384185791, which is 0.1 only before the subtraction. 1/3
    and 1 - 2/3 are no short decimals, and as far apart as a subtraction leaves them.
    """
    if one is None or other is None:
        return one is other
    return abs(one - other) <= _ONE_SUBTRACTION or same_number(one, other) or same_number(1 - one, 1 - other)


def invert_momentum(momentum: float) -> float:
    """PyTorch's momentum for MindSpore's or the reverse, subtracted as decimal text, so that 0.997 gives 0.003.

    >>> invert_momentum(0.997)
    0.003
    """
    from decimal import Decimal

    return float(1 - Decimal(decimal_text(momentum)))


def meant_momentum(kept: float) -> float:
    """The momentum that was meant where a layer keeps `kept`: the shorter decimal number of it and of 1 - it.

    MindSpore's layers keep 1 - the momentum that they are given: 0.09999999999999998 of 0.9, and of float32's 0.93
    0.06999999284744263, which only its other side shows to be 0.07.

    >>> meant_momentum(1.0 - 0.9), meant_momentum(0.06999999284744263), meant_momentum(0.01)
    (0.1, 0.07, 0.01)
    """
    given = decimal_text(1.0 - kept)
    is_given = len(given) < len(decimal_text(kept)) and len(given) <= len("0.123456789")
    return invert_momentum(1.0 - kept) if is_given else float(decimal_text(kept))


def decimal_text(value: float) -> str:
    """The decimal number a person meant by `value`: up to 9 significant digits where those explain the float.

    A setting that went through arithmetic or through float32 carries a residue: 1 - 0.99 is
    0.010000000000000009, and float32's 0.9 reads back as 0.8999999761581421. The shortest number of at most 9
    digits that is the same float32, or lies within the rounding error of one subtraction from 1, is what was meant.
    """
    for digits in range(1, 10):
        short = f"{value:.{digits}g}"
        if abs(float(short) - value) <= _ONE_SUBTRACTION or _as_float32(float(short)) == value:
            return short
    return repr(value)


def _as_float32(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return float("inf")
