"""A checkpoint beside its config: how its layers are configured on both sides of a conversion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from porter.configs.api import ConfigTranslation, planned, told_by
from porter.configs.files import parse
from porter.configs.sides import Configured, SideConfig, configured, framework_of, in_output, read_side, side_of
from porter.configs.signature import installed_signature
from porter.configs.told import Told
from porter.configs.translated import ConfigOptions
from porter.configs.writing import staged
from porter.errors import UsageError
from porter.layers.kinds import Dialect
from porter.layers.settings import Given
from porter.proof import FileHash, hashes
from porter.source import Source


@dataclass(frozen=True)
class Configs:
    """What is known of a conversion's layers from configs.

    Attributes:
        source: the checkpoint, its layers with the settings that only its config knows.
        given: layer -> settings on the output's side, where the config there says them.
        notes: remarks for the user.
        files: the source's config and, where there is one, the output's.
        hashes: of their bytes.
        translation: of the config, where it is translated in the same go.
        force: the translated config may replace a file.
    """

    source: Source
    given: Mapping[str, Mapping[str, Given]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    hashes: tuple[FileHash, ...] = ()
    translation: ConfigTranslation | None = None
    force: bool = False

    @contextmanager
    def staged(self) -> Iterator[Callable[[], None]]:
        """The translated config, if there is one, written beside its place; yields what moves it there.

        Raises:
            UsageError: a file is in the way.
            FileIOError: the operating system refused.
        """
        outputs = self.translation.outputs if self.translation else []
        with staged(outputs, backup=False, force=self.force) as waiting:
            yield waiting.publish


@dataclass(frozen=True)
class ConfigFiles:
    """The configs that a user names.

    Attributes:
        source: of the checkpoint that is read; None where there is none.
        output: of the converted one: written by `convert`, read by `verify`.
        settings, rules: the user's word on places in them, as in `porter.configs.translated.ConfigOptions`.
        force: replace an existing `output`.
    """

    source: Path | None = None
    output: Path | None = None
    settings: Sequence[tuple[str, str]] = ()
    rules: Sequence[Path] = ()
    force: bool = False

    def told(self) -> Told:
        return told_by(self.settings, self.rules)


def translated(source: Source, to: Dialect, files: ConfigFiles) -> Configs:
    """The config of a checkpoint that is to be converted, in the terms of `to` where `files.output` is given.

    Raises:
        UsageError: an output or settings without a config; an output that exists.
        Undecided, InputError, FileIOError: as `porter.configs.api.translate_config`.
    """
    if files.source is None:
        for option, value in (("--config-output", files.output), ("--setting", files.settings)):
            if value:
                raise UsageError("needs the config", entry=option, hint="Name it with --config.")
        return Configs(source)
    told = files.told()
    config = read_side(files.source, source.dialect, told)
    known, source = _of_source(source, config)
    if files.output is None:
        told.demand_all_used()
        return Configs(
            source, notes=(*known.notes, *config.unread_note()), files=(files.source,), hashes=hashes([files.source])
        )
    options = ConfigOptions(to, source.dialect, settings=files.settings, rules=files.rules)
    translation = planned(files.source, options, output=files.output)
    given = in_output(known, _translated_side(translation, to, told))
    (written,) = translation.outputs
    hashed = FileHash.of(files.source.name, written.raw), FileHash.of(files.output.name, written.content)
    return Configs(source, given, known.notes, (files.source, files.output), hashed, translation, files.force)


def compared(source: Source, to: Dialect, files: ConfigFiles) -> Configs:
    """The configs of both sides of a conversion, as they are.

    Raises:
        Undecided, InputError, FileIOError: as `porter.configs.sides.read_side`.
        UsageError: settings without configs, or one that matches nothing; configs that are exchanged.
    """
    if files.source is None or files.output is None:
        raise UsageError("needs the configs of both sides", entry="--setting", hint="Name them with --config.")
    told = files.told()
    config = read_side(files.source, source.dialect, told)
    known, source = _of_source(source, config)
    target = read_side(files.output, to, told)
    told.demand_all_used()
    _demand_this_order(config, source.dialect, target, to)
    both = files.source, files.output
    notes = (*known.notes, *config.unread_note(), *target.unread_note())
    return Configs(source, in_output(known, target), notes, both, hashes(both))


def _demand_this_order(config: SideConfig, from_: Dialect, target: SideConfig, to: Dialect) -> None:
    """Each names the other side's framework alone; where one was not translated, both name the same."""
    ours, theirs = framework_of(from_), framework_of(to)
    if ours != theirs and config.frameworks == frozenset([theirs]) and target.frameworks == frozenset([ours]):
        raise UsageError(
            "the two configs are exchanged, by their class names and records",
            entry="--config",
            expected="SOURCE_CONFIG OUTPUT_CONFIG",
            found=f"{config.name} {target.name}",
            hint=f"Give --config {target.name} {config.name}.",
        )


def _of_source(source: Source, config: SideConfig) -> tuple[Configured, Source]:
    known = configured(source.layers, config, source.dialect)
    return known, source._replace(layers=known.layers)


def _translated_side(translation: ConfigTranslation, to: Dialect, told: Told) -> SideConfig:
    """What the translated text says: it is read like any other, so that a wrong translation shows."""
    (file,) = translation.files
    signature = file.record.signature if file.record else installed_signature()
    told = told.after(file.record.settings) if file.record else told
    return side_of(parse(file.file.format, file.after), str(file.output), to, told, to, signature)
