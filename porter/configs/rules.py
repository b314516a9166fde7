"""What becomes of one setting: the table of translation, in every direction.

| torch, mint, announced mindspore.nn | mindspore.nn |
|---|---|
| momentum m | 1 - m |
| track_running_stats True | use_batch_statistics None |
| track_running_stats False | use_batch_statistics True: equal outputs, but MindSpore still moves its statistics |
| none: a layer kept in eval() | use_batch_statistics False |
| none | gamma_init, beta_init, moving_mean_init, moving_var_init |

Sources: torch/nn/modules/batchnorm.py; mindspore/nn/layer/normalization.py; each row is run in both frameworks by
tests/configs/test_constructors.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from porter.configs.model import SCHEDULE, Setting
from porter.configs.references import decimal_of, is_number, text_of
from porter.configs.terms import INITIAL, TERMS, TRACK, USE_BATCH, Dialect, inverted, number
from porter.configs.tree import Document, Expression, Rewrite, Scalar

# (setting, source, target, value, document) -> what becomes of it.
_Rule = Callable[["Case"], "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What becomes of one value of a setting.

    Attributes:
        value: its new text; None where it stays.
        key: the argument's new name; None where it stays.
        removed: the argument is taken out.
        why: the rule, for the reader of a table.
        warning: what the translated config does not say and a person has to know.
        needs_person: why no rule can translate it; it then stays as it is.
    """

    value: str | None = None
    key: str | None = None
    removed: bool = False
    why: str = ""
    warning: str = ""
    needs_person: str = ""

    @property
    def changes(self) -> bool:
        return self.removed or self.value is not None or self.key is not None


STAYS = Outcome()


def person(why: str) -> Outcome:
    return Outcome(needs_person=why)


@dataclass(frozen=True)
class Case:
    """One value of a setting, on its way from one dialect to another."""

    setting: Setting
    value: Scalar
    source: Dialect
    target: Dialect
    layer: str
    document: Document

    @property
    def flag(self) -> Literal["expression", "other"] | bool | None:
        """The value of a flag, None for null."""
        value = self.value.value
        if isinstance(value, Expression):
            return "expression"
        return value if value is None or isinstance(value, bool) else "other"

    def rewritten(self, how: Rewrite, why: str, key: str | None = None) -> Outcome:
        text = self.document.rewritten(self.value, how)
        if text is None:
            return person(f"{self.value.text} is computed, and no rewriting of it is known: {why}")
        return Outcome(text, key, why=why)


def outcome(case: Case) -> Outcome:
    """What becomes of one value, where `case.source` and `case.target` are different dialects."""
    rule = _RULES.get(case.setting.name)
    return rule(case) if rule else STAYS


def _momentum(case: Case) -> Outcome:
    if TERMS[case.source].inverted == TERMS[case.target].inverted:
        return STAYS
    value = case.value
    if isinstance(value.value, Expression):
        return case.rewritten("momentum: 1 - m", "momentum weighs the other side: 1 - m")
    if value.value is None:
        return person("a cumulative average (null) has no counterpart in MindSpore")
    if not is_number(value):
        return STAYS if isinstance(value.value, str) else person("is no number")
    text = decimal_of(value)
    if text is None:
        return person(f"{value.text} is outside of 0 to 1 and has no counterpart")
    new = case.document.spelled(inverted(text), value)
    weighed = "old value" if case.target == "mindspore" else "new batch"
    # One half is the same in both terms.
    return STAYS if new == value.text else Outcome(new, why=f"momentum weighs the {weighed}: 1 - m")


def _schedule(case: Case) -> Outcome:
    if TERMS[case.source].inverted == TERMS[case.target].inverted:
        return STAYS
    return person("the code that changes momentum by this while it trains means PyTorch's sense: port it by hand")


def _eps(case: Case) -> Outcome:
    if case.target not in ("mindspore", "announced"):
        return STAYS
    value = case.value
    if isinstance(value.value, Expression) or (isinstance(value.value, str) and not is_number(value)):
        return STAYS
    text = decimal_of(value)
    if text is None or float(text) == 0:
        return person(f"{value.text}: MindSpore takes an eps above 0 and up to 1 only")
    if isinstance(value.value, int):
        return Outcome(case.document.spelled(f"{text}.0", value), why="MindSpore takes a float only")
    if isinstance(value.value, str) and not value.quoted:
        # YAML 1.1 demands a point before the exponent; MindSpore fails on the str when it first runs.
        pointed = re.sub(r"^([-+]?\d+)(?=[eE])", r"\1.0", text)
        return Outcome(pointed, why="without a point YAML reads it as text")
    return STAYS


def _statistics_to_mindspore(case: Case) -> Outcome:
    if case.target != "mindspore":
        return STAYS
    if not case.setting.is_argument:
        return (
            STAYS if case.flag is True else person("MindSpore says it otherwise: use_batch_statistics=True for false")
        )
    if case.flag is True:
        none = case.document.spelled(None, case.value)
        why = "statistics are tracked: None is MindSpore's default"
        return Outcome(removed=True, why=why) if none is None else Outcome(none, USE_BATCH, why=why)
    if case.flag is False:
        why = "batch statistics always; MindSpore still moves its own"
        return Outcome(case.document.spelled(True, case.value), USE_BATCH, why=why)
    if case.flag == "expression":
        return case.rewritten(
            "track_running_stats to use_batch_statistics", "None where it tracks, else True", USE_BATCH
        )
    return person("is neither true nor false")


def _statistics_from_mindspore(case: Case) -> Outcome:
    if case.source != "mindspore":
        return STAYS
    if not case.setting.is_argument:
        return STAYS if case.flag is None else person("PyTorch says it otherwise: track_running_stats=False for true")
    if case.flag is None:
        return Outcome(case.document.spelled(True, case.value), TRACK, why="None tracks statistics")
    if case.flag is True:
        return Outcome(case.document.spelled(False, case.value), TRACK, why="batch statistics always")
    if case.flag is False:
        warning = f"{case.layer} is frozen in MindSpore: put these layers in eval() and keep them there"
        return Outcome(removed=True, why="no argument freezes a layer", warning=warning)
    if case.flag == "expression":
        return case.rewritten(
            "use_batch_statistics to track",
            "True where it is None, False where it is True, eval() where it is False",
            TRACK,
        )
    return person("is neither true, false nor null")


# What each initial value is in PyTorch.
_TENSORS = dict(zip(INITIAL, ("weight", "bias", "running_mean", "running_var"), strict=True))
_FILLS = {"ones": "1", "one": "1", "zeros": "0", "zero": "0"}
# mindspore.common.initializer: Normal(sigma=0.01) and Uniform(scale=0.07).
_DRAWS = {"normal": "normal_({}, std=0.01)", "uniform": "uniform_({}, -0.07, 0.07)"}


def _initial(case: Case) -> Outcome:
    if case.target == "mindspore":
        return STAYS
    if not case.setting.is_argument:
        return person("no argument of the target says it")
    name = case.setting.name
    text = text_of(case.value).lower()
    fill = _FILLS.get(text, text)
    if number(fill) is not None and number(fill) == number(_FILLS[INITIAL[name]]):
        return Outcome(removed=True, why="it is the default, and no argument of the target")
    tensor = f"layer.{_TENSORS[name]}"
    if case.target != "torch":
        line = f"set {tensor} to {case.value.text} after the layer is made"
    elif number(fill) is not None:
        line = f"torch.nn.init.constant_({tensor}, {fill})"
    elif fill in _DRAWS:
        line = f"torch.nn.init.{_DRAWS[fill].format(tensor)}"
    else:
        line = f"torch.nn.init has to fill {tensor} as {case.value.text} says"
    return Outcome(removed=True, why="no argument of the target", warning=f"{case.layer}: {name} is dropped; {line}")


_DTYPE = re.compile(
    r"(?:torch|mindspore|mindspore\.common\.dtype)\.(float16|bfloat16|float32|float64|half|float|double)"
)
_DTYPES = {"half": "float16", "float": "float32", "double": "float64"}


def _dtype(case: Case) -> Outcome:
    if case.value.value is None:
        # The classic signature has no None: nn.BatchNorm3d(3, dtype=None) raises.
        none_is_none = case.target != "mindspore"
        return STAYS if none_is_none else Outcome(removed=True, why="MindSpore's default is float32, not None")
    if (case.source == "torch") == (case.target == "torch"):
        return STAYS
    match = _DTYPE.fullmatch(text_of(case.value))
    if not match or (isinstance(case.value.value, Expression) and case.value.text != text_of(case.value)):
        return person(f"{case.value.text} has to be written as the target's dtype")
    package = "torch" if case.target == "torch" else "mindspore"
    new = f"{package}.{_DTYPES.get(match[1], match[1])}"
    return Outcome(case.document.spelled(new, case.value), why="the target's name of it")


def _device(case: Case) -> Outcome:
    if case.target == "torch":
        return STAYS
    warning = (
        "" if case.value.value is None else f"{case.layer}: device is dropped; MindSpore's context places layers"
    )
    return Outcome(removed=True, why="no argument of MindSpore's layers", warning=warning)


def _bias(case: Case) -> Outcome:
    if case.target == "torch":
        return STAYS
    if case.flag is True:
        return Outcome(removed=True, why="MindSpore always has beta")
    return person("MindSpore always has beta: without it, keep beta at 0 and out of training")


def _data_format(case: Case) -> Outcome:
    if case.target == "mindspore":
        return STAYS
    if case.value.value == "NCHW":
        return Outcome(removed=True, why="it is the default, and no argument of the target")
    return person("the target takes channels second only")


def _process_group(case: Case) -> Outcome:
    name = "process_groups" if case.target == "mindspore" else "process_group"
    if name == case.setting.name:
        return STAYS if case.value.value is None else person("groups of processes are made by the framework")
    if case.value.value is None:
        return Outcome(key=name, why="the target's name of it")
    return person(f"the target takes {name}, made by its own framework")


def _arguments_only(rule: _Rule) -> _Rule:
    return lambda case: rule(case) if case.setting.is_argument else STAYS


_RULES: Mapping[str, _Rule] = {
    "momentum": _momentum,
    SCHEDULE: _schedule,
    "eps": _eps,
    TRACK: _statistics_to_mindspore,
    USE_BATCH: _statistics_from_mindspore,
    **dict.fromkeys(INITIAL, _initial),
    **{
        name: _arguments_only(rule)
        for name, rule in {
            "dtype": _dtype,
            "device": _device,
            "bias": _bias,
            "data_format": _data_format,
            "process_group": _process_group,
            "process_groups": _process_group,
        }.items()
    },
}
