"""What in Python source no rule can translate, and a person must see: settings of layers that exist already, tests
for the class, arguments that come from elsewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from porter.configs.formats.python_given import defined_by_a_call, handed_about, in_a_batchnorm, set_on_a_mapping
from porter.configs.formats.python_names import SETTINGS, Names, is_batchnorm, is_super_init, passes_all_on
from porter.configs.formats.python_scopes import Scope
from porter.configs.formats.python_source import Source, expressions, statements
from porter.configs.tree import NeedsPerson

_SETTINGS = SETTINGS - {"affine"}
# Methods that give the layers of a network, in both frameworks.
_LAYERS = ("modules", "named_modules", "children", "named_children", "cells", "cells_and_names", "name_cells")
# The base class in torch.nn.modules.batchnorm and in mindspore.nn.layer.normalization.
_BASES = ("_BatchNorm", "_NormBase")
_CLASS = re.compile(r"(?:Sync)?BatchNorm(?:[123]d)?$")
_NORM = re.compile(r"(?i)(^|_)(bn|batch_?norm|norm)\d*$")


def places_for_a_person(scope: Scope, names: Names, source: Source) -> dict[ast.AST, NeedsPerson]:
    """The places of one scope by their syntax, the scopes inside it left out."""
    layers = _layers(scope, names)
    found: dict[ast.AST, NeedsPerson] = {}
    is_own = in_a_batchnorm(scope, names)
    for statement in statements(scope.node):
        if set_on_a_mapping(statement, scope, names):
            text = f"`{source.text_of(statement)}` changes settings of a batch normalisation"
            found[statement] = NeedsPerson(source.span(statement), text)
        for number, text in _fields(statement, source):
            found[number] = NeedsPerson(source.span(number), text)
        for target in _targets(statement):
            own = is_own and isinstance(target.value, ast.Name) and target.value.id == "self"
            if target.attr in _SETTINGS and (own or _is_layer(target.value, layers)):
                text = f"`{source.text_of(target)}` is set on a layer that exists already"
                found[statement] = NeedsPerson(source.span(statement), text)
        waiting: list[ast.AST] = list(expressions(statement))
        while waiting:
            syntax = waiting.pop()
            for part, text in _of_expression(syntax, scope, names, source):
                found[part] = NeedsPerson(source.span(part), text)
            waiting += [] if isinstance(syntax, ast.JoinedStr) else ast.iter_child_nodes(syntax)
    return found


def _fields(statement: ast.stmt, source: Source) -> Iterator[tuple[ast.expr, str]]:
    """What a statement defines through a call."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name) | ast.Attribute(attr=name)], value=value):
            yield from defined_by_a_call(name, value, source)
        case ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name), value=value):
            yield from defined_by_a_call(name, value, source)


def _targets(statement: ast.stmt) -> list[ast.Attribute]:
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AugAssign | ast.AnnAssign):
        targets = [statement.target]
    return [target for target in targets if isinstance(target, ast.Attribute)]


def _layers(scope: Scope, names: Names) -> set[str]:
    """Variables that hold a batch normalisation, or every layer of a network in turn."""
    found = set()
    for statement in statements(scope.node):
        match statement:
            case ast.For(target=target, iter=ast.Call(func=ast.Attribute(attr=method))) if method in _LAYERS:
                found |= {name.id for name in ast.walk(target) if isinstance(name, ast.Name)}
            case ast.Assign(targets=[target], value=ast.Call(func=function)):
                if is_batchnorm(names.meaning(function, scope).name):
                    found.add(ast.unparse(target))
        for expression in expressions(statement):
            for call in ast.walk(expression):
                if isinstance(call, ast.Call) and _tests_for_class(call, scope, names):
                    found.add(ast.unparse(call.args[0]))
                if isinstance(call, ast.Constant) and _CLASS.match(str(call.value)):
                    # Tested by the class's name, which reads the same in both frameworks.
                    found |= {*_set_on_names(scope)}
    return found


def _set_on_names(scope: Scope) -> Iterator[str]:
    """The variables of a scope that a setting is set on: the `m` of `m.momentum = 0.1`."""
    targets = (target for statement in statements(scope.node) for target in _targets(statement))
    yield from (target.value.id for target in targets if isinstance(target.value, ast.Name))


def _is_layer(holder: ast.expr, layers: set[str]) -> bool:
    """Whether settings are set on a layer there, not in a config: `self.bn1`, the `m` of a loop over modules."""
    if ast.unparse(holder) in layers:
        return True
    root = holder
    while isinstance(root, ast.Attribute | ast.Subscript):
        root = root.value
    is_own = isinstance(root, ast.Name) and root.id in ("self", "model", "net", "network", "module", "m")
    return is_own and isinstance(holder, ast.Attribute) and _NORM.search(holder.attr) is not None


def _of_expression(
    syntax: ast.AST, scope: Scope, names: Names, source: Source
) -> Iterator[tuple[ast.expr | ast.keyword, str]]:
    """The parts of one expression, not of those inside it, with what is the matter."""
    match syntax:
        case ast.Compare(comparators=[right]) if is_batchnorm(names.meaning(right, scope).name):
            yield syntax, f"`{source.text_of(syntax)}` tests for the class of a layer"
        case ast.Call() if _tests_for_class(syntax, scope, names):
            yield syntax, f"`{source.text_of(syntax)}` tests for the class of a layer"
        case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value=name), _]) if name in _SETTINGS:
            yield syntax, f"`{source.text_of(syntax)}` sets {name} on an object that exists already"
        case ast.Call(func=ast.Name(id="getattr"), args=[package, name, *_]):
            said = isinstance(name, ast.Constant) and "BatchNorm" not in str(name.value)
            if not said and names.meaning(package, scope).name in ("torch.nn", "mindspore.nn", "mindspore.mint.nn"):
                yield syntax, f"`{source.text_of(syntax)}` looks up a class by name"
        case ast.Call():
            for part in _passed_unseen(syntax, scope, names):
                yield part, f"`{source.text_of(part)}` may hold settings of this batch normalisation"
            yield from handed_about(syntax, scope, names, source)


def _tests_for_class(call: ast.Call, scope: Scope, names: Names) -> bool:
    match call:
        case ast.Call(func=ast.Name(id="isinstance"), args=[_, classes]):
            parts = [part for part in ast.walk(classes) if isinstance(part, ast.Name | ast.Attribute)]
            meanings = [names.meaning(part, scope).name for part in parts]
            return any(is_batchnorm(name) or name.rpartition(".")[2] in _BASES for name in meanings)
    return False


def _passed_unseen(call: ast.Call, scope: Scope, names: Names) -> list[ast.expr | ast.keyword]:
    """The `*args` and `**kwargs` that a batch normalisation is given and that the file does not spell out."""
    around = scope.class_around()
    if is_super_init(call) and around and around.parent and isinstance(around.node, ast.ClassDef):
        # Where a class passes all on, its own calls hold the settings.
        name = "" if passes_all_on(around.node) else names.base(around.node, around.parent).name
    else:
        name = names.meaning(call.func, scope).name
        if name == "functools.partial" and call.args:
            name = names.meaning(call.args[0], scope).name
    if not is_batchnorm(name):
        return []
    stars: list[ast.expr | ast.keyword] = [argument for argument in call.args if isinstance(argument, ast.Starred)]
    rest = [keyword for keyword in call.keywords if keyword.arg is None]
    return stars + [k for k in rest if not isinstance(k.value, ast.Dict) and names.literal(k.value, scope) is None]
