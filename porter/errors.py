"""Every way bnport can fail, and the exit code each one ends with.

    BnportError
    ├── VerificationFailed      1   a converted layer or tensor is not what it should be
    ├── UsageError              2   the call itself cannot be carried out
    ├── InputError              3   the file cannot be read as a checkpoint, or must not be trusted
    │   ├── NotACheckpoint          not a file of any known format (or no regular file at all)
    │   ├── Truncated               the file ends before what it promises
    │   ├── Malformed               the structure of the file contradicts itself
    │   ├── Unsafe                  reading it would need code to run, or leave its folder
    │   ├── LimitExceeded           sizes or nesting out of proportion to the file
    │   ├── ChecksumMismatch        the bytes are not those that were written
    │   ├── Encrypted               a MindSpore checkpoint saved with enc_key
    │   └── Unsupported             well-formed, but nothing we can carry (sparse, quantized, big-endian, ...)
    ├── Undecided               4   a layer's kind, a container or a setting: the user must say
    ├── BackendError            5   a needed framework is missing, or cannot run the layer
    └── FileIOError             6   the operating system refused to read or write

The classes carry facts, the sentence is put together in one place (`BnportError.__str__`), and the command
line turns `exit_code` into the process's exit status.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class BnportError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: one sentence without a full stop: what is wrong.
        file: the file it was found in.
        entry: the tensor, layer, record or option inside that file.
        expected: what should have stood there.
        found: what stands there.
        hint: what to do about it, as something the reader can type or change.
        details: one line for each of several findings of the same kind.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        entry: str | None = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = None if file is None else str(file)
        self.entry = entry
        self.expected = None if expected is None else str(expected)
        self.found = None if found is None else str(found)
        self.hint = hint
        self.details = tuple(details)

    def __reduce__(self) -> tuple[Any, ...]:
        """What is pickled comes back as it is, whatever the constructor of its class takes."""
        return _restored, (type(self), self.args, vars(self))

    def __str__(self) -> str:
        where = ": ".join(printable(part) for part in (self.file, self.entry) if part is not None)
        facts = [
            f"{label} {printable(value)}"
            for label, value in (("expected", self.expected), ("found", self.found))
            if value is not None
        ]
        sentence = f"{where}: {self.message}" if where else self.message
        if facts:
            sentence += " (" + ", ".join(facts) + ")"
        if self.details:
            return "\n  ".join(
                [f"{sentence}:", *(printable(line, 1000) for line in self.details), self.hint or ""]
            ).rstrip()
        return f"{sentence.rstrip('.')}. {self.hint}" if self.hint else sentence

    def document(self) -> dict[str, Any]:
        """The JSON document that stands for the command's result."""
        return {"schema": "bnport.error/1", "error": self.to_json()}

    def to_json(self) -> dict[str, Any]:
        """The facts as the document's `error` object."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "file": self.file,
            "entry": self.entry,
            "expected": self.expected,
            "found": self.found,
            "hint": self.hint,
            "details": list(self.details),
        }


def _restored(cls: type[BnportError], args: tuple[Any, ...], state: dict[str, Any]) -> BnportError:
    error = cls.__new__(cls, *args)
    vars(error).update(state)
    return error


class VerificationFailed(BnportError):
    exit_code = 1


class UsageError(BnportError):
    exit_code = 2


class InputError(BnportError):
    exit_code = 3


class NotACheckpoint(InputError):
    pass


class Truncated(InputError):
    pass


class Malformed(InputError):
    pass


class Unsafe(InputError):
    pass


class LimitExceeded(InputError):
    pass


class ChecksumMismatch(InputError):
    pass


class Encrypted(InputError):
    pass


class Unsupported(InputError):
    pass


class Undecided(BnportError):
    """Args: those of `BnportError`, and places: the facts of each of `details` that lies in a config."""

    exit_code = 4

    def __init__(self, message: str, *, places: Sequence[dict[str, Any]] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.places = tuple(places)

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | ({"places": list(self.places)} if self.places else {})


class BackendError(BnportError):
    exit_code = 5


class FileIOError(BnportError):
    exit_code = 6


def printable(text: str, limit: int = 300) -> str:
    """`text` made safe for a terminal: control characters escaped, the middle of very long names left out.

    Names in a checkpoint are data from a stranger: an ESC in one must not reach the terminal.
    """
    if len(text) > limit:
        text = f"{text[: limit // 2]}…({len(text)} characters)…{text[-limit // 4 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
