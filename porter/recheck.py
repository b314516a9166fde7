"""Whether a file is still the one that was verified, from the record beside it alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter import record
from porter.errors import FileIOError, UsageError
from porter.formats import open_checkpoint
from porter.proof import FileHash, Proof, files_of, hashes
from porter.verification.files import Verification

SCHEMA = "bnport.recheck/1"


@dataclass(frozen=True)
class Recheck:
    """A converted file, as it is, beside what was proven of it.

    Attributes:
        output: the file.
        found: its bytes now.
        proof: what the record says.
    """

    output: Path
    found: tuple[FileHash, ...]
    proof: Proof

    @property
    def same(self) -> bool:
        """Whether it holds the bytes that were verified, under whatever name."""
        return _bytes_of(self.found) == _bytes_of(self.proof.circumstances.output)

    @property
    def verified(self) -> bool | None:
        """False: it is another file. None: it is the same, but not everything could be run then. True: all was."""
        if not self.same:
            return False
        return True if self.proof.complete else None

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "file": str(self.output),
            "same": self.same,
            "verified": self.verified,
            "found": [{"name": one.name, "size": one.size, "sha256": one.sha256} for one in self.found],
            "proof": self.proof.to_json(),
        }


def recheck(output: str | os.PathLike[str]) -> Recheck:
    """Compare a converted file with the one that was verified.

    Args:
        output: what a conversion wrote, its record beside it.

    Raises:
        InputError: the file or its record cannot be read.
        UsageError: no record lies beside it, or one that tells of no verification.
        FileIOError: reading failed.
    """
    path = Path(output)
    checkpoint = open_checkpoint(path)
    found = record.read_beside(path)
    if found is None or found.proof is None:
        what = "no record beside it" if found is None else "a record that tells of no verification"
        hint = "bnport verify SOURCE OUTPUT checks it against its source."
        raise UsageError("nothing says how it was verified", entry=str(path), found=what, hint=hint)
    return Recheck(path, hashes(files_of(checkpoint)), found.proof)


def remember(output: str | os.PathLike[str], verification: Verification) -> None:
    """Put what was proven into the record beside `output`, where one lies there that is its own.

    A stronger proof of the same bytes (`Proof.strength`) is not given up for a weaker one.

    Raises:
        Malformed: the record is damaged.
        FileIOError: it cannot be read or written.
    """
    path, proof = Path(output), Proof.of(verification)
    found = record.read_beside(path) if proof else None
    if proof is None or found is None or not found.is_of(open_checkpoint(path).specs):
        return
    before = found.proof
    same = before and _bytes_of(before.circumstances.output) == _bytes_of(proof.circumstances.output)
    if before and same and before.strength > proof.strength:
        return
    try:
        record.replace_beside(path, found._replace(proof=proof))
    except OSError as error:
        message = f"cannot be written: {error.strerror}"
        raise FileIOError(message, file=record.path_beside(path)) from error


def _bytes_of(files: Sequence[FileHash]) -> list[tuple[int, str]]:
    return [(one.size, one.sha256) for one in files]
