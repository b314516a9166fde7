"""Which part of a torch checkpoint is the network's state dict.

Training scripts save a dictionary in which the state dict lies under one of many customary keys, beside optimizers,
schedulers and averaged copies. The customary keys were read off published training code: PyTorch's own tutorials
(`model_state_dict`), Lightning, timm, MONAI, MMEngine (`state_dict`), PySlowFast (`model_state`), nnU-Net
(`network_weights`), DeepSpeed (`module`), BasicSR (`params`), Detectron2 and Ultralytics (`model`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from porter.errors import Malformed, Undecided, Unsafe, Unsupported, UsageError
from porter.formats.model import ModuleFacts
from porter.formats.pickle_records import Record, globals_in
from porter.formats.torch_mappings import entry_of, mapping_entries
from porter.formats.torch_modules import class_name, is_module, read_module
from porter.formats.torch_tensors import is_tensor

_CUSTOMARY = (
    *("state_dict", "model_state_dict", "net_state_dict", "network_state_dict", "model_state", "model_dict"),
    *("model", "net", "network", "module", "weights", "model_weights", "network_weights", "params", "state"),
)
_AVERAGED = re.compile(r"(^|_)(ema|swa|averaged?)(_|$)")
_TRAINING_STATE = re.compile(r"(^|_)(opt(im|_|$)|(lr_?)?sched|(grad_?)?scaler)")

# The --key of the file's top level.
TOP_LEVEL = "."
MAX_DEPTH = 6
MAX_KEY_LENGTH = 256
LISTED = 20

# Goodness of a candidate, best first.
_BARE, _BY_NAME, _NETWORK, _BY_AVERAGED_NAME, _BY_CONTENT = range(5)


class StateDict(NamedTuple):
    """The state dict that was chosen.

    Attributes:
        entries: names and what the pickle has for them, in order.
        container: the key it was found under, None at the top level.
        siblings: names of the other entries of the dictionary that it is an entry of.
        others: keys of the further state dicts.
        versions: module path -> version, from `_metadata`; None where there is none.
        modules: facts from a whole pickled module; empty otherwise.
    """

    entries: list[tuple[str, Any]]
    container: str | None
    siblings: tuple[str, ...]
    others: tuple[str, ...]
    versions: Mapping[str, int] | None
    modules: tuple[ModuleFacts, ...]


@dataclass(eq=False)
class _Node:
    """A dictionary or module of the pickle; `tensors` counts those directly in it."""

    path: tuple[str, ...]
    value: Any
    tensors: int
    children: list[_Node] = field(default_factory=list)
    within: int = 0

    @property
    def key(self) -> str:
        return ".".join(self.path) or TOP_LEVEL

    @property
    def is_customary(self) -> bool:
        return bool(self.path) and self.path[-1].lower() in _CUSTOMARY

    @property
    def is_averaged(self) -> bool:
        return any(_AVERAGED.search(part.lower()) for part in self.path)


# A whole module outweighs any number of loose tensors beside it.
_MODULE_WEIGHT = 1 << 40


def find_state_dict(root: Any, *, key: str | None = None) -> StateDict:
    """Choose the state dict in what a torch pickle holds.

    Args:
        key: the dotted path of the one to take ("state.model"), "." for the top level; None to look for it.

    Raises:
        UsageError: there is no state dict under `key`.
        Undecided: two are equally good.
        Unsafe: none can be seen, and the pickle would have run code to make what it holds.
        Unsupported: there is none; or it has keys that are no text.
        Malformed: a key is there twice.
    """
    nodes = _nodes(root)
    candidates = sorted((node for node in nodes if node.tensors), key=_goodness)
    if not candidates:
        raise _nothing_found(root)
    chosen = _asked_for(candidates, key) if key is not None else _best(candidates)
    others = tuple(node.key for node in candidates if node is not chosen)
    container = None if not chosen.path else chosen.key
    siblings = _siblings(root, chosen.path)
    if is_module(chosen.value):
        entries, modules = read_module(chosen.value)
        return StateDict(entries, container, siblings, others, None, modules)
    return StateDict(_entries(chosen.value), container, siblings, others, _versions(chosen.value), ())


def _siblings(root: Any, path: tuple[str, ...]) -> tuple[str, ...]:
    for key in path[:-1]:
        root = entry_of(root, key)
    entries = mapping_entries(root) or [] if path else []
    return tuple(name for name, _ in entries if type(name) is str and name != path[-1])


def _best(candidates: list[_Node]) -> _Node:
    tied = [node.key for node in candidates if _goodness(node) == _goodness(candidates[0])]
    if len(tied) > 1:
        raise Undecided(
            "several state dicts are equally good",
            found=_listing(tied),
            hint=f"Choose one: --key {tied[0]}",
        )
    return candidates[0]


def _asked_for(candidates: list[_Node], key: str) -> _Node:
    for node in candidates:
        if node.key == key:
            return node
    raise UsageError(
        "there is no state dict under this key",
        entry=f"--key {key}",
        expected=f"one of {_listing([node.key for node in candidates])}",
    )


def _listing(keys: list[str]) -> str:
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more


def _goodness(node: _Node) -> tuple[int, int]:
    """What sorts candidates; equal for equally good ones."""
    # Loose tensors around a state dict with a customary name, or around larger ones, are some statistic or score.
    around = any(child.is_customary and child.tensors for child in node.children)
    if around or node.within > node.tensors:
        return (_BY_CONTENT, int(around))
    if node.is_averaged:
        return (_BY_AVERAGED_NAME, len(node.path))
    if not node.path:
        return (_BARE, 0)
    if node.is_customary:
        return (_BY_NAME, len(node.path))
    return (_NETWORK if is_module(node.value) else _BY_CONTENT, 0)


def _nodes(root: Any) -> list[_Node]:
    """The dictionaries and modules reachable through text keys, each once, nearest first."""
    nodes: list[_Node] = []
    seen = {id(root)}
    queue = deque([_node((), root)])
    while queue:
        node = queue.popleft()
        nodes.append(node)
        for key, value in _parts(node):
            if id(value) not in seen:
                seen.add(id(value))
                node.children.append(_node((*node.path, key), value))
        queue += node.children
    for node in reversed(nodes):
        node.within = sum(child.tensors + child.within for child in node.children if not child.is_averaged)
    return nodes


def _node(path: tuple[str, ...], value: Any) -> _Node:
    if is_module(value):
        return _Node(path, value, _MODULE_WEIGHT)
    return _Node(path, value, sum(is_tensor(item) for _, item in mapping_entries(value) or ()))


def _parts(node: _Node) -> Iterator[tuple[str, Any]]:
    """The dictionaries and modules directly in a dictionary, but for the state of optimizers and the like."""
    entries = [] if is_module(node.value) else mapping_entries(node.value) or []
    parts = [(key, value) for key, value in entries if mapping_entries(value) or is_module(value)]
    is_optimizer = entry_of(node.value, "param_groups") is not None and entry_of(node.value, "state") is not None
    if len(node.path) >= MAX_DEPTH or is_optimizer:
        return
    for key, value in parts:
        if type(key) is str and len(key) <= MAX_KEY_LENGTH and not _TRAINING_STATE.search(key.lower()):
            yield key, value


def _entries(value: Any) -> list[tuple[str, Any]]:
    entries = mapping_entries(value) or []
    names: set[str] = set()
    for name, _ in entries:
        if type(name) is not str:
            raise Unsupported("a key of the state dict is no text", found=f"{type(name).__name__} {_short(name)}")
        if name in names:
            raise Malformed("the state dict has this key twice", entry=name)
        names.add(name)
    return entries


def _short(key: Any) -> str:
    return repr(key) if isinstance(key, (int, float, bytes, type(None))) else ""


def _versions(value: Any) -> dict[str, int] | None:
    """torch.nn.Module.state_dict() hangs `_metadata` on the dictionary: module path -> {"version": n}."""
    metadata = entry_of(value.state, "_metadata") if isinstance(value, Record) else None
    entries = mapping_entries(metadata)
    if entries is None:
        return None
    versions = ((path, entry_of(facts, "version")) for path, facts in entries)
    return {path: version for path, version in versions if type(path) is str and type(version) is int}


def _nothing_found(root: Any) -> Unsafe | Unsupported:
    names = globals_in(root)
    foreign = [name for name in names if not name.startswith(("torch.", "collections."))]
    if foreign:
        return Unsafe(
            "no state dict can be seen in it, and what it holds only comes about by running code",
            found=_listing(foreign),
            hint="Where you trust the file, load it in PyTorch and save model.state_dict().",
        )
    return Unsupported(
        "there is no state dict in it",
        expected="a dictionary of tensors, or a network",
        found=_described(root),
        hint="Save model.state_dict().",
    )


def _described(root: Any) -> str:
    if is_tensor(root):
        return "one tensor"
    entries = mapping_entries(root)
    if entries is not None:
        keys = [key for key, _ in entries if isinstance(key, str)]
        return f"a dictionary without tensors: {_listing(keys)}" if keys else "an empty dictionary"
    return (class_name(root) if isinstance(root, Record) else "") or type(root).__name__
