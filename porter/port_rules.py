"""The rules of a port, `--rules port.toml`: what a team keeps in its repository instead of a long command line.

    strip_prefix = "module."                # as --strip-prefix
    dtype = "float32"                       # as --dtype
    drop = ["aux_head"]                     # tensors and modules of the source that do not travel
    unchecked = ["neck"]                    # renames below that `--align` is unsure of, until you have looked at them

    [layers]                                # as --layer
    "stem.*" = "BatchNorm3d"

    [rename]                                # as --rename, in this order
    "layer*.*.conv1.0" = "layer*.*.conv1.conv"

    [hyperparameters]                       # of batch normalisations, momentum in the terms of the source's framework
    "stem.*" = { eps = 1e-3, momentum = 0.05 }

    [settings]                              # of configs, as --setting of `bnport config`
    "MODEL.NECK.*.MOM" = "momentum"

What the command line says besides comes after the file's own and so outweighs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porter.destination import WriteOptions
from porter.edits import Rename
from porter.errors import FileIOError, UsageError
from porter.layers.hyperparameters import CUMULATIVE, check_hyperparameters
from porter.layers.model import Layer
from porter.layers.patterns import ROOT
from porter.layers.settings import Settings, invert_momentum
from porter.plan import dtype_called
from porter.source import Source, SourceOptions

_TYPES: Mapping[str, type] = {
    "strip_prefix": str,
    "dtype": str,
    "drop": list,
    "unchecked": list,
    "layers": dict,
    "rename": dict,
    "hyperparameters": dict,
    "settings": dict,
}


@dataclass(frozen=True)
class Rules:
    """What a rules file says; see this module's text.

    Fields are as in `SourceOptions`, `WriteOptions` and `porter.configs.translated.ConfigOptions`.
    """

    layers: tuple[tuple[str, str], ...] = ()
    hyperparameters: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    renames: tuple[Rename, ...] = ()
    drop: tuple[str, ...] = ()
    strip_prefix: str = ""
    dtype: str | None = None
    settings: tuple[tuple[str, str], ...] = ()

    def for_source(self, options: SourceOptions) -> SourceOptions:
        """`options` with these rules in front of them."""
        hyperparameters = (*self.hyperparameters, *options.hyperparameters)
        return options._replace(layers=(*self.layers, *options.layers), hyperparameters=hyperparameters)

    def for_output(self, options: WriteOptions) -> WriteOptions:
        """Likewise; a prefix or dtype of `options` stands."""
        return options._replace(
            renames=(*self.renames, *options.renames),
            drop=(*self.drop, *options.drop),
            strip_prefix=options.strip_prefix or self.strip_prefix,
            dtype=options.dtype or (dtype_called(self.dtype) if self.dtype else None),
        )


def read(path: Path) -> Rules:
    """Read a rules file.

    Raises:
        UsageError: it cannot be read, is no TOML, or holds what it may not; found before any checkpoint is opened.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    entry = f"--rules {path}"
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", entry=entry) from error
    except ValueError as error:  # tomllib.TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError("is no TOML", entry=entry, found=str(error)) from error
    _check(document, entry)
    renames, unchecked = document.get("rename", {}), document.get("unchecked", ())
    return Rules(
        layers=tuple(document.get("layers", {}).items()),
        hyperparameters=tuple(document.get("hyperparameters", {}).items()),
        renames=tuple(Rename(pattern, to, pattern in unchecked) for pattern, to in renames.items()),
        drop=tuple(document.get("drop", ())),
        strip_prefix=document.get("strip_prefix", ""),
        dtype=document.get("dtype"),
        settings=tuple(document.get("settings", {}).items()),
    )


def _check(document: Mapping[str, Any], entry: str) -> None:
    for key, value in document.items():
        _demand(key in _TYPES, f"{entry}: {key}", ", ".join(_TYPES), "an unknown key")
        _demand(isinstance(value, _TYPES[key]), f"{entry}: {key}", _TYPES[key].__name__, repr(value))
    for key in ("layers", "rename", "drop", "unchecked", "settings"):
        values = document.get(key, ())
        for value in values.values() if isinstance(values, dict) else values:
            _demand(isinstance(value, str), f"{entry}: {key}", "strings", repr(value))
    renames = document.get("rename", {})
    for pattern in document.get("unchecked", ()):
        _demand(pattern in renames, f"{entry}: unchecked", "patterns that stand in [rename]", pattern)
    for pattern, values in document.get("hyperparameters", {}).items():
        check_hyperparameters(f"{entry}: hyperparameters {pattern!r}", values)
    settings = document.get("settings", {})
    if settings:
        _check_settings(f"{entry}: settings", settings.values())


def _check_settings(entry: str, names: Iterable[str]) -> None:
    from porter.configs.told import SETTING_NAMES

    for name in names:
        _demand(name in SETTING_NAMES, entry, ", ".join(SETTING_NAMES), name)


def _demand(holds: bool, entry: str, expected: str, found: object) -> None:
    if not holds:
        raise UsageError("holds what it may not", entry=entry, expected=expected, found=found)


def write(path: Path, text: str) -> None:
    """Write a new rules file.

    Raises:
        UsageError: there is one already, which may have been edited.
        FileIOError: the operating system refused.
    """
    try:
        with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except FileExistsError as error:
        hint = "Use it with --rules, or remove it."
        raise UsageError("exists already", entry=str(path), hint=hint) from error
    except OSError as error:
        raise FileIOError(f"cannot be written: {error.strerror}", file=path) from error


def write_proposals(path: Path, rows: Iterable[tuple[Rename, str]]) -> bool:
    """Write proposed renames, each with a remark, as a rules file; False where `path` exists and says something else.

    Raises:
        FileIOError: the operating system refused.
    """
    text = text_of_renames(rows)
    try:
        write(path, text)
        return True
    except UsageError:
        return _says(path, text)


def _says(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode("utf-8", "backslashreplace")
    except OSError:  # a folder, a link to nowhere, another user's file
        return False


@dataclass
class _Lines:
    """A rules file being written."""

    lines: list[str] = field(default_factory=list)

    def table(self, name: str, rows: Iterable[str]) -> None:
        rows = list(rows)
        if rows:
            self.lines += ["", f"[{name}]", *rows]


def text_of(source: Source) -> str:
    """The rules file that says of a checkpoint what was recognised in it, to edit and to use.

    Used unchanged it leads to the same conversion. Layers whose kind is open, or which of several kinds that are
    converted alike, are comments in it, with the choice.
    """
    file = _Lines(
        [f"# What bnport recognised in {_safe(source.checkpoint.path.name)}, to edit: convert --rules uses it."]
    )
    if source.wrapper:
        file.lines.append(f'# strip_prefix = "auto"  # removes {_safe(source.wrapper)}')
    file.table("layers", (_layer_row(layer) for layer in source.layers if layer.kinds))
    file.table("hyperparameters", _settings_rows(source))
    return "\n".join(file.lines) + "\n"


def text_of_renames(rows: Iterable[tuple[Rename, str]]) -> str:
    """The rules file of proposed renames, each with a remark."""
    rows = list(rows)
    file = _Lines(["# Renames that bnport convert --align proposes. Check them, then use them with --rules."])
    unchecked = [_quoted(rename.pattern) for rename, _ in rows if rename.unchecked]
    if unchecked:
        file.lines += ["# Take out of this list what you have checked.", f"unchecked = [{', '.join(unchecked)}]"]
    file.table(
        "rename", (f"{_quoted(r.pattern)} = {_quoted(r.replacement)}  # {_safe(remark)}" for r, remark in rows)
    )
    return "\n".join(file.lines) + "\n"


def unchecked_notes(renames: Sequence[Rename]) -> Iterator[str]:
    """What to do about renames of rules files that nobody has confirmed."""
    unchecked = [f"{one.pattern} -> {one.replacement}" for one in renames if one.unchecked]
    if unchecked:
        yield (
            f"{len(unchecked)} renames ({unchecked[0]}{', ...' * (len(unchecked) > 1)}) rest on the order of "
            "declaration alone: --input-shape, with --model and --net, runs both networks whole; or take them out of "
            "`unchecked` in the rules file once you have looked at them"
        )


def _layer_row(layer: Layer) -> str:
    """A row, or a comment where the row would say more than is known, or what no file can be told."""
    kinds = " or ".join(kind.name for kind in layer.kinds)
    row = f"{_key(layer)} = {_quoted(layer.kinds[0].name)}"
    if layer.certainty == "undecided":
        why = "; ".join(piece.text for piece in layer.evidence)
        return f"# {row}  # undecided: {kinds} ({_safe(why)})"
    if len(layer.kinds) > 1:
        return f"# {row}  # {kinds}, which are converted alike"
    if not layer.tensors and all(piece.source == "network" for piece in layer.evidence):
        return f"# {row}  # owns no tensor: only --model or --net tells of it"
    return row


def _settings_rows(source: Source) -> Iterator[str]:
    for layer in source.layers:
        if layer.settings is None or (not layer.tensors and all(e.source == "network" for e in layer.evidence)):
            continue
        values = dict(_known(layer.settings, in_mindspore=source.dialect == "mindspore"))
        if values:
            pairs = ", ".join(f"{key} = {value}" for key, value in values.items())
            yield f"{_key(layer)} = {{ {pairs} }}"


def _known(settings: Settings, *, in_mindspore: bool) -> Iterator[tuple[str, str]]:
    """The hyper-parameters that the source knows, as TOML, momentum in its own terms."""
    known = {name for name, origin in settings.known_from.items() if origin != "default"}
    if "eps" in known:
        yield "eps", _number(settings.eps)
    if "momentum" in known:
        momentum = settings.momentum
        if momentum is not None and in_mindspore:
            momentum = invert_momentum(momentum)
        yield "momentum", _quoted(CUMULATIVE) if momentum is None else _number(momentum)
    if "affine" in known:
        yield "affine", "true" if settings.affine else "false"
    if "statistics" in known:
        yield "statistics", _quoted(settings.statistics)


def _number(value: float) -> str:
    return repr(float(value))


def _key(layer: Layer) -> str:
    return _quoted(layer.name or ROOT)


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for the one control character that JSON leaves alone."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _safe(text: str) -> str:
    """For a comment, which must stay on its line."""
    return _quoted(text)[1:-1]
