"""Config files: which there are, which format each is in, and its text.

The content decides the format; a suffix only says which is tried first, because a JSON file is YAML, too, and a YAML
file may be Python.
"""

from __future__ import annotations

import ast
import codecs
import io
import os
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from porter.configs.tree import Document, Scalar
from porter.errors import FileIOError, InputError, LimitExceeded, Malformed, UsageError

Format = Literal["json", "toml", "python", "yaml"]

_SUFFIXES: dict[str, Format] = {
    ".json": "json",
    ".jsonc": "json",
    ".json5": "json",
    ".toml": "toml",
    ".py": "python",
    ".yaml": "yaml",
    ".yml": "yaml",
}
# What these suffixes promise and break is no other format by intention: TOML with a key twice is Python, too.
_INSISTS = ("python", "toml")
# The strictest first: almost every text is YAML.
_ORDER: tuple[Format, ...] = ("json", "toml", "python", "yaml")

RECORD_SUFFIX = ".bnport.json"

_LIMIT = 1 << 26


@dataclass(frozen=True)
class ConfigFile:
    """One config file, read.

    Attributes:
        path: where it lies.
        name: what it is called below an output folder.
        raw: its bytes.
        format: the one it was read in.
        encoding: of its text; the byte order mark is no part of the text.
        document: its tree.
    """

    path: Path
    name: str
    raw: bytes
    format: Format
    encoding: str
    document: Document

    def encoded(self, text: str) -> bytes:
        """Another text as the bytes of this file, in its encoding.

        Raises:
            ValueError: the encoding has no such character: bnport writes names and numbers only.
        """
        mark = codecs.BOM_UTF8 if self.raw.startswith(codecs.BOM_UTF8) else b""
        return mark + text.encode(self.encoding)


def collect(paths: Sequence[Path], output: Path | None = None) -> list[tuple[Path, str]]:
    """Every file that `paths` name, with its name below an output folder; a folder stands for its configs.

    What lies in `output`, where that is a folder inside of one of `paths`, is an earlier result and left out.

    Raises:
        UsageError: a path is neither, a folder holds no config, or two files have the same name.
        FileIOError: a folder cannot be listed.
    """
    files: dict[str, Path] = {}
    for path in paths:
        if str(path) == "-":
            raise UsageError("standard input is not read", entry="-", hint="Give a file or a folder.")
        found = list(_configs_in(path, output)) if path.is_dir() else [(path, path.name)]
        if not found:
            raise UsageError("holds no config", entry=str(path), expected=f"files {', '.join(_SUFFIXES)}")
        for file, name in found:
            if name in files:
                message = "two files would have the same name in the output"
                raise UsageError(message, entry=name, found=f"{files[name]} and {file}", hint="Translate them apart.")
            files[name] = file
    return [(path, name) for name, path in files.items()]


def _configs_in(folder: Path, output: Path | None) -> Iterator[tuple[Path, str]]:
    """The files of a folder and those below it that have a config's suffix, hidden ones and our records left out."""

    def fail(error: OSError) -> None:
        raise FileIOError(f"cannot be listed: {error.strerror}", file=error.filename) from error

    results = output and os.path.realpath(output)
    for parent, folders, names in os.walk(folder, onerror=fail):
        kept = (name for name in folders if not name.startswith((".", "__pycache__")))
        folders[:] = sorted(name for name in kept if os.path.realpath(Path(parent, name)) != results)
        for name in sorted(names):
            path = Path(parent, name)
            is_ours = name.endswith(RECORD_SUFFIX)
            if path.suffix.lower() in _SUFFIXES and not name.startswith(".") and not is_ours and path.is_file():
                yield path, str(path.relative_to(folder))


def read(path: Path, name: str | None = None) -> ConfigFile:
    """Read a config file.

    Raises:
        InputError: it is in no format that bnport reads, not in UTF-8, nested too deep or larger than 64 MiB.
        FileIOError: the operating system refused.
    """
    raw = _bytes_of(path)
    hinted = _SUFFIXES.get(path.suffix.lower())
    try:
        encoding = _encoding(raw, hinted)
        text = raw.decode(encoding)
        body = text.encode("utf-8" if encoding == "utf-8-sig" else encoding)
        if body != raw.removeprefix(codecs.BOM_UTF8):
            raise Malformed(f"does not come back from the encoding {encoding} as it was", hint="Save it as UTF-8.")
        kind, document = _parsed(text, hinted)
    except UnicodeDecodeError as error:
        message, found = f"is not in {error.encoding}", f"byte {error.object[error.start]:#04x} at {error.start}"
        raise Malformed(message, file=path, found=found, hint="Save it as UTF-8.") from error
    except InputError as error:
        error.file = str(path)
        raise
    encoding = "utf-8" if encoding == "utf-8-sig" else encoding
    return ConfigFile(path, name or path.name, raw, kind, encoding, document)


def parse(kind: Format, text: str) -> Document:
    """The tree of a text in a given format.

    Raises:
        InputError: it is not in that format.
    """
    document = import_module(f"porter.configs.formats.{kind}").parse(text)
    assert isinstance(document, Document)
    return document


def _bytes_of(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise InputError("is no file", file=path)
        with path.open("rb") as file:
            raw = file.read(_LIMIT + 1)
    except OSError as error:
        raise FileIOError(f"cannot be read: {error.strerror}", file=path) from error
    if len(raw) > _LIMIT:
        raise LimitExceeded("is too large for a config", file=path, expected=f"at most {_LIMIT} bytes")
    return raw


def _encoding(raw: bytes, hinted: Format | None) -> str:
    """UTF-8, or what a Python file declares (PEP 263).

    Raises:
        Malformed: it declares an encoding that does not exist.
    """
    if hinted == "python":
        try:
            return tokenize.detect_encoding(io.BytesIO(raw).readline)[0]
        except SyntaxError as error:
            raise Malformed("declares an encoding that it is not in", found=str(error)) from error
    return "utf-8-sig"


def _parsed(text: str, hinted: Format | None) -> tuple[Format, Document]:
    """The format that a text is in, and its tree.

    Raises:
        InputError: it is in none; the reason of the format that its suffix names.
    """
    reasons: dict[Format, InputError] = {}
    for kind in sorted(_ORDER, key=lambda kind: kind != hinted):
        try:
            document = parse(kind, text)
        except InputError as error:
            reasons[kind] = error
            if kind == hinted and kind in _INSISTS:
                raise
            continue
        if kind == hinted or _is_meant(kind, text, document):
            return kind, document
    if hinted:
        raise reasons[hinted]
    details = [f"{kind}: {reason}" for kind, reason in reasons.items()]
    raise Malformed("is no config that bnport reads", expected="JSON, YAML, TOML or Python", details=details)


def _is_meant(kind: Format, text: str, document: Document) -> bool:
    """Whether a text that can be read in a format says anything in it: a sentence is YAML, `a: 1` is Python."""
    if kind == "python":
        statements = ast.parse(text).body
        return any(
            not isinstance(s, ast.Expr) and not (isinstance(s, ast.AnnAssign) and not s.value) for s in statements
        )
    return any(not isinstance(root.node, Scalar) for root in document.roots)
