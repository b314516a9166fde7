"""The user's word on places in a config: `--setting 'MODEL.NECK.*.MOM=momentum'`."""

from __future__ import annotations

from collections.abc import Sequence

from porter.configs.model import SETTINGS
from porter.configs.references import Path
from porter.errors import UsageError
from porter.layers.patterns import matches

KEEP = "keep"
# What a place can be said to be.
SETTING_NAMES = (*sorted(SETTINGS), KEEP)


def option(path: str, word: str) -> str:
    """What the user types to say of `path` that it is `word`, quoted for a shell."""
    return "--setting '" + f"{path}={word}".replace("'", "'\"'\"'") + "'"


class Told:
    """What the user says about paths, of all files of one run together.

    Attributes:
        settings: (pattern of a path, setting or "keep"); of several that match the last counts.

    Args:
        settings: they must match something.
        rules: likewise, of rules files; `settings` outweigh them, and they need not match anything.

    Raises:
        UsageError: one of `settings` names no setting.
    """

    def __init__(self, settings: Sequence[tuple[str, str]], rules: Sequence[tuple[str, str]] = ()) -> None:
        self.settings = (*rules, *settings)
        self._unused = set(settings)
        for pattern, name in settings:
            if name not in SETTING_NAMES:
                known = ", ".join(SETTING_NAMES)
                raise UsageError("no setting", entry=f"--setting {pattern}={name}", expected=known, found=name)

    def after(self, earlier: Sequence[tuple[str, str]]) -> Told:
        """The same user's word, which outweighs an earlier one of theirs about one file."""
        told = Told((), (*(pair for pair in earlier if pair not in self.settings), *self.settings))
        told._unused = self._unused
        return told

    def about(self, path: Path) -> str | None:
        """What the place is: a setting, "keep", or None where nothing is said."""
        name = None
        for pattern, setting in self.settings:
            if matches(pattern, ".".join(path)):
                self._unused.discard((pattern, setting))
                name = setting
        return name

    def demand_all_used(self) -> None:
        """Raise UsageError where one of the settings has matched nothing."""
        for pattern, name in self.settings:
            if (pattern, name) in self._unused:
                entry = f"--setting {pattern}={name}"
                raise UsageError(
                    "matches nothing", entry=entry, hint="Write the path as the table or an error shows it."
                )
