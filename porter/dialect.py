"""Whose parameter names a checkpoint's tensors bear."""

from __future__ import annotations

from porter.errors import Undecided
from porter.formats.model import Checkpoint
from porter.layers.kinds import Dialect

# Names that only one side uses. gamma and beta are not among them: PyTorch modules use them for their own parameters.
_TORCH_NAMES = ("running_mean", "running_var", "num_batches_tracked")
_MINDSPORE_NAMES = ("moving_mean", "moving_variance", "embedding_table")


def dialect_of(checkpoint: Checkpoint, option: str = "--from") -> Dialect:
    """Whose names a checkpoint's tensors bear.

    Args:
        option: with which the user can say it.

    Raises:
        Undecided: the names of both, or of neither in a format that both use.
    """
    torch = _first_name(checkpoint, _TORCH_NAMES)
    mindspore = _first_name(checkpoint, _MINDSPORE_NAMES)
    if (torch and mindspore) or (mindspore and checkpoint.framework == "torch"):
        raise Undecided(
            "cannot tell whose parameter names these are",
            file=checkpoint.path,
            entry=mindspore,
            expected="PyTorch's names or MindSpore's",
            found=f"{mindspore} and {torch}" if torch else f"{mindspore} in a PyTorch file",
            hint=f"Say it with {option} torch, {option} mindspore or {option} mint.",
        )
    if mindspore:
        return "mindspore"
    if checkpoint.framework == "mindspore":
        return "mint" if torch else "mindspore"
    if torch or checkpoint.framework == "torch":
        return "torch"
    raise Undecided(
        "nothing in it tells whose parameter names these are",
        file=checkpoint.path,
        expected=f"names such as {_TORCH_NAMES[0]} or {_MINDSPORE_NAMES[0]}, or a metadata entry `format`",
        found="names that both frameworks use" if checkpoint.tensors else "no tensors",
        hint=f"Say it with {option} torch, {option} mindspore or {option} mint.",
    )


def _first_name(checkpoint: Checkpoint, leaves: tuple[str, ...]) -> str | None:
    return next((name for name in checkpoint.tensors if name.rpartition(".")[2] in leaves), None)
