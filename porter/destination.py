"""Where a conversion goes, in which format, and the plan that leads there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from porter.collector import collector_paused
from porter.edits import Rename, fitting, rename, rename_module, renamed, without
from porter.errors import FileIOError, UsageError
from porter.formats.dtypes import DType
from porter.formats.model import EMPTY
from porter.idle import untrained, without_idle
from porter.layers.kinds import Dialect
from porter.layers.rules import FRAMEWORKS, names_differ
from porter.layers.undecided import refuse_undecided
from porter.plan import Plan, cast, strip_prefix
from porter.plan_proof import prove
from porter.planning import make_plan
from porter.record import Record
from porter.sharing import Sharing, fitted, layers_kept, share, shared_names, spread, with_counters
from porter.source import Source
from porter.way_back import plan_back

# Output suffix -> the writer of that format.
_FORMATS = {
    ".pth": "torch-zip",
    ".pt": "torch-zip",
    ".bin": "torch-zip",
    ".safetensors": "safetensors",
    ".ckpt": "mindspore-ckpt",
}


class WriteOptions(NamedTuple):
    """How a conversion is written.

    Attributes:
        to: whose names the output shall bear; None infers it from the source and the output's suffix.
        strip_prefix: removed from all names; "auto" removes what a wrapper wrote in front of every name.
        dtype: cast floating-point tensors to this.
        renames: applied in order to the names that the output would have otherwise.
        drop: patterns (as those of renames) of source tensors and modules that do not travel.
        shared: name that the output has, too, for a tensor -> the name it has anyway (`porter.sharing.spread`).
        own: gives the names that the target network has, or the file that is verified: they settle what MindSpore
            calls a tensor of several names in PyTorch. None where they are not known.
        declared: gives the names of the PyTorch network, on whichever side it is, in its own order: an optimizer
            numbers its parameters so. None where they are not known.
        like: the record of a conversion whose drops and names are to be repeated.
        optimizer: carry the optimizer's state, for the class of this name, or for the twin of its own ("auto").
        force: replace an existing output.
        check_crc: verify the source's own checksums while reading.
        crc: end a .ckpt with a CRC-32 of the whole file (MindSpore 2.0 cannot read such a file).
        max_shard_bytes: split a .safetensors, .pth or .bin into shards of at most this size and an index.
    """

    to: Dialect | None = None
    strip_prefix: str = ""
    dtype: DType | None = None
    renames: tuple[Rename, ...] = ()
    drop: tuple[str, ...] = ()
    shared: Mapping[str, str] = EMPTY
    own: Callable[[], Set[str]] | None = None
    declared: Callable[[], Sequence[str]] | None = None
    like: Record | None = None
    optimizer: str | None = None
    force: bool = False
    check_crc: bool = True
    crc: bool = False
    max_shard_bytes: int | None = None


class Destination(NamedTuple):
    """Where a conversion goes: the real path (symbolic links resolved), its format, and whose names it bears."""

    path: Path
    format: str
    to: Dialect


def destination(output: Path, source: Source, options: WriteOptions) -> Destination:
    """Check an output path before anything is planned.

    Raises:
        UsageError: no known suffix, the source itself, an existing file without `force`, or a combination of
            format, dialect and options that no framework could read.
    """
    if output.suffix not in _FORMATS:
        raise UsageError(
            "its suffix names no format",
            entry=f"-o {output}",
            expected=", ".join(_FORMATS),
            found=output.suffix or "no suffix",
        )
    path = Path(os.path.realpath(output))
    if any(os.path.exists(path) and os.path.samefile(path, file) for file in source.checkpoint.files):
        raise UsageError("the output is the input", entry=f"-o {output}", hint="Give the output another name.")
    if os.path.lexists(path) and not options.force:
        raise UsageError("exists already", entry=f"-o {output}", hint="--force replaces it.")
    if path.is_dir():
        raise UsageError("is a folder", entry=f"-o {output}", expected="a file name")
    if not path.parent.is_dir():
        raise FileIOError("the folder does not exist", file=path.parent, hint=f"mkdir -p {path.parent}")
    to = options.to or _inferred_dialect(source, output.suffix)
    format_name = _FORMATS[output.suffix]
    if (format_name, to) in (("torch-zip", "mindspore"), ("torch-zip", "mint"), ("mindspore-ckpt", "torch")):
        raise UsageError(f"{FRAMEWORKS[to]} cannot read this format", entry=f"-o {output} --to {to}")
    if options.optimizer and to == "torch" and (format_name != "torch-zip" or options.max_shard_bytes):
        expected = "-o *.pth, without --max-shard-size"
        raise UsageError("PyTorch keeps an optimizer's state in one .pth", entry="--optimizer", expected=expected)
    if options.crc and format_name != "mindspore-ckpt":
        raise UsageError("only a .ckpt carries a CRC trailer", entry="--crc", found=output.suffix)
    if options.max_shard_bytes and format_name == "mindspore-ckpt":
        raise UsageError("MindSpore loads no sharded .ckpt", entry="--max-shard-size", expected="-o *.safetensors")
    return Destination(path, format_name, to)


def _inferred_dialect(source: Source, suffix: str) -> Dialect:
    """The other framework, unless the suffix says which; where the source came from there, the same names again."""
    if _FORMATS[suffix] == "torch-zip" or (_FORMATS[suffix] == "safetensors" and source.dialect != "torch"):
        return "torch"
    recorded = source.record.plan if source.record else None
    if recorded and recorded.to == source.dialect and recorded.from_ != "torch":
        return recorded.from_
    if source.dialect == "mindspore":
        raise UsageError(
            "both files are MindSpore's",
            entry="--to",
            expected="--to mint, --to mindspore, or a .pth or .safetensors",
        )
    return "mindspore"


@collector_paused()
def plan_for(source: Source, to: Dialect, options: WriteOptions) -> Plan:
    """The proven plan of a conversion; the recorded one read backwards where the source was written by bnport.

    Raises:
        Undecided: layers whose kind is not known.
        UsageError: two tensors would get one name, a rename or drop does not fit, or there is no optimizer to carry.
        Unsupported: an optimizer whose state cannot be carried.
    """
    specs, recorded = source.checkpoint.specs, source.record
    dropped = dropped_by([spec.name for spec in specs], options)
    if recorded and recorded.plan.from_ == to and recorded.plan.to == source.dialect:
        plan, restored = plan_back(source, recorded), recorded.strip_prefix
    else:
        left_out = source.left_out | untrained(source, to)
        sharing = _sharing(source, to, options, left_out.keys() | dropped)
        layers = layers_kept(source.layers, sharing.kept)
        if names_differ(source.dialect, to):
            refuse_undecided(layers, source.checkpoint.path, source.dialect)
        plan, restored = share(make_plan(specs, layers, source.dialect, to, left_out), sharing), ""
    plan = without(plan, dropped)
    prefix = prefix_of(source, options)
    _refuse_strange_prefix(plan, prefix)
    plan = cast(strip_prefix(plan, prefix), options.dtype)
    prove(plan, specs, source.layers, removed=prefix, restored=restored)
    # The layer rules know nothing of names that the user chose: what they say is proven above, for the names before.
    named = renamed(rename(plan, options.renames), options.like.renamed if options.like else {})
    named = spread(named, options.shared)
    if source.dialect == "mindspore" and to == "torch" and options.declared is not None:
        named = without_idle(named, source, options.declared())
    if named is not plan:
        prove(named, specs, layers=None)
    plan = named
    if options.optimizer:
        from porter.optimizer.carry import carry_optimizer

        plan = carry_optimizer(plan, source, options.optimizer, _declared(plan, options))
        prove(plan, specs, layers=None)
    return plan


def _declared(plan: Plan, options: WriteOptions) -> Sequence[str]:
    """PyTorch's names in the network's order, or that of the conversion to be repeated; empty where unknown."""
    if options.declared is not None:
        return options.declared()
    if plan.to != "torch" or options.like is None or options.like.optimizer is None:
        return ()
    there = {step.source.name: step.target.name for step in plan.steps if step.source and step.target}
    return [there[name] for name in options.like.optimizer.parameters if name in there]


def _sharing(source: Source, to: Dialect, options: WriteOptions, staying: Set[str]) -> Sharing:
    """See `porter.sharing`; nothing is shared where the target, too, has a name for every place."""
    if source.dialect != "torch" or to == "torch":
        return Sharing({})
    names = [name for name in source.checkpoint.tensors if name not in staying]
    first_paths = {facts.name: facts.name if facts.same_as is None else facts.same_as for facts in source.modules}
    wrapped = {f"{source.wrapper}{path}": first for path, first in first_paths.items()}
    prefix = prefix_of(source, options)
    sharing = shared_names(source.checkpoint, names, source.layers, prefix, {**first_paths, **wrapped})
    if sharing.kept and options.own is not None:
        sharing = fitted(sharing, _names_in_output(source, to, options), options.own())
    return with_counters(sharing, source.layers)


def _names_in_output(source: Source, to: Dialect, options: WriteOptions) -> dict[str, str]:
    """Source tensor -> its name in the output, if each were written under all of its names."""
    decided = [layer for layer in source.layers if layer.certainty != "undecided"]
    plan = make_plan(source.checkpoint.specs, decided, source.dialect, to, {})
    plan = strip_prefix(plan, prefix_of(source, options))
    like = options.like.renamed if options.like else {}
    both = ((step.source.name, step.target.name) for step in plan.steps if step.source and step.target)
    pairs = ((name, rename_module(there, options.renames)) for name, there in both)
    return {name: like.get(there, there) for name, there in pairs}


def dropped_by(names: Sequence[str], options: WriteOptions) -> set[str]:
    """The source tensors, out of `names`, that `options` leave out.

    Raises:
        UsageError: a pattern fits none.
    """
    return fitting(options.drop, names) | set(options.like.drop if options.like else ())


def prefix_of(source: Source, options: WriteOptions) -> str:
    """The prefix that names lose, whole levels with a dot behind them; "" for none."""
    if options.strip_prefix == "auto":
        return source.wrapper
    return f"{options.strip_prefix.rstrip('.')}." if options.strip_prefix else ""


def _refuse_strange_prefix(plan: Plan, prefix: str) -> None:
    if prefix and not any(target.name.startswith(prefix) for target in plan.targets):
        first = plan.targets[0].name if plan.targets else "no names"
        message, entry = "no name begins with it", f"--strip-prefix {prefix}"
        raise UsageError(
            message, entry=entry, found=first, hint="Whole levels are removed; 'auto' takes a wrapper's."
        )
