"""Translated configs as a person reads them: a table of changes or a diff, and what there is to know."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.markup import escape
from rich.padding import Padding

from porter.configs.api import ConfigTranslation
from porter.configs.changes import Remark
from porter.configs.translated import TranslatedConfig
from porter.errors import printable
from porter.report.console import new_table, show_warnings, stdout
from porter.report.summary import plural
from porter.report.terminal import FRAMEWORK

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def show_config(done: ConfigTranslation, *, diff: bool) -> None:
    """Print what became of every file; remarks go to standard error."""
    if diff:
        _show_diff(done)
    else:
        _show_table(done)
    show_warnings([*_remarks(done), *(f"left alone: {error}" for error in done.skipped)])
    if not diff:
        stdout().print(_summary(done) + _for_a_person(done))


def show_config_beside(done: ConfigTranslation) -> None:
    """Print what became of the config that was translated with a checkpoint; remarks go to standard error."""
    _show_table(done)
    show_warnings(_remarks(done))
    for file in done.files:
        changes = plural(len(file.translation.changes), "change")
        output = escape(printable(str(file.output)))
        stdout().print(f"[bold]{_name(file)}[/] -> [bold]{output}[/] ({FRAMEWORK[done.to]}): {changes}")


def _show_diff(done: ConfigTranslation) -> None:
    """Coloured and made safe on a terminal; elsewhere every character as it is, for patch(1)."""
    console = stdout()
    for number, line in ((n, line) for file in done.files for n, line in enumerate(file.diff())):
        if not console.is_terminal:
            click.echo(line, nl=False)
            continue
        style = "bold" if number < 2 else _STYLES.get(line[:1])
        safe = "\t".join(printable(part, 10_000) for part in line.rstrip("\r\n").split("\t"))
        console.print(safe, style=style, markup=False, soft_wrap=True)


def _show_table(done: ConfigTranslation) -> None:
    """A row for each change; where the terminal is too narrow for that, two lines: nothing is folded in itself."""
    console = stdout()
    changes = [(file, change) for file in done.files for change in file.translation.changes]
    table = new_table("Place", "Key", "Setting", "Before", "After", "Why")
    for file, change in changes:
        texts = change.path, change.setting, change.before, change.after or "(none)", change.why
        table.add_row(f"{_name(file)}:{change.place.line}", *(escape(printable(text)) for text in texts))
    needed = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    if changes and needed <= console.width:
        console.print(table)
        return
    for file, change in changes:
        key, before, after, why = (
            escape(printable(text)) for text in (change.path, change.before, change.after or "(none)", change.why)
        )
        console.print(f"{_name(file)}:{change.place.line}: [bold]{key}[/]", soft_wrap=True)
        console.print(Padding(f"{before} -> [bold]{after}[/]  [dim]{why}[/]", (0, 0, 0, 4), expand=False))


def _remarks(done: ConfigTranslation) -> Iterator[str]:
    for file in done.files:
        told = file.translation
        yield from (f"{_where(file, remark)}: {remark.text}" for remark in told.warnings)
        yield from (f"{_where(file, remark)}: needs a person: {remark.text}" for remark in told.needs_person)
        yield from (f"{_where(file, remark)}: {remark.text}" for remark in told.notes)


def _where(file: TranslatedConfig, remark: Remark) -> str:
    place = f"{file.file.path}:{remark.place.line}"
    return f"{place}: {remark.path}" if remark.path else place


def _name(file: TranslatedConfig) -> str:
    return escape(printable(str(file.file.path)))


def _for_a_person(done: ConfigTranslation) -> str:
    count = sum(len(file.translation.needs_person) for file in done.files)
    return f" [yellow]{plural(count, 'place')} {'needs' if count == 1 else 'need'} a person.[/]" if count else ""


def _summary(done: ConfigTranslation) -> str:
    changes = sum(len(file.translation.changes) for file in done.files)
    written = [file.output for file in done.files if file.output]
    changed, files = sum(file.changed for file in done.files), plural(len(done.files), "file")
    if not changes:
        what = f"Nothing in {files} has to change for {FRAMEWORK[done.to]}"
    else:
        where = files if changed == len(done.files) else f"{changed} of {files}"
        what = f"{plural(changes, 'change')} in {where} for {FRAMEWORK[done.to]}"
    if not written:
        return f"{what}." if not changes else f"{what}; nothing was written: -o OUTPUT or --in-place writes."
    where = escape(printable(str(written[0]))) if len(written) == 1 else plural(len(written), "file")
    return f"{what}; [bold]{where}[/] written."
