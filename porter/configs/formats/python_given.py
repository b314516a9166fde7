"""Settings in Python source that code hands about before a layer gets them: to factories, as defaults of options, by
changing a mapping that exists already. No rule can translate them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from porter.configs.formats.python_names import SETTINGS, Names, is_batchnorm, is_mapping
from porter.configs.formats.python_scopes import Scope
from porter.configs.formats.python_source import Source
from porter.configs.names import is_section, named, names_norms, prefixed_setting
from porter.configs.terms import TRACK, USE_BATCH

# The settings whose values mean something else in the other framework.
_TRANSLATED = ("momentum", TRACK, USE_BATCH)
# So many positional arguments reach the momentum.
_TO_MOMENTUM = 3


def handed_about(
    call: ast.Call, scope: Scope, names: Names, source: Source
) -> Iterator[tuple[ast.expr | ast.keyword, str]]:
    """What a call is given that may become a setting of a batch normalisation, with what is the matter."""
    meaning = names.meaning(call.func, scope)
    if is_batchnorm(meaning.name) or meaning.name == "functools.partial":
        return
    yield from _option(call, source)
    if changed := _changed(call, scope, names):
        yield changed, f"`{source.text_of(call)}` changes settings of a batch normalisation"
    setting = _setting(call)
    if (
        not is_mapping(meaning.name)
        and setting
        and (_names_one(call, scope, names, source) or _is_a_norms(call, meaning.name))
    ):
        yield setting, f"`{source.text_of(call)}` may make a batch normalisation with these settings"


def set_on_a_mapping(statement: ast.stmt, scope: Scope, names: Names) -> bool:
    """Whether a statement changes settings in a mapping that exists already: `norm_cfg |= dict(momentum=0.3)`, in a
    derived class `kwargs["momentum"] = 0.3`."""
    match statement:
        case ast.AugAssign(target=holder, op=ast.BitOr(), value=value):
            return _is_of_batchnorms(holder, scope, names) and _holds_setting(value)
        case ast.Assign(targets=[ast.Subscript(value=ast.Name(), slice=ast.Constant(value=key))]):
            return key in SETTINGS and in_a_batchnorm(scope, names)
    return False


def _option(call: ast.Call, source: Source) -> Iterator[tuple[ast.expr | ast.keyword, str]]:
    """The default of an option or of a lookup: add_argument("--bn-momentum", default=0.1), cfg.get("bn_mom", 0.1)."""
    texts = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    name = next((text for text in texts if _is_translated(text.lstrip("-").replace("-", "_"))), None)
    values = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "default")]
    for value in values if name else ():
        if _is_number(value):
            yield value, f"{source.text_of(value)} is the default of {name}, which stays as it is"


def defined_by_a_call(name: str, value: ast.expr | None, source: Source) -> Iterator[tuple[ast.expr, str]]:
    """The numbers in the call that defines a field: bn_momentum: float = field(default=0.1)."""
    if isinstance(value, ast.Call) and _is_translated(name):
        for part in (*value.args, *(keyword.value for keyword in value.keywords)):
            if _is_number(part):
                yield part, f"{source.text_of(part)} goes into {name} through a call, and stays as it is"


def _is_translated(name: str) -> bool:
    return prefixed_setting(name) in _TRANSLATED


def _is_number(value: ast.expr) -> bool:
    is_constant = isinstance(value, ast.Constant) and not isinstance(value.value, bool)
    return isinstance(value, ast.Constant) and is_constant and isinstance(value.value, int | float)


def _changed(call: ast.Call, scope: Scope, names: Names) -> ast.expr | ast.keyword | None:
    """The setting that a call changes in a mapping of a batch normalisation: norm_cfg.update(momentum=0.3)."""
    match call:
        case ast.Call(func=ast.Attribute(value=holder, attr="update")) if _is_of_batchnorms(holder, scope, names):
            return _setting(call) or next(filter(_holds_setting, call.args), None)
        case ast.Call(func=ast.Attribute(value=holder, attr="setdefault"), args=[ast.Constant(value=key), value]):
            return value if key in SETTINGS and _is_of_batchnorms(holder, scope, names) else None
    return None


def _holds_setting(value: ast.expr) -> bool:
    match value:
        case ast.Dict(keys=keys):
            return any(isinstance(key, ast.Constant) and key.value in SETTINGS for key in keys)
        case ast.Call():
            return _setting(value) is not None
    return False


def _is_of_batchnorms(holder: ast.expr, scope: Scope, names: Names) -> bool:
    """Whether a mapping is a batch normalisation's: by its name, or as any in a derived class is."""
    match holder:
        case ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str() as name)) | ast.Name(id=name):
            if is_section(name) or names_norms(name):
                return True
    return in_a_batchnorm(scope, names)


def in_a_batchnorm(scope: Scope, names: Names) -> bool:
    """Whether it is the code of a class that is derived from a batch normalisation."""
    around = scope.class_around()
    if around and around.parent and isinstance(around.node, ast.ClassDef):
        return bool(names.base(around.node, around.parent).name)
    return False


def _setting(call: ast.Call) -> ast.expr | ast.keyword | None:
    """The first argument that is a setting by its name, else the third, where momentum is given."""
    keyword = next((keyword for keyword in call.keywords if keyword.arg in SETTINGS), None)
    is_long = len(call.args) >= _TO_MOMENTUM and not isinstance(call.func, ast.Name | ast.Attribute)
    return keyword or (call.args[_TO_MOMENTUM - 1] if is_long else None)


def _names_one(call: ast.Call, scope: Scope, names: Names, source: Source) -> bool:
    """Whether a batch normalisation is named by what is called (get_norm("bn")(8)) or by an argument."""
    if not isinstance(call.func, ast.Name | ast.Attribute):
        parts = (part for part in ast.walk(call.func) if isinstance(part, ast.expr))
        if any(_is_one(part, scope, names) for part in parts):
            return True
    keywords = [keyword.value for keyword in call.keywords if keyword.arg and names_norms(keyword.arg)]
    # Of a name that is written in full the search of all formats asks.
    given = (part for part in (*call.args, *keywords) if source.text_of(part) != names.meaning(part, scope).name)
    return any(_is_one(part, scope, names) for part in given)


def _is_a_norms(call: ast.Call, meaning: str) -> bool:
    """Whether a call of what no rule knows gives a normalisation's momentum or flag: NormConfig(momentum=0.05)."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            is_norm = (is_section(name) or names_norms(name)) and named(meaning or name).kind == "unknown"
            return is_norm and any(keyword.arg in _TRANSLATED for keyword in call.keywords)
    return False


def _is_one(part: ast.expr, scope: Scope, names: Names) -> bool:
    match part:
        case ast.Constant(value=str() as text):
            return named(text).kind in ("batch norm", "perhaps")
        case ast.Attribute(attr=name) if named(name).kind in ("batch norm", "perhaps"):
            return True
        case ast.Name() | ast.Attribute():
            return is_batchnorm(names.meaning(part, scope).name)
    return False
