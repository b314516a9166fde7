"""Values of the source's own that no training gives a sound layer, and what they make of a verdict.

They are not finite, negative where they should not be, or so large that float32 does not hold what comes of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from porter.layers.kinds import Kind
from porter.verification.results import PARAMETERS, Cause, Check, LayerResult

if TYPE_CHECKING:
    from porter.verification.cases import Array

# How the note begins on a check that was run, and says nothing.
NOT_JUDGED = "not judged: "
_SPREAD = f"{NOT_JUDGED}frameworks differ in how they spread such values of the source's own"
_LARGEST = (2 - 2.0**-23) * 2.0**127  # of float32


def weighed(
    result: LayerResult, kind: Kind, parameters: Mapping[str, Array], reach: float, *, strict: bool
) -> LayerResult:
    """A layer's result in the light of its source's `parameters`, by slot.

    A departure that nothing else explains is not judged where such values stand: it is no fault of the conversion.

    Args:
        reach: the largest number, by its absolute value, that float32 must hold to compute what the layer defines.
        strict: values that are not finite, or negative, are a failure by themselves.
    """
    suspect = tuple(_odd_values(kind, parameters))
    result = replace(result, suspect=suspect)
    if suspect and strict:
        return _failed(result)
    if result.cause != "framework" or not (suspect or reach > _LARGEST):
        return result
    note = _SPREAD if suspect else _beyond(reach)
    checks = tuple(c if c.check == PARAMETERS else Check(c.check, None, note=note) for c in result.checks)
    return replace(result, ok=None, checks=checks, diagnosis=None, cause=None)


def _beyond(reach: float) -> str:
    return (
        f"{NOT_JUDGED}with the source's own values the layer comes to {reach:.0e}, and float32, in which both "
        f"frameworks ran it, ends at {_LARGEST:.1e}"
    )


def _failed(result: LayerResult) -> LayerResult:
    text = f"{'; '.join(result.suspect)} (--strict)"
    explained = result.cause in ("parameters", "settings")
    cause: Cause | None = result.cause if explained else "source"
    told = f"{result.diagnosis}; {text}" if explained else text
    checks = (*result.checks, *(Check("values", False, note=each) for each in result.suspect))
    besides = None if result.besides is None else (*result.besides, text)
    return replace(result, ok=False, checks=checks, diagnosis=told, cause=cause, besides=besides)


def _odd_values(kind: Kind, parameters: Mapping[str, Array]) -> Iterator[str]:
    import numpy as np

    names = kind.names_in("torch")
    for slot, values in parameters.items():
        if slot == "count":
            continue
        odd, what = ~np.isfinite(values), "values that are not finite"
        if slot == "variance":
            odd, what = odd | (values < 0), "values that are negative or not finite"
        places = [", ".join(map(str, place)) for place in np.argwhere(odd)[:6]]
        if places:
            if odd.ndim > 1:
                places = [f"[{place}]" for place in places]
            listed = ", ".join([*places[:5], *(["..."] if len(places) > 5 else [])])
            unit = "channels" if kind.family == "BatchNorm" else "elements"
            yield f"{names[slot]} holds {what} in {int(odd.sum())} of {odd.size} {unit} ({listed})"
