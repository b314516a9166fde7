"""What is known of a checkpoint before anything is done with it: its tensors, whose names they bear, its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import gt
from pathlib import Path
from typing import Any, NamedTuple

from porter import record
from porter.collector import collector_paused
from porter.counterparts import OutputNames, counterparts
from porter.dialect import dialect_of
from porter.errors import Malformed, UsageError
from porter.formats import open_checkpoint
from porter.formats.dtypes import DType
from porter.formats.model import Checkpoint, ModuleFacts, TensorSpec
from porter.layers.hints import Hints
from porter.layers.hyperparameters import CUMULATIVE
from porter.layers.kinds import KEEP, KINDS, Dialect, Kind, kind_called
from porter.layers.model import Layer
from porter.layers.patterns import matches
from porter.layers.recognise import recognise
from porter.layers.settings import invert_momentum
from porter.layers.training_state import rename_owner, training_state
from porter.sharing import settle
from porter.wrappers import fits, wrapper_of


class SourceOptions(NamedTuple):
    """What the user says about a checkpoint, as on the command line.

    Attributes:
        from_: whose names it bears (`torch`, `mindspore`, `mint`); None lets the file tell.
        key: where in a .pth the state dict lies.
        model, net: the network it belongs to, in PyTorch or in MindSpore: `module:factory` or `file.py:factory`.
        layers: (pattern, kind name) pairs.
        hyperparameters: (pattern, settings) pairs of batch normalisations, settings by name (eps, momentum in the
            source's own terms or "cumulative", affine, statistics); they beat what the source knows.
        eps, momentum: settings of batch normalisations where the source knows none, in the source's own terms.
        record: the record of the conversion that wrote the file; None looks beside it.
    """

    from_: Dialect | None = None
    key: str | None = None
    model: str | None = None
    net: str | None = None
    layers: Sequence[tuple[str, str]] = ()
    hyperparameters: Sequence[tuple[str, Mapping[str, Any]]] = ()
    eps: float | None = None
    momentum: float | None = None
    record: Path | None = None


class Source(NamedTuple):
    """A checkpoint, understood.

    Attributes:
        checkpoint: its tensors and where they lie.
        dialect: whose names they bear.
        layers: in the checkpoint's order.
        left_out: optimizer state and counters, name -> what it is.
        wrapper: a prefix that some wrapper wrote in front of every name ("" if none).
        record: of the conversion that wrote the file, where there is one and it fits.
        notes: remarks for the user.
        modules: of the network that it belongs to, the user's or the file's own; empty where there is none.
    """

    checkpoint: Checkpoint
    dialect: Dialect
    layers: list[Layer]
    left_out: dict[str, str]
    wrapper: str
    record: record.Record | None
    notes: tuple[str, ...]
    modules: tuple[ModuleFacts, ...] = ()


@collector_paused()
def open_source(
    path: Path, options: SourceOptions, *, optimizer: bool = False, names: OutputNames | None = None
) -> Source:
    """Open a checkpoint and recognise its layers.

    Args:
        optimizer: list the state of a PyTorch optimizer among the tensors.
        names: how names change on the way to the network on the other side, if one is given.

    Raises:
        InputError: the file cannot be read, or must not be trusted.
        Undecided: whose names it bears, or which state dict in it is meant.
        UsageError: an option that does not fit the file.
        BackendError: `model` or `net` needs a framework that is not installed.
    """
    checkpoint = open_checkpoint(path, key=options.key, optimizer=optimizer)
    if not (checkpoint.tensors or checkpoint.modules):
        hint = "Is it the file that was meant, and saved with the network's parameters?"
        raise Malformed("there is no tensor in it", file=path, expected="the parameters of a network", hint=hint)
    state = _optimizer_state(checkpoint)
    own = [spec for spec in checkpoint.specs if spec.name not in state]
    found, useless = _record_of(path, options, own)
    if found:
        checkpoint = _as_before_renames(checkpoint, found)
    specs = {spec.name: spec for spec in checkpoint.specs}
    dialect = options.from_ or (found.plan.to if found else dialect_of(checkpoint))
    left_out = _training_state(specs, options) if dialect != "torch" else state
    model = [spec for name, spec in specs.items() if name not in left_out]
    modules, there = _modules(options, dialect), _modules(options, _other_side(dialect))
    wrapper, notes = wrapper_of(checkpoint, model, modules or there)
    hints = _hints(options, dialect, modules, model, wrapper, found)
    if there:
        hints = hints._replace(counterpart=counterparts(there, dialect, names or OutputNames(), wrapper))
    layers = recognise(checkpoint, dialect, _in_network_order(model), hints)
    layers = settle(checkpoint, found.true_layers(layers) if found else layers)
    layers = _configured(layers, dialect, options.hyperparameters)
    notes = [*checkpoint.notes, *useless, *notes]
    known = modules or checkpoint.modules
    return Source(checkpoint, dialect, layers, left_out, wrapper, found, tuple(notes), known)


def _training_state(specs: Mapping[str, TensorSpec], options: SourceOptions) -> dict[str, str]:
    """See `training_state`, less what a network given has for its own."""
    found = training_state(specs)
    if not found or not (options.net or options.model):
        return found
    from porter import network

    own = {spec.name for spec in network.mindspore_parameters(options.net)} if options.net else set()
    own |= {spec.name for spec in network.torch_parameters(options.model)} if options.model else set()
    # PyTorch calls some parameters otherwise (gamma), but not their layers. The root is no layer's name.
    layers = {name.rpartition(".")[0] for name in own} - {""}
    return {
        name: what
        for name, what in found.items()
        if name not in own and name.rpartition(".")[0].removesuffix(".bn2d") not in layers
    }


def _optimizer_state(checkpoint: Checkpoint) -> dict[str, str]:
    optimizer = checkpoint.optimizer
    return dict.fromkeys(optimizer.tensor_names, "state of the optimizer") if optimizer else {}


def _in_network_order(specs: list[TensorSpec]) -> list[TensorSpec]:
    """The tensors in the order in which the network declares its layers, as far as the file knows it.

    The safetensors library sorts by dtype and name. Such an order says nothing of the network, but the numbers in the
    names do: sorted by them, `neck.1` follows `neck.0`, and `layer10` follows `layer9`.
    """
    by_dtype: dict[DType, list[str]] = {}
    for spec in specs:
        by_dtype.setdefault(spec.dtype, []).append(spec.name)
    if any(any(map(gt, names, names[1:])) for names in by_dtype.values()):
        return specs
    return sorted(specs, key=lambda spec: [(p.isdigit(), int(p) if p.isdigit() else p) for p in spec.name.split(".")])


def _record_of(
    path: Path, options: SourceOptions, specs: list[TensorSpec]
) -> tuple[record.Record | None, tuple[str, ...]]:
    """The record of the conversion that wrote the file at `path`, if there is one, and a remark where it is no use.

    One that lies beside the file may be another's, or damaged; one that the user names may not.
    """
    if options.record is not None:
        try:
            found = record.from_json(options.record.read_bytes(), options.record)
        except OSError as error:
            raise UsageError(f"cannot be read: {error.strerror}", entry=f"--record {options.record}") from error
        if not found.is_of(specs):
            raise UsageError(
                "is the record of another file", entry=f"--record {options.record}", expected=f"the tensors of {path}"
            )
        return found, ()
    try:
        beside = record.read_beside(path)
    except Malformed as error:
        return None, (f"the record beside it is not used: {error}",)
    if beside and not beside.is_of(specs):
        other = record.path_beside(path).name
        return None, (f"{other} is not used: it is the record of another file, or of other tensors in this one",)
    return beside, ()


def _as_before_renames(checkpoint: Checkpoint, found: record.Record) -> Checkpoint:
    """The checkpoint under the names that the layer rules gave it: they speak of no others."""
    if not found.renamed:
        return checkpoint
    before = {written: ruled for ruled, written in found.renamed.items()}
    moments = training_state({spec.name: spec for spec in checkpoint.specs})
    before |= {name: rename_owner(name, before) for name in moments}
    tensors = (t._replace(spec=t.spec._replace(name=before.get(n, n))) for n, t in checkpoint.tensors.items())
    note = f"{len(found.renamed)} names are shown as before the renames that its record tells of"
    return checkpoint._replace(
        tensors={tensor.spec.name: tensor for tensor in tensors},
        versions=None,
        notes=(*checkpoint.notes, note),
    )


def _other_side(dialect: Dialect) -> Dialect:
    """A dialect of the other framework."""
    return "mindspore" if dialect == "torch" else "torch"


def _modules(options: SourceOptions, dialect: Dialect) -> tuple[ModuleFacts, ...]:
    """The modules of the network in the framework of `dialect`, if one is given."""
    reference = options.model if dialect == "torch" else options.net
    if not reference:
        return ()
    from porter import network

    return (network.torch_modules if dialect == "torch" else network.mindspore_modules)(reference)


def _hints(
    options: SourceOptions,
    dialect: Dialect,
    modules: tuple[ModuleFacts, ...],
    specs: list[TensorSpec],
    wrapper: str,
    found: record.Record | None,
) -> Hints:
    unwrapped = fits(modules, (spec.name for spec in specs))
    momentum = options.momentum
    return Hints(
        layers=tuple((pattern, _kind(pattern, name)) for pattern, name in options.layers),
        network=modules,
        recorded=found.kinds if found else {},
        recorded_settings=found.settings if found else {},
        wrapper="" if unwrapped else wrapper,
        eps=options.eps,
        momentum=invert_momentum(momentum) if momentum is not None and dialect == "mindspore" else momentum,
    )


def _configured(
    layers: list[Layer], dialect: Dialect, hyperparameters: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[Layer]:
    """The layers with the settings of their batch normalisations as `hyperparameters` says, the last match last."""
    for pattern, values in hyperparameters:
        said = dict(values)
        if said.get("momentum") == CUMULATIVE:
            said["momentum"] = None
        elif "momentum" in said and dialect == "mindspore":
            said["momentum"] = invert_momentum(said["momentum"])
        chosen = [layer.settings is not None and matches(pattern, layer.name) for layer in layers]
        if not any(chosen):
            message = "matches no batch normalisation"
            raise UsageError(message, entry=f"hyperparameters {pattern!r}", hint="`bnport inspect FILE` lists them.")
        layers = [_told(layer, said) if here else layer for layer, here in zip(layers, chosen, strict=True)]
    return layers


def _told(layer: Layer, said: Mapping[str, Any]) -> Layer:
    assert layer.settings is not None
    known_from = {**layer.settings.known_from, **dict.fromkeys(said, "rules")}
    return layer._replace(settings=replace(layer.settings, **said, known_from=known_from))


def _kind(pattern: str, name: str) -> Kind:
    kind = kind_called(name)
    if kind is None:
        raise UsageError(
            "is no kind of layer bnport knows",
            entry=f"--layer '{pattern}={name}'",
            expected=", ".join((*KINDS, KEEP.name)),
            found=name,
        )
    return kind
