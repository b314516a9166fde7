"""Entries of a training checkpoint that are no part of the network: optimizer moments and counters.

MindSpore's ModelCheckpoint saves the whole training cell. An optimizer's state bears the parameter's name behind a
prefix (`moment1.conv1.weight`), so that a naive search takes it for the parameter itself. Source: `clone(prefix=...)`
and `Parameter(..., name=...)` in mindspore/nn/optim, mindspore/experimental/optim, mindspore/mint/optim and
nn/wrap/loss_scale.py, read off instances of each in MindSpore 2.10.
"""

from __future__ import annotations

from collections.abc import Mapping

from porter.formats.model import TensorSpec
from porter.layers.groups import STATISTICS

# prefix -> what it is the optimizer's; the state has the parameter's shape.
_MOMENTS = {
    "moments.": "momentum",
    "moment1.": "Adam first moment",
    "moment2.": "Adam second moment",
    "vhat.": "AMSGrad maximum",
    "adam_m.": "AdamWeightDecay first moment",
    "adam_v.": "AdamWeightDecay second moment",
    "lamb_m.": "Lamb first moment",
    "lamb_v.": "Lamb second moment",
    "exp_avg.": "Adam first moment",
    "exp_avg_sq.": "Adam second moment",
    "max_exp_avg_sq.": "AMSGrad maximum",
    "exp_inf.": "Adamax infinity norm",
    "accum.": "accumulated gradient",
    "accum_update.": "Adadelta accumulated update",
    "stat.": "SGD state",
    "momentum_buf.": "SGD momentum",
    "linear.": "FTRL linear term",
    "mean_grad.": "RMSProp mean gradient",
    "mean_square.": "RMSProp mean square",
    "moment.": "RMSProp moment",
    "prev.": "Rprop previous gradient",
    "step_size.": "Rprop step size",
    "ax.": "ASGD average",
    "ax_.": "ASGD average",
    "accu_grads.": "accumulated gradient",
}
# ASGD's two numbers for each parameter.
_SCALARS = {"mu_": "ASGD mu", "eta_": "ASGD eta"}

MOMENT_PREFIXES = (*_MOMENTS, *_SCALARS)

_COUNTERS = {
    "global_step": "step counter",
    "epoch_num": "epoch counter",
    "step_num": "step counter",
    "state_step": "step counter",
    "step_t": "step counter",
    "cov_step": "step counter",
    "afactor_step": "step counter",
    "learning_rate": "learning rate",
    "fake_lr": "learning rate of LARS",
    "fake_param": "parameter of LARS",
    "momentum": "momentum of the optimizer",
    "beta1_power": "Adam beta1 power",
    "beta2_power": "Adam beta2 power",
    "scale_sense": "loss scale",
    "scale_value": "loss scale",
    "current_iterator_step": "loss scale counter",
    "last_overflow_iterator_step": "loss scale counter",
}
GROUP_RATE = "learning_rate_group_"
# What shows an optimizer: the number of an epoch may be written beside any network, which may train a `momentum`.
_OF_AN_OPTIMIZER = ("global_step", "state_step", "step_t", "learning_rate", GROUP_RATE)
# Those of mindspore.experimental that have no counter: Adadelta, RMSprop and SGD have all of one row.
_UNCOUNTED = (("accum.", "accum_update."), ("mean_grad.", "mean_square.", "moment."), ("accum.", "stat."))

# What `save_checkpoint(append_dict={"epoch": 3})` writes. A number that a network trains (CLIP's logit scale) is a
# floating-point one as well, and is never left out for a resemblance: only names that no parameter bears are.
APPENDED = "a number beside the layers"
_APPENDED_FLOATS = ("lr", "loss")


def training_state(specs: Mapping[str, TensorSpec]) -> dict[str, str]:
    """The entries that are optimizer state, counters or other numbers: name -> what it is, for people.

    A network may well have a layer called `stat`. So a name behind a prefix counts only if it is the name of another
    tensor, of the same shape; and none does where the prefix is shown to be a branch of the network (`_is_branch`),
    or where no counter shows an optimizer, unless it is one of those that have none (`_uncounted`). A counter has the
    shape () or (1,).

    Args:
        specs: all tensors of a MindSpore checkpoint, by name.
    """
    found = {name: what for name, spec in specs.items() if (what := _counter(spec))}
    schedule = specs.get("learning_rate")
    if schedule and "global_step" in found and len(schedule.shape) == 1:
        found["learning_rate"] = "schedule of learning rates"
    if any(name.startswith(_OF_AN_OPTIMIZER) for name in found):
        prefixes = MOMENT_PREFIXES
    else:
        found.pop("momentum", None)
        prefixes = _uncounted({name: spec for name, spec in specs.items() if name not in found})
    beginning = [name for name in specs if name.startswith(prefixes)]
    for prefix in prefixes:
        what = _MOMENTS.get(prefix) or _SCALARS[prefix]
        behind = {name: name[len(prefix) :] for name in beginning if name.startswith(prefix)}
        if _is_branch(prefix, behind, specs):
            continue
        for name, owner in behind.items():
            if owner in specs and specs[name].shape == (() if prefix in _SCALARS else specs[owner].shape):
                found[name] = f"{what} of {owner}"
    found |= {name: APPENDED for name, spec in specs.items() if name not in found and _may_be_appended(spec)}
    return {name: found[name] for name in specs if name in found}


def _may_be_appended(spec: TensorSpec) -> bool:
    told = not spec.dtype.is_floating or spec.name in _APPENDED_FLOATS
    return spec.shape == () and told and "." not in spec.name and spec.name != "num_batches_tracked"


def _uncounted(specs: Mapping[str, TensorSpec]) -> tuple[str, ...]:
    """The prefixes of an optimizer without a counter: it has all of its moments for every parameter."""
    if not any(name.startswith(("moment.", "accum.")) for name in specs):
        return ()
    trained = _trained(specs)
    complete = (row for row in _UNCOUNTED if all(prefix + name in specs for prefix in row for name in trained))
    return tuple(dict.fromkeys(prefix for row in complete for prefix in row))


def _trained(specs: Mapping[str, TensorSpec]) -> set[str]:
    """The names that can be nothing but parameters: neither statistics nor called like a moment of another tensor."""
    return {
        name
        for name in specs
        if name.rpartition(".")[2] not in STATISTICS
        and not _may_be_appended(specs[name])
        and not (
            name.startswith(MOMENT_PREFIXES)
            and any(name.startswith(prefix) and name.removeprefix(prefix) in specs for prefix in MOMENT_PREFIXES)
        )
    }


def _is_branch(prefix: str, behind: Mapping[str, str], specs: Mapping[str, TensorSpec]) -> bool:
    """Whether a part of the network bears a moment's prefix and resembles another part, without being its moments.

    It shows where a statistic has a namesake, since only trained parameters have moments; and where a name lacks one,
    unless it is a parameter that has a moment itself (`linear.weight` beside `linear.linear.weight`).

    Args:
        behind: the names with the prefix -> the rest of each.
    """
    return any(
        (owner.rpartition(".")[2] in STATISTICS) == (owner in specs) and prefix + name not in specs
        for name, owner in behind.items()
    )


def rename_owner(name: str, renamed: Mapping[str, str]) -> str:
    """The name of a moment after its parameter has been renamed; any other name as it is."""
    behind = ((prefix, name.removeprefix(prefix)) for prefix in MOMENT_PREFIXES if name.startswith(prefix))
    return next((prefix + renamed[owner] for prefix, owner in behind if owner in renamed), name)


def _counter(spec: TensorSpec) -> str | None:
    if spec.shape not in ((), (1,)):
        return None
    if spec.name.startswith(GROUP_RATE):
        return f"learning rate of group {spec.name.removeprefix(GROUP_RATE)}"
    return _COUNTERS.get(spec.name)
