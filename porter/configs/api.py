"""Translating configs, as a Python call: what `bnport config` prints and `porter.translate_config` returns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from porter import port_rules
from porter.collector import collector_paused
from porter.configs import record as records
from porter.configs.changes import Remark, Undecision
from porter.configs.doubled import ask_of_doubled
from porter.configs.files import ConfigFile, collect, read
from porter.configs.told import Told
from porter.configs.translated import ConfigOptions, TranslatedConfig, remark_to_json, translated
from porter.configs.writing import Output, write_all
from porter.errors import InputError, Undecided, UsageError
from porter.layers.kinds import Dialect

SCHEMA = "bnport.config/1"


@dataclass(frozen=True)
class ConfigTranslation:
    """What becomes of all files of a call.

    Attributes:
        to: the target.
        files: one for each config, in the order given; those of a folder sorted.
        skipped: why files of a folder could not be read; they are left alone.
    """

    to: Dialect
    files: tuple[TranslatedConfig, ...]
    skipped: tuple[InputError, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether any file changes."""
        return any(file.changed for file in self.files)

    @property
    def outputs(self) -> list[Output]:
        """What is to be written."""
        return [_output(one, one.output) for one in self.files if one.output]

    def to_json(self) -> dict[str, Any]:
        """The document of `bnport config --json`."""
        return {
            "schema": SCHEMA,
            "to": self.to,
            "changed": self.changed,
            "files": [file.to_json() for file in self.files],
            "skipped": [error.to_json() for error in self.skipped],
        }


def translate_config(
    paths: str | Path | Iterable[str | Path],
    options: ConfigOptions,
    *,
    output: str | Path | None = None,
    in_place: bool = False,
    backup: bool = True,
) -> ConfigTranslation:
    """Translate the batch normalisation settings of model configs; every other character stays.

    Args:
        paths: files and folders.
        options: how.
        output: the file to write, or a folder: for several files, for a folder, and where it is one. Without it and
            without `in_place` nothing is written.
        in_place: rewrite the files themselves, where they change.
        backup: keep each rewritten file as FILE.bak.

    Returns:
        What became of each file.

    Raises:
        UsageError: nothing says in whose terms a setting is, a `--setting` matches nothing, or a file is in the way.
        Undecided: it is not certain that a place is a batch normalisation's; nothing was written.
        InputError: a file cannot be read as a config.
        FileIOError: the operating system refused.
    """
    done = planned(paths, options, output=output, in_place=in_place)
    write_all(done.outputs, backup=backup, force=options.force)
    return done


@collector_paused()
def planned(
    paths: str | Path | Iterable[str | Path],
    options: ConfigOptions,
    *,
    output: str | Path | None = None,
    in_place: bool = False,
) -> ConfigTranslation:
    """`translate_config`, which writes nothing: each file's `output` is where it is to go."""
    given = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    told = told_by(options.settings, options.rules)
    files, skipped = _read_all(given, Path(output) if output else None, strict=options.strict)
    done = [translated(file, options, told) for file in files]
    told.demand_all_used()
    ask_of_doubled([(str(one.file.path), one.translation) for one in done])
    _demand_decided(done, strict=options.strict)
    if in_place:
        done = [replace(one, output=_behind_links(one.file.path)) if one.changed else one for one in done]
    elif output is not None:
        is_folder = len(given) > 1 or given[0].is_dir() or Path(output).is_dir()
        if is_folder and os.path.lexists(output) and not Path(output).is_dir():
            raise UsageError("is no folder", entry=f"-o {output}", hint="Several configs need a folder to go to.")
        done = [replace(one, output=_destination(one.file, Path(output), is_folder=is_folder)) for one in done]
    return ConfigTranslation(options.to, tuple(done), tuple(skipped))


def told_by(settings: Sequence[tuple[str, str]], rules: Iterable[Path]) -> Told:
    """The user's word on places, of the command line and, outweighed by it, of rules files."""
    return Told(settings, [pair for path in rules for pair in port_rules.read(path).settings])


def _read_all(
    given: Sequence[Path], output: Path | None, *, strict: bool
) -> tuple[list[ConfigFile], list[InputError]]:
    """Every file, and why some that only their folder names could not be read."""
    files, skipped = [], []
    for path, name in collect(given, output):
        try:
            files.append(read(path, name))
        except InputError as error:
            if strict or path in given:
                raise
            skipped.append(error)
    return files, skipped


def _demand_decided(done: Sequence[TranslatedConfig], *, strict: bool) -> None:
    """Raise Undecided where the user has to settle something, for all files at once."""
    undecided = [(one, remark) for one in done for remark in one.translation.undecided]
    if undecided:
        message = "it is not certain that these are settings of batch normalisations; nothing was written"
        raise _undecided(message, undecided, hint="Say for each what it is.")
    person = [(one, remark) for one in done for remark in one.translation.needs_person]
    if person and strict:
        raise _undecided("a person has to translate these; nothing was written", person)


def _undecided(
    message: str, remarks: Sequence[tuple[TranslatedConfig, Remark | Undecision]], hint: str | None = None
) -> Undecided:
    details, places = [], []
    for one, remark in remarks:
        options = remark.options if isinstance(remark, Undecision) else ()
        details.append(": ".join(filter(None, [_where(one, remark), remark.text, " or ".join(options)])))
        places.append({"file": str(one.file.path), **remark_to_json(remark), "options": list(options)})
    return Undecided(message, details=details, places=places, hint=hint)


def _where(one: TranslatedConfig, remark: Remark | Undecision) -> str:
    line, column = remark.place
    return f"{one.file.path}:{line}:{column}" + (f": {remark.path}" if remark.path else "")


def _behind_links(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _destination(file: ConfigFile, output: Path, *, is_folder: bool) -> Path:
    path = output / file.name if is_folder else output
    if os.path.realpath(path) == os.path.realpath(file.path):
        raise UsageError("the output is the config itself", entry=str(path), hint="Use --in-place.")
    return path


def _output(one: TranslatedConfig, path: Path) -> Output:
    record = records.to_json(one.record, one.translation.changes).encode() if one.record else None
    return Output(one.file.path, one.file.raw, path, one.file.encoded(one.after), records.path_beside(path), record)
