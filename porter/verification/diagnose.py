"""What is wrong with a layer that failed, in words.

Parameters are compared with the source's value by value, first for faults that explain every difference at once
(layers, slots or channels exchanged, initial values), then slot by slot. Settings are compared as facts. What is left
is tested as a hypothesis: does the layer run as the reference would with the suspected fault? Nothing is claimed that
the numbers do not support; several explanations that fit equally are all given. Parameters go by PyTorch's names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from math import isclose
from typing import TYPE_CHECKING, Protocol

from porter.layers.settings import Settings, Statistics, invert_momentum
from porter.verification.bounds import stored
from porter.verification.cases import LayerCase, Side
from porter.verification.reference import filled
from porter.verification.results import Diagnosis
from porter.verification.trajectory import channels_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from porter.verification.cases import Array

    Values = dict[str, Array]

_FLAGS: dict[Statistics, str] = {
    "tracked": "running statistics tracked",
    "batch": "batch statistics always (track_running_stats=False)",
    "frozen": "running statistics frozen",
}
# Settings that went through float32, or momentum through 1 - momentum, are still the same setting.
_SAME_SETTING = 1e-6
# Relative spread of the ratios, or of the differences, of float32 values that one multiplication or addition made.
_SAME = 1e-5


class BehavesAs(Protocol):
    def __call__(self, side: Side, unbiased: bool = True) -> bool | None:
        """Whether the target ran as a layer like `side` would; None where it did not run."""


def diagnose(case: LayerCase, cases: Sequence[LayerCase], behaves_as: BehavesAs, framework: str) -> Diagnosis:
    """Why `case` failed.

    Args:
        cases: all layers of the conversion, among them the one whose parameters this one may hold.
        behaves_as: tests a hypothesis on what the target gave.
        framework: what ran the target, with its version.
    """
    parameters, settings = _parameter_faults(case, cases), _settings_faults(case)
    faults = [*parameters, *settings]
    if not faults:
        return Diagnosis("framework", _framework_fault(case, behaves_as, framework))
    if behaves_as(case.target) is False:
        faults.append(f"besides, {framework} departs from what these parameters and settings define")
    return Diagnosis("parameters" if parameters else "settings", "; ".join(faults))


def comparable_slots(case: LayerCase) -> tuple[str, ...]:
    """Slots that count: gamma and beta, and the running statistics where both sides use them."""
    if "batch" in (case.source.settings.statistics, case.target.settings.statistics):
        return ("gamma", "beta")
    return ("gamma", "beta", "mean", "variance")


def _parameter_faults(case: LayerCase, cases: Sequence[LayerCase]) -> list[str]:
    right, found = _expected_values(case, case.target.dtype), _target_values(case)
    bad = [slot for slot in right if not _equal(found[slot], right[slot])]
    if not bad:
        return []
    fits = [
        *_other_layers(case, cases, bad, right, found),
        *_swapped(case, bad, right, found),
        *_permuted(case, bad, right, found),
        *_initial(case, bad, found),
    ]
    if len(fits) > 1:
        return [f"not distinguishable from the values: {', or '.join(fits)}"]
    return fits or [_slot_fault(_name(case, slot), right[slot], found[slot]) for slot in bad]


def _other_layers(
    case: LayerCase, cases: Sequence[LayerCase], bad: list[str], right: Values, found: Values
) -> Iterator[str]:
    """Layers whose values stand here; values that are all the same in a slot point to no layer."""
    if all(_constant(found[slot]) for slot in bad):
        return
    whole: list[str] = []
    part: list[str] = []
    for other in cases:
        if other is case or not all(_holds(found, slot, other, case.target.dtype) for slot in bad):
            continue
        same = all(_holds(found, slot, other, case.target.dtype) for slot in right)
        (whole if same else part).append(other.name)
    names = whole or part
    if names:
        listed = " or ".join(names[:3]) + (f" or {len(names) - 3} more" if len(names) > 3 else "")
        what = "the parameters" if whole else f"the {_listed(case, bad)}"
        yield f"holds {what} of {listed}"


def _holds(found: Values, slot: str, other: LayerCase, dtype: str) -> bool:
    theirs = other.source.parameters.get(slot)
    return theirs is not None and _equal(found[slot], stored(theirs, dtype))


def _swapped(case: LayerCase, bad: list[str], right: Values, found: Values) -> Iterator[str]:
    """Slots exchanged among themselves, or one holding a copy of another."""
    for order in permutations(bad) if len(bad) > 1 else ():
        moved = all(_equal(found[a], right[b]) for a, b in zip(bad, order, strict=True))
        if moved and len(bad) == 2:
            yield f"{_listed(case, bad)} look swapped"
        elif moved:
            told = (f"{_name(case, a)} holds {_name(case, b)}" for a, b in zip(bad, order, strict=True))
            yield f"parameters look exchanged: {', '.join(told)}"
    if len(bad) == 1:
        for slot, values in right.items():
            if slot != bad[0] and _equal(found[bad[0]], values):
                yield f"{_name(case, bad[0])} holds the values of {_name(case, slot)}"


def _permuted(case: LayerCase, bad: list[str], right: Values, found: Values) -> Iterator[str]:
    """One permutation of the channels for all slots that differ."""
    import numpy as np

    old, new = np.stack([right[slot] for slot in bad]), np.stack([found[slot] for slot in bad])
    channels = old.shape[1]
    old_order, new_order = np.lexsort(old), np.lexsort(new)
    if not _equal(old[:, old_order], new[:, new_order]):
        return
    taken_from = np.arange(channels)
    taken_from[new_order] = old_order
    # Equal channels can stand for each other: those that did not move are taken to have stayed.
    moved = np.flatnonzero(~_equal_elements(old, new).all(axis=0))
    what = f"the channels of {_listed(case, bad)}"
    shifts = [k for k in range(1, channels) if _equal(np.roll(old, k, axis=1), new)]
    if len(moved) == 2:
        yield f"{what} are permuted: channels {moved[0]} and {moved[1]} are exchanged"
    elif shifts:
        k = shifts[0] if 2 * shifts[0] <= channels else shifts[0] - channels
        yield f"{what} are permuted: shifted by {k}"
    elif _equal(old[:, ::-1], new):
        yield f"{what} are permuted: in reverse order"
    else:
        told = ", ".join(f"channel {c} holds that of {taken_from[c]}" for c in moved[:3])
        yield f"{what} are permuted in {len(moved)} of {channels} places ({told}{', ...' * (len(moved) > 3)})"


def _initial(case: LayerCase, bad: list[str], found: Values) -> Iterator[str]:
    fills = {slot: case.kind.parameter(slot).fill for slot in bad}
    if all((found[slot] == fills[slot]).all() for slot in bad):
        values = " and ".join(f"{fills[slot]:g}" for slot in bad)
        holds = "holds its initial value" if len(bad) == 1 else "hold their initial values"
        yield f"{_listed(case, bad)} {holds} {values} throughout"


def _slot_fault(name: str, right: Array, found: Array) -> str:
    """One slot by itself: a few values, then a simple transformation of all, then how much differs."""
    import numpy as np

    wrong = np.flatnonzero(~_equal_elements(right, found))
    few = len(wrong) == 1 or (len(wrong) <= 3 and 2 * len(wrong) < len(right))
    if few:
        return ", ".join(f"{name}[{c}] is {_number(found[c], right[c])}" for c in wrong)
    if _equal(found, -right):
        return f"{name} has the opposite sign"
    for dtype in ("bfloat16", "float16"):
        if _equal(found, stored(right, dtype)):
            return f"{name} looks rounded to {dtype}"
    if _constant(right) and _constant(found):
        return f"{name} is {_number(found[0], right[0])} in every channel"
    with np.errstate(all="ignore"):
        ratio = float(np.median(found[right != 0] / right[right != 0])) if (right != 0).any() else np.nan
        offset = float(np.median(found - right))
        if not _constant(right) and np.allclose(found, ratio * right, rtol=_SAME, atol=0):
            return f"{name} is multiplied by {ratio:.6g}"
        scale = _SAME * max(float(np.abs(right).max()), abs(offset))
        if np.allclose(found, right + offset, rtol=0, atol=scale):
            return f"{name} is offset by {offset:.6g}"
        distance = np.nan_to_num(np.abs(found - right), nan=np.inf)
    worst = int(distance.argmax())
    return (
        f"{name} differs in {len(wrong)} of {len(right)} channels, most in channel {worst}: "
        f"{_number(found[worst], right[worst])}"
    )


def _settings_faults(case: LayerCase) -> list[str]:
    right, found = case.source.settings, case.target.settings
    faults = []
    if not isclose(found.eps, right.eps, rel_tol=_SAME_SETTING):
        faults.append(f"eps is {found.eps:g} where {right.eps:g} was expected")
    if found.statistics != right.statistics:
        faults.append(f"{_FLAGS[found.statistics]} where {_FLAGS[right.statistics]} was expected")
    elif right.statistics == "tracked" and not _same_momentum(found.momentum, right.momentum):
        fault = f"momentum is {_setting(found.momentum)} where {_setting(right.momentum)} was expected"
        uninverted = _same_momentum(found.momentum, _inverted(right))
        faults.append(f"{fault}: it was not inverted" if uninverted else fault)
    return faults


def _same_momentum(a: float | None, b: float | None) -> bool:
    return a == b if a is None or b is None else isclose(a, b, rel_tol=_SAME_SETTING, abs_tol=_SAME_SETTING)


def _framework_fault(case: LayerCase, behaves_as: BehavesAs, framework: str) -> str:
    """Parameters and settings agree, so the running layer itself is otherwise: each suspicion is put to the test."""
    if behaves_as(case.target) is None:
        return "the parameters agree, the layer did not run"
    settings, fits = case.target.settings, []
    inverted = _inverted(settings)
    if inverted is not None and behaves_as(replace(case.target, settings=replace(settings, momentum=inverted))):
        fits.append(f"it runs with momentum {inverted:g} where {settings.momentum:g} was asked for: not inverted")
    if behaves_as(case.target, unbiased=False):
        fits.append("its running variance takes in the biased variance of the batch")
    for statistics, told in _FLAGS.items():
        other = replace(settings, statistics=statistics)
        if other != settings and behaves_as(replace(case.target, settings=other)):
            fits.append(f"it runs with {told}")
    agreed = "parameters and settings agree with the source"
    if fits:
        return f"{agreed}, but in {framework} {', or '.join(fits)}"
    return f"{agreed}: {framework} itself departs from the float64 reference, not the conversion"


def _inverted(settings: Settings) -> float | None:
    return None if settings.momentum is None else invert_momentum(settings.momentum)


def _expected_values(case: LayerCase, dtype: str) -> Values:
    """The source's comparable values as the target's dtype should hold them."""
    values = filled(case.kind, case.source, channels_of(case))
    return {slot: stored(values[slot], dtype) for slot in comparable_slots(case)}


def _target_values(case: LayerCase) -> Values:
    values = filled(case.kind, case.target, channels_of(case))
    return {slot: values[slot] for slot in comparable_slots(case)}


def _equal_elements(a: Array, b: Array) -> NDArray[np.bool_]:
    import numpy as np

    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(_equal_elements(a, b).all())


def _constant(values: Array) -> bool:
    return bool((values == values[0]).all())


def _name(case: LayerCase, slot: str) -> str:
    return case.kind.names_in("torch")[slot]


def _listed(case: LayerCase, slots: list[str]) -> str:
    names = [_name(case, slot) for slot in slots]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _setting(value: float | None) -> str:
    return "None" if value is None else f"{value:.9g}"


def _number(found: float, right: float) -> str:
    """Both numbers with as many digits as tell them apart."""
    digits = next((d for d in (6, 9, 17) if f"{found:.{d}g}" != f"{right:.{d}g}"), 17)
    return f"{found:.{digits}g} where {right:.{digits}g} was expected"
