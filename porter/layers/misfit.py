"""A network that is not the file's: what it says of layers would be made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from porter.errors import UsageError
from porter.formats.model import ModuleFacts
from porter.layers.classes import is_norm, owns_no_tensor
from porter.layers.paths import Paths
from porter.layers.rules import Dialect

# Names that an error lists.
_LISTED = 4
# Levels of a name that may be a prefix.
_DEPTH = 8


def refuse_misfit(
    network: Sequence[ModuleFacts], wrapper: str, names: Sequence[str], file: Path, dialect: Dialect
) -> None:
    """Check that a file has the tensors of the network's normalisations, and some module of the network at all.

    Args:
        network: the modules of the user's network; nothing is checked where there are none.
        wrapper: a prefix of all names in the file that the network does not have.
        names: of the tensors in `file`, which bear `dialect`'s names.

    Raises:
        UsageError: it has not.
    """
    if not network:
        return
    paths = Paths(names)
    norms = [facts.name for facts in network if is_norm(facts)]
    if dialect != "mindspore":  # whose normalisations always have all their parameters
        norms = [facts.name for facts in network if is_norm(facts) and not owns_no_tensor(facts)]
    # MindSpore's files have a layer that stands in several places under one of its paths.
    first = {facts.name: facts.name if facts.same_as is None else facts.same_as for facts in network}
    present = {first[facts.name] for facts in network if wrapper + facts.name in paths}
    missing = [norm for norm in norms if first[norm] not in present]
    if not missing and any(wrapper + facts.name in paths for facts in network):
        return
    lacking = missing or [facts.name for facts in network if facts.name]
    raise UsageError(
        "the network does not fit the file",
        file=file,
        entry="--model" if dialect == "torch" else "--net",
        expected=f"tensors of {_listing(lacking)}",
        found=_listing(names),
        hint=_hint(norms, paths, names) or "Name the network that this file was saved from.",
    )


def _hint(norms: Sequence[str], paths: Paths, names: Sequence[str]) -> str | None:
    """What to do where the two differ by one prefix."""
    if not norms or not names:
        return None
    levels = names[0].split(".")
    for depth in range(1, min(len(levels), _DEPTH)):
        prefix = ".".join(levels[:depth]) + "."
        if all(prefix + norm in paths for norm in norms):
            return f"Below {prefix} the names fit: name a network that holds this one as {prefix.removesuffix('.')}."
    levels = norms[0].split(".")
    for depth in range(1, min(len(levels), _DEPTH)):
        prefix = ".".join(levels[:depth]) + "."
        if all(norm.startswith(prefix) and norm.removeprefix(prefix) in paths for norm in norms):
            return f"Below the network's {prefix.removesuffix('.')} the names fit: name a factory of that part."
    return None


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
