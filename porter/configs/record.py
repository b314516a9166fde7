"""The record of a translation, `OUTPUT.bnport.json` beside the output: in whose terms it is, and the exact way back.

A config without class names does not say in whose terms its settings are. With the record a second run does not turn
them again, and translating an unchanged output back restores every character.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from porter.configs.changes import Change
from porter.configs.files import RECORD_SUFFIX, ConfigFile
from porter.configs.splices import Splice, spliced, undone
from porter.configs.terms import Signature
from porter.errors import FileIOError, Malformed
from porter.formats.strict_json import list_of, of_type, one_of, parse_object
from porter.layers.kinds import DIALECTS, Dialect

SCHEMA = "bnport.config-record/1"

_DELETE = "Delete it, or --ignore-record, to translate without it; --from then says in whose terms the config is."


@dataclass(frozen=True)
class Record:
    """One translation.

    Attributes:
        from_: what `--from` said, None where it was not given.
        recorded: in whose terms the source was by the record of an earlier translation, None where there was none.
        to: in whose terms the output is.
        signature: which of mindspore.nn was meant.
        settings: what the user said of paths.
        source, output: SHA-256 of each file, as hexadecimal digits.
        undo: the splices that make the source's text of the output's, offsets in characters.
    """

    from_: Dialect | None
    recorded: Dialect | None
    to: Dialect
    signature: Signature
    settings: tuple[tuple[str, str], ...]
    source: str
    output: str
    undo: tuple[Splice, ...]

    def is_of(self, file: ConfigFile) -> bool:
        """Whether `file` is in the terms of `to`: it is, whatever was edited in it, unless it is the source again."""
        return self.source == self.output or sha256(file.raw) != self.source

    def is_unchanged(self, file: ConfigFile) -> bool:
        """Whether `file` is exactly the output."""
        return sha256(file.raw) == self.output

    def restored(self, file: ConfigFile) -> str | None:
        """The text of the source, where `file` is exactly the output.

        It is the word of the record: prove it before it is used.
        """
        text = file.document.text
        if not self.is_unchanged(file) or any(not 0 <= s.start <= s.end <= len(text) for s in self.undo):
            return None
        try:
            source = spliced(text, self.undo)
            return source if sha256(file.encoded(source)) == self.source else None
        except ValueError:  # overlapping splices, or characters that the encoding does not have
            return None


def record_of(
    file: ConfigFile,
    splices: Sequence[Splice],
    from_: Dialect | None,
    recorded: Dialect | None,
    to: Dialect,
    signature: Signature,
    settings: Sequence[tuple[str, str]],
) -> Record:
    """The record of translating `file` by `splices`."""
    text = file.document.text
    output = sha256(file.encoded(spliced(text, splices)))
    return Record(
        from_, recorded, to, signature, tuple(settings), sha256(file.raw), output, tuple(undone(text, splices))
    )


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def path_beside(output: Path) -> Path:
    return output.with_name(output.name + RECORD_SUFFIX)


def to_json(record: Record, changes: Sequence[Change]) -> str:
    """The record's text; `changes` are in it for its readers."""
    document = {
        "schema": SCHEMA,
        "from": record.from_,
        "recorded": record.recorded,
        "to": record.to,
        "signature": record.signature,
        "settings": [list(pair) for pair in record.settings],
        "source": record.source,
        "output": record.output,
        "changes": [change_to_json(change) for change in changes],
        "undo": [list(splice) for splice in record.undo],
    }
    return json.dumps(document, indent=1) + "\n"


def change_to_json(change: Change) -> dict[str, Any]:
    """A change as `--json` and the record list it."""
    return {
        "path": change.path,
        "setting": change.setting,
        "line": change.place.line,
        "column": change.place.column,
        "before": change.before,
        "after": change.after,
        "rule": change.rule,
        "why": change.why,
    }


def read_beside(config: Path) -> Record | None:
    """The record beside a config, or beside what it is a symbolic link to; None where there is none.

    Raises:
        Malformed: it is no record of a config.
        FileIOError: the operating system refused.
    """
    paths = (path_beside(config), path_beside(Path(os.path.realpath(config))))
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FileIOError(f"cannot be read: {error.strerror}", file=path) from error
    try:
        return _from_document(parse_object(raw, file=path, what="the record"))
    except Malformed as error:
        error.hint = _DELETE
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(
            "is no record of a config", file=path, expected=SCHEMA, found=repr(error), hint=_DELETE
        ) from error


def _from_document(document: dict[str, Any]) -> Record:
    """Raises KeyError, TypeError or ValueError where it is none."""
    one_of([SCHEMA], document["schema"])
    from_, recorded = (
        name if name is None else one_of(DIALECTS, name) for name in (document["from"], document["recorded"])
    )
    settings = [list_of(str, pair) for pair in list_of(list, document["settings"])]
    undo = [of_type(list, splice) for splice in list_of(list, document["undo"])]
    return Record(
        from_,
        recorded,
        one_of(DIALECTS, document["to"]),
        one_of(get_args(Signature), document["signature"]),
        tuple((path, setting) for path, setting in settings),
        of_type(str, document["source"]),
        of_type(str, document["output"]),
        tuple(Splice(of_type(int, start), of_type(int, end), of_type(str, text)) for start, end, text in undo),
    )
