"""What a name in Python source stands for, as far as its imports and assignments say: nothing is imported or run.

A name can be bound several times: `try` one import, `except` another; `norm_layer=nn.BatchNorm3d` as a default that a
caller replaces. It is certain only where all bindings say the same, or all a batch normalisation of one framework.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from porter.configs.formats.python_scopes import Binding, Meaning, Scope, parameters
from porter.configs.formats.python_source import Function, statements
from porter.configs.terms import class_of

# The arguments that say how a batch normalisation computes.
SETTINGS = frozenset({"eps", "momentum", "affine", "track_running_stats", "use_batch_statistics"})


def is_batchnorm(name: str) -> bool:
    """Whether a dotted name is that of a batch normalisation of PyTorch or MindSpore."""
    return class_of(name) is not None


# What makes a mapping of its keyword arguments, in Python, MMEngine, OmegaConf and yacs; Config is MMEngine's alone.
_MAPPINGS = frozenset({"OrderedDict", "ConfigDict", "DictConfig", "CfgNode", "EasyDict", "Munch"})
_MAPPINGS_IN_FULL = frozenset({"dict", "addict.Dict", "mmengine.Config", "mmengine.config.Config", "mmcv.Config"})


def is_mapping(name: str) -> bool:
    """Whether a call of `name` makes a mapping of its keyword arguments."""
    return name in _MAPPINGS_IN_FULL or name.rpartition(".")[2] in _MAPPINGS


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
