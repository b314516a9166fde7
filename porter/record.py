"""The record of a conversion, `OUTPUT.bnport.json` beside the output: what the way back needs, and what was proven.

Names, shapes and dtypes on both sides, and the bytes of the few small tensors that the target format's framework has
no place for (`num_batches_tracked`). With it, converting OUTPUT back restores the source exactly; without it, the
counters become 0 and created parameters stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from porter.errors import FileIOError, Malformed
from porter.formats.dtypes import BY_NAME, DType
from porter.formats.model import EMPTY, TensorSpec
from porter.formats.strict_json import list_of, map_of, of_type, one_of, parse_object
from porter.layers.kinds import DIALECTS
from porter.layers.model import Layer
from porter.layers.settings import Settings
from porter.layers.training_state import training_state
from porter.plan import Plan, Step
from porter.record_rows import SCHEMA, SCHEMA_IN_FULL, dump, settings_of, settings_rows, step_texts, steps_of

# Start-up is kept short: few conversions carry an optimizer, or lead back.
if TYPE_CHECKING:
    from porter.optimizer.model import Carried
    from porter.proof import Proof

_DELETE = "Delete it to convert without a record: counters become 0, created parameters stay."

# Dropped tensors of layers up to this size are kept in the record: a counter has 8 bytes, statistics have some for
# every channel.
_STATISTICS_BYTES = 1 << 16


class Record(NamedTuple):
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
    dropped: Mapping[str, bytes] = EMPTY
    versions: Mapping[str, int] | None = None
    kinds: Mapping[str, str] = EMPTY
    settings: Mapping[str, Settings] = EMPTY
    renamed: Mapping[str, str] = EMPTY
    drop: tuple[str, ...] = ()
    optimizer: Carried | None = None
    shared: Mapping[str, str] = EMPTY
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
        paths = {
            layer.name: layer.path_in(plan.to, came_from=plan.from_).removeprefix(strip_prefix) for layer in layers
        }
        named = {paths[layer.name]: layer for layer in known}
        kinds = {name: layer.kind_name for name, layer in named.items()}
        settings = {name: layer.settings for name, layer in named.items() if layer.settings}
        renamed = {step.ruled: step.target.name for step in plan.steps if step.ruled and step.target}
        optimizer = plan.optimizer and plan.optimizer.by_the_rules({there: here for here, there in renamed.items()})
        steps = tuple([_as_recorded(step, paths) for step in plan.steps if not step.optimizer])
        plan = plan._replace(steps=steps, optimizer=None)
        name = dtype.name if dtype else None
        return cls(
            plan, strip_prefix, name, dropped, versions, kinds, settings, renamed, drop, optimizer, shared or {}
        )

    def is_of(self, specs: list[TensorSpec]) -> bool:
        """Whether a file with these tensors is what the recorded conversion wrote, possibly trained further.

        What training adds to a file - the state of its optimizer - does not count.
        """
        written = set(self.plan.targets)
        if self.renamed:
            written = {spec._replace(name=self.renamed.get(spec.name, spec.name)) for spec in written}
        if written == set(specs):
            return True
        added = training_state({spec.name: spec for spec in specs})
        return {spec for spec in written if spec.name not in added} == {s for s in specs if s.name not in added}

    def true_layers(self, layers: list[Layer]) -> list[Layer]:
        """`layers`, recognised in the output, less those of which no tensor came from a layer.

        A parameter of one's own keeps its name, which on the other side may be a layer's (`a`, a root's PReLU).
        """
        own = {step.target.name for step in self.plan.steps if step.source and step.target and step.layer is None}
        return [layer for layer in layers if not layer.tensors or not own.issuperset(layer.tensors.values())]


def _as_recorded(step: Step, paths: Mapping[str, str]) -> Step:
    """A step as the record keeps it: its target called as before renames, its layer by its path in the output."""
    if step.layer is not None and paths[step.layer] != step.layer:
        step = step._replace(layer=paths[step.layer])
    if step.ruled is None or step.target is None:
        return step
    return step._replace(target=step.target._replace(name=step.ruled), ruled=None)


def is_recorded(dropped: Step) -> bool:
    """Whether the record keeps the bytes of the tensor that a step drops: a layer's, not an optimizer's."""
    assert dropped.source is not None
    return dropped.layer is not None and dropped.source.nbytes <= _STATISTICS_BYTES


def path_beside(output: Path) -> Path:
    return output.with_name(output.name + ".bnport.json")


def write(record: Record, path: Path) -> None:
    """Write a record as JSON.

    Raises:
        OSError: the operating system refused.
    """
    with path.open("w", encoding="ascii") as file:
        file.writelines(_texts(record))


def _texts(record: Record) -> Iterator[str]:
    plan = record.plan
    document = {
        "schema": SCHEMA,
        "from": plan.from_,
        "to": plan.to,
        "strip_prefix": record.strip_prefix,
        "dtype": record.dtype,
        "renamed": dict(record.renamed),
        "drop": record.drop,
        "shared": dict(record.shared),
        "optimizer": record.optimizer and record.optimizer.to_json(),
        "versions": record.versions,
        "kinds": dict(record.kinds),
        "settings": settings_rows(record.settings),
        "dropped": {name: data.hex() for name, data in record.dropped.items()},
        "proof": record.proof and record.proof.to_json(),
    }
    yield f"{dump(document)[:-1]},"
    yield from step_texts(plan.steps)
    yield "}\n"


def from_json(raw: bytes, file: Path) -> Record:
    """Read a record back. It may come from a stranger: what it says is checked for its form here, for sense later.

    Raises:
        Malformed: the file is not a record that bnport wrote.
    """
    document = parse_object(raw, file=file, what="the record")
    if document.get("schema") not in (SCHEMA, SCHEMA_IN_FULL):
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
    plan = Plan(one_of(DIALECTS, document["from"]), one_of(DIALECTS, document["to"]), steps_of(document))
    dtype, versions, optimizer = document["dtype"], document["versions"], document["optimizer"]
    proof = document["proof"]
    return Record(
        plan,
        of_type(str, document["strip_prefix"]),
        None if dtype is None else BY_NAME[of_type(str, dtype)].name,
        {name: bytes.fromhex(data) for name, data in map_of(str, document["dropped"]).items()},
        None if versions is None else map_of(int, versions),
        map_of(str, document["kinds"]),
        settings_of(document),
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
        FileIOError: the operating system refused.
    """
    path = _lying_beside(output)
    if path is None:
        return None
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FileIOError(f"cannot be read: {error.strerror}", file=path) from error
    return from_json(raw, path)


def replace_beside(output: Path, record: Record) -> None:
    """Put another record in the place of the one that lies beside a converted file; at no time is there half of one.

    Raises:
        OSError: the operating system refused.
    """
    path = _lying_beside(output)
    assert path is not None, "there is one"
    new = path.with_name(f".{path.name[:40]}.{os.urandom(4).hex()}.bnport")
    try:
        write(record, new)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _lying_beside(output: Path) -> Path | None:
    paths = (path_beside(output), path_beside(Path(os.path.realpath(output))))
    return next((path for path in paths if path.is_file()), None)
