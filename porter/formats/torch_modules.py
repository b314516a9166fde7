"""A whole pickled `torch.nn.Module`, read without building it: its state dict and what its modules are.

A module pickles as its class and its `__dict__`, in which torch.nn.Module keeps `_parameters`, `_buffers` and
`_modules` (torch/nn/modules/module.py). Walking these in the order of `Module.state_dict()` gives the same names.
"""

from __future__ import annotations

from typing import Any

from porter.errors import LimitExceeded, Malformed, Unsupported
from porter.formats.model import ModuleFacts
from porter.formats.pickle_records import Global, PersistentId, Record
from porter.formats.torch_mappings import elements, entry_of, mapping_entries

# A module shared by many parents appears under each of its names, so a small pickle can describe any number of them.
# A network of 50,000 tensors has about half a million parts: values, children and settings of all modules.
MAX_PARTS = 5_000_000
MAX_NAME_LENGTH = 1024


def is_module(value: Any) -> bool:
    """Whether `value` is a pickled torch.nn.Module of whatever class."""
    if not isinstance(value, Record) or value.state is None:
        return False
    return all(mapping_entries(entry_of(value.state, part)) is not None for part in ("_parameters", "_modules"))


def read_module(root: Record) -> tuple[list[tuple[str, Any]], tuple[ModuleFacts, ...]]:
    """The entries of the state dict that `root.state_dict()` would give, and the facts of every module.

    Hooks and overridden methods are code and do not run: what they would add is missing.

    Raises:
        Malformed: names that are no text, or a child that is no module.
        LimitExceeded: more names, or longer ones, than any network has (modules that contain themselves, for one).
    """
    values: list[tuple[str, Any]] = []
    facts: list[ModuleFacts] = []
    pending: list[tuple[str, Any]] = [("", root)]
    first: dict[int, str] = {}
    looked_at = 0
    while pending:
        name, module = pending.pop()
        if not is_module(module):
            raise Unsupported("a part of the pickled network is no torch.nn.Module", entry=name)
        looked_at += _weight(module)
        if looked_at > MAX_PARTS:
            raise LimitExceeded("the pickled network has too many parts", expected=f"up to {MAX_PARTS}")
        path = first.setdefault(id(module), name)
        same_as = None if path == name else path
        facts.append(ModuleFacts(name, class_name(module), attributes=_settings(module), same_as=same_as))
        values += _own_values(name, module)
        pending += reversed(_part(name, module, "_modules"))
    return values, tuple(facts)


def _weight(module: Record) -> int:
    """How many things there are to look at directly in `module`."""
    parts = (module.state, *(entry_of(module.state, part) for part in ("_parameters", "_buffers", "_modules")))
    return sum(len(mapping_entries(part) or ()) for part in parts) + len(_transient(module))


def _transient(module: Record) -> list[Any]:
    return elements(entry_of(module.state, "_non_persistent_buffers_set"))


def class_name(module: Record) -> str:
    """The fully qualified class of a pickled object, "" where the pickle names none."""
    cls = module.cls
    # Before torch 1.6 a module's class travels with its source code, ("module", class, file, source).
    if isinstance(cls, PersistentId) and isinstance(cls.value, tuple) and len(cls.value) > 1:
        cls = cls.value[1]
    # Pickle protocols 0 and 1 build every object through this function.
    if isinstance(cls, Global) and cls.path in ("copyreg._reconstructor", "copy_reg._reconstructor") and module.args:
        cls = module.args[0]
    return cls.path if isinstance(cls, Global) else ""


def _own_values(name: str, module: Record) -> list[tuple[str, Any]]:
    transient = {_joined(name, key) for key in _transient(module) if type(key) is str}
    buffers = [(buffer, value) for buffer, value in _part(name, module, "_buffers") if buffer not in transient]
    return _part(name, module, "_parameters") + buffers


def _part(name: str, module: Record, part: str) -> list[tuple[str, Any]]:
    """The named things in one of torch.nn.Module's dictionaries, those that are None left out as torch does."""
    entries = mapping_entries(entry_of(module.state, part)) or []
    if not all(type(key) is str for key, _ in entries):
        raise Malformed(f"a key of {part} is no text", entry=name or None)
    return [(_joined(name, key), value) for key, value in entries if value is not None]


def _joined(name: str, key: str) -> str:
    joined = f"{name}.{key}" if name else key
    if len(joined) > MAX_NAME_LENGTH:
        raise LimitExceeded("a name in the pickled network is too long", entry=joined[:100], found=len(joined))
    return joined


def _settings(module: Record) -> dict[str, Any]:
    """The attributes that are plain settings: numbers, booleans, strings, None, and short tuples of numbers."""
    entries = mapping_entries(module.state) or []
    return {key: value for key, value in entries if type(key) is str and key[:1] != "_" and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return 0 < len(value) <= 8 and all(type(item) in (int, float, bool) for item in value)
    return value is None or type(value) in (int, float, bool, str)
