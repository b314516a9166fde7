"""The record of a conversion, `OUTPUT.bnport.json` beside the output: what the way back needs, and what was proven.

Names, shapes and dtypes on both sides, and the bytes of the few small tensors that the target format's framework has
no place for (`num_batches_tracked`). With it, converting OUTPUT back restores the source exactly; without it, the
counters become 0 and created parameters stay.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from porter.errors import Malformed
from porter.formats.dtypes import BY_NAME, DType
from porter.formats.model import TensorSpec
from porter.formats.strict_json import list_of, map_of, of_type, one_of, parse_object
from porter.layers.kinds import DIALECTS
from porter.layers.model import Layer
from porter.layers.settings import Settings
from porter.layers.training_state import training_state
from porter.plan import Fate, Plan, Step

# Start-up is kept short: few conversions carry an optimizer, or lead back.
if TYPE_CHECKING:
    from porter.optimizer.model import Carried
    from porter.proof import Proof

SCHEMA = "bnport.record/1"

_DELETE = "Delete it to convert without a record: counters become 0, created parameters stay."

# Dropped tensors of layers up to this size are kept in the record: a counter has 8 bytes, statistics have some for
# every channel.
_STATISTICS_BYTES = 1 << 16


@dataclass(frozen=True)
class Record:
    """One conversion, as far as its inverse and its verification need it.

    Attributes:
        plan: the steps that were carried out, with the names that the layer rules gave, as are those of its layers.
        strip_prefix, dtype: the options of that conversion (`porter.destination.WriteOptions`), dtype as its name.
        dropped: name -> bytes of small tensors that were dropped.
        versions: the source state dict's `_metadata`, None where it had none.
        kinds: layer name in the output -> kind name, or several of one rule with | between them.
        settings: layer name in the output -> settings of batch normalisations, in PyTorch's terms.
        renamed: name by the layer rules -> name in the output, where renames made it another. Names and not
            patterns: a record may come from a stranger, and a pattern is a program.
        shared: as in `WriteOptions`.
        drop: source tensors that were left out on request.
        optimizer: what else of an optimizer travelled; its tensors are no part of `plan`.
        proof: of the output's last verification; None where there was none.
    """

    plan: Plan
    strip_prefix: str = ""
    dtype: str | None = None
    dropped: Mapping[str, bytes] = field(default_factory=dict)
    versions: Mapping[str, int] | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Settings] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    optimizer: Carried | None = None
    shared: Mapping[str, str] = field(default_factory=dict)
    proof: Proof | None = None

    @classmethod
    def of(
        cls,
        plan: Plan,
        layers: list[Layer],
        strip_prefix: str,
        dtype: DType | None,
        dropped: Mapping[str, bytes],
        versions: Mapping[str, int] | None,
        drop: tuple[str, ...] = (),
        shared: Mapping[str, str] | None = None,
    ) -> Record:
        """The record of a plan, from the layers of its source."""
        known = [layer for layer in layers if layer.certainty != "undecided"]
        paths = {layer.name: layer.path_in(plan.to, came_from=plan.from_) for layer in layers}
        named = {paths[layer.name].removeprefix(strip_prefix): layer for layer in known}
        kinds = {name: layer.kind_name for name, layer in named.items()}
        settings = {name: layer.settings for name, layer in named.items() if layer.settings}
        renamed = {step.ruled: step.target.name for step in plan.steps if step.ruled and step.target}
        network = (step for step in plan.steps if not step.optimizer)
        steps = (_in_layer(step, step.layer and paths[step.layer].removeprefix(strip_prefix)) for step in network)
        optimizer = plan.optimizer and plan.optimizer.by_the_rules({there: here for here, there in renamed.items()})
        plan = replace(plan, steps=tuple(_by_the_rules(step) for step in steps), optimizer=None)
        name = dtype.name if dtype else None
        return cls(
            plan, strip_prefix, name, dropped, versions, kinds, settings, renamed, drop, optimizer, shared or {}
        )

    def is_of(self, specs: list[TensorSpec]) -> bool:
        """Whether a file with these tensors is what the recorded conversion wrote, possibly trained further.

        What training adds to a file - the state of its optimizer - does not count.
        """
        written = {spec._replace(name=self.renamed.get(spec.name, spec.name)) for spec in self.plan.targets}
        added = training_state({spec.name: spec for spec in specs})
        return {spec for spec in written if spec.name not in added} == {s for s in specs if s.name not in added}

    def true_layers(self, layers: list[Layer]) -> list[Layer]:
        """`layers`, recognised in the output, less those of which no tensor came from a layer.

        A parameter of one's own keeps its name, which on the other side may be a layer's (`a`, a root's PReLU).
        """
        own = {step.target.name for step in self.plan.steps if step.source and step.target and step.layer is None}
        return [layer for layer in layers if not layer.tensors or not own.issuperset(layer.tensors.values())]


def _in_layer(step: Step, layer: str | None) -> Step:
    return step if step.layer == layer else step._replace(layer=layer)


def _by_the_rules(step: Step) -> Step:
    """A step as the record keeps it, its target called as before renames."""
    if step.ruled is None or step.target is None:
        return step
    return step._replace(target=step.target._replace(name=step.ruled), ruled=None)


def is_recorded(dropped: Step) -> bool:
    """Whether the record keeps the bytes of the tensor that a step drops: a layer's, not an optimizer's."""
    assert dropped.source is not None
    return dropped.layer is not None and dropped.source.nbytes <= _STATISTICS_BYTES


def path_beside(output: Path) -> Path:
    return output.with_name(output.name + ".bnport.json")


def to_json(record: Record) -> str:
    plan = record.plan
    document = {
        "schema": SCHEMA,
        "from": plan.from_,
        "to": plan.to,
        "strip_prefix": record.strip_prefix,
        "dtype": record.dtype,
        "renamed": record.renamed,
        "drop": record.drop,
        "shared": dict(record.shared),
        "optimizer": record.optimizer and record.optimizer.to_json(),
        "versions": record.versions,
        "kinds": record.kinds,
        "settings": {name: settings.to_json() for name, settings in record.settings.items()},
        "dropped": {name: data.hex() for name, data in record.dropped.items()},
        "proof": record.proof and record.proof.to_json(),
        "tensors": [_step_to_json(step) for step in plan.steps],
    }
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")) + "\n"


def from_json(raw: bytes, file: Path) -> Record:
    """Read a record back. It may come from a stranger: what it says is checked for its form here, for sense later.

    Raises:
        Malformed: the file is not a record that bnport wrote.
    """
    document = parse_object(raw, file=file, what="the record")
    if document.get("schema") != SCHEMA:
        message = "is no record this bnport can read"
        raise Malformed(message, file=file, expected=SCHEMA, found=document.get("schema"), hint=_DELETE)
    try:
        found = _from_document(document)
        sizes = {step.source.name: step.source.nbytes for step in found.plan.steps if step.source and not step.target}
        for name, data in found.dropped.items():
            if sizes.get(name) != len(data):
                raise ValueError(f"{name}: {len(data)} bytes of it are kept, expected {sizes.get(name)}")
        return found
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed("is damaged", file=file, expected=SCHEMA, found=repr(error), hint=_DELETE) from error


def _from_document(document: dict[str, Any]) -> Record:
    """Raises KeyError, TypeError, ValueError or AttributeError where it is none."""
    steps = tuple(_step_from_json(step) for step in list_of(list, document["tensors"]))
    plan = Plan(one_of(DIALECTS, document["from"]), one_of(DIALECTS, document["to"]), steps)
    dtype, versions, optimizer = document["dtype"], document["versions"], document["optimizer"]
    proof = document["proof"]
    return Record(
        plan,
        of_type(str, document["strip_prefix"]),
        None if dtype is None else BY_NAME[of_type(str, dtype)].name,
        {name: bytes.fromhex(data) for name, data in map_of(str, document["dropped"]).items()},
        None if versions is None else map_of(int, versions),
        map_of(str, document["kinds"]),
        {name: Settings.from_json(settings) for name, settings in map_of(dict, document["settings"]).items()},
        map_of(str, document["renamed"]),
        tuple(list_of(str, document["drop"])),
        _carried(optimizer),
        map_of(str, document["shared"]),
        _proof(proof),
    )


def _carried(value: Any) -> Carried | None:
    if value is None:
        return None
    from porter.optimizer.model import Carried

    return Carried.from_json(of_type(dict, value))


def _proof(value: Any) -> Proof | None:
    if value is None:
        return None
    from porter.proof import Proof

    return Proof.from_json(of_type(dict, value))


def read_beside(output: Path) -> Record | None:
    """The record beside a converted file, or beside what it is a symbolic link to; None where there is none.

    Raises:
        Malformed: it is damaged.
    """
    path = _lying_beside(output)
    return from_json(path.read_bytes(), path) if path else None


def replace_beside(output: Path, record: Record) -> None:
    """Put another record in the place of the one that lies beside a converted file; at no time is there half of one.

    Raises:
        OSError: the operating system refused.
    """
    path = _lying_beside(output)
    assert path is not None, "there is one"
    new = path.with_name(f".{path.name[:40]}.{os.urandom(4).hex()}.bnport")
    try:
        new.write_text(to_json(record), "utf-8")
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _lying_beside(output: Path) -> Path | None:
    paths = (path_beside(output), path_beside(Path(os.path.realpath(output))))
    return next((path for path in paths if path.is_file()), None)


def _step_to_json(step: Step) -> list[Any]:
    """[source, target, fate, reason, layer] and, for a shared one, whose name it is: a checkpoint has many."""
    shared = [step.same_as] if step.same_as else []
    return [_spec_to_json(step.source), _spec_to_json(step.target), step.fate, step.reason, step.layer, *shared]


def _step_from_json(value: list[Any]) -> Step:
    source, target, fate, reason, layer, *shared = value
    same_as = of_type(str, shared[0]) if shared else None
    read = _spec_from_json(source), _spec_from_json(target)
    if read == (None, None):
        raise ValueError("a tensor without a name")
    return Step(
        *read,
        one_of(get_args(Fate), fate),
        of_type(str, reason),
        same_as=same_as,
        layer=None if layer is None else of_type(str, layer),
    )


def _spec_to_json(spec: TensorSpec | None) -> list[Any] | None:
    return None if spec is None else [spec.name, spec.dtype.name, list(spec.shape)]


def _spec_from_json(value: list[Any] | None) -> TensorSpec | None:
    if value is None:
        return None
    name, dtype, shape = of_type(list, value)
    if min(list_of(int, shape), default=0) < 0:
        raise ValueError(f"{name!r:.60} has a negative length")
    return TensorSpec(of_type(str, name), BY_NAME[of_type(str, dtype)], tuple(shape))
