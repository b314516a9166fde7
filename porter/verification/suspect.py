"""Values of the source's own that no training gives a sound layer, and what they make of a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from porter.layers.kinds import Kind
from porter.verification.results import PARAMETERS, Cause, Check, LayerResult

if TYPE_CHECKING:
    from porter.verification.cases import Array

_VALUES: Cause = "parameters"
_NOT_JUDGED = "not judged: frameworks differ in how they spread such values of the source's own"


def weighed(result: LayerResult, kind: Kind, parameters: Mapping[str, Array], *, strict: bool) -> LayerResult:
    """A layer's result in the light of its source's `parameters`, by slot.

    A departure that nothing else explains is not judged where such values stand: it is no fault of the conversion.

    Args:
        strict: such values are a failure by themselves.
    """
    suspect = tuple(_odd_values(kind, parameters))
    if not suspect:
        return result
    result = replace(result, suspect=suspect)
    if strict:
        text = f"{'; '.join(suspect)} (--strict)"
        explained = result.cause in ("parameters", "settings")
        told, cause = (f"{result.diagnosis}; {text}", result.cause) if explained else (text, _VALUES)
        checks = (*result.checks, *(Check("values", False, note=each) for each in suspect))
        besides = None if result.besides is None else (*result.besides, text)
        return replace(result, ok=False, checks=checks, diagnosis=told, cause=cause, besides=besides)
    if result.cause != "framework":
        return result
    checks = tuple(c if c.check == PARAMETERS else Check(c.check, None, note=_NOT_JUDGED) for c in result.checks)
    return replace(result, ok=None, checks=checks, diagnosis=None, cause=None)


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
