"""Compare the tensors of an output with what the plan makes of the source: names, types, and every byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from porter.conversion import bytes_of
from porter.formats.model import Checkpoint, TensorSpec
from porter.formats.transfer import Chunk, TensorReader
from porter.plan import Plan, Step


@dataclass(frozen=True)
class TensorProblem:
    """A tensor of the output that is not what the plan says.

    Attributes:
        name: in the output.
        source: in the source, None where it was to be created or is nowhere expected.
        problem: `missing`, `unexpected`, `type` or `values`.
        text: what is wrong, in words.
        layer: name of the layer it belongs to, None outside of any.
        fault: what explains the values found, as a predicate ("is multiplied by 2"); None for other problems, and
            where nobody looked.
        values_of: the tensors of the output whose values it holds instead of its own.
        differing: how many of its values differ; None for other problems.
    """

    name: str
    source: str | None
    problem: str
    text: str
    layer: str | None = None
    fault: str | None = None
    values_of: tuple[str, ...] = ()
    differing: int | None = None

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "values_of": list(self.values_of)}


def check_structure(plan: Plan, output: Checkpoint) -> Iterator[TensorProblem]:
    """Names, dtypes and shapes: what is missing, what differs, what nobody asked for."""
    expected = {step.target.name: step for step in plan.steps if step.target}
    for name, step in expected.items():
        source = step.source.name if step.source else None
        found = output.tensors.get(name)
        if found is None:
            yield TensorProblem(name, source, "missing", f"is missing; {step.reason}", step.layer)
        elif found.spec != step.target and step.target:
            text = f"is {_type_of(found.spec)}, expected {_type_of(step.target)}"
            yield TensorProblem(name, source, "type", text, step.layer)
    for name in output.tensors:
        if name not in expected:
            yield TensorProblem(name, None, "unexpected", "stands in the output, but no source tensor leads to it")


def _type_of(spec: TensorSpec) -> str:
    return f"{spec.dtype} {list(spec.shape)}"


def compare_tensor(
    step: Step, theirs: TensorReader, ours: TensorReader, overflowed: dict[str, int]
) -> TensorProblem | None:
    """Compare a tensor of the output with what the plan makes of the source, bit for bit.

    Args:
        overflowed: as in `porter.formats.casting.cast_chunks`.
    """
    assert step.target is not None
    size = step.target.dtype.itemsize
    differing, first, offset = 0, None, 0
    for wanted, found in _in_step(bytes_of(step, theirs, overflowed), ours.chunks(step.target.name)):
        if wanted != found:
            places = _differing_elements(wanted, found, size)
            differing += len(places)
            start = places[0] * size
            first = first or (offset + places[0], wanted[start:][:size], found[start:][:size])
        offset += len(wanted) // size
    if first is None:
        return None
    source = step.source.name if step.source else None
    text = _difference(step.target, differing, *first)
    return TensorProblem(step.target.name, source, "values", text, step.layer, differing=differing)


def _differing_elements(wanted: bytes, found: bytes, size: int) -> list[int]:
    import numpy as np

    wanted_bytes, found_bytes = (np.frombuffer(data, "u1").reshape(-1, size) for data in (wanted, found))
    places: list[int] = np.flatnonzero((wanted_bytes != found_bytes).any(axis=1)).tolist()
    return places


def _in_step(left: Iterable[Chunk], right: Iterable[Chunk]) -> Iterator[tuple[bytes, bytes]]:
    """The two streams, which are equally long, cut at the same places."""
    streams = iter(left), iter(right)
    held = [memoryview(b""), memoryview(b"")]
    while True:
        for i in (0, 1):
            while not held[i]:
                chunk = next(streams[i], None)
                if chunk is None:
                    return
                held[i] = memoryview(chunk)
        length = min(len(held[0]), len(held[1]))
        yield bytes(held[0][:length]), bytes(held[1][:length])
        held = [view[length:] for view in held]


def counted(spec: TensorSpec, differing: int) -> str:
    return f"{differing} of {spec.nbytes // spec.dtype.itemsize} values differ"


def _difference(spec: TensorSpec, differing: int, index: int, wanted: bytes, found: bytes) -> str:
    import numpy as np

    place = [int(i) for i in np.unravel_index(index, spec.shape)] if spec.shape else []
    text = f"{counted(spec, differing)}; the first at {place}: "
    if spec.dtype.numpy is None:
        return text + f"expected bytes {wanted.hex()}, found {found.hex()}"
    numbers = [np.frombuffer(data, spec.dtype.numpy)[0] for data in (wanted, found)]
    return text + f"expected {numbers[0]!s}, found {numbers[1]!s}"
