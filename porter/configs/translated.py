"""One config translated: with the user's word on it, and with the record of an earlier translation of it."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from porter.configs.changes import Remark, Translation, Undecision
from porter.configs.files import ConfigFile, parse
from porter.configs.model import Found
from porter.configs.proof import FAULT, demand_only
from porter.configs.record import Record, change_to_json, read_beside, record_of
from porter.configs.signature import installed_signature
from porter.configs.sites import search
from porter.configs.splices import Splice, spliced
from porter.configs.terms import Signature
from porter.configs.told import Told
from porter.configs.translate import translate
from porter.configs.tree import Place
from porter.configs.way_back import undoing
from porter.errors import BnportError, InputError, Undecided
from porter.layers.kinds import Dialect


@dataclass(frozen=True)
class ConfigOptions:
    """How configs are translated.

    Attributes:
        to: torch, mindspore (mindspore.nn) or mint (mindspore.mint.nn).
        from_: whose terms settings are in that do not say so themselves.
        signature: of mindspore.nn; "auto" is that of the installed one, or of the record.
        settings: (pattern of a path, setting or "keep"): the user's word on places.
        rules: rules files, whose settings `settings` outweigh.
        force: replace an existing output.
        ignore_record: heed no record of an earlier translation.
        strict: places that need a person are undecided ones, and files of a folder that cannot be read are errors.
    """

    to: Dialect
    from_: Dialect | None = None
    signature: Signature | Literal["auto"] = "auto"
    settings: Sequence[tuple[str, str]] = ()
    rules: Sequence[Path] = ()
    force: bool = False
    ignore_record: bool = False
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
            "warnings": [remark_to_json(remark) for remark in told.warnings],
            "needs_person": [remark_to_json(remark) for remark in told.needs_person],
            "notes": [remark_to_json(remark) for remark in told.notes],
        }


def translated(file: ConfigFile, options: ConfigOptions, told: Told) -> TranslatedConfig:
    """What becomes of one config; nothing is written.

    Raises:
        Undecided: the file was edited after an earlier translation, whose record contradicts `options.from_`.
        UsageError: nothing says in whose terms a setting is.
        InputError: its record is damaged.
        FileIOError: the operating system refused.
    """
    record = None if options.ignore_record else read_beside(file.path)
    if record and not record.is_of(file):
        record = None
    told = told.after(record.settings) if record else told
    recorded = record.to if record else None
    signature = options.signature
    if signature == "auto":
        signature = record.signature if record else installed_signature()
    try:
        found = search(file.document, told)
        translation = _translation(file, found, options, signature, record, told)
    except BnportError as error:
        error.file = error.file or str(file.path)
        raise
    splices = translation.splices
    after = spliced(file.document.text, splices)
    if splices:
        _demand_meant(file, splices, after)
    beside = None
    if splices or record:
        beside = record_of(file, splices, options.from_, recorded, options.to, signature, told.settings)
    return TranslatedConfig(file, translation, after, beside)


def _demand_meant(file: ConfigFile, splices: Sequence[Splice], after: str) -> None:
    try:
        demand_only(file.document, splices, parse(file.format, after))
    except InputError as error:
        fault = BnportError("the translated text cannot be read any more; nothing was written", found=error)
        fault.file, fault.hint = str(file.path), FAULT
        raise fault from error
    except BnportError as error:
        error.file = str(file.path)
        raise


def _translation(
    file: ConfigFile, found: Found, options: ConfigOptions, signature: Signature, record: Record | None, told: Told
) -> Translation:
    if record is None:
        return translate(file.document, found, options.to, options.from_, signature)
    ordinary = translate(file.document, found, options.to, options.from_, signature, record.to)
    if options.from_ not in (None, record.to) and not record.is_unchanged(file):
        newly = translate(file.document, found, options.to, options.from_, signature)
        if newly.changes != ordinary.changes:
            raise Undecided(
                f"was edited after its translation to {record.to}, and --from {options.from_} contradicts its record",
                hint=f"Leave --from out if it is in the terms of {record.to}; "
                f"--ignore-record if it is in those of {options.from_}.",
            )
    back = undoing(file, record, options.to) if _goes_back(record, options, told) else None
    if back:
        back.notes += ordinary.notes
    done = back or ordinary
    done.notes += _notes_on(file, record, options)
    return done


def _goes_back(record: Record, options: ConfigOptions, told: Told) -> bool:
    """Whether undoing is asked for: with the same words, and between MindSpore's own dialects only by --from."""
    asked = "torch" in (record.to, options.to) or options.from_ == record.to
    return asked and told.settings == record.settings


def _notes_on(file: ConfigFile, record: Record, options: ConfigOptions) -> Iterator[Remark]:
    is_there = record.to == options.to
    if not is_there and options.from_ in (None, record.to):
        return
    edited = "" if record.is_unchanged(file) else "it was edited since, and "
    doubtful = edited or options.from_
    way_out = "; where that is no longer so, give --ignore-record and --from" if doubtful else ""
    text = f"{edited}its record says that it is in the terms of {record.to}" + (" already" if is_there else "")
    yield Remark("", "", f"{text}{way_out}", _START)


def remark_to_json(remark: Remark | Undecision) -> dict[str, Any]:
    """A remark as `--json` lists it."""
    line, column = remark.place
    return {"path": remark.path, "setting": remark.setting, "line": line, "column": column, "text": remark.text}


_START = Place(1, 1)
