"""Python source text and its syntax tree: which characters each node was written with."""

from __future__ import annotations

import ast
import bisect
import re
import warnings
from collections.abc import Iterator
from itertools import accumulate

from porter.configs.tree import Span
from porter.errors import LimitExceeded, Malformed

Function = ast.FunctionDef | ast.AsyncFunctionDef
ScopeNode = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

_BOM = "\ufeff"
_OPENING = re.compile(r"#[^\r\n]*|\(")
_BLOCKS = (ast.stmt, ast.excepthandler, ast.match_case)


class Source:
    """A text and where its lines start, to turn `ast`'s lines and UTF-8 columns into characters.

    Attributes:
        text: the whole file.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        # Python's lines, unlike those of str.splitlines, end with these three only: a form feed ends none.
        self._starts = [0, *(end.end() for end in re.finditer(r"\r\n|\r|\n", text))]
        self._starts[0] = len(_BOM) if text.startswith(_BOM) else 0
        self._ascii = text.isascii()
        # Of lines that were asked for: after how many bytes each character ends.
        self._bytes: dict[int, list[int]] = {}

    def span(self, node: ast.expr | ast.stmt | ast.keyword | ast.alias | ast.arg) -> Span:
        """The characters of `node`, without parentheses around it."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return Span(
            self._offset(node.lineno, node.col_offset),
            self._offset(node.end_lineno, node.end_col_offset),
        )

    def text_of(self, node: ast.expr | ast.stmt | ast.keyword | ast.alias | ast.arg) -> str:
        """What `node` was written as."""
        start, end = self.span(node)
        return self.text[start:end]

    def opening(self, function: ast.expr) -> int:
        """Where the parenthesis of a call of `function` opens."""
        return next(f.start() for f in _OPENING.finditer(self.text, self.span(function).end) if f[0] == "(")

    def _offset(self, line: int, column: int) -> int:
        start = self._starts[line - 1]
        if self._ascii:
            return start + column
        if line not in self._bytes:
            end = self._starts[line] if line < len(self._starts) else len(self.text)
            self._bytes[line] = [*accumulate(len(letter.encode()) for letter in self.text[start:end])]
        return start + bisect.bisect_right(self._bytes[line], column)


def module_of(text: str) -> ast.Module:
    """The syntax tree of a Python file. Nothing in it is run.

    Raises:
        Malformed: it is no Python that this interpreter reads; with line and column.
        LimitExceeded: it nests too deep.
    """
    try:
        with warnings.catch_warnings():
            # Of what the file does (an invalid escape, `is 1`), which is not ours to judge.
            warnings.simplefilter("ignore")
            return ast.parse(text.removeprefix(_BOM))
    except (RecursionError, MemoryError) as error:
        raise LimitExceeded("the Python code nests too deep") from error
    except (SyntaxError, ValueError) as error:
        if "too many nested" in str(error):
            raise LimitExceeded("the Python code nests too deep", found=error.args[0]) from error
        line, column = (error.lineno, error.offset) if isinstance(error, SyntaxError) else (None, None)
        raise Malformed(
            "the file is no Python code",
            entry=None if line is None else f"line {line}, column {max(column or 1, 1)}",
            found=error.args[0],
            hint="Python 2 has to be converted first" if "print" in str(error.args[0]) else None,
        ) from error


def statements(node: ScopeNode) -> Iterator[ast.stmt]:
    """The statements of one scope in order, those in `if`, `for`, `try` and the like included."""
    waiting: list[ast.AST] = list(reversed(node.body))
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, ast.stmt):
            yield inner
        if not isinstance(inner, Function | ast.ClassDef):
            waiting += reversed([child for child in ast.iter_child_nodes(inner) if isinstance(child, _BLOCKS)])


def expressions(statement: ast.stmt) -> list[ast.expr]:
    """The expressions of a statement itself, not of the statements inside it; defaults of parameters left out."""
    if isinstance(statement, Function):
        return statement.decorator_list
    found: list[ast.expr] = []
    waiting = [child for child in ast.iter_child_nodes(statement) if not isinstance(child, _BLOCKS)]
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, ast.expr):
            found.append(part)
        else:
            waiting += ast.iter_child_nodes(part)
    return found
