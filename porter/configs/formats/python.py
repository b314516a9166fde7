"""Python: configs and model source. The syntax tree says what is where; nothing in the file is imported or run.

The roots of a document are every scope (the module, a class, a function) as a mapping of what is assigned in it and
of its parameters' defaults, `a.b = 1` and `a["b"] = 1` as nested mappings; and every other outermost call, dict, list
or tuple, named after the scope it stands in and what it is ("UNet.__init__.norm()", "f.dict()"). No two roots have
one name: where they would, the line says which is meant ("f.norm()@4").
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field

from porter.configs.formats.python_edits import Layout, PythonDocument
from porter.configs.formats.python_flow import Flow
from porter.configs.formats.python_names import Names, is_batchnorm, is_mapping, is_super_init
from porter.configs.formats.python_person import places_for_a_person
from porter.configs.formats.python_scopes import Meaning, Scope, parameters, scopes_of
from porter.configs.formats.python_source import Function, Source, expressions, module_of, statements
from porter.configs.formats.python_values import Section, ValueReader
from porter.configs.names import plain_setting, prefixed_setting
from porter.configs.tree import (
    Entry,
    ListNode,
    Mapping,
    NeedsPerson,
    Node,
    Place,
    Root,
    Scalar,
    Span,
)
from porter.errors import LimitExceeded


def parse(text: str) -> PythonDocument:
    """The document of a Python file; a byte order mark may stand first.

    Raises:
        Malformed: it is no Python that this interpreter reads; with line and column.
        LimitExceeded: it nests too deep.
    """
    try:
        module = scopes_of(module_of(text))
        reader = _Reader(Source(text), Names(module))
        roots = [root for scope in module.walked() for root in reader.roots(scope)]
        flow = Flow(module)
    except RecursionError as error:
        raise LimitExceeded("the Python code nests too deep, or names stand for names without end") from error
    # The module's own mapping comes first, wherever it starts.
    roots.sort(key=lambda root: (root.name != "", root.node.span))
    return PythonDocument(
        text,
        [*_told_apart(roots, text)],
        sorted(reader.needs_person),
        sorted(reader.imports),
        reader.layouts,
        reader.assignments,
        reader.syntax,
        flow,
    )


def _told_apart(roots: Sequence[Root], text: str) -> Iterator[Root]:
    """The roots by names that no other has: what the user says of one must not be heard of another."""
    names = Counter(root.name for root in roots)
    places = [Place.of(text, root.node.span.start) for root in roots]
    lines = Counter((root.name, place.line) for root, place in zip(roots, places, strict=True))
    for root, place in zip(roots, places, strict=True):
        at = f"{place.line}" if lines[root.name, place.line] == 1 else f"{place.line}:{place.column}"
        yield root if names[root.name] == 1 else root._replace(name=f"{root.name}@{at}")


# What has entries, items or arguments.
_PARTED = (ast.Call, ast.Dict, ast.List, ast.Tuple, ast.Set)


@dataclass
class _Reader(ValueReader):
    """Makes nodes of syntax, each once, and remembers beside them what changing them takes."""

    nodes: dict[ast.expr, Node] = field(default_factory=dict)
    waiting: list[ast.AST] = field(default_factory=list)
    layouts: dict[Mapping, Layout] = field(default_factory=dict)
    assignments: dict[Entry, Span] = field(default_factory=dict)
    syntax: dict[Scalar, tuple[ast.expr, Scope]] = field(default_factory=dict)
    needs_person: list[NeedsPerson] = field(default_factory=list)

    def roots(self, scope: Scope) -> Iterator[Root]:
        """What one scope holds, the scopes inside it left out."""
        left_alone = places_for_a_person(scope, self.names, self.source)
        self.needs_person += left_alone.values()
        section = Section()
        if isinstance(scope.node, Function) and scope.parent:
            for parameter, default in parameters(scope.node.args):
                if default is not None:
                    section.add([self.name(self.source.span(parameter).start)], self.node(default, scope.parent))
        for statement in statements(scope.node):
            if statement in left_alone or not self._assigned(statement, scope, section):
                self.waiting += expressions(statement)
        yield from [*self._outermost(scope, left_alone)]
        if section.entries or section.inner:
            # The name of a function says no more of its variables than a call of it says of the arguments.
            callee = "" if isinstance(scope.node, Function) else None
            yield Root(scope.name, section.mapping(is_scope=True, callee=callee))

    def _assigned(self, statement: ast.stmt, scope: Scope, section: Section) -> bool:
        """Put what a statement assigns into `section`; whether it assigns to names, keys and attributes alone."""
        match statement:
            case ast.Assign(targets=targets, value=value):
                paths = [self.path(target) for target in targets]
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                paths = [self.path(target)]
            case _:
                return False
        if not all(paths):
            return False
        entries = [section.add(path, self._value(value, scope, _is_setting(str(path[-1].value)))) for path in paths]
        if len(entries) == 1:
            self.assignments[entries[0]] = self.source.span(statement)
        return True

    def _outermost(self, scope: Scope, left_alone: Container[ast.AST]) -> Iterator[Root]:
        """The calls, dicts, lists, tuples and names of classes in what waits, but those that are part of another."""
        while self.waiting:
            syntax = self.waiting.pop()
            if syntax in left_alone:
                continue
            is_name = isinstance(syntax, ast.Name | ast.Attribute) and is_batchnorm(self.meaning(syntax, scope).name)
            if isinstance(syntax, ast.expr) and (is_name or isinstance(syntax, _PARTED)):
                yield Root(f"{scope.name}.{_label(syntax)}".lstrip("."), self.node(syntax, scope))
            elif not isinstance(syntax, ast.JoinedStr):
                # Before Python 3.12 what stands inside an f-string does not know its place.
                self.waiting += ast.iter_child_nodes(syntax)

    def node(self, syntax: ast.expr, scope: Scope) -> Node:
        """The node of an expression. Expressions inside that are none of its values join those that wait."""
        if syntax not in self.nodes:
            match syntax:
                case ast.Dict():
                    self.nodes[syntax] = self._dict(syntax, scope)
                case ast.Call():
                    self.nodes[syntax] = self._call(syntax, scope)
                case ast.List() | ast.Tuple() | ast.Set():
                    items = tuple(self.node(item, scope) for item in syntax.elts)
                    self.nodes[syntax] = ListNode(self.source.span(syntax), items)
                case _:
                    self.nodes[syntax] = scalar = self.scalar(syntax, self.meaning(syntax, scope))
                    self.syntax[scalar] = syntax, scope
                    self.waiting += [] if isinstance(syntax, ast.JoinedStr) else ast.iter_child_nodes(syntax)
        return self.nodes[syntax]

    def _value(self, syntax: ast.expr, scope: Scope, is_setting: bool) -> Node:
        """The node of a value; a call that computes a setting is an expression, what it is given no setting."""
        computed = isinstance(syntax, ast.Call) and not is_mapping(self.names.meaning(syntax.func, scope).name)
        if not (is_setting and computed):
            return self.node(syntax, scope)
        self.waiting.append(syntax)
        scalar = self.scalar(syntax, Meaning())
        self.syntax[scalar] = syntax, scope
        return scalar

    def _dict(self, syntax: ast.Dict, scope: Scope) -> Mapping:
        span = self.source.span(syntax)
        layout = Layout(Span(span.start + 1, span.end - 1))
        merged: list[Mapping] = []
        for key, value in zip(syntax.keys, syntax.values, strict=True):
            if key is None:
                merged += self._merged(value, scope)
                layout.items.append((self.source.span(value), None))
                continue
            name = self.scalar(key, Meaning())
            text = name.value if isinstance(name.value, str) else name.text
            entry = Entry(text, self._value(value, scope, _is_setting(text)), name)
            layout.items.append((Span(name.span.start, entry.value.span.end), entry))
        return self._mapping(span, layout, merged, is_open=len(merged) < syntax.keys.count(None))

    def _call(self, syntax: ast.Call, scope: Scope) -> Mapping:
        function, meaning, arguments = self._called(syntax, scope)
        layout = Layout(Span(self.source.opening(syntax.func) + 1, self.source.span(syntax).end - 1))
        skipped = syntax.args[: len(syntax.args) - len(arguments)]
        layout.items += [(self.source.span(argument), None) for argument in skipped]
        merged: list[Mapping] = []
        if is_mapping(meaning.name) and arguments and (merged := self._merged(arguments[0], scope)):
            layout.items.append((self.source.span(arguments[0]), None))
            arguments = arguments[1:]
        starred = next((i for i, a in enumerate(arguments) if isinstance(a, ast.Starred)), len(arguments))
        for position, argument in enumerate(arguments):
            value = self._value(argument, scope, is_batchnorm(meaning.name))
            entry = Entry("", value, position=position if position < starred else None)
            layout.items.append((self.source.span(argument), entry))
        taken = len(merged)
        for keyword in syntax.keywords:
            span = self.source.span(keyword)
            if keyword.arg is None:
                merged += self._merged(keyword.value, scope)
                layout.items.append((span, None))
            else:
                value = self._value(keyword.value, scope, _is_setting(keyword.arg))
                named = Entry(keyword.arg, value, self.name(span.start))
                layout.items.append((span, named))
        rest = [keyword.arg for keyword in syntax.keywords].count(None)
        is_open = starred < len(arguments) or len(merged) - taken < rest
        return self._mapping(self.source.span(syntax), layout, merged, is_open, (function, meaning))

    def _called(self, syntax: ast.Call, scope: Scope) -> tuple[ast.expr, Meaning, list[ast.expr]]:
        """What a call calls, what that means, and the arguments that it gets by position."""
        function, arguments = syntax.func, syntax.args
        meaning = self.meaning(function, scope)
        around = scope.class_around()
        if meaning.name == "functools.partial" and arguments:
            function, arguments = arguments[0], arguments[1:]
            meaning = self.meaning(function, scope)
        elif is_super_init(syntax) and around and around.parent and isinstance(around.node, ast.ClassDef):
            meaning = self.names.base(around.node, around.parent)
        elif meaning.name.endswith(".__init__") and is_batchnorm(meaning.name.removesuffix(".__init__")):
            meaning, arguments = meaning._replace(name=meaning.name.removesuffix(".__init__")), arguments[1:]
        if not isinstance(function, ast.Name | ast.Attribute) or not meaning.name:
            self.waiting.append(function)
        return function, meaning, arguments

    def _merged(self, syntax: ast.expr, scope: Scope) -> list[Mapping]:
        """The mapping that `**syntax` takes entries from, where the file says which."""
        node = self.node(self.names.literal(syntax, scope) or syntax, scope)
        return [node] if isinstance(node, Mapping) and node.callee is None else []

    def _mapping(
        self,
        span: Span,
        layout: Layout,
        merged: Sequence[Mapping],
        is_open: bool,
        called: tuple[ast.expr, Meaning] | None = None,
    ) -> Mapping:
        layout.items.sort(key=lambda item: item[0])
        entries = tuple(entry for _, entry in layout.items if entry)
        if called is None or (called[1].certain and is_mapping(called[1].name)):
            mapping = Mapping(span, entries, tuple(merged), is_open=is_open)
        else:
            function, meaning = called
            callee = meaning.name if meaning.certain else ""
            perhaps = meaning.name if is_batchnorm(meaning.name) and not callee else ""
            # No rule renames a framework's other ones (F.batch_norm): the place is to be told, however it is written.
            in_full = "." in callee and (self.source.text_of(function) == callee or not is_batchnorm(callee))
            callee_span = self.source.span(function) if in_full else None
            mapping = Mapping(span, entries, tuple(merged), callee, callee_span, perhaps, is_open)
        self.layouts[mapping] = layout
        return mapping


def _label(syntax: ast.expr) -> str:
    """What an expression is called in a path: `norm()` for `self.norm(8)`."""
    match syntax:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return f"{name}()"
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call():
            return "call()"
    return "dict()" if isinstance(syntax, ast.Dict) else "list()"


def _is_setting(name: str) -> bool:
    return (plain_setting(name) or prefixed_setting(name)) is not None
