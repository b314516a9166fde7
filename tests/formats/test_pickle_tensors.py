"""Tensors taken out of a pickle in one step: what comes of it is what the machine itself reads, opcode by opcode."""

from __future__ import annotations

import collections
import copy
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_files import convert, read, save, text

from porter.errors import InputError
from porter.formats import pickle_machine
from porter.formats.pickle_records import Global, PersistentId, Record, TensorCall

FLAT = torch.arange(400.0)
NORM = torch.nn.BatchNorm3d(3)


def named(tensors: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"layer{i}.weight": tensor for i, tensor in enumerate(tensors)}


def trained() -> dict[str, Any]:
    """A training checkpoint after a step, as scripts save it."""
    net = torch.nn.Sequential(*[torch.nn.Conv3d(2, 2, 1) for _ in range(20)], torch.nn.BatchNorm3d(2))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.rand(2, 2, 2, 2, 2)).sum().backward()
    optimizer.step()
    return {"epoch": 3, "state_dict": net.state_dict(), "optimizer": optimizer.state_dict(), "best": 0.5}


# By more than 40 tensors the numbers of the memo outgrow a byte.
TREES: dict[str, Callable[[], Any]] = {
    "alike": lambda: named([torch.rand(3, 4) for _ in range(60)]),
    "all shapes": lambda: named([torch.zeros([2] * (i % 7)) for i in range(80)]),
    "large numbers": lambda: named([torch.zeros(70_000, 1)[i:] for i in range(60)] + [torch.zeros(300, 0, 70_000)]),
    "all types": lambda: named([torch.zeros(2, dtype=t) for t in (torch.int64, torch.bfloat16, torch.bool) * 30]),
    "untyped": lambda: named([torch.zeros(2, dtype=torch.uint16) for _ in range(60)]),
    "shared storages": lambda: named([FLAT[i : i + 4] for i in range(60)]),
    "tied": lambda: named([torch.ones(2) for _ in range(50)] * 2),
    "transposed": lambda: named([torch.rand(2, i + 1).T for i in range(60)]),
    "parameters": lambda: named([torch.nn.Parameter(torch.rand(2)) for _ in range(60)]),
    "in lists": lambda: [[torch.rand(1)], (torch.rand(2), {"a": torch.rand(3)})] * 30,
    "metadata": lambda: torch.nn.Sequential(*[copy.deepcopy(NORM) for _ in range(30)]).state_dict(),
    "whole network": lambda: torch.nn.Sequential(*[torch.nn.Linear(2, 2) for _ in range(30)]),
    "training": trained,
    "names that look like opcodes": lambda: {f"jhj{i}\u0101j\0": torch.rand(2) for i in range(60)},
    "default dictionaries": lambda: collections.defaultdict(list, named([torch.rand(2) for _ in range(60)])),
}


def pickle_of(tree: Any, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    torch.save(tree, file, pickle_protocol=protocol)
    with zipfile.ZipFile(file) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))


PICKLES = {name: pickle_of(tree()) for name, tree in TREES.items()}


def loaded(data: bytes, *, fast: bool) -> Any:
    """What the machine says of a pickle: a description of the value, or the error."""
    with pytest.MonkeyPatch.context() as patch:
        if not fast:
            patch.setattr(pickle_machine, "load_tensors", lambda *_: None)
        try:
            value, end = pickle_machine.load(data, file="file.pt", entry="data.pkl")
        except InputError as error:
            return type(error), str(error)
    return unfolded(value, {}), end


def unfolded(value: Any, seen: dict[int, tuple[int, Any]]) -> Any:
    """What `value` describes, TensorCalls as the Records they stand for, and whatever is there twice."""
    if isinstance(value, (Record, TensorCall, list)):
        if id(value) in seen:
            return f"again {seen[id(value)][0]}"
        seen[id(value)] = len(seen), value
    if isinstance(value, TensorCall):
        kind = value.kind
        storage = "storage", Global(kind.storage_class), value.key, kind.location, kind.numel
        hooks = Record(Global("collections.OrderedDict"))
        args = PersistentId(storage), kind.offset, kind.shape, kind.strides, False, hooks
        return unfolded_record(Record(Global(value.path), args), seen)
    if isinstance(value, Record):
        return unfolded_record(value, seen)
    if isinstance(value, PersistentId):
        return "persistent", unfolded(value.value, seen)
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [unfolded(item, seen) for item in value]
    return value.path if isinstance(value, Global) else (type(value).__name__, repr(value))


def unfolded_record(record: Record, seen: dict[int, tuple[int, Any]]) -> Any:
    parts = record.cls, record.args, record.kwargs, record.state, record.items, record.entries
    found = [unfolded(part, seen) for part in parts]
    if record.path == TensorCall.path and isinstance(record.args, tuple) and len(record.args) > 4:
        # Whether it requires a gradient is not kept.
        found[1][1][4] = "bool" if type(record.args[4]) is bool else found[1][1][4]
    return found


def tensor_calls(value: Any) -> int:
    """How many of the entries of a state dict are TensorCalls."""
    return sum(isinstance(entry, TensorCall) for _, entry in value.entries)


@pytest.mark.parametrize(
    ("name", "expected"),
    # A tensor takes 8 numbers of the memo, and those below 256 are for the machine.
    [("alike", 60 - 32), ("transposed", 60 - 32), ("all types", 90 - 32), ("shared storages", 0), ("untyped", 0)],
)
def test_tensors_are_taken_in_one_step(name: str, expected: int) -> None:
    value, _ = pickle_machine.load(PICKLES[name], file="file.pt", entry="data.pkl")
    assert abs(tensor_calls(value) - expected) <= 1


def test_tensors_that_bnport_wrote_are_taken_in_one_step(tmp_path: Path) -> None:
    path = convert(read(save(TREES["alike"](), tmp_path / "in.pt")), tmp_path / "out.pt")
    with zipfile.ZipFile(path) as archive:
        value, _ = pickle_machine.load(archive.read("archive/data.pkl"), file=path, entry="data.pkl")
    # All but the first, which the others recall parts of.
    assert tensor_calls(value) == 59


@pytest.mark.parametrize("name", PICKLES)
def test_the_same_with_and_without(name: str) -> None:
    assert loaded(PICKLES[name], fast=True) == loaded(PICKLES[name], fast=False)


@pytest.mark.parametrize("protocol", range(1, 6))
@pytest.mark.parametrize("name", ["alike", "training"])
def test_the_same_in_every_protocol(name: str, protocol: int) -> None:
    data = pickle_of(TREES[name](), protocol)
    assert loaded(data, fast=True) == loaded(data, fast=False)


# What the tensors below recall, by the number that each has in the memo.
SHARED = [
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    text("storage"),
    b"ctorch\nFloatStorage\n",
    text("cpu"),
    b"ccollections\nOrderedDict\n",
]
FILLED = (*range(8), *range(254, 260))
# Those of the shared parts, a few more, and the next ones that MEMOIZE gives.
NUMBERS = st.sampled_from(FILLED) | st.integers(0, len(FILLED) + 2)


def get(number: int) -> bytes:
    return b"j" + struct.pack("<I", number)


def put(number: int | None) -> bytes:
    return b"" if number is None else b"r" + struct.pack("<I", number)


START = b"\x80\x02" + b"".join(b"]" + put(number) + b"0" for number in FILLED)
START += b"".join(opcodes + put(number) + b"0" for number, opcodes in enumerate(SHARED)) + b"}("


@st.composite
def tensors(draw: st.DrawFn) -> bytes:
    """A tensor as PyTorch pickles it, each part with any number in the memo, and seldom with a fault in it."""
    puts = [put(draw(st.none() | NUMBERS | st.just(999))) for _ in range(7)]
    key = draw(st.sampled_from([b"0", b"12", b"345"]))
    length = draw(st.sampled_from([len(key)] * 7 + [len(key) - 1]))
    numel, offset, *sizes = (draw(st.sampled_from([b"K\x08", b"M\0\1", b"J\1\2\0\0", b"K\xff"])) for _ in range(4))
    numel = draw(st.sampled_from([numel] * 7 + [b"J\xff\xff\xff\xff"]))
    tuples = draw(st.sampled_from([b"\x86"] * 7 + [b"\x85"])), draw(st.sampled_from([b"\x86"] * 7 + [b"\x87"]))
    shape, strides = (b"".join(sizes) + opcode for opcode in tuples)
    storage = get(0) + b"((" + b"h\1h\2X%c\0\0\0" % length + key + puts[0] + b"h\3" + numel + b"t" + puts[1] + b"Q"
    view = offset + shape + puts[2] + strides + puts[3] + b"\x89h\4)R" + puts[4]
    return storage + view + b"t" + puts[5] + b"R" + puts[6]


# What recalls, replaces, changes or counts what is in the memo, and leaves one value.
OTHERS = st.one_of(
    NUMBERS.map(get),
    NUMBERS.map(lambda number: b"h%c" % min(number, 255)),
    NUMBERS.map(lambda number: get(number) + b"Nb"),
    NUMBERS.map(lambda number: get(number) + b"K\1K\2s"),
    NUMBERS.map(lambda number: b"g%d\n" % number),
    NUMBERS.map(lambda number: b"Np%d\n" % number),
    NUMBERS.map(lambda number: b"Nq%c" % min(number, 255)),
    st.tuples(st.sampled_from([*SHARED, b"]"]), NUMBERS).map(lambda pair: pair[0] + put(pair[1])),
    st.tuples(NUMBERS, NUMBERS).map(lambda pair: get(pair[0]) + put(pair[1])),
    st.just(b"]\x94"),
)


def tensor(numbers: list[bytes], puts: bytes = b"", key: bytes = b"\1\0\0\x000") -> bytes:
    """A tensor of one axis: elements of the storage, offset, size, stride."""
    storage = b"h\0((h\1h\2X" + key + b"h\3" + numbers[0] + b"tQ"
    return storage + numbers[1] + numbers[2] + b"\x85" + puts + numbers[3] + b"\x85\x89h\4)RtR"


PLAIN = tensor([b"K\1"] * 4)


def entries(*values: bytes) -> bytes:
    return START + b"".join(text(str(i)) + value for i, value in enumerate(values)) + b"u."


@pytest.mark.parametrize("negative", [None, 0, 1, 2, 3])
def test_negative_numbers_are_for_the_machine(negative: int | None) -> None:
    data = entries(tensor([b"J\xff\xff\xff\xff" if i == negative else b"K\1" for i in range(4)]))
    value, _ = pickle_machine.load(data, file="file.pt", entry="data.pkl")
    assert tensor_calls(value) == (negative is None)


KEPT_NOWHERE = tensor([b"K\1"] * 4, put(999))


@pytest.mark.parametrize(
    "data",
    [
        # What tensors share becomes something else between two of them.
        *(entries(PLAIN, b"]" + put(number), PLAIN) for number in range(len(SHARED))),
        entries(PLAIN, b"X\4\0\0\0meta" + put(3), PLAIN),
        # The memo's next number, and a number spelled in text, after a put that need not be kept.
        *(entries(KEPT_NOWHERE, b"]\x94", get(number)) for number in range(8, len(FILLED) + 2)),
        entries(b"]p999\n", KEPT_NOWHERE, b"g999\n"),
        entries(KEPT_NOWHERE, b"]p999\n", b"g999\n"),
        entries(PLAIN, b"]p2\n", PLAIN),
        # By a byte and by four bytes, one number.
        entries(b"]q\xc8", tensor([b"K\1"] * 4, put(200)), b"h\xc8"),
        entries(tensor([b"K\1"] * 4, b"q\xc8"), get(200)),
        entries(b"X\1\0\0\0a" + put(200), b"h\xc8", b"N" + put(201), b"h\xc9"),
        # A text that is shorter than its digits; a tuple of more and of fewer numbers than stand before it.
        entries(tensor([b"K\1"] * 4, key=b"\1\0\0\x0002")),
        entries(PLAIN.replace(b"\x85", b"\x86", 1), b"N"),
        entries(PLAIN.replace(b"K\1\x85", b"K\1K\1\x85", 1), b"N"),
    ],
)
def test_the_same_of_memos_that_pytorch_does_not_write(data: bytes) -> None:
    assert loaded(data, fast=True) == loaded(data, fast=False)


@settings(deadline=None, max_examples=800)
@given(values=st.lists(tensors() | OTHERS, min_size=1, max_size=6))
def test_the_same_whatever_is_put_into_the_memo_and_recalled(values: list[bytes]) -> None:
    data = entries(*values)
    assert loaded(data, fast=True) == loaded(data, fast=False)


@settings(deadline=None, max_examples=200)
@given(data=st.data(), name=st.sampled_from(sorted(PICKLES)))
def test_the_same_of_damaged_pickles(data: st.DataObject, name: str) -> None:
    damaged = bytearray(PICKLES[name])
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=3)):
        damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))
    assert loaded(bytes(damaged[:cut]), fast=True) == loaded(bytes(damaged[:cut]), fast=False)
