"""What the user should know of a plan that is right.

Where the two frameworks do not do the same, what was inferred rather than known, and what does not travel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from porter.layers.kinds import KEEP, Kind
from porter.layers.model import Layer
from porter.layers.training_state import APPENDED
from porter.plan import Plan
from porter.source import Source


def remarks(plan: Plan, layers: Sequence[Layer], format: str) -> Iterator[str]:
    """Sentences for the user.

    Args:
        plan: between PyTorch's names and MindSpore's.
        layers: of its source.
        format: of its output, as `Destination.format`.
    """
    yield from plan.notes
    shared = [step for step in plan.steps if step.fate == "shared" and step.source]
    for step in shared[:1]:
        yield (
            f"{len(shared)} names lead to tensors that have another name, too ({step.source and step.source.name} is "
            f"{step.same_as}): MindSpore keeps one; on the way back only the record restores the others"
        )
    empty = [spec.name for spec in plan.targets if spec.shape == (0,)] if format == "mindspore-ckpt" else []
    if empty:
        yield f"{_some(empty)}: no elements: from a .ckpt MindSpore loads such a tensor as one undefined number"
    if plan.to != "mindspore":
        return
    tracking = [
        layer for layer in layers if layer.kinds and layer.kind.family == "InstanceNorm" and "mean" in layer.tensors
    ]
    if tracking:
        yield (
            f"{len(tracking)} InstanceNorm ({tracking[0].label}, ...) keep running statistics, which MindSpore's "
            "never uses: in evaluation the outputs differ"
        )
    volumes = [layer for layer in layers if layer.kind_name == "SyncBatchNorm" and _is_on_volumes(layer)]
    if volumes:
        yield (
            f"{len(volumes)} SyncBatchNorm ({volumes[0].label}, ...) work on volumes, which MindSpore's does not "
            "take: it normalises 2-D and 4-D data only"
        )


def _is_on_volumes(layer: Layer) -> bool:
    """Whether some evidence leaves no batch normalisation but that of volumes."""
    return any(
        {kind.spatial for kind in evidence.kinds if kind.family == "BatchNorm"} == {3} for evidence in layer.evidence
    )


def left_out_notes(source: Source, plan: Plan) -> list[str]:
    """What of `source` does not travel, and how to have it travel."""
    notes = [f"{entry.name}: {entry.what}; left out" for entry in source.checkpoint.left_out]
    dropped = [step.source.name for step in plan.steps if step.source and not step.target]
    appended = [name for name in dropped if source.left_out.get(name) == APPENDED]
    state = [name for name in dropped if name in source.left_out and name not in appended]
    if plan.optimizer:
        notes += plan.optimizer.notes
    elif state:
        notes.append(
            f"{len(state)} entries of optimizer state ({_some(state)}) are left out; --optimizer carries them"
        )
    if appended:
        notes.append(f"{_some(appended)}: left out; --net or --model tells if they are parameters of the network")
    others = source.checkpoint.other_containers
    if others:
        taken = source.checkpoint.container or "the top level"
        notes.append(f"the state dict is {taken}; --key takes another: {', '.join(others)}")
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)


def inference_notes(layers: Sequence[Layer], plan: Plan) -> list[str]:
    """What was inferred rather than known, where it decides names or shapes, and what no rule is for."""
    if (plan.from_ == "mindspore") == (plan.to == "mindspore"):
        return []
    inferred: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.certainty == "inferred" and (not layer.kind.keeps_layout or _has_other_readings(layer)):
            inferred.setdefault(layer.kind_name, []).append(layer)
    kept = [layer.label for layer in layers if layer.kind is KEEP and layer.evidence[0].source == "network"]
    notes = []
    if kept:
        notes.append(f"{len(kept)} layers of classes that bnport has no rule for keep their names: {_some(kept)}")
    for kind, same in inferred.items():
        by_neighbours = any(evidence.source == "neighbours" for evidence in same[0].evidence)
        means = "the layers beside them" if by_neighbours else "names and shapes"
        notes.append(f"{len(same)} {kind}, inferred from {means}; --model, --net or --layer settles it")
    return notes


def _has_other_readings(layer: Layer) -> bool:
    """Whether names and shapes leave a kind that another rule converts: a Linear without bias may be an Embedding.

    A normalisation over several axes without a bias fits any such weight, too, and is never meant.
    """
    return any(_one_reads_otherwise(e.kinds, layer.kind) for e in layer.evidence if e.source == "shapes")


@lru_cache(maxsize=1024)
def _one_reads_otherwise(kinds: tuple[Kind, ...], than: Kind) -> bool:
    others = [kind for kind in kinds if kind.rule != than.rule]
    return any(all(parameter.slot != "gamma" for parameter in kind.parameters) for kind in others)
