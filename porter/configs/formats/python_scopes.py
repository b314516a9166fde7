"""The scopes of Python source, and what binds the names in each: imports, assignments, parameters, loops."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from porter.configs.formats.python_source import Function, ScopeNode, expressions, statements
from porter.configs.terms import CLASSES

_FRAMEWORKS = ("torch", "mindspore")


class Meaning(NamedTuple):
    """What an expression names.

    Attributes:
        name: the dotted name, "" where unknown.
        certain: whether it can be nothing else.
        imports: the imports it is named through: an alias of `import`, or the whole `from ... import`.
    """

    name: str = ""
    certain: bool = False
    imports: tuple[ast.alias | ast.ImportFrom, ...] = ()


Bound = Meaning | ast.expr | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | None


class Binding(NamedTuple):
    """One way a name gets its value.

    Attributes:
        value: the meaning that an import gives, the expression assigned, a class or function; None: something else.
        scope: where `value` is to be read.
        is_parameter: a caller may pass something else.
    """

    value: Bound
    scope: Scope
    is_parameter: bool = False


@dataclass(eq=False)
class Scope:
    """A module, class or function and the names bound in it; attributes of `self` are bound in its class: "self.x".

    Attributes:
        name: dotted, as in a traceback: "UNet.__init__"; "" for the module.
    """

    node: ScopeNode
    name: str = ""
    parent: Scope | None = None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    children: list[Scope] = field(default_factory=list)

    def bind(self, name: str, value: Bound, is_parameter: bool = False) -> None:
        scope = self.parent if is_parameter and self.parent else self
        self.bindings.setdefault(name, []).append(Binding(value, scope, is_parameter))

    def holder(self, name: str) -> Scope | None:
        """The scope whose `name` is seen from here: a function does not see the names of the classes around it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.bindings and (scope is self or not isinstance(scope.node, ast.ClassDef)):
                break
            scope = scope.parent
        return scope

    def found(self, name: str) -> list[Binding]:
        """The bindings of `name` as seen from here."""
        holder = self.holder(name)
        return holder.bindings[name] if holder else []

    @property
    def root(self) -> Scope:
        """The scope of the module."""
        scope = self
        while scope.parent:
            scope = scope.parent
        return scope

    def class_around(self) -> Scope | None:
        """The scope of the class that this method belongs to."""
        scope: Scope | None = self
        while scope is not None and not isinstance(scope.node, ast.ClassDef):
            scope = scope.parent
        return scope

    def walked(self) -> Iterator[Scope]:
        """This scope and those inside, in the order of the file."""
        waiting = [self]
        while waiting:
            scope = waiting.pop()
            yield scope
            waiting += reversed(scope.children)


def scopes_of(module: ast.Module) -> Scope:
    """The scope of a module, those inside it as its children, all names bound."""
    root = Scope(module)
    waiting = [root]
    while waiting:
        scope = waiting.pop()
        if isinstance(scope.node, Function):
            _bind_parameters(scope, scope.node.args)
        for statement in statements(scope.node):
            _bind(scope, statement)
            _bind_comprehensions(scope, statement)
            if isinstance(statement, Function | ast.ClassDef):
                inside = Scope(statement, f"{scope.name}.{statement.name}".lstrip("."), scope)
                scope.children.append(inside)
                waiting.append(inside)
    return root


def parameters(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """Every parameter that can have a default, and its default."""
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = [None] * (len(positional) - len(arguments.defaults))
    yield from zip(positional, [*missing, *arguments.defaults], strict=True)
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def _bind_parameters(scope: Scope, arguments: ast.arguments) -> None:
    for parameter, default in parameters(arguments):
        scope.bind(parameter.arg, default, is_parameter=True)
    for rest in filter(None, (arguments.vararg, arguments.kwarg)):
        scope.bind(rest.arg, None)


def _bind(scope: Scope, statement: ast.stmt) -> None:
    """Bind the names that one statement binds."""
    match statement:
        case ast.Import():
            for alias in statement.names:
                bound = alias.asname or alias.name.partition(".")[0]
                scope.bind(bound, Meaning(alias.name if alias.asname else bound, True, (alias,)))
        case ast.ImportFrom():
            package = "." * statement.level + (statement.module or "")
            for name, bound in _imported(statement, package):
                scope.bind(bound, Meaning(f"{package}.{name}", True, (statement,)))
        case ast.Assign():
            for target in statement.targets:
                _bind_target(scope, target, statement.value)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            _bind_target(scope, target, value)
        case ast.For(target=ast.Name() as target, iter=ast.Tuple(elts=values) | ast.List(elts=values)) if values:
            for each in values:
                _bind_target(scope, target, each)
        case ast.For(target=target, iter=ast.Call() as table) if picked := _picked(target, table):
            scope.bind(*picked)
        case ast.AugAssign(target=target) | ast.For(target=target) | ast.AsyncFor(target=target):
            _bind_target(scope, target, None)
        case ast.With() | ast.AsyncWith():
            for item in filter(None, (item.optional_vars for item in statement.items)):
                _bind_target(scope, item, None)
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            scope.bind(statement.name, statement)


def _bind_comprehensions(scope: Scope, statement: ast.stmt) -> None:
    """Bind what runs over a list that is written out: `B` of `[B(3) for B in (nn.BatchNorm2d, nn.BatchNorm3d)]`."""
    for expression in expressions(statement):
        for part in ast.walk(expression):
            match part:
                case ast.comprehension(
                    target=ast.Name() as target, iter=ast.Tuple(elts=values) | ast.List(elts=values)
                ):
                    for value in values:
                        _bind_target(scope, target, value)
                case ast.comprehension(target=target, iter=ast.Call() as table) if picked := _picked(target, table):
                    scope.bind(*picked)


def _picked(target: ast.expr, table: ast.Call) -> tuple[str, ast.expr] | None:
    """The variable that runs over the values of a dict, and what it is each time: an item of that dict."""
    match target, table.func:
        case (ast.Name(id=name), ast.Attribute(value=holder, attr="values")) | (
            ast.Tuple(elts=[ast.Name(), ast.Name(id=name)]),
            ast.Attribute(value=holder, attr="items"),
        ):
            return name, ast.Subscript(holder, ast.Constant(...), ast.Load())
    return None


def _imported(statement: ast.ImportFrom, package: str) -> Iterator[tuple[str, str]]:
    for alias in statement.names:
        if alias.name != "*":
            yield alias.name, alias.asname or alias.name
        elif package.partition(".")[0] in _FRAMEWORKS:
            # What else `*` brings is unknown, and of no matter.
            yield from zip(CLASSES, CLASSES, strict=True)


def _bind_target(scope: Scope, target: ast.expr, value: ast.expr | None) -> None:
    match target:
        case ast.Name(id=name):
            scope.bind(name, value)
            if isinstance(scope.node, ast.ClassDef):
                # Objects and derived classes may have another of their own.
                scope.bindings.setdefault(f"self.{name}", []).append(Binding(value, scope, is_parameter=True))
        case ast.Attribute(value=ast.Name(id="self"), attr=attribute):
            around = scope.class_around()
            if around is not None:
                around.bindings.setdefault(f"self.{attribute}", []).append(Binding(value, scope))
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            values: Sequence[ast.expr | None] = [None] * len(targets)
            if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(targets):
                values = value.elts
            for inner, part in zip(targets, values, strict=True):
                _bind_target(scope, inner, part)
