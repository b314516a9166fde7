"""What the user should know of a plan that is right: where the two frameworks do not do the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from porter.layers.model import Layer
from porter.plan import Plan


def remarks(plan: Plan, layers: Sequence[Layer]) -> Iterator[str]:
    """Sentences for the user.

    Args:
        plan: between PyTorch's names and MindSpore's.
        layers: of its source.
    """
    shared = [step for step in plan.steps if step.fate == "shared" and step.source]
    for step in shared[:1]:
        yield (
            f"{len(shared)} names lead to tensors that have another name, too ({step.source and step.source.name} is "
            f"{step.same_as}): MindSpore keeps one; on the way back only the record restores the others"
        )
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
