"""The command line: `bnport COMMAND`.

Start-up is kept short: a command's module, and rich, are imported when the command runs.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from contextlib import suppress
from typing import NoReturn

import click

from porter.errors import BnportError, FileIOError, UsageError
from porter.stopping import Stopped, check, heed_signals, leave_signals

# Command -> its line in `bnport --help`; its module is porter.cli.<command>.
_COMMANDS = {
    "convert": "Convert a checkpoint between PyTorch and MindSpore, and verify it.",
    "verify": "Check a converted file: every tensor, and every layer by running it.",
    "config": "Translate model configs: the settings of batch normalisations, and nothing else.",
    "inspect": "Show what a checkpoint holds: layers, their kinds, and why.",
    "doctor": "Show what works on this machine: frameworks, devices, kernels.",
    "schema": "Print the JSON Schema of what a command prints with --json.",
}

# An exception that is no BnportError is a fault in bnport: sysexits.h calls this EX_SOFTWARE.
_EXIT_FAULT = 70


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(f"porter.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bnport", prog_name="bnport")
def bnport() -> None:
    """Convert checkpoints of 3D networks between PyTorch and MindSpore, and prove every converted layer.

    \b
    Exit codes:
      0  done, and verified where asked
      1  verification failed, or config --check found something to change
      2  the call is wrong
      3  an input is unreadable, malformed or unsafe
      4  a layer's kind or a setting could not be decided: the message says what to type
      5  a needed framework is missing, or cannot run it
      6  reading or writing failed
     70  a fault in bnport
    """


def main() -> NoReturn:
    """Run the command line and end the process with the exit code of the outcome."""
    _open_standard_streams()
    heed_signals()
    try:
        code = run()
        check()
        leave_signals()
        # At its end the interpreter looks through all objects for cycles, several times, and nothing comes of it.
        gc.freeze()
    except Stopped as stopped:
        # The interpreter's own end would run into the C++ of a framework that was stopped in the middle of an import.
        click.echo("interrupted", err=True)
        _flush()
        os._exit(stopped.exit_code)
    sys.exit(code)


def run() -> int:
    """Run the command of `sys.argv`; the exit code. Errors are printed, as JSON where `--json` is given."""
    as_json = "--json" in sys.argv
    try:
        result = bnport.main(standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BnportError as error:
        _report(error, as_json)
        return error.exit_code
    except click.ClickException as error:
        if as_json:
            _report(UsageError(error.format_message()), as_json)
        error.show()
        return error.exit_code
    except (BrokenPipeError, SystemExit) as end:
        # The reader of our output went away (`bnport inspect x | head`): not a failure, and nothing left to say.
        # click makes a SystemExit(1) of it, and of nothing else outside of its standalone mode.
        if isinstance(end, SystemExit) and end.code != 1:
            raise
        _discard_output()
        return 0
    except OSError as error:
        refused = FileIOError(f"the operating system refused: {error.strerror}", file=error.filename)
        if as_json:
            with suppress(OSError):  # it may have been the output that it refused
                _report(refused, as_json)
        _discard_output()
        _report(refused, as_json=False)
        return refused.exit_code
    except Exception as error:
        import traceback

        check()
        if as_json:
            _report(BnportError(f"fault in bnport: {type(error).__name__}: {error}"), as_json)
        traceback.print_exc()
        click.echo("This is a fault in bnport, please report it.", err=True)
        return _EXIT_FAULT


def _report(error: BnportError, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(error.document(), indent=2))
    else:
        from porter.report.console import show_error

        show_error(str(error))


def _open_standard_streams() -> None:
    """Stand in for streams that the caller closed: a file opened later would get their number and their text."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def _discard_output() -> None:
    """Let what standard output still holds, and cannot be written, go nowhere when the interpreter flushes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
