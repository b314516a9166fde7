"""Where the value of an expression in Python source comes from: the assignments, defaults and arguments that feed it.

Names are followed by their bindings, not by their spelling. What no binding of the file explains (`cfg.BN.MOMENTUM`,
an import, a parameter that other files may set) is told by the name that it is looked up under.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from porter.configs.formats.python_names import is_super_init
from porter.configs.formats.python_scopes import Binding, Meaning, Scope
from porter.configs.formats.python_source import Function, expressions, statements
from porter.configs.names import prefixed_setting

_Function = ast.FunctionDef | ast.AsyncFunctionDef
# Methods and functions that are given the name of what they look up.
_LOOKUPS = ("get", "pop", "getattr")


@dataclass
class Sources:
    """What feeds an expression.

    Attributes:
        values: the syntax of what is assigned or given, near and far, with the scope it is read in.
        names: under which the rest is looked up.
    """

    values: dict[ast.expr, Scope] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


class Flow:
    """The flow of values in one file."""

    def __init__(self, module: Scope) -> None:
        self._given: dict[_Function, list[tuple[ast.Call, int]]] = {}
        self._scopes: dict[ast.Call, Scope] = {}
        for scope in module.walked():
            for call in _calls(scope):
                for function, skipped in _called(call, scope):
                    self._given.setdefault(function, []).append((call, skipped))
                    self._scopes[call] = scope

    def sources(self, expression: ast.expr, scope: Scope) -> Sources:
        """What feeds `expression`, itself included."""
        found = Sources()
        waiting = [(expression, scope)]
        while waiting:
            value, inside = waiting.pop()
            if value not in found.values:
                found.values[value] = inside
                for part in _read(value):
                    waiting += self._behind(part, inside, found)
        return found

    def _behind(self, part: ast.expr, scope: Scope, found: Sources) -> Iterator[tuple[ast.expr, Scope]]:
        """The expressions behind one thing that is read."""
        name, holder = _holder(part, scope)
        if holder is None:
            found.names.add(name)
            return
        for value, read_in, is_parameter in holder.bindings[name]:
            if isinstance(value, ast.expr):
                yield value, read_in
            elif isinstance(value, Meaning):
                found.names.add(value.name.rpartition(".")[2])
            if is_parameter and isinstance(holder.node, Function):
                # A plain `momentum` is what any function calls it.
                found.names |= {name} if prefixed_setting(name) else set()
                yield from self._arguments(name, holder)

    def _arguments(self, name: str, function: Scope) -> Iterator[tuple[ast.expr, Scope]]:
        """What the calls in this file give the parameter `name` of a function."""
        node = function.node
        assert isinstance(node, Function)
        positional = [parameter.arg for parameter in (*node.args.posonlyargs, *node.args.args)]
        for call, skipped in self._given.get(node, ()):
            scope = self._scopes[call]
            yield from ((keyword.value, scope) for keyword in call.keywords if keyword.arg == name)
            index = positional.index(name) - skipped if name in positional else -1
            if 0 <= index < len(call.args) and not any(isinstance(a, ast.Starred) for a in call.args[: index + 1]):
                yield call.args[index], scope


def _read(expression: ast.expr) -> Iterator[ast.expr]:
    """The names, attributes and items that an expression reads: of `min(cfg.a, b)` `cfg.a` and `b`."""
    waiting: list[ast.AST] = [expression]
    while waiting:
        part = waiting.pop()
        match part:
            case ast.Call(func=ast.Attribute(attr=function) | ast.Name(id=function)) if function in _LOOKUPS:
                keys = [argument for argument in part.args if _key(argument)]
                yield from keys
                waiting += [argument for argument in part.args if argument not in keys] if keys else []
            case ast.Call():
                waiting += [*part.args, *(keyword.value for keyword in part.keywords)]
            case ast.Name() | ast.Attribute() | ast.Subscript(slice=ast.Constant(value=str())):
                yield part
            case ast.expr() | ast.keyword() | ast.comprehension():
                waiting += ast.iter_child_nodes(part)


def _key(expression: ast.expr) -> str:
    """The text that an expression is; "" for none."""
    is_text = isinstance(expression, ast.Constant) and isinstance(expression.value, str)
    return str(expression.value) if is_text and isinstance(expression, ast.Constant) else ""


def _holder(part: ast.expr, scope: Scope) -> tuple[str, Scope | None]:
    """The name that is read, and the scope that binds it; None where no binding of this file explains it."""
    match part:
        case ast.Name(id=name):
            return name, scope.holder(name)
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            around = scope.class_around()
            return (f"self.{name}", around) if around and f"self.{name}" in around.bindings else (name, None)
        case ast.Attribute(attr=name):
            return name, None
        case ast.Subscript(slice=key):
            return _key(key), None
    return _key(part), None


def _calls(scope: Scope) -> Iterator[ast.Call]:
    for statement in statements(scope.node):
        waiting: list[ast.AST] = list(expressions(statement))
        while waiting:
            part = waiting.pop()
            if isinstance(part, ast.Call):
                yield part
            waiting += ast.iter_child_nodes(part)


def _called(call: ast.Call, scope: Scope) -> Iterator[tuple[_Function, int]]:
    """The functions of this file that a call calls, and how many of their parameters the call does not write."""
    around = scope.class_around()
    bindings: Sequence[Binding] = ()
    match call.func:
        case ast.Name(id=name):
            bindings = scope.found(name)
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if around:
            bindings = around.bindings.get(name, ())
        case _ if is_super_init(call) and around and around.parent and isinstance(around.node, ast.ClassDef):
            bases = (base.id for base in around.node.bases if isinstance(base, ast.Name))
            bindings = [binding for base in bases for binding in around.parent.found(base)]
    for value, inside, _ in bindings:
        if isinstance(value, ast.ClassDef):
            yield from ((init, 1) for init in _inits(value, inside))
        elif isinstance(value, Function):
            yield value, int(isinstance(call.func, ast.Attribute))


def _inits(node: ast.ClassDef, scope: Scope) -> Iterator[_Function]:
    """The `__init__` of a class, else those of its bases in this file."""
    seen: set[ast.ClassDef] = set()
    waiting = [(node, scope)]
    while waiting:
        node, scope = waiting.pop()
        own = [part for part in node.body if isinstance(part, Function) and part.name == "__init__"]
        yield from own
        if not own and node not in seen:
            seen.add(node)
            names = [base.id for base in node.bases if isinstance(base, ast.Name)]
            bindings = [binding for name in names for binding in scope.found(name)]
            waiting += [(b.value, b.scope) for b in bindings if isinstance(b.value, ast.ClassDef)]
