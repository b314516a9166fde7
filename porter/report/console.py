"""The parts that every terminal report is made of: consoles, tables, names made safe, progress bars."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from porter.errors import printable

if TYPE_CHECKING:
    from rich.progress import TaskID


# A width that no line reaches: tables take what they need, and a name stays in one piece for grep.
_UNLIMITED = 100_000


# rich would make an emoji of `:x:`, which a file, a factory or a tensor may be called: no console of ours does.
class _Console(Console):
    def on_broken_pipe(self) -> None:
        """rich would end the process with 1 here; what it means is the command line's to say."""
        raise


def stdout() -> Console:
    free = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return _Console(highlight=False, emoji=False, soft_wrap=False, width=_UNLIMITED if free else None)


def stderr() -> Console:
    return Console(stderr=True, highlight=False, emoji=False)


def show_error(text: str) -> None:
    stderr().print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)


def show_warnings(notes: Iterable[str]) -> None:
    console = stderr()
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(printable(note, 1000))}", soft_wrap=True)


@contextmanager
def progress_bars() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Bars on standard error, one for each description, gone when they are done with."""
    from rich.progress import Progress

    with Progress(console=stderr(), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(description: str) -> Callable[[int, int], None]:
            def report(done: int, total: int) -> None:
                if description not in tasks:
                    tasks[description] = bars.add_task(description)
                bars.update(tasks[description], completed=done, total=total)

            return report

        yield advance


def new_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 1))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def counted(name: str, count: int) -> str:
    return escape(printable(name)) + (f" [dim]x{count}[/]" if count > 1 else "")
