"""What is wrong with a layer that failed, in words.

Parameters are compared with the source's value by value, first for faults that explain every difference at once
(layers, slots or channels exchanged, initial values), then slot by slot (`porter.verification.value_faults`).
Settings are compared as facts (`porter.verification.setting_faults`). What is left is tested as a hypothesis: does
the layer run as the reference would with the suspected fault? Nothing is claimed that the numbers do not support;
several explanations that fit equally are all given. Parameters go by PyTorch's names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Protocol

from porter.layers.settings import same_momentum
from porter.verification.bounds import stored
from porter.verification.cases import LayerCase, Side
from porter.verification.rearranged import permuted, same
from porter.verification.reference import filled
from porter.verification.results import Diagnosis
from porter.verification.setting_faults import (
    FLAGS,
    in_the_outputs_terms,
    inverted_momentum,
    number,
    setting_faults,
)
from porter.verification.trajectory import channels_of
from porter.verification.value_faults import UNEXPLAINED, constant, describe, factor, includes

if TYPE_CHECKING:
    from porter.verification.cases import Array

    Values = dict[str, Array]

# The smallest 3-D batch, two values along each axis.
_SMALLEST_BATCH = 8
# How far folded parameters may be off, which are computed; and where a short dtype stores them.
_ROUGHLY, _ROUGHLY_SHORT = 1e-4, 1e-2


class BehavesAs(Protocol):
    def __call__(self, side: Side, unbiased: bool = True) -> bool | None:
        """Whether the target ran as a layer like `side` would; None where it did not run."""


class ErrorOf(Protocol):
    def __call__(self, side: Side) -> float | None:
        """The error in evaluation of the target, run anew with `side`; None where it fails a check even so."""


def diagnose(
    case: LayerCase, cases: Sequence[LayerCase], behaves_as: BehavesAs, error_of: ErrorOf, framework: str
) -> Diagnosis:
    """Why `case` failed.

    Args:
        cases: all layers of the conversion, among them the one whose parameters this one may hold.
        behaves_as: tests a hypothesis on what the target gave.
        error_of: tries a remedy.
        framework: what ran the target, with its version.
    """
    found, settings = _parameter_faults(case, cases), setting_faults(case)
    parameters = [_remedied(fault, case, error_of) for fault in found]
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


def hidden_faults(case: LayerCase) -> Iterator[str]:
    """Faults that a layer's own values would hide, in words: a layer that has them runs as one that has not."""
    values = _expected_values(case, case.target.dtype)
    pairs = [
        f"{_name(case, a)} with {_name(case, b)}" for a, b in combinations(values, 2) if same(values[a], values[b])
    ]
    if pairs:
        yield f"not distinguishable, for they hold the same values: {' or '.join(pairs)} exchanged"
    settings = case.source.settings
    is_said = settings.statistics == "tracked" and settings.momentum is not None
    if is_said and same_momentum(settings.momentum, inverted_momentum(settings)):
        yield f"not distinguishable: momentum {number(settings.momentum)} inverted or not"


@dataclass(frozen=True)
class _Fault:
    """A fault of the parameters, and what would mend it where that is worth a try."""

    text: str
    remedy: str | None = None


def _remedied(fault: _Fault, case: LayerCase, error_of: ErrorOf) -> str:
    """The fault with the error that its remedy leaves: a remedy gives the source's values back."""
    if fault.remedy is None:
        return fault.text
    right = _expected_values(case, case.target.dtype)
    error = error_of(replace(case.target, parameters={**case.target.parameters, **right}))
    return fault.text if error is None else f"{fault.text} ({fault.remedy} gives error {error:.1g})"


def _parameter_faults(case: LayerCase, cases: Sequence[LayerCase]) -> list[_Fault]:
    right, found = _expected_values(case, case.target.dtype), _target_values(case)
    bad = [slot for slot in right if not same(found[slot], right[slot])]
    if not bad:
        return []
    fits = [
        *_other_layers(case, cases, bad, right, found),
        *_swapped(case, bad, right, found),
        *_permuted(case, bad, right, found),
        *_initial(case, bad, found),
        *_folded(case, bad, right, found),
    ]
    if len(fits) > 1:
        return [_Fault(f"not distinguishable from the values: {', or '.join(fit.text for fit in fits)}")]
    return fits or [_Fault(text) for text in _slot_faults(case, bad, right, found)]


def _other_layers(
    case: LayerCase, cases: Sequence[LayerCase], bad: list[str], right: Values, found: Values
) -> Iterator[_Fault]:
    """Layers whose values stand here; values that are all the same in a slot point to no layer."""
    if all(constant(found[slot]) for slot in bad):
        return
    whole: list[str] = []
    part: list[str] = []
    for other in cases:
        if other is case or not all(_holds(found, slot, other, case.target.dtype) for slot in bad):
            continue
        all_of_them = all(_holds(found, slot, other, case.target.dtype) for slot in right)
        (whole if all_of_them else part).append(other.name)
    names = whole or part
    if names:
        listed = " or ".join(names[:3]) + (f" or {len(names) - 3} more" if len(names) > 3 else "")
        what = "the parameters" if whole else f"the {_listed(case, bad)}"
        yield _Fault(f"holds {what} of {listed}")


def _holds(found: Values, slot: str, other: LayerCase, dtype: str) -> bool:
    theirs = other.source.parameters.get(slot)
    return theirs is not None and same(found[slot], stored(theirs, dtype))


def _swapped(case: LayerCase, bad: list[str], right: Values, found: Values) -> Iterator[_Fault]:
    """Slots exchanged among themselves, or one holding a copy of another."""
    for order in permutations(bad) if len(bad) > 1 else ():
        moved = all(same(found[a], right[b]) for a, b in zip(bad, order, strict=True))
        if moved and len(bad) == 2:
            yield _Fault(f"{_listed(case, bad)} are swapped", "swapping them back")
        elif moved:
            told = (f"{_name(case, a)} holds {_name(case, b)}" for a, b in zip(bad, order, strict=True))
            yield _Fault(f"parameters are exchanged: {', '.join(told)}", "putting them back")
    if len(bad) == 1:
        for slot, values in right.items():
            if slot != bad[0] and same(found[bad[0]], values):
                yield _Fault(f"{_name(case, bad[0])} holds the values of {_name(case, slot)}")


def _permuted(case: LayerCase, bad: list[str], right: Values, found: Values) -> Iterator[_Fault]:
    """One permutation of the channels for all slots that differ."""
    import numpy as np

    old, new = (np.stack([side[slot] for slot in bad], axis=1) for side in (right, found))
    how = permuted(old, new)
    if how:
        yield _Fault(f"the channels of {_listed(case, bad)} are permuted: {how}", "the source's order")


def _initial(case: LayerCase, bad: list[str], found: Values) -> Iterator[_Fault]:
    fills = {slot: case.kind.parameter(slot).fill for slot in bad}
    if all((found[slot] == fills[slot]).all() for slot in bad):
        values = " and ".join(f"{fills[slot]:g}" for slot in bad)
        holds = "holds its initial value" if len(bad) == 1 else "hold their initial values"
        yield _Fault(f"{_listed(case, bad)} {holds} {values} throughout")


def _folded(case: LayerCase, bad: list[str], right: Values, found: Values) -> Iterator[_Fault]:
    """A layer made a mere factor and offset, or folded into the one before, as it is done for inference."""
    import numpy as np

    if not ({"mean", "variance"} < set(bad)) or found["mean"].any() or not (found["variance"] == 1).all():
        return
    gamma = right["gamma"] / np.sqrt(right["variance"] + case.source.settings.eps)
    off = _ROUGHLY if case.target.dtype in ("float32", "float64") else _ROUGHLY_SHORT
    if not np.allclose(found["beta"], right["beta"] - right["mean"] * gamma, rtol=off, atol=off):
        return
    rest = "running_mean is 0 and running_var 1"
    if np.allclose(found["gamma"], gamma, rtol=off):
        yield _Fault(f"the running statistics are folded into weight and bias: {rest}")
    elif "gamma" in bad and (found["gamma"] == 1).all():
        yield _Fault(f"the layer is folded, but for its bias, into the one before: weight is 1, {rest}")


def _slot_faults(case: LayerCase, bad: list[str], right: Values, found: Values) -> list[str]:
    """Each slot by itself; of several that nothing explains, that is said behind the last."""
    texts = [_slot_fault(case, slot, right[slot], found[slot]) for slot in bad]
    last = max((place for place, text in enumerate(texts) if text.endswith(UNEXPLAINED)), default=0)
    return [text if place == last else text.removesuffix(UNEXPLAINED) for place, text in enumerate(texts)]


def _slot_fault(case: LayerCase, slot: str, right: Array, found: Array) -> str:
    """One slot by itself; a variance that is off by a factor may be biased where it should not be, or the reverse."""
    dtype = case.target.dtype
    text = describe(_name(case, slot), right, found, dtype)
    ratio = factor(right, found, dtype) if slot == "variance" and len(right) > 1 else None
    if ratio is None:
        return text
    off = sum(ratio) / 2 - 1
    # (n - 1) / n = 1 + off where it is below 1, n / (n - 1) where it is above.
    biased, n = off < 0, round(abs(1 / off) + (off > 0))
    if n < _SMALLEST_BATCH:
        return text
    sizes = {size: (size - 1) / size if biased else size / (size - 1) for size in (n - 1, n, n + 1)}
    if [size for size, value in sizes.items() if includes(ratio, value, dtype)] != [n]:
        return text
    kinds = ("biased", "unbiased") if biased else ("unbiased", "biased")
    return f"{text}: for {n} values per channel, the {kinds[0]} variance in place of the {kinds[1]}"


def _framework_fault(case: LayerCase, behaves_as: BehavesAs, framework: str) -> str:
    """Parameters and settings agree, so the running layer itself is otherwise: each suspicion is put to the test."""
    if behaves_as(case.target) is None:
        return "the parameters agree, the layer did not run"
    settings, fits = case.target.settings, []
    inverted = inverted_momentum(settings)
    if inverted is not None and behaves_as(replace(case.target, settings=replace(settings, momentum=inverted))):
        told = in_the_outputs_terms(case, inverted, settings.momentum)
        fits.append(f"it runs with momentum {told}: not inverted")
    if behaves_as(case.target, unbiased=False):
        fits.append("its running variance takes in the biased variance of the batch")
    for statistics, told in FLAGS.items():
        other = replace(settings, statistics=statistics)
        if other != settings and behaves_as(replace(case.target, settings=other)):
            fits.append(f"it runs with {told}")
    agreed = "parameters and settings agree with the source"
    if fits:
        return f"{agreed}, but in {framework} {', or '.join(fits)}"
    return f"{agreed}: {framework} itself departs from the float64 reference, not the conversion"


def _expected_values(case: LayerCase, dtype: str) -> Values:
    """The source's comparable values as the target's dtype should hold them."""
    values = filled(case.kind, case.source, channels_of(case))
    return {slot: stored(values[slot], dtype) for slot in comparable_slots(case)}


def _target_values(case: LayerCase) -> Values:
    values = filled(case.kind, case.target, channels_of(case))
    return {slot: values[slot] for slot in comparable_slots(case)}


def _name(case: LayerCase, slot: str) -> str:
    return case.kind.names_in("torch")[slot]


def _listed(case: LayerCase, slots: list[str]) -> str:
    names = [_name(case, slot) for slot in slots]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
