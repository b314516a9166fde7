"""The options with which a converted file is written anew, after `bnport verify` has found it wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from porter import api
from porter.cli.convert import convert
from porter.report.summary import LEFT_OPEN

# What shows a result, or chooses the file, and takes no part in the conversion; and what is said of the source's own
# values, which no conversion mends.
_ELSEWHERE = {"as_json", "quiet", "verbose", "output", "force", "strict"}


def repeated(context: click.Context) -> list[str]:
    """The options of `bnport verify`, as they were typed (`context.obj`), that `bnport convert` has, too."""
    given, _, order = context.command.make_parser(context).parse_args(list(context.obj))
    known = {param.name for param in convert.params} - _ELSEWHERE
    words: list[str] = []
    for option in dict.fromkeys(order):
        value = given[str(option.name)]
        if option.name == "configs":
            words += ["--config", value[0]]
        elif isinstance(option, click.Option) and option.name in known:
            words += _typed(option, value if option.multiple else [value])
    return words


def _typed(option: click.Option, values: list[object]) -> Iterator[str]:
    """With `=` where the option may stand alone, for it would not take the next word for its value."""
    name = max(option.opts, key=len)
    for value in values:
        if option.is_flag or not isinstance(value, str):
            yield name
        elif option.name == "optimizer" or value.startswith("-"):
            yield f"{name}={value}"
        else:
            yield from (name, value)


def recorded(output: Path) -> list[str]:
    """Those of the conversion that wrote `output`, as its record has them: names, but not patterns."""
    options, _ = api.recorded_options(output)
    found = options.like
    words = ["--strip-prefix", options.strip_prefix] if options.strip_prefix else []
    words += ["--to", options.to] if options.to == "mint" else []
    words += ["--dtype", options.dtype.name] if options.dtype else []
    words += [f"--optimizer={options.optimizer}"] if options.optimizer else []
    words += ["--rename", LEFT_OPEN] if found and found.renamed else []
    words += ["--rules", LEFT_OPEN] if found and found.drop else []
    return words
