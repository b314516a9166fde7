"""The pickle machine's state, and what an opcode is to it.

Time and memory are linear in the bytes read: lengths are compared with what is left before anything is taken, and
nothing is hashed that a stranger composed.
"""

from __future__ import annotations

from collections.abc import Callable
from mmap import mmap
from typing import Any

from porter.errors import Truncated


class Machine:
    """The state of one run: the stack, the stacks set aside by MARK, and the memo."""

    __slots__ = ("data", "memo", "set_aside", "stack")

    def __init__(self, data: bytes | mmap) -> None:
        self.data = data
        self.stack: list[Any] = []
        self.set_aside: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        """Take everything above the last MARK."""
        items, self.stack = self.stack, self.set_aside.pop()
        return items

    def take(self, position: int, length: int) -> bytes:
        """`length` bytes at `position`."""
        if length > len(self.data) - position:
            raise Truncated("the pickle ends in the middle", expected=f"{length} bytes")
        return self.data[position : position + length]

    def line(self, position: int) -> tuple[bytes, int]:
        """The text up to the next newline, and the position behind that."""
        end = self.data.find(b"\n", position)
        if end < 0:
            raise Truncated("the pickle ends in the middle", expected="a newline")
        return self.data[position:end], end + 1


# Gets the position behind its opcode and returns that of the next opcode; STOP alone returns it negated.
Handler = Callable[[Machine, int], int]


class Opcodes(dict[int, Handler]):
    """A part of the table of opcodes."""

    def handles(self, *codes: bytes) -> Callable[[Handler], Handler]:
        """Makes the function under it the handler of `codes`."""

        def register(handler: Handler) -> Handler:
            for code in codes:
                self[code[0]] = handler
            return handler

        return register
