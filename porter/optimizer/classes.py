"""The optimizers whose state can travel, and what each framework calls it.

Established by running both (torch 2.13, mindspore 2.10, CPU); tests/optimizer repeats it:

- mindspore.nn.SGD is torch.optim.SGD step for step, dampening and nesterov included. `stat` is 1 until a parameter's
  first step, which copies the gradient into `accum`, and 0 from then on; PyTorch has no momentum_buffer until then.
- mindspore.nn.Momentum is the same without dampening. It ignores use_nesterov on the CPU.
- mindspore.nn.Adam keeps the same moments. Its counters are for all parameters, PyTorch's `step` is one for each:
  global_step, and beta1_power = beta1^step, multiplied up in float32. Its eps is added before the bias correction,
  PyTorch's after it: the two differ where sqrt(exp_avg_sq) is not large against eps.
- mindspore.nn.AdamWeightDecay decays as AdamW does, but corrects no bias.
- The optimizers of mindspore.nn leave parameters whose names hold `gamma` or `beta` out of weight decay, unless they
  are given in groups (nn/optim/optimizer.py, decay_filter). Those of PyTorch and of mindspore.experimental do not.
- mindspore.experimental.optim.Adam and AdamW are PyTorch's, with one state_step for all parameters.
- Not carried: mindspore.mint.optim, which has no CPU kernels and whose AdamW counts state_step from -1; LazyAdam and
  AdamOffload, which are Adam for some gradients only, and whose beta powers have the shape (1,).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from porter.layers.kinds import Dialect

AMSGRAD = "max_exp_avg_sq"
MOMENTUM = "momentum_buffer"


@dataclass(frozen=True)
class OptimizerClass:
    """A MindSpore optimizer.

    Attributes:
        name: as typed in `--optimizer=NAME`.
        path: the class.
        torch: PyTorch's optimizer with the same state.
        moments: PyTorch's slot -> the prefix before the parameter's name in MindSpore.
        counters: names of what it keeps once for all parameters.
        always_amsgrad: it has the AMSGrad maximum, zero, even where AMSGrad is off.
        stat: the prefix of the flag that is 1 until a parameter's first step; None where there is none.
    """

    name: str
    path: str
    torch: str
    moments: Mapping[str, str]
    counters: tuple[str, ...]
    always_amsgrad: bool = False
    stat: str | None = None

    @property
    def count(self) -> str:
        """The counter of its steps."""
        return "global_step" if "global_step" in self.counters else "state_step"

    @property
    def corrects_bias(self) -> bool:
        return self.name != "AdamWeightDecay"

    @property
    def filters_weight_decay(self) -> bool:
        """Whether it leaves gamma and beta out."""
        return self.path.startswith("mindspore.nn.")

    @property
    def required(self) -> set[str]:
        """The prefixes without which a file's state is not this class's."""
        return {p for slot, p in self.moments.items() if slot != AMSGRAD} | ({self.stat} if self.stat else set())

    @property
    def prefixes(self) -> set[str]:
        return self.required | set(self.moments.values())


def _adam(name: str, path: str, torch: str, prefixes: tuple[str, ...], counters: tuple[str, ...]) -> OptimizerClass:
    moments = dict(zip(("exp_avg", "exp_avg_sq", AMSGRAD), prefixes, strict=False))
    return OptimizerClass(name, path, torch, moments, counters, always_amsgrad="experimental" in path)


_SCHEDULE = ("global_step", "learning_rate")
_EXPERIMENTAL = ("exp_avg.", "exp_avg_sq.", "max_exp_avg_sq.")

# For each of PyTorch's, the first is the one its state is written for by default: the one that goes on as PyTorch.
CLASSES: Mapping[str, OptimizerClass] = {
    row.name: row
    for row in (
        OptimizerClass(
            "SGD", "mindspore.nn.SGD", "SGD", {MOMENTUM: "accum."}, (*_SCHEDULE, "momentum"), stat="stat."
        ),
        OptimizerClass("Momentum", "mindspore.nn.Momentum", "SGD", {MOMENTUM: "moments."}, (*_SCHEDULE, "momentum")),
        _adam(
            "Adam",
            "mindspore.nn.Adam",
            "Adam",
            ("moment1.", "moment2.", "vhat."),
            (*_SCHEDULE, "beta1_power", "beta2_power"),
        ),
        _adam("experimental.Adam", "mindspore.experimental.optim.Adam", "Adam", _EXPERIMENTAL, ("state_step",)),
        _adam("experimental.AdamW", "mindspore.experimental.optim.AdamW", "AdamW", _EXPERIMENTAL, ("state_step",)),
        _adam("AdamWeightDecay", "mindspore.nn.AdamWeightDecay", "AdamW", ("adam_m.", "adam_v."), _SCHEDULE),
    )
}


def class_written(name: str, to: Dialect) -> str:
    """What to type after `--optimizer=` for a file with the state of MindSpore's class `name`, or of its twin."""
    return CLASSES[name].torch if to == "torch" else name


# PyTorch's own defaults (torch 2.13), for settings that a MindSpore checkpoint does not hold.
_ADAM_DEFAULTS: Mapping[str, Any] = {
    "lr": 1e-3,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "weight_decay": 0.0,
    "amsgrad": False,
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": None,
    "decoupled_weight_decay": False,
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "SGD": {
        "lr": 1e-3,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "maximize": False,
        "foreach": None,
        "differentiable": False,
        "fused": None,
    },
    "Adam": _ADAM_DEFAULTS,
    "AdamW": {**_ADAM_DEFAULTS, "weight_decay": 1e-2, "decoupled_weight_decay": True},
}
# What the user types: the target's class, or "auto" for the twin of the source's.
AUTO = "auto"
CHOICES = (AUTO, *CLASSES, "AdamW")
