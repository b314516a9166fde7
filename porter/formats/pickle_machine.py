"""A pickle machine that builds a tree of facts and runs nothing.

A pickle is a program for a stack machine: some opcodes name a global, some call what lies on the stack. This machine
has no way to import or to call: a name becomes a `Global`, a call becomes a `Record` of what would have been called
with what. So every pickle can be read, whoever made it, and what it holds is decided afterwards by looking.
"""

from __future__ import annotations

import struct
from mmap import mmap
from pathlib import Path
from typing import Any

from porter.errors import InputError, LimitExceeded, Malformed, Truncated
from porter.formats.pickle_literals import LITERALS
from porter.formats.pickle_stack import Handler, Machine
from porter.formats.pickle_structure import STRUCTURE
from porter.formats.pickle_tensors import load_tensors

# 20 times what a checkpoint of 50,000 tensors takes, and about 2 GB of objects at worst.
MAX_OPCODES = 35_000_000


def _unknown(m: Machine, at: int) -> int:
    raise Malformed("no pickle, or a damaged one: unknown opcode", found=f"byte {at - 1}: {m.data[at - 1]:#04x}")


_OPCODES = {**LITERALS, **STRUCTURE}
_HANDLERS: list[Handler] = [_OPCODES.get(code, _unknown) for code in range(256)]


def load(data: bytes | mmap, *, file: Path | str, entry: str, start: int = 0) -> tuple[Any, int]:
    """Read the pickle that begins at byte `start` of `data`.

    Args:
        data: the bytes; more may follow the pickle.
        file: the file they come from, for messages.
        entry: the record inside that file, for messages.

    Returns:
        What the pickle describes, and the position after its STOP. Numbers, strings, bytes, None, lists and tuples
        are themselves; everything else is a Record, Global, PersistentId or TensorCall.

    Raises:
        Truncated: the bytes end inside the pickle.
        Malformed: an unknown opcode, or one that the stack does not allow.
        LimitExceeded: too many opcodes or too large a number.
        Unsupported: a protocol above 5, or out-of-band buffers.
        Unsafe: an extension code, which stands for whatever the writing program had registered.
    """
    # A pickle of so few bytes has no more opcodes than are allowed, whoever counts them.
    if isinstance(data, bytes) and len(data) <= MAX_OPCODES:
        loaded = load_tensors(data, start, _HANDLERS)
        if loaded is not None:
            return loaded
    machine, handlers, at = Machine(data), _HANDLERS, start
    try:
        for _ in range(MAX_OPCODES):
            position = handlers[data[at]](machine, at + 1)
            if position < 0:
                return machine.stack.pop(), -position
            at = position
        raise LimitExceeded(f"the pickle has more than {MAX_OPCODES} opcodes")
    except InputError as error:
        error.file, error.entry = str(file), entry
        error.found = error.found or f"byte {at}"
        raise
    except (struct.error, IndexError, KeyError, ValueError) as error:
        # Of the opcodes whose argument is read by index, none takes more than one byte.
        if isinstance(error, struct.error) or at + 1 >= len(data):
            raise Truncated("the pickle ends in the middle", file=file, entry=entry, found=f"byte {at}") from None
        raise Malformed("the pickle contradicts itself", file=file, entry=entry, found=_fault(error, at)) from None


def _fault(error: Exception, at: int) -> str:
    reasons: dict[type[Exception], str] = {
        IndexError: "takes more from the stack than is there",
        KeyError: "recalls what was never stored",
    }
    return f"byte {at}: {reasons.get(type(error), str(error))}"
