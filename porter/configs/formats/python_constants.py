"""The constants of a Python file: numbers and flags that its top level assigns once, and that nothing else binds."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

# Each may bind any name: code that runs text, and the namespaces themselves.
_BINDS_ANYTHING = {"exec", "globals", "locals", "vars"}
_ANY = "*"


def constants(module: ast.Module) -> dict[str, ast.Constant]:
    """Name -> value. A parameter's default is none: a caller may pass something else."""
    bound = Counter(name for part in ast.walk(module) for name in _bound(part))
    if _ANY in bound:
        return {}
    found: dict[str, ast.Constant] = {}
    for statement in module.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=int() | float()) as number)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=int() | float()) as number)
            ) if bound[name] == 1:
                found[name] = number
    return found


def _bound(part: ast.AST) -> Iterator[str]:
    """The names that one piece of syntax binds, or lets others bind, in whichever scope."""
    match part:
        case ast.Name(id=name, ctx=ast.Load()) if name in _BINDS_ANYTHING:
            yield _ANY
        case (
            ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name) | ast.ExceptHandler(name=str() as name)
        ):
            yield name
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case (
            ast.MatchAs(name=str() as name) | ast.MatchStar(name=str() as name) | ast.MatchMapping(rest=str() as name)
        ):
            yield name
        case ast.alias():
            yield part.asname or part.name.partition(".")[0]  # "*" of a star import
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            yield from names
