"""What is wrong with many tensors of one layer, in few words: a recurrent layer has dozens, wrong in one way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from porter.verification.copies import TensorProblem

# So many tensors are told each by itself, and so many names of those that are told together.
_SHOWN = 3


def in_words(problems: Sequence[TensorProblem]) -> list[str]:
    """A sentence for each problem, or, where there are many, for each way in which values are wrong."""
    if len(problems) <= _SHOWN:
        return [_alone(problem) for problem in problems]
    others, ways = list[TensorProblem](), dict[str | None, list[TensorProblem]]()
    for problem in problems:
        if problem.problem != "values" or problem.values_of:
            others.append(problem)
        else:
            ways.setdefault(problem.fault, []).append(problem)
    return [*_exchanged(others), *(_alike(fault, same) for fault, same in ways.items())]


def _alone(problem: TensorProblem) -> str:
    return f"{problem.name} {problem.text}"


def _alike(fault: str | None, problems: Sequence[TensorProblem]) -> str:
    if len(problems) == 1:
        return _alone(problems[0])
    names = _listed([problem.name for problem in problems])
    return f"{names} ({len(problems)} tensors): each {fault or 'holds other values'}"


def _exchanged(problems: Sequence[TensorProblem]) -> Iterator[str]:
    """Pairs that hold each other's values together, all else by itself."""
    homes = {problem.name: problem.values_of for problem in problems}
    pairs: list[str] = []
    paired: set[str] = set()
    for name, holds in homes.items():
        partner = next((other for other in holds if name in homes.get(other, ()) and other not in paired), None)
        if partner and name not in paired:
            pairs.append(f"{name} with {partner}")
            paired |= {name, partner}
    if pairs:
        yield f"{len(pairs)} pair{'s' * (len(pairs) > 1)} of tensors exchanged: {_listed(pairs)}"
    yield from (_alone(problem) for problem in problems if problem.name not in paired)


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + ", ..." * (len(texts) > _SHOWN)
