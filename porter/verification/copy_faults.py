"""What explains the wrong values of a tensor: another tensor's, or its own, changed (`value_faults`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import permutations
from typing import TYPE_CHECKING, Any

from porter.conversion import bytes_of
from porter.formats.transfer import Chunk, TensorReader, as_array
from porter.plan import Step
from porter.verification.copies import TensorProblem, counted
from porter.verification.value_faults import FEW, explained, unexplained

if TYPE_CHECKING:
    from porter.verification.cases import Array

# A file that is wrong throughout is told by its first tensors; more bytes than this are not looked into.
_BUDGET = 256 << 20
# Names of tensors that hold the same values: more are counted.
_SHOWN = 3


def explain(
    problems: Sequence[TensorProblem], steps: Sequence[Step], theirs: TensorReader, ours: TensorReader
) -> list[TensorProblem]:
    """`problems` with what explains the values found.

    Args:
        problems: all of values.
        steps: those that were compared, whose readers are `theirs`, of the source, and `ours`, of the output.
    """
    by_name = {step.target.name: step for step in steps if step.target}
    sizes = {_size(by_name[problem.name]) for problem in problems}
    homes: dict[bytes, list[str]] = {}
    for name, step in by_name.items():
        if _size(step) in sizes:
            homes.setdefault(_digest(bytes_of(step, theirs, {})), []).append(name)
    budget, told = _BUDGET, []
    for problem in problems:
        step = by_name[problem.name]
        budget -= _size(step)
        told.append(_explained(problem, step, homes, theirs, ours) if budget >= 0 else problem)
    sums = dict(_added_up(problems, by_name, theirs, ours))
    return [replace(one, fault=sums[one.name], text=sums[one.name]) if one.name in sums else one for one in told]


def _added_up(
    problems: Sequence[TensorProblem], by_name: Mapping[str, Step], theirs: TensorReader, ours: TensorReader
) -> Iterator[tuple[str, str]]:
    """Name and fault of two biases of one layer that became one, as a recurrent layer's are by some libraries."""
    import numpy as np

    layers: dict[str | None, list[tuple[str, Array, Array]]] = {}
    for problem in problems:
        target = by_name[problem.name].target
        # 8-bit floats are not computed with.
        if problem.layer is None or target is None or not target.dtype.is_floating or target.dtype.itemsize == 1:
            continue
        if len(target.shape) == 1 and "bias" in problem.name.rpartition(".")[2]:
            right = as_array(target, bytes_of(by_name[problem.name], theirs, {}))
            layers.setdefault(problem.layer, []).append((problem.name, right, ours.array(problem.name)))
    for vectors in layers.values():
        for (name, right, found), (other, added, left) in permutations(vectors, 2):
            fits = right.shape == added.shape and added.any() and not left.any()
            if fits and np.allclose(found, right + added, rtol=1e-2 if right.dtype.itemsize == 2 else 1e-5):
                yield name, f"holds the sum of itself and {other}, which is 0 now: alike in use, not in training"
                yield other, f"is 0 throughout, and added to {name}"


def _explained(
    problem: TensorProblem, step: Step, homes: Mapping[bytes, list[str]], theirs: TensorReader, ours: TensorReader
) -> TensorProblem:
    import numpy as np

    assert step.target is not None, "tensors that are not written are not compared"
    if step.target.dtype.numpy is None and step.target.dtype.name != "bfloat16":
        return problem
    right, found = as_array(step.target, bytes_of(step, theirs, {})), ours.array(problem.name)
    if right.dtype.kind == "c":
        return problem
    right, found = _numbers(right), _numbers(found)
    others = homes.get(_digest(ours.chunks(problem.name)), []) if found.size > 1 and np.ptp(found) > 0 else []
    known = _of_others(others) if others else explained("", right, found, step.target.dtype.name)
    if known is None:
        fault = unexplained("", right, found).strip()
        return replace(problem, fault=fault, text=fault)
    # Of few values the fault says each: the first is not told again.
    few = problem.differing is not None and problem.differing <= FEW
    differ = counted(step.target, problem.differing or 0) if few else problem.text
    fault = known.strip()
    return replace(problem, fault=fault, values_of=tuple(others), text=f"{fault} ({differ})")


def _of_others(names: Sequence[str]) -> str:
    more = f" or {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"holds the values of {' or '.join(names[:_SHOWN])}{more}"


def _numbers(values: Array) -> Array:
    """Values as wide as numbers of their kind are computed with; truth values as the bytes that store them."""
    import numpy as np

    if values.dtype.kind == "f":
        return values.astype(np.float64)
    whole: Any = values.view(np.uint8) if values.dtype.kind == "b" else values
    wide: Array = whole if whole.dtype == np.uint64 else whole.astype(np.int64)
    return wide


def _size(step: Step) -> int:
    return step.target.nbytes if step.target else 0


def _digest(chunks: Iterable[Chunk]) -> bytes:
    digest = sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()
