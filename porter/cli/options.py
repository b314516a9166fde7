"""Options that several commands share, each defined once, and what they become."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from porter.destination import WriteOptions
from porter.edits import rename_called
from porter.errors import FileIOError, UsageError
from porter.formats.shards import parse_size
from porter.layers.kinds import DIALECTS
from porter.optimizer.classes import AUTO, CHOICES
from porter.plan import dtype_called
from porter.source import SourceOptions
from porter.verification.options import NetworkInput, Options

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


class _Finite(click.FloatRange):
    """A range of numbers without nan and inf, which pass through click's own wherever it is open."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        return number if math.isfinite(number) else self.fail(f"{value} is no finite number", param, ctx)


_TOLERANCE = _Finite(min=0)


def _together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def pairs(expected: str) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], tuple[tuple[str, str], ...]]:
    """Callback for options of the form PATTERN=NAME; `expected` says it with an example."""

    def split(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        found = []
        for value in values:
            pattern, equals, name = value.rpartition("=")
            if not equals:
                raise click.BadParameter(f"{value!r} is not {expected}")
            found.append((pattern, name))
        return tuple(found)

    return split


def input_shape(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[NetworkInput, ...]:
    """Callback for `--input-shape`: `1x3x8x32x32`, `NAME=1x3x8x32x32`, or `4x16:100` for whole numbers below 100."""
    inputs = []
    for value in values:
        given = re.fullmatch(r"(?:([^\W\d]\w*)=)?([1-9]\d*(?:x[1-9]\d*)*)(?::([1-9]\d*))?", value, re.ASCII)
        if not given:
            raise click.BadParameter(f"{value!r} is no shape, such as 1x3x8x32x32 or clips=1x3x8x32x32")
        name, shape, below = given.groups()
        inputs.append(NetworkInput(tuple(map(int, shape.split("x"))), name, int(below) if below else None))
    return tuple(inputs)


input_shape_option = click.option(
    "--input-shape",
    "inputs",
    multiple=True,
    callback=input_shape,
    metavar="[NAME=]SHAPE[:N]",
    help="Run both networks (--model and --net) whole on an input of this shape: 2x3x8x32x32, or clips=2x3x8x32x32; "
    "4x16:100 holds whole numbers below 100. Repeatable, for networks of several inputs.",
)

setting_option = click.option(
    "--setting",
    "settings",
    multiple=True,
    callback=pairs("PATH=SETTING, such as 'MODEL.NECK.*.MOM=momentum'"),
    metavar="PATH=SETTING",
    help="Say what a place in a config is: 'MODEL.NECK.*.MOM=momentum', wildcards as in --layer; 'keep' leaves it "
    "alone. Repeatable.",
)

source_options = _together(
    click.option("--from", "from_", type=click.Choice(DIALECTS), help="Whose names SOURCE bears."),
    click.option("--key", help="Where in a .pth the state dict lies, such as 'state_dict' or 'ema.model'."),
    click.option("--model", help="The PyTorch network: MODULE:FACTORY or FILE.py:FACTORY. It is imported and run."),
    click.option("--net", help="The MindSpore network, likewise."),
    click.option(
        "--layer",
        "layers",
        multiple=True,
        callback=pairs("PATTERN=KIND, such as 'stem.*=BatchNorm3d'"),
        metavar="PATTERN=KIND",
        help="Say a layer's kind: 'stem.*=BatchNorm3d'. * is one level of a name, ** any number; the kind "
        "'keep' leaves its names as they are. Repeatable.",
    ),
    click.option(
        "--rules",
        multiple=True,
        type=PATH,
        help="A rules file of the port (TOML): layers, renames, drops, hyper-parameters; `bnport inspect "
        "--write-rules` writes one. Repeatable.",
    ),
    click.option("--eps", type=float, help="eps of batch normalisations where SOURCE does not know it."),
    click.option("--momentum", type=float, help="Their momentum, in the terms of SOURCE's framework."),
    click.option("--record", type=PATH, help="The record of the conversion that wrote SOURCE (default: beside it)."),
)

run_options = _together(
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of the inputs that layers are run on."),
    click.option("--steps", type=click.IntRange(1), default=3, show_default=True, help="Training steps per layer."),
    click.option("--atol", type=_TOLERANCE, help="Absolute tolerance in place of the rounding-error bound."),
    click.option("--rtol", type=_TOLERANCE, help="Relative tolerance, likewise."),
    click.option(
        "--ms-mode",
        type=click.Choice(["pynative", "graph", "both"]),
        default="pynative",
        show_default=True,
        help="MindSpore's execution mode.",
    ),
    click.option(
        "--device",
        type=click.Choice(["CPU", "GPU", "Ascend"], case_sensitive=False),
        default="CPU",
        show_default=True,
        help="Device the layers run on.",
    ),
    click.option("--strict", is_flag=True, help="Fail layers that hold NaN, infinity or a variance below 0."),
)

name_options = _together(
    click.option(
        "--to", type=click.Choice(DIALECTS), help="Whose names the output bears (default: the other framework's)."
    ),
    click.option("--strip-prefix", default="", metavar="PREFIX", help="Remove from all names; 'auto': a wrapper's."),
    click.option(
        "--rename",
        "renames",
        multiple=True,
        callback=lambda ctx, param, values: tuple(rename_called(value) for value in values),
        metavar="PATTERN=NEW",
        help="Rename tensors and modules of the output: 'layer*.*.conv1.0=layer*.*.conv1.conv', wildcards as in "
        "--layer, or 're:EXPRESSION=TEMPLATE'. Repeatable; applied in order.",
    ),
    click.option("--dtype", help="Floating-point tensors are cast to this: float16, bfloat16, float32, float64."),
    click.option(
        "--optimizer",
        type=click.Choice(CHOICES),
        is_flag=False,
        flag_value=AUTO,
        metavar="[=CLASS]",
        help="Carry the optimizer's state, too, so that training goes on; =CLASS chooses the class to write for. "
        f"Classes: {', '.join(CHOICES[1:])}.",
    ),
)

output_options = _together(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."),
    click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("-v", "--verbose", is_flag=True, help="Every layer on its own line, every tensor's fate."),
)


def take_source_options(given: dict[str, Any]) -> SourceOptions:
    """Take the values of `source_options` out of a command's keyword arguments."""
    names = ("from_", "key", "model", "net", "layers", "eps", "momentum", "record")
    return SourceOptions(**{name: given.pop(name) for name in names})


def take_run_options(given: dict[str, Any]) -> Options:
    """Take the values of `run_options`, likewise."""
    names = ("seed", "steps", "atol", "rtol", "ms_mode", "device", "strict")
    return Options(**{name: given.pop(name) for name in names})


def take_name_options(given: dict[str, Any]) -> WriteOptions:
    """Take the values of `name_options`, likewise."""
    dtype = given.pop("dtype")
    return WriteOptions(
        to=given.pop("to"),
        strip_prefix=given.pop("strip_prefix"),
        renames=given.pop("renames"),
        optimizer=given.pop("optimizer"),
        dtype=dtype_called(dtype) if dtype else None,
    )


def size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Callback for options such as `--max-shard-size 5GB`."""
    try:
        return None if value is None else parse_size(value)
    except UsageError as error:
        raise click.BadParameter(str(error)) from error


Advance = Callable[[str], Callable[[int, int], None]]


@contextmanager
def progress(*, show: bool) -> Iterator[Advance]:
    """Progress bars on standard error, where that is a terminal.

    Yields a function that, given what is going on ("writing"), gives the callback to report (done, total) to.
    """
    if not show or not sys.stderr.isatty():
        yield lambda description: lambda done, total: None
        return
    from porter.report.console import progress_bars

    with progress_bars() as advance:
        yield advance


def write_text(path: Path, text: str) -> None:
    """Write a report, in place of what was there.

    Raises:
        FileIOError: the operating system refused.
    """
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise FileIOError(f"cannot be written: {error.strerror}", file=path) from error


def print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=True))
