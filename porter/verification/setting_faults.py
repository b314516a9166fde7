"""Settings of a batch normalisation that are not the source's, in words.

They are compared as facts (`porter.layers.settings.differing`), for on the inputs a layer is run on, or within a
tolerance that the user gave, they need not show. Values stand in the output's own terms, so that what is expected is
what to write there.
"""

from __future__ import annotations

from collections.abc import Mapping

from porter.layers.kinds import Dialect
from porter.layers.settings import (
    CONFIG,
    NO_CUMULATIVE_AVERAGE,
    NOT_SAID,
    TARGET,
    USE_BATCH_STATISTICS,
    Settings,
    Statistics,
    decimal_text,
    differing,
    invert_momentum,
    same_momentum,
)
from porter.verification.cases import LayerCase

FLAGS: Mapping[Statistics, str] = {
    "tracked": "running statistics tracked",
    "batch": "batch statistics always (track_running_stats=False)",
    "frozen": "running statistics frozen",
}
_IN_TORCH: Mapping[Statistics, str] = {
    "tracked": "track_running_stats=True",
    "batch": "track_running_stats=False",
    "frozen": "eval() on this layer",
}
# Of a source's setting that nobody said (`Settings.known_from`).
_ASSUMED = ("default", TARGET)


def setting_faults(case: LayerCase) -> list[str]:
    """Every setting of the output that is not the source's, translated."""
    return [_fault(case, setting) for setting in differing(case.source.settings, case.target.settings)]


def are_known_to_differ(case: LayerCase) -> bool:
    """Whether one of them is known on both sides: against an assumed one nothing but a run counts."""
    right = case.source.settings
    settings = differing(right, case.target.settings)
    return any(right.known_from.get(setting) not in _ASSUMED for setting in settings)


def in_the_outputs_terms(case: LayerCase, found: float | None, expected: float | None) -> str:
    """Two momenta, given in PyTorch's terms, in those of the output's framework, and PyTorch's in brackets."""
    told = f"{number(found)} where {number(expected)} was expected"
    if case.target.dialect != "mindspore" or found is None or expected is None:
        return told
    mindspore = f"{number(invert_momentum(found))} where {number(invert_momentum(expected))} was expected"
    return f"{mindspore} (in PyTorch's terms {number(found)} and {number(expected)})"


def inverted_momentum(settings: Settings) -> float | None:
    """The momentum as the other framework means the number."""
    return None if settings.momentum is None else invert_momentum(settings.momentum)


def number(value: float | None) -> str:
    """A setting as a person writes it, with the digits that tell it from every other."""
    return "None" if value is None else decimal_text(value)


def _fault(case: LayerCase, setting: str) -> str:
    right, found = case.source.settings, case.target.settings
    where = _where(found, setting)
    if setting == "momentum":
        return _momentum_fault(case, where)
    if setting == "statistics":
        told = f"{FLAGS[found.statistics]} where {FLAGS[right.statistics]} was expected{where}"
        return f"{told}: write {_flag(case.target.dialect, right.statistics)}"
    if setting == "affine":
        return f"affine is {found.affine} where {right.affine} was expected{where}: {_trained(case)}"
    return f"eps is {number(found.eps)} where {number(right.eps)} was expected{where}"


def _trained(case: LayerCase) -> str:
    """PyTorch has no gamma to hold where affine=False: one that the file brings can only be frozen."""
    if not case.target.settings.affine:
        return "weight and bias are trained in the source, but not here, which changes training alone"
    told = "weight and bias are trained here, but not in the source, which changes training alone"
    return told if case.target.dialect == "mindspore" else f"{told}; requires_grad_(False) on them freezes them"


def _flag(dialect: Dialect, statistics: Statistics) -> str:
    if dialect == "mindspore":
        return f"use_batch_statistics={USE_BATCH_STATISTICS[statistics]}"
    return _IN_TORCH[statistics]


def _momentum_fault(case: LayerCase, where: str) -> str:
    right, found = case.source.settings, case.target.settings
    inverted = inverted_momentum(right)
    uninverted = same_momentum(found.momentum, inverted)
    if uninverted and found.known_from.get("momentum", "").startswith(CONFIG):
        written = number(inverted if case.source.dialect == "mindspore" else right.momentum)
        return (
            f"momentum {written} on both sides{where}: the output's config was not translated; bnport config does it"
        )
    if right.momentum is None and found.momentum is not None and case.target.dialect == "mindspore":
        kept = f"{number(invert_momentum(found.momentum))} ({number(found.momentum)} in PyTorch's terms)"
        return f"momentum is {kept} where None was expected{where}: {NO_CUMULATIVE_AVERAGE}"
    fault = f"momentum is {in_the_outputs_terms(case, found.momentum, right.momentum)}{where}"
    return f"{fault}: it was not inverted, or inverted twice" if uninverted else fault


def _where(settings: Settings, name: str) -> str:
    """Where the output's config says a setting, or that it does not, in brackets; "" where no config was asked."""
    origin = settings.known_from.get(name, "")
    return f" ({origin.removeprefix(CONFIG).strip()})" if origin.startswith((CONFIG, NOT_SAID)) else ""
