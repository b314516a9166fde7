"""What wraps a network and writes its own attribute in front of every name of its checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from porter.formats.model import Checkpoint, ModuleFacts, TensorSpec

# Prefix -> who writes it.
_WRAPPERS = {"module.": "DataParallel or DistributedDataParallel", "_orig_mod.": "torch.compile"}
_MODEL = "model."
# What PyTorch Lightning writes beside the state dict: lightning/pytorch/trainer/connectors/checkpoint_connector.py.
_LIGHTNING_VERSION = "pytorch-lightning_version"


def wrapper_of(
    checkpoint: Checkpoint, specs: list[TensorSpec], modules: Sequence[ModuleFacts]
) -> tuple[str, list[str]]:
    """The prefix that all names share because something wraps the network, and the remark about it.

    A network may have a `model` of its own. So one such level is a LightningModule's only in a file that Lightning
    wrote, or where the network given (`modules`) fits below it and not as it stands.
    """
    names = [spec.name for spec in specs]
    prefix, writers = "", []
    known = dict(_WRAPPERS)
    if _LIGHTNING_VERSION in checkpoint.siblings or (fits(modules, names, _MODEL) and not fits(modules, names)):
        known[_MODEL] = "a LightningModule"
    while names:
        part = next((p for p in known if all(name.startswith(prefix + p) for name in names)), None)
        if part is None:
            break
        prefix += part
        writers.append(known[part])
        known.pop(_MODEL, None)
    if not prefix:
        return "", []
    by = " in ".join(reversed(writers))
    return prefix, [f"every name begins with {prefix}, as {by} writes it; --strip-prefix {prefix} removes it"]


def fits(modules: Sequence[ModuleFacts], names: Iterable[str], prefix: str = "") -> bool:
    """Whether some module of a network owns, behind `prefix`, one of the tensors called `names`."""
    parents = {name.rpartition(".")[0] for name in names} if modules else set()
    return any(prefix + facts.name in parents for facts in modules if facts.name)
