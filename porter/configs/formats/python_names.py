"""What a name in Python source stands for, as far as its imports and assignments say: nothing is imported or run.

A name can be bound several times: `try` one import, `except` another; `norm_layer=nn.BatchNorm3d` as a default that a
caller replaces. It is certain only where all bindings say the same, or all a batch normalisation of one framework.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from porter.configs.formats.python_source import Function, ScopeNode, expressions, statements
from porter.configs.terms import CLASSES, class_of

_FRAMEWORKS = ("torch", "mindspore")
# The arguments that say how a batch normalisation computes.
SETTINGS = frozenset({"eps", "momentum", "affine", "track_running_stats", "use_batch_statistics"})


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


def is_batchnorm(name: str) -> bool:
    """Whether a dotted name is that of a batch normalisation of PyTorch or MindSpore."""
    return class_of(name) is not None


# What makes a mapping of its keyword arguments, in Python, MMEngine, OmegaConf and yacs; Config is MMEngine's alone.
_MAPPINGS = frozenset({"OrderedDict", "ConfigDict", "DictConfig", "CfgNode", "EasyDict", "Munch"})
_MAPPINGS_IN_FULL = frozenset({"dict", "addict.Dict", "mmengine.Config", "mmengine.config.Config", "mmcv.Config"})


def is_mapping(name: str) -> bool:
    """Whether a call of `name` makes a mapping of its keyword arguments."""
    return name in _MAPPINGS_IN_FULL or name.rpartition(".")[2] in _MAPPINGS


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


class Names:
    """The meanings of names in one file; each is worked out once."""

    def __init__(self, module: Scope) -> None:
        self._changed = {(scope.holder(name), name) for scope in module.walked() for name in _changed(scope)}
        self._known: dict[tuple[Scope, str], Meaning] = {}
        self._chosen: dict[ast.expr, Meaning] = {}

    def meaning(self, expression: ast.expr, scope: Scope) -> Meaning:
        """What a name or dotted name stands for in `scope`; a builtin for itself."""
        attributes: list[str] = []
        while isinstance(expression, ast.Attribute):
            attributes.append(expression.attr)
            expression = expression.value
        if not isinstance(expression, ast.Name):
            if expression not in self._chosen:
                self._chosen[expression] = Meaning()  # as for names: `x = [x[0]]` means nothing
                self._chosen[expression] = self._of_choices(expression, scope)
            return Meaning() if attributes else self._chosen[expression]
        around = scope.class_around()
        if expression.id == "self" and attributes and around is not None:
            start = self._bound(f"self.{attributes.pop()}", around)
        elif scope.found(expression.id):
            start = self._bound(expression.id, scope)
        else:
            start = Meaning(expression.id, True)
        return start._replace(name=".".join([start.name, *reversed(attributes)])) if start.name else start

    def _of_choices(self, expression: ast.expr, scope: Scope) -> Meaning:
        """What an expression stands for that takes one of several names, or a name with settings of its own."""
        match expression:
            case ast.IfExp() | ast.BoolOp():
                return _agreed([self.meaning(choice, scope) for choice in _choices(expression)])
            case ast.NamedExpr(value=value):
                return self.meaning(value, scope)
            case ast.Call(func=ast.Name() | ast.Attribute() as function, args=[first]) if (
                self.meaning(function, scope).name == "functools.partial"
            ):
                return self.meaning(first, scope)
            case ast.Subscript(value=table):
                found = _agreed([self.meaning(choice, scope) for choice in self._items(table, scope)])
                # What a variable holds may have been added to.
                return found._replace(certain=found.certain and not isinstance(table, ast.Name | ast.Attribute))
        return Meaning()

    def _items(self, table: ast.expr, scope: Scope) -> list[ast.expr]:
        """The values of a dict, list or tuple that is written out, there or where its name is bound."""
        name = table.id if isinstance(table, ast.Name) else ""
        values = [binding.value for binding in scope.found(name)] if name else [table]
        found: list[ast.expr] = []
        for value in values:
            match value:
                case ast.Dict():
                    found += value.values
                case ast.List() | ast.Tuple():
                    found += value.elts
                case ast.Call(func=ast.Name(id="dict"), keywords=keywords):
                    found += (keyword.value for keyword in keywords)
        return found

    def base(self, node: ast.ClassDef, scope: Scope) -> Meaning:
        """The batch normalisation that a class is derived from, else an empty meaning."""
        bases = (self.meaning(base, scope) for base in node.bases)
        return next((base for base in bases if base.certain and is_batchnorm(base.name)), Meaning())

    def literal(self, expression: ast.expr, scope: Scope) -> ast.expr | None:
        """The dict that a name is bound to, where it is bound once, to one that is written out and stays so."""
        found = scope.found(expression.id) if isinstance(expression, ast.Name) else []
        value = found[0].value if len(found) == 1 and not found[0].is_parameter else None
        is_dict = isinstance(value, ast.Dict) or (
            isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict"
        )
        is_changed = (
            isinstance(expression, ast.Name) and (scope.holder(expression.id), expression.id) in self._changed
        )
        return value if is_dict and isinstance(value, ast.expr) and not is_changed else None

    def _bound(self, name: str, scope: Scope) -> Meaning:
        """What all bindings of `name` come to."""
        key = (scope, name)
        if key not in self._known:
            self._known[key] = Meaning()  # What is bound by itself (`x = x or y`) means only the rest.
            self._known[key] = _agreed([m for binding in scope.found(name) for m in self._of_binding(binding)])
        return self._known[key]

    def _of_binding(self, binding: Binding) -> Iterable[Meaning]:
        value, scope, is_parameter = binding
        if isinstance(value, Meaning):
            return [value]
        if isinstance(value, ast.ClassDef):
            return [self.base(value, scope) if passes_all_on(value) else Meaning()]
        if isinstance(value, Function):
            return [Meaning()]
        found = [self.meaning(choice, scope) for choice in _choices(value)]
        return [Meaning(), *found] if is_parameter else found


def _changed(scope: Scope) -> Iterator[str]:
    """The names whose items a scope sets, or that it calls a method of which changes a mapping."""
    for statement in statements(scope.node):
        match statement:
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                holders = [target.value for target in targets if isinstance(target, ast.Subscript)]
            case ast.AugAssign(target=ast.Subscript(value=holder)):
                holders = [holder]
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=holder, attr="update" | "setdefault" | "pop"))):
                holders = [holder]
            case _:
                holders = []
        yield from (holder.id for holder in holders if isinstance(holder, ast.Name))


def _choices(value: ast.expr | None) -> list[ast.expr]:
    """The values that an expression may have: `a` and `b` of `a if x else b` and `a or b`. None, as good as unset, is
    left out."""
    match value:
        case ast.IfExp():
            parts = [value.body, value.orelse]
        case ast.BoolOp():
            parts = value.values
        case None:
            parts = [ast.Constant(...)]
        case _:
            parts = [value]
    return [part for part in parts if not (isinstance(part, ast.Constant) and part.value is None)]


def _agreed(meanings: Sequence[Meaning]) -> Meaning:
    names = list(dict.fromkeys(meaning.name for meaning in meanings))
    known = [name for name in names if is_batchnorm(name)]
    imports = tuple(dict.fromkeys(way for meaning in meanings for way in meaning.imports))
    same_package = len({name.rpartition(".")[0] for name in names}) == 1 and len(known) == len(names)
    certain = all(meaning.certain for meaning in meanings) and (len(names) == 1 or same_package)
    return Meaning(next(iter([*known, *names]), ""), certain, imports)


def passes_all_on(node: ast.ClassDef) -> bool:
    """Whether the arguments of a derived class are those of its base: it has no `__init__`, or one that passes them
    on unread as `*args` and `**kwargs`, the first (the channels) perhaps by name."""
    init = next((s for s in node.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"), None)
    if init is None:
        return True
    named = [parameter.arg for parameter, _ in parameters(init.args)][1:]
    if init.args.kwarg is None or len(named) > 1 or not SETTINGS.isdisjoint(named):
        return False
    rest = init.args.kwarg.arg
    passed = [call for call in ast.walk(init) if isinstance(call, ast.Call) and is_super_init(call)]
    return any(isinstance(k.value, ast.Name) and k.value.id == rest for call in passed for k in call.keywords)


def is_super_init(call: ast.Call) -> bool:
    """Whether it is `super().__init__(...)`."""
    match call.func:
        case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"):
            return True
    return False
