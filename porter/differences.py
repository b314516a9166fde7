"""The strict comparison of tensors with the parameters of the network they are for: every name, shape and dtype.

bnport's own. MindSpore's loads what fits, strips prefixes, casts without a word and reports the rest as a warning;
PyTorch's `load_state_dict` is strict about names and shapes, and casts silently too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from porter.formats.model import TensorSpec

# Names compared with each missing one: those of equal shape that stand nearest to it in the network's order.
_COMPARED = 24
_CANDIDATES = 3


@dataclass(frozen=True)
class Candidate:
    """A tensor of the output that the network has no place for, and may be one that it misses.

    Attributes:
        name: in the output.
        similarity: of the two names, 0 to 1 (`difflib.SequenceMatcher.ratio`).
        same_shape: whether their shapes agree.
    """

    name: str
    similarity: float
    same_shape: bool

    def __str__(self) -> str:
        return f"{self.name} ({self.similarity:.0%} alike, {'same' if self.same_shape else 'other'} shape)"


@dataclass(frozen=True)
class Difference:
    """One parameter in which the output and the network differ; `candidates` only where it is missing, best first."""

    name: str
    problem: Literal["missing", "left over", "shape", "dtype"]
    text: str
    candidates: tuple[Candidate, ...] = ()

    def __str__(self) -> str:
        closest = f"; closest: {', '.join(map(str, self.candidates))}" if self.candidates else ""
        return f"{self.name}: {self.text}{closest}"

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"name": self.name, "problem": self.problem, "text": self.text}
        if self.problem == "missing":
            document["candidates"] = [vars(candidate) for candidate in self.candidates]
        return document


def compare(output: Sequence[TensorSpec], parameters: Sequence[TensorSpec]) -> list[Difference]:
    """Every difference between the tensors of an output and the parameters of the network they are for."""
    given = {spec.name: spec for spec in output}
    wanted = {spec.name: spec for spec in parameters}
    left_over = [spec for spec in output if spec.name not in wanted]
    by_shape: dict[tuple[int, ...], list[TensorSpec]] = {}
    for spec in left_over:
        by_shape.setdefault(spec.shape, []).append(spec)
    found = []
    for place, want in enumerate(parameters):
        have = given.get(want.name)
        if have is None:
            candidates = _closest(want, place / len(parameters), by_shape.get(want.shape, left_over))
            found.append(Difference(want.name, "missing", f"missing, {_described(want)}", candidates))
        elif have.shape != want.shape:
            text = f"{list(have.shape)}, the network has {list(want.shape)}"
            found.append(Difference(want.name, "shape", text))
        elif have.dtype != want.dtype:
            found.append(Difference(want.name, "dtype", f"{have.dtype}, the network has {want.dtype}"))
    return [*found, *(Difference(s.name, "left over", f"left over, {_described(s)}") for s in left_over)]


def _described(spec: TensorSpec) -> str:
    return f"{spec.dtype} {list(spec.shape)}"


def _closest(want: TensorSpec, place: float, pool: Sequence[TensorSpec]) -> tuple[Candidate, ...]:
    """The likeliest of `pool` for `want`, which stands at `place` (0 to 1) in its network."""
    start = max(0, min(round(place * len(pool)) - _COMPARED // 2, len(pool) - _COMPARED))
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(want.name)
    found: list[Candidate] = []
    for spec in pool[start : start + _COMPARED]:
        matcher.set_seq1(spec.name)
        # The quick ratio is an upper bound: the slow one is worked out only where it could matter.
        if len(found) < _CANDIDATES or matcher.quick_ratio() > found[-1].similarity:
            found.append(Candidate(spec.name, round(matcher.ratio(), 2), spec.shape == want.shape))
            found = sorted(found, key=lambda candidate: -candidate.similarity)[:_CANDIDATES]
    return tuple(found)
