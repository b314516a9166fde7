"""What evidence adds up to: the kinds it leaves, and how sure that is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from porter.layers.groups import Form
from porter.layers.kinds import KEEP, KINDS, Kind
from porter.layers.model import Certainty, Evidence, EvidenceSource
from porter.layers.rules import share_a_rule

_Pieces = tuple[tuple[EvidenceSource, tuple[Kind, ...]], ...]
_Verdict = tuple[tuple[Kind, ...], Certainty]

# Evidence that settles a kind against everything weaker. MindSpore's names do not: a lone cell that its author
# called bn2d looks like a BatchNorm3d until the convolution before it says otherwise.
_OVERRULING = ("user", "network", "pickled module", "record", "target network")
_EMBEDDING_WORDS = re.compile("emb|wte|wpe|token", re.IGNORECASE)


def weigh(
    possible: tuple[Kind, ...], fitting: tuple[Kind, ...], evidence: Sequence[Evidence]
) -> tuple[tuple[Kind, ...], Certainty]:
    """The kinds that the evidence leaves, and how sure that is; () without any evidence.

    Args:
        possible: the likely kinds.
        fitting: these, and those that are only meant where none of the likely ones can be.
        evidence: strongest first.
    """
    return _weighed(possible, fitting, tuple([(piece.source, piece.kinds) for piece in evidence]))


# Networks repeat themselves, and so does what speaks for their layers.
@lru_cache(maxsize=4096)
def _weighed(possible: tuple[Kind, ...], fitting: tuple[Kind, ...], evidence: _Pieces) -> _Verdict:
    if not evidence:
        return (), "undecided"
    settled = _settled(evidence)
    if settled:
        said = tuple(kind for kind in settled if kind in (*fitting, KEEP) or evidence[0][0] == "user")
        return (said, "certain") if said else (possible, "undecided")
    left = _left(possible, evidence) or _left(fitting, evidence)
    if not share_a_rule(left):
        return left or possible, "undecided"
    named = evidence[0] == ("names", left) and _is_no_wrapper(left, evidence)
    return left, "certain" if named else "inferred"


def _is_no_wrapper(kinds: tuple[Kind, ...], evidence: _Pieces) -> bool:
    """Whether `kinds` have names of their own, or the layers around show that it is no cell with one child bn2d.

    The inner cell of a BatchNorm3d has the names of a BatchNorm2d that an author calls bn2d in a cell of its own.
    """
    if kinds != (KINDS["BatchNorm3d"],):
        return True
    return any(source == "neighbours" and KINDS["BatchNorm2d"] not in beside for source, beside in evidence)


def _settled(evidence: _Pieces) -> tuple[Kind, ...]:
    """The kinds that the overruling pieces leave, where one rule converts them; else none.

    The stronger one may leave several (a SyncBatchNorm of PyTorch is a batch normalisation of any rank), out of which
    the weaker one chooses; it says nothing where it contradicts.
    """
    left: tuple[Kind, ...] = ()
    for source, kinds in evidence:
        if source not in _OVERRULING or share_a_rule(left):
            break
        left = tuple(kind for kind in left if kind in kinds) or left or kinds
    return left if share_a_rule(left) else ()


def _left(kinds: tuple[Kind, ...], evidence: _Pieces) -> tuple[Kind, ...]:
    return tuple(kind for kind in kinds if all(kind in piece for _, piece in evidence))


def sounds_like_an_embedding(name: str) -> bool:
    """Whether a layer's path says that it is an Embedding."""
    return _EMBEDDING_WORDS.search(name) is not None


def likely(fitting: tuple[Kind, ...], form: Form, is_embedding: bool) -> tuple[Kind, ...]:
    """Out of `fitting`, the kinds that do not fit by accident alone; all where there are no others.

    Args:
        is_embedding: see `sounds_like_an_embedding`.
    """
    return tuple(kind for kind in fitting if not _unlikely(kind, form, is_embedding)) or fitting


def _unlikely(kind: Kind, form: Form, is_embedding: bool) -> bool:
    leaves = {leaf for leaf, _ in form.shapes}
    if kind.name == "Embedding":
        return "weight" in leaves and not is_embedding
    if kind.family == "InstanceNorm" and any(leaf.endswith("mean") for leaf in leaves):
        return True
    if kind.parameters[0].slot == "gamma":
        # One value is a PReLU; a wide weight without a bias is a linear layer.
        shape = form.shapes[0][1]
        return leaves == {"weight"} and (shape == (1,) or len(shape) > 1)
    return kind.name == "Bilinear"
