"""What evidence adds up to: the kinds it leaves, and how sure that is."""

from __future__ import annotations

from porter.layers.groups import Group
from porter.layers.kinds import KEEP, Kind
from porter.layers.model import Certainty, Evidence

# Evidence that settles a kind against everything weaker. MindSpore's names do not: a lone cell that its author
# called bn2d looks like a BatchNorm3d until the convolution before it says otherwise.
_OVERRULING = ("user", "network", "pickled module", "record")
_EMBEDDING_WORDS = ("emb", "wte", "wpe", "token")


def weigh(
    possible: tuple[Kind, ...], fitting: tuple[Kind, ...], evidence: list[Evidence]
) -> tuple[tuple[Kind, ...], Certainty]:
    """The kinds that the evidence leaves, and how sure that is; () without any evidence.

    Args:
        possible: the likely kinds.
        fitting: these, and those that are only meant where none of the likely ones can be.
        evidence: strongest first.
    """
    if not evidence:
        return (), "undecided"
    strongest = evidence[0]
    if strongest.source in _OVERRULING and len({kind.rule for kind in strongest.kinds}) == 1:
        said = tuple(kind for kind in strongest.kinds if kind in (*fitting, KEEP) or strongest.source == "user")
        return (said, "certain") if said else (possible, "undecided")
    left = _left(possible, evidence) or _left(fitting, evidence)
    if not left or len({kind.rule for kind in left}) > 1:
        return left or possible, "undecided"
    return left, "certain" if strongest.source == "names" and left == strongest.kinds else "inferred"


def _left(kinds: tuple[Kind, ...], evidence: list[Evidence]) -> tuple[Kind, ...]:
    return tuple(kind for kind in kinds if all(kind in piece.kinds for piece in evidence))


def unlikely(kind: Kind, group: Group) -> bool:
    """Kinds that fit by accident: always the rarer reading, and never the only one that is tried."""
    leaves = set(group.tensors)
    if kind.name == "Embedding":
        return "weight" in leaves and not any(word in group.name.lower() for word in _EMBEDDING_WORDS)
    if kind.family == "InstanceNorm" and any(leaf.endswith("mean") for leaf in leaves):
        return True
    if kind.parameters[0].slot == "gamma":
        # One value is a PReLU; a wide weight without a bias is a linear layer.
        shape = next(iter(group.tensors.values())).shape
        return leaves == {"weight"} and (shape == (1,) or len(shape) > 1)
    return kind.name == "Bilinear"
