"""The user's word on places in a config: `--setting 'MODEL.NECK.*.MOM=momentum'`."""

from __future__ import annotations

from collections.abc import Sequence

from porter.configs.model import SETTINGS
from porter.configs.references import Path
from porter.errors import UsageError
from porter.layers.patterns import matches

KEEP = "keep"


class Told:
    """What the user says about paths."""

    def __init__(self, settings: Sequence[tuple[str, str]]) -> None:
        self._settings = settings
        self._used: set[int] = set()
        for pattern, name in settings:
            if name != KEEP and name not in SETTINGS:
                known = ", ".join([*sorted(SETTINGS), KEEP])
                raise UsageError("no setting", entry=f"--setting {pattern}={name}", expected=known, found=name)

    def about(self, path: Path) -> str | None:
        name = None
        for index, (pattern, setting) in enumerate(self._settings):
            if matches(pattern, ".".join(path)):
                self._used.add(index)
                name = setting
        return name

    def demand_all_used(self) -> None:
        for index, (pattern, name) in enumerate(self._settings):
            if index not in self._used:
                entry = f"--setting {pattern}={name}"
                raise UsageError(
                    "matches nothing", entry=entry, hint="Write the path as the table or an error shows it."
                )
