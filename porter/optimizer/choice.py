"""Which optimizer of MindSpore goes on where one of PyTorch's stopped."""

from __future__ import annotations

from porter.errors import Malformed, Undecided, Unsupported, UsageError
from porter.formats.model import OptimizerDict
from porter.optimizer.classes import AUTO, CLASSES, OptimizerClass
from porter.optimizer.model import Carried
from porter.source import Source

_SGD = {"momentum", "dampening", "nesterov", "weight_decay"}
_ADAM = {"betas", "eps", "weight_decay", "amsgrad"}


def class_for(source: Source, found: OptimizerDict, wanted: str, recorded: Carried | None) -> OptimizerClass:
    """MindSpore's class that goes on from the state of PyTorch's `found`.

    Args:
        source: whose optimizer it is.
        wanted: the class that the user names, or "auto".
        recorded: from the conversion that wrote the source out of MindSpore's files.

    Raises:
        Unsupported: no class of MindSpore takes such a state.
        Undecided: Adam or AdamW cannot be told.
        UsageError: `wanted` is no class for this state.
        Malformed: a setting is none.
    """
    algorithms = _algorithms(source, found)
    rows = [row for row in CLASSES.values() if row.torch in algorithms]
    if wanted != AUTO:
        fitting = [row for row in rows if row.name == wanted]
        if not fitting:
            expected = ", ".join(row.name for row in rows)
            raise UsageError("takes no such state", entry=f"--optimizer={wanted}", expected=expected)
        return fitting[0]
    if recorded and recorded.name in {row.name for row in rows}:
        return CLASSES[recorded.name]
    if len(algorithms) > 1:
        raise Undecided(
            "Adam's state or AdamW's: a file from before PyTorch 2.6 does not say",
            file=source.checkpoint.path,
            entry=found.key,
            hint="Say it with --optimizer=Adam or --optimizer=experimental.AdamW.",
        )
    return rows[0]


def _algorithms(source: Source, found: OptimizerDict) -> tuple[str, ...]:
    """Whose settings the groups have: torch/optim/{sgd,adam,adamw}.py."""
    settings = set.intersection(*map(set, found.param_groups)) if found.param_groups else set()
    if settings >= _SGD:
        _check(source, found, ("momentum", "dampening", "weight_decay"))
        return ("SGD",)
    if settings >= _ADAM and "momentum_decay" not in settings:
        _check(source, found, ("eps", "weight_decay"))
        decoupled = found.param_groups[0].get("decoupled_weight_decay")
        return ("Adam", "AdamW") if decoupled is None else ("AdamW",) if decoupled else ("Adam",)
    raise Unsupported(
        "the state of this optimizer cannot be carried",
        file=source.checkpoint.path,
        entry=found.key,
        expected="SGD, Adam or AdamW",
        found=f"settings {', '.join(sorted(settings - {'params', 'lr'}))}",
        hint="Leave --optimizer out to convert the network alone.",
    )


def _check(source: Source, found: OptimizerDict, numbers: tuple[str, ...]) -> None:
    """The settings that decide what is written are numbers, and betas two below 1."""
    for i, group in enumerate(found.param_groups):
        betas = group.get("betas", (0, 0))
        wrong = [name for name in numbers if type(group[name]) not in (int, float)]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2 or not all(_is_below_1(b) for b in betas):
            wrong.append("betas")
        if wrong:
            entry = f"{found.key}.param_groups.{i}.{wrong[0]}"
            raise Malformed("is no such setting", file=source.checkpoint.path, entry=entry, found=group[wrong[0]])


def _is_below_1(beta: object) -> bool:
    return isinstance(beta, (int, float)) and 0 <= beta < 1
