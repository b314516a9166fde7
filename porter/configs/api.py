"""Translating configs, as a Python call: what `bnport config` prints and `porter.translate_config` returns."""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from porter import port_rules
from porter.configs import record as records
from porter.configs.changes import Remark, Translation, Undecision
from porter.configs.files import ConfigFile, collect, read
from porter.configs.record import Record, change_to_json, read_beside, record_of
from porter.configs.signature import installed_signature
from porter.configs.sites import search
from porter.configs.terms import Signature
from porter.configs.told import Told
from porter.configs.translate import translate
from porter.configs.tree import Place, spliced
from porter.configs.way_back import undoing
from porter.configs.writing import Output, write_all
from porter.errors import BnportError, InputError, Undecided, UsageError
from porter.layers.kinds import Dialect

SCHEMA = "bnport.config/1"


@dataclass(frozen=True)
class ConfigOptions:
    """How configs are translated.

    Attributes:
        to: torch, mindspore (mindspore.nn) or mint (mindspore.mint.nn).
        from_: whose terms settings are in that do not say so themselves.
        signature: of mindspore.nn; "auto" is that of the installed one, or of the record.
        settings: (pattern of a path, setting or "keep"): the user's word on places.
        rules: rules files, whose settings `settings` outweigh.
        force: heed no record, and replace an existing output.
        strict: places that need a person are undecided ones, and files of a folder that cannot be read are errors.
    """

    to: Dialect
    from_: Dialect | None = None
    signature: Signature | Literal["auto"] = "auto"
    settings: Sequence[tuple[str, str]] = ()
    rules: Sequence[Path] = ()
    force: bool = False
    strict: bool = False


@dataclass(frozen=True)
class TranslatedConfig:
    """What becomes of one file.

    Attributes:
        file: the config as it was read.
        translation: its changes and remarks.
        after: its text in the target's terms.
        record: what goes beside the output, None where nothing changes.
        output: where it was written, None where it was not.
    """

    file: ConfigFile
    translation: Translation
    after: str
    record: Record | None
    output: Path | None = None

    @property
    def changed(self) -> bool:
        """Whether the translated text is another one."""
        return self.after != self.file.document.text

    def diff(self) -> list[str]:
        """The lines of a unified diff that patch(1) applies, with their ends."""
        # Lines end where patch sees them end, not at every character that Python takes for a line's end.
        before, after = (list(io.StringIO(text, newline="\n")) for text in (self.file.document.text, self.after))
        name = str(self.file.path)
        lines = difflib.unified_diff(before, after, name, str(self.output or name))
        return [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]

    def to_json(self) -> dict[str, Any]:
        """The facts as an element of the document's `files`."""
        told = self.translation
        return {
            "source": str(self.file.path),
            "output": None if self.output is None else str(self.output),
            "format": self.file.format,
            "changes": [change_to_json(change) for change in told.changes],
            "warnings": [_remark_to_json(remark) for remark in told.warnings],
            "needs_person": [_remark_to_json(remark) for remark in told.needs_person],
            "notes": [_remark_to_json(remark) for remark in told.notes],
        }


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
    files, skipped = _read_all(given, strict=options.strict)
    done = [_translated(file, options, told) for file in files]
    told.demand_all_used()
    _demand_decided(done, strict=options.strict)
    if in_place:
        done = [replace(one, output=_behind_links(one.file.path)) if one.changed else one for one in done]
    elif output is not None:
        is_folder = len(given) > 1 or given[0].is_dir() or Path(output).is_dir()
        done = [replace(one, output=_destination(one.file, Path(output), is_folder=is_folder)) for one in done]
    return ConfigTranslation(options.to, tuple(done), tuple(skipped))


def told_by(settings: Sequence[tuple[str, str]], rules: Iterable[Path]) -> Told:
    """The user's word on places, of the command line and, outweighed by it, of rules files."""
    return Told(settings, [pair for path in rules for pair in port_rules.read(path).settings])


def _read_all(given: Sequence[Path], *, strict: bool) -> tuple[list[ConfigFile], list[InputError]]:
    """Every file, and why some that only their folder names could not be read."""
    files, skipped = [], []
    for path, name in collect(given):
        try:
            files.append(read(path, name))
        except InputError as error:
            if strict or path in given:
                raise
            skipped.append(error)
    return files, skipped


def _translated(file: ConfigFile, options: ConfigOptions, told: Told) -> TranslatedConfig:
    record = None if options.force else read_beside(file.path)
    if record and not record.is_of(file):
        record = None
    told = told.after(record.settings) if record else told
    recorded = record.to if record else None
    signature = options.signature
    if signature == "auto":
        signature = record.signature if record else installed_signature()
    try:
        found = search(file.document, told)
        back = undoing(file, record, options.to) if record and _goes_back(record, options, told) else None
        translation = back or translate(file.document, found, options.to, options.from_, signature, recorded)
    except BnportError as error:
        error.file = error.file or str(file.path)
        raise
    if record:
        translation.notes += _notes_on(record, options)
    splices = translation.splices
    beside = None
    if splices or record:
        beside = record_of(file, splices, options.from_, recorded, options.to, signature, told.settings)
    return TranslatedConfig(file, translation, spliced(file.document.text, splices), beside)


def _goes_back(record: Record, options: ConfigOptions, told: Told) -> bool:
    """Whether undoing is asked for: with the same words, and between MindSpore's own dialects only by --from."""
    asked = "torch" in (record.to, options.to) or options.from_ == record.to
    return asked and told.settings == record.settings


def _notes_on(record: Record, options: ConfigOptions) -> Iterator[Remark]:
    if record.to == options.to:
        yield Remark("", "", f"its record says that it is in the terms of {record.to} already", _START)
    elif options.from_ not in (None, record.to):
        text = f"its record says that it is in the terms of {record.to}; --force heeds --from instead"
        yield Remark("", "", text, _START)


def _demand_decided(done: Sequence[TranslatedConfig], *, strict: bool) -> None:
    """Raise Undecided where the user has to settle something, for all files at once."""
    details = [
        ": ".join(filter(None, [_where(one, remark), remark.text, " or ".join(remark.options)]))
        for one in done
        for remark in one.translation.undecided
    ]
    if details:
        message = "it is not certain that these are settings of batch normalisations; nothing was written"
        raise Undecided(message, details=details, hint="Add for each what it is.")
    details = [f"{_where(one, remark)}: {remark.text}" for one in done for remark in one.translation.needs_person]
    if details and strict:
        raise Undecided("a person has to translate these; nothing was written", details=details)


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


def _remark_to_json(remark: Remark) -> dict[str, Any]:
    line, column = remark.place
    return {"path": remark.path, "setting": remark.setting, "line": line, "column": column, "text": remark.text}


_START = Place(1, 1)
