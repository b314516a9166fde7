"""Values that would be translated twice: where they are written, and where Python computes with them.

Python rewrites `momentum=cfg.BN.MOMENTUM` to `1 - cfg.BN.MOMENTUM`, and a config's `BN: {MOMENTUM: 0.1}` becomes 0.9:
both together change nothing. Only the user knows whether the one reads the other, in this file or another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from porter.configs.changes import Change, Remark, Translation, Undecision
from porter.configs.told import KEEP, option


def ask_of_doubled(files: Sequence[tuple[str, Translation]]) -> None:
    """Make undecided what reads a name that the same run translates, too.

    Args:
        files: the files of one run, and what becomes of each; questions are added to the latter.
    """
    written: dict[tuple[str, str], list[tuple[str, Change]]] = defaultdict(list)
    for file, translation in files:
        for change in translation.changes:
            for name in change.defines:
                written[change.setting, name].append((file, change))
    for file, translation in files:
        placed = {change.place: change for change in translation.changes}
        for reading in translation.changes:
            named = [pair for name in sorted(reading.reads) for pair in written[reading.setting, name]]
            fed = [(file, placed[place]) for place in sorted(reading.fed_by) if place in placed]
            other = next(((f, c) for f, c in (*fed, *named) if c is not reading), None)
            if other:
                translation.undecided.append(_question(file, reading, *other))


def _question(file: str, reading: Change, elsewhere: str, written: Change) -> Undecision:
    there = str(written.place) if elsewhere == file else f"{elsewhere}, {written.place}"
    text = f"{reading.before} may read {written.path} ({there}): translated in both places it would be as before"
    options = (option(reading.path, KEEP), option(written.path, KEEP))
    return Undecision(reading.path, reading.setting, text, reading.place, options)


def notes_on_names(changes: Sequence[Change]) -> Iterator[Remark]:
    """What must not be translated elsewhere, since its readers are: each name once."""
    told: set[str] = set()
    # A dtype that is named in its framework reads that framework, no value.
    for change in (change for change in changes if change.setting != "dtype"):
        for name in sorted(change.reads - told):
            told.add(name)
            text = f"{change.before} became {change.after}: {name} stays as it is where other files set it"
            yield Remark(change.path, change.setting, text, change.place)
