"""What a conversion and its verification begin with: the source, its options, and the plan for the target."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence, Set
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from porter.counterparts import OutputNames
from porter.destination import WriteOptions, plan_for
from porter.edits import Rename
from porter.formats import open_checkpoint
from porter.layers.hyperparameters import check_hyperparameters
from porter.layers.kinds import Dialect
from porter.plan import Plan
from porter.source import Source, SourceOptions

# Start-up is kept short: what few conversions need is imported where it is used.
if TYPE_CHECKING:
    from porter.configured import ConfigFiles

StrPath = str | os.PathLike[str]


def with_rules(
    rules: Sequence[StrPath], source: SourceOptions | None, write: WriteOptions | None
) -> tuple[SourceOptions, WriteOptions]:
    """Both kinds of options with what rules files say in front of them, the last file nearest."""
    given, how = source or SourceOptions(), write or WriteOptions()
    for path in reversed(rules):
        from porter import port_rules

        read = port_rules.read(Path(path))
        given, how = read.for_source(given), read.for_output(how)
    check_settings("", eps=given.eps, momentum=given.momentum)
    for pattern, values in given.hyperparameters:
        check_hyperparameters(f"hyperparameters {pattern!r}", values)
    return given, how


def output_names(write: WriteOptions) -> OutputNames:
    return OutputNames(write.strip_prefix, write.renames, write.like.renamed if write.like else {})


def check_settings(prefix: str, **values: float | None) -> None:
    """Check the settings that are given, those of options called as they are behind `prefix`."""
    for name, value in values.items():
        if value is not None:
            check_hyperparameters(f"--{prefix}{name}", {name: value})


def config_files(
    source: StrPath | None,
    output: StrPath | None,
    settings: Sequence[tuple[str, str]],
    rules: Sequence[StrPath],
    write: WriteOptions,
) -> ConfigFiles:
    from porter.configured import ConfigFiles

    here, there = (None if path is None else Path(path) for path in (source, output))
    return ConfigFiles(here, there, settings, [Path(path) for path in rules], write.force)


def _names_of(network: str | None, to: Dialect, written: Path | None = None) -> Callable[[], Set[str]] | None:
    """The parameters of the target network, or else of a file `written`, looked up when they are asked for."""
    if network:
        from porter.target import parameters_of

        return cache(lambda: {spec.name for spec in parameters_of(network, to)})
    return cache(lambda: set(open_checkpoint(written).tensors)) if written else None


def target_network(options: SourceOptions, from_: Dialect, to: Dialect) -> str | None:
    """The network on the output's side, where the two sides are different frameworks."""
    if (from_ == "torch") == (to == "torch"):
        return None
    return options.model if to == "torch" else options.net


def unchecked_notes(renames: Sequence[Rename]) -> list[str]:
    """What to do about renames of rules files that nobody has confirmed."""
    if not renames:
        return []
    from porter import port_rules

    return list(port_rules.unchecked_notes(renames))


class Prepared(NamedTuple):
    """A source and what is to become of it.

    Attributes:
        source: opened.
        given: what is known about it.
        write: how it is written, with the names of the target network or of the file to verify.
        plan: for that target.
        network: the target network; None where it is not given.
    """

    source: Source
    given: SourceOptions
    write: WriteOptions
    plan: Plan
    network: str | None

    def renamed(self, renames: Sequence[Rename]) -> Prepared:
        """The same with further renames."""
        if not renames:
            return self
        write = self.write._replace(renames=(*self.write.renames, *renames))
        return self._replace(write=write, plan=plan_for(self.source, self.plan.to, write))


def prepared(
    source: Source, given: SourceOptions, write: WriteOptions, to: Dialect, written: Path | None = None
) -> Prepared:
    """Plan for the framework `to`.

    Args:
        written: a file to verify, whose names count where no target network is given.

    Raises:
        UsageError, Undecided, InputError: as `plan_for`, and of the target network.
    """
    network = target_network(given, source.dialect, to)
    write = write._replace(own=_names_of(network, to, written))
    model = given.model
    if model:
        from porter.target import parameters_of

        write = write._replace(declared=cache(lambda: [spec.name for spec in parameters_of(model, "torch")]))
    if network and to == "torch":
        from porter.network import torch_aliases

        write = write._replace(shared=torch_aliases(network) or write.shared)
    return Prepared(source, given, write, plan_for(source, to, write), network)
