"""The pickle machine: it describes what Python would build, builds nothing, and stays within the input's size."""

from __future__ import annotations

import collections
import contextlib
import datetime
import math
import os
import pickle
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work import at_most

from porter.errors import InputError, LimitExceeded, Malformed, Truncated, Unsafe, Unsupported
from porter.formats.pickle_machine import load
from porter.formats.pickle_records import Global, PersistentId, Record, globals_in, objects_in

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def parsed(data: bytes) -> Any:
    value, end = load(data, file="file.pt", entry="data.pkl")
    assert end == len(data)
    return value


def built(value: Any) -> Any:
    """The plain Python value that inert records describe."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(built, value))
    if not isinstance(value, Record):
        return value
    args = [built(arg) for arg in value.args]
    return {
        "builtins.dict": lambda: {built(k): built(v) for k, v in value.entries},
        "builtins.set": lambda: set(*args) | set(map(built, value.items)),
        "__builtin__.set": lambda: set(*args),
        "builtins.frozenset": lambda: frozenset(*args, *([map(built, value.items)] if value.items else [])),
        "__builtin__.frozenset": lambda: frozenset(*args),
        "_codecs.encode": lambda: args[0].encode(args[1]),
        "__builtin__.bytes": lambda: b"",
        "builtins.bytearray": lambda: bytearray(*args),
        "__builtin__.bytearray": lambda: bytearray(args[0].encode(args[1])) if args else bytearray(),
    }[value.path]()


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(max_size=300),
)
VALUES = st.recursive(
    SCALARS | st.sets(st.integers()) | st.frozensets(st.text()),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(SCALARS, inner),
    max_leaves=20,
)


@settings(deadline=None, max_examples=300)
@given(value=VALUES, protocol=st.sampled_from(PROTOCOLS))
def test_plain_values_are_what_python_reads(value: Any, protocol: int) -> None:
    assert built(parsed(pickle.dumps(value, protocol))) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_large_values(protocol: int) -> None:
    value = {"long text": "é" * 70_000, "bytes": bytes(range(256)) * 300, "list": list(range(3000)), "inf": -math.inf}
    assert built(parsed(pickle.dumps(value, protocol))) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_are_records(protocol: int) -> None:
    value = parsed(pickle.dumps([datetime.date(2024, 2, 3), np.float64(0.5), collections.OrderedDict(a=1)], protocol))
    date, number, ordered = value
    assert (date.path, number.path) == ("datetime.date", "numpy.core.multiarray.scalar")
    assert (ordered.path, ordered.entries) == ("collections.OrderedDict", [("a", 1)])
    assert {"datetime.date", "numpy.dtype", "collections.OrderedDict"} <= set(globals_in(value))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"S'a\\x41'\n.", "aA"),
        (b"U\x02\xff\xfe.", b"\xff\xfe"),
        (b"U\x02\xc3\xa9.", "é"),
        (b"T\x01\0\0\0a.", "a"),
        (b"Va\\u00e9\n.", "aé"),
        (b"I01\n.", True),
        (b"L12345678901234567890L\n.", 12345678901234567890),
        (b"I-5\n.", -5),
        (b"F1e3\n.", 1000.0),
        (b"K\x05K\x062\x87.", (5, 6, 6)),
        (b"K\x05(K\x061.", 5),
        (b"K\x05(0.", 5),
        (b"K\x05p3\n0g3\n.", 5),
        (b"(K\x01K\x02l.", [1, 2]),
        (b"\x8b\x02\0\0\0\xff\xff.", -1),
    ],
)
def test_opcodes_of_older_pythons(data: bytes, expected: Any) -> None:
    assert parsed(data) == expected
    assert type(parsed(data)) is type(expected)


def test_instances_and_persistent_ids() -> None:
    inst = parsed(b"(K\x01idatetime\ndate\n.")
    assert (inst.path, inst.args) == ("datetime.date", (1,))
    obj = parsed(b"(cdatetime\ndate\nK\x01o.")
    assert (obj.path, obj.args) == ("datetime.date", (1,))
    persistent = parsed(b"Pname\n.")
    assert isinstance(persistent, PersistentId)
    assert persistent.value == "name"
    assert parsed(b"K\x07Q.").value == 7


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", Truncated, "ends in the middle"),
        (b"\x80", Truncated, "ends in the middle"),
        (b"K\x01", Truncated, "ends in the middle"),
        (b"X\xff\xff\xff\xffabc.", Truncated, "expected 4294967295 bytes"),
        (b"\x8d" + b"\xff" * 8 + b".", Truncated, "expected 18446744073709551615 bytes"),
        (b"\x8e" + b"\xff" * 8 + b".", Truncated, "bytes"),
        (b"\x96" + b"\xff" * 8 + b".", Truncated, "bytes"),
        (b"\x95" + b"\xff" * 8 + b".", Truncated, "a frame of"),
        (b"I123", Truncated, "a newline"),
        (b"J\x01\x02", Truncated, "byte 0"),
        (b"<html>", Malformed, "unknown opcode"),
        (b"R.", Malformed, "takes more from the stack than is there"),
        (b"(t(.", Malformed, "other than one value"),
        (b"K\x01K\x02.", Malformed, "other than one value"),
        (b"(K\x01.", Malformed, "other than one value"),
        (b"t...", Malformed, "takes more from the stack"),
        (b"0...", Malformed, "takes more from the stack"),
        (b"h\x07..", Malformed, "recalls what was never stored"),
        (b"X\x01\0\0\0\xff..", Malformed, "utf-8"),
        (b"K\x01K\x02a.", Malformed, "appends to something that is no list"),
        (b"]K\x01K\x02s.", Malformed, "no dictionary"),
        (b"}(K\x01u.", Malformed, "a key without a value"),
        (b"K\x01}b.", Malformed, "gives a state to something that has none"),
        (b"K\x01K\x02\x93.", Malformed, "a global without a name"),
        (b"Iabc\n.", Malformed, "invalid literal"),
        (b"Sabc\n.", Malformed, "without its quotes"),
        (b"\x80\x06N.", Unsupported, "protocol"),
        (b"\x82\x01.", Unsafe, "extension code"),
        (b"\x83\x01\0.", Unsafe, "extension code"),
        (b"\x84\x01\0\0\0.", Unsafe, "extension code"),
        (b"\x97.", Unsupported, "outside of it"),
        (b"\x8b\xff\xff\xff\x7f" + bytes(100), Truncated, "bytes"),
        (b"\x8b\0\x10\0\0" + bytes(4096) + b".", LimitExceeded, "4096 bytes"),
        (b"I" + b"9" * 5000 + b"\n.", LimitExceeded, "5000 digits"),
    ],
)
def test_damage(data: bytes, error: type[InputError], message: str) -> None:
    with pytest.raises(error, match=rf"file\.pt: data\.pkl: .*{message}") as caught:
        parsed(data)
    assert type(caught.value) is error


def test_too_many_opcodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("porter.formats.pickle_machine.MAX_OPCODES", 1000)
    with pytest.raises(LimitExceeded, match="more than 1000 opcodes"):
        parsed(b"]" + b"2" * 1000 + b".")


@settings(deadline=None, max_examples=500)
@given(data=st.binary(max_size=200))
def test_random_bytes_end_in_a_value_or_an_input_error(data: bytes) -> None:
    with contextlib.suppress(InputError):
        load(data, file="file.pt", entry="data.pkl")


OPCODES = st.sampled_from(b"()]}Nt\x85\x86\x87\x88\x890127aeusbRQo.\x81\x8f\x90\x91\x92\x93\x94ldq\0h\0K\1")


@settings(deadline=None, max_examples=500)
@given(codes=st.lists(OPCODES, max_size=60))
def test_random_programs_end_in_a_value_or_an_input_error(codes: list[int]) -> None:
    try:
        value, _ = load(bytes(codes) + b".", file="file.pt", entry="data.pkl")
    except InputError:
        return
    list(objects_in(value))
    repr(globals_in(value))


class Evil:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_code_stays_a_record(tmp_path: Any, protocol: int) -> None:
    sentinel = tmp_path / "ran"
    attacks = [
        Evil(os.system, f"touch {sentinel}"),
        Evil(eval, f"open({str(sentinel)!r}, 'w')"),
        Evil(exec, f"open({str(sentinel)!r}, 'w')"),
        Evil(getattr, Evil(__import__, "os"), "system"),
        Evil(pickle.loads, pickle.dumps(Evil(os.system, f"touch {sentinel}"))),
        Evil(open, str(sentinel), "w"),
    ]
    value = parsed(pickle.dumps(attacks, protocol))
    assert [type(attack) for attack in value] == [Record] * len(attacks)
    assert {"posix.system"} <= set(globals_in(value))
    assert not sentinel.exists()
    # The same bytes do run in Python's own unpickler: the attack is real.
    pickle.loads(pickle.dumps(attacks[0], protocol))
    assert sentinel.exists()


def test_a_global_is_a_name_whatever_it_is() -> None:
    value = parsed(b"cno.such.module\nand no such name\n.")
    assert isinstance(value, Global)
    assert value.path == "no.such.module.and no such name"
    assert "no such name" in repr(value)


# A byte of these pickles takes 26 lines of Python at most.
LINES_PER_BYTE = 50


def read_and_walk(data: bytes) -> Any:
    """What `data` describes, read and walked with an amount of work in proportion to the length of `data`."""
    with at_most(LINES_PER_BYTE * len(data)):
        value = parsed(data)
        list(objects_in(value))
    return value


def nestings(depth: int) -> list[bytes]:
    return [
        b"]" * depth + b"a" * (depth - 1) + b".",
        b"N" + b"\x85" * depth + b".",
        b"(" * depth + b"N" + b"t" * depth + b".",
        b"}K\x01" * depth + b"N" + b"s" * depth + b".",
        b"cos\nsystem\n" + b")\x81" * depth + b".",
        b"N" + b"Q" * depth + b".",
    ]


def test_nesting_costs_what_it_holds() -> None:
    for data in nestings(5000):
        read_and_walk(data)


def test_nesting_200_000_deep_overflows_no_stack() -> None:
    for data in nestings(200_000):
        value = parsed(data)
        list(objects_in(value))
        del value


def test_graph_of_two_to_the_40_paths() -> None:
    # Every list holds the one before it twice.
    value = read_and_walk(b"]q\0" + b"0](h\0h\0eq\0" * 40 + b".")
    assert len(value) == 2
    assert value[0] is value[1]
    # The same as keys, where Python would hash its way through all paths.
    read_and_walk(b")q\0" + b"0h\0h\0\x86q\0" * 40 + b"0}h\0Ns.")


def test_memo_far_apart_costs_what_it_holds() -> None:
    """4000 entries of a memo whose numbers go up to 4 * 10^9; a list of that many would take 32 GB."""
    data = b"N" + b"".join(b"r" + struct.pack("<I", i << 20) for i in range(4000)) + b"."
    tracemalloc.start()
    try:
        assert parsed(data) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_an_object_that_holds_itself() -> None:
    read_and_walk(b"]q\0h\0a.")
    read_and_walk(b"}q\0K\1h\0s.")
    read_and_walk(b"cos\nsystem\n)\x81q\0h\0b.")
