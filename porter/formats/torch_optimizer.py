"""The state of a PyTorch optimizer, where a training checkpoint holds one beside the network.

    {"state": {index: {slot: tensor or number}}, "param_groups": [{"lr": ..., ..., "params": [index, ...]}]}

Parameters are known by number alone, counted through the groups, and since torch 2.6 by name where the optimizer was
made from `named_parameters()` (`param_names`). Source: `Optimizer.state_dict` in torch/optim/optimizer.py; before
torch 1.0 the numbers were any that differ.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import prod
from typing import Any

from porter.errors import LimitExceeded, Malformed, Undecided, Unsupported
from porter.formats.model import LeftOut, OptimizerDict
from porter.formats.numpy_scalars import numpy_number
from porter.formats.pickle_records import Record
from porter.formats.torch_mappings import entry_of, mapping_entries
from porter.formats.torch_modules import is_module
from porter.formats.torch_tensors import PickledTensor, pickled_tensor

MAX_DEPTH = 6
# Groups, parameters, slots and settings of one optimizer: a short pickle can show one long list any number of times.
MAX_PARTS = 5_000_000


def find_optimizer(root: Any) -> tuple[OptimizerDict, list[PickledTensor]] | None:
    """The one optimizer state in what a torch pickle holds, and its tensors; None where there is none.

    A tensor of it is called by its path in the file: `optimizer.state.0.exp_avg`, 0 being the parameter's place in
    the groups one after the other.

    Raises:
        Undecided: there are several.
        Malformed: it contradicts itself.
        LimitExceeded: it has more parts than any optimizer.
        Unsupported: its parameters bear no numbers, or a tensor cannot be carried.
    """
    found = list(_optimizers(root))
    if len(found) > 1:
        raise Undecided(
            "several optimizers",
            expected="one, whose parameters are those of the network",
            found=", ".join(key for key, _ in found[:20]),
            hint="Save the network and its own optimizer in a file of their own; or leave --optimizer out.",
        )
    return _read(*found[0]) if found else None


def optimizer_keys(root: Any) -> list[str]:
    """The dotted path of every optimizer state in what a torch pickle holds."""
    return [key for key, _ in _optimizers(root)]


def _optimizers(root: Any) -> Iterator[tuple[str, Record]]:
    """Every optimizer state reachable through text keys and lists, with its dotted path."""
    seen: set[int] = set()
    queue: deque[tuple[tuple[str, ...], Any]] = deque([((), root)])
    while queue:
        path, value = queue.popleft()
        if id(value) in seen or len(path) > MAX_DEPTH or is_module(value):
            continue
        seen.add(id(value))
        if isinstance(entry_of(value, "param_groups"), list) and entry_of(value, "state") is not None:
            yield ".".join(path), value
        elif isinstance(value, list):
            # Lightning: "optimizer_states": [...]
            queue += [((*path, str(i)), item) for i, item in enumerate(value) if isinstance(item, Record)]
        else:
            parts = mapping_entries(value) or ()
            # A tensor, of which a state dict has many, has no entries.
            queue += [((*path, k), v) for k, v in parts if type(k) is str and (mapping_entries(v) or type(v) is list)]


def _read(key: str, value: Record) -> tuple[OptimizerDict, list[PickledTensor]]:
    tensors: list[PickledTensor] = []
    groups, numbers, left_out = _groups(key, entry_of(value, "param_groups"), tensors)
    place = {number: i for i, number in enumerate(numbers)}
    if len(place) < len(numbers):
        raise Malformed("a parameter is in two groups", entry=f"{key}.param_groups")
    state: dict[int, dict[str, Any]] = {}
    looked_at = 0
    for number, slots in mapping_entries(entry_of(value, "state")) or ():
        if type(number) is not int or number not in place:
            found = str(number) if type(number) is int else type(number).__name__
            raise Unsupported("state of a parameter that is in no group", entry=f"{key}.state", found=found)
        at, entries = place[number], mapping_entries(slots) or []
        looked_at = _within_limits(looked_at + len(entries), key)
        if at in state:
            raise Malformed("a parameter has two states", entry=f"{key}.state.{at}")
        state[at] = {}
        for slot, content in entries:
            name = f"{key}.state.{at}.{slot}".removeprefix(".")
            tensor = pickled_tensor(name, content)
            if type(slot) is not str or slot in state[at]:
                raise Malformed("a slot that is there twice, or has no name", entry=name)
            if tensor:
                tensors.append(tensor)
                state[at][slot] = tensor.spec
            elif content is None or type(content) in (int, float, bool):
                state[at][slot] = content
            else:
                left_out.append(LeftOut(name, type(content).__name__))
    return OptimizerDict(key, groups, state, tuple(left_out)), tensors


def _groups(
    key: str, value: list[Any], tensors: list[PickledTensor]
) -> tuple[tuple[dict[str, Any], ...], list[int], list[LeftOut]]:
    """The groups with their parameters renumbered from 0 on, the numbers they had, and what cannot be carried.

    Settings that are tensors, such as the learning rate of an optimizer for torch.compile, join `tensors`.
    """
    groups: list[dict[str, Any]] = []
    numbers: list[int] = []
    left_out: list[LeftOut] = []
    looked_at = 0
    for i, group in enumerate(value):
        params, entries = entry_of(group, "params"), mapping_entries(group) or []
        lengths = (len(setting) for _, setting in entries if isinstance(setting, (list, tuple)))
        looked_at = _within_limits(looked_at + len(entries) + sum(lengths), key)
        if not isinstance(params, list) or not all(type(number) is int for number in params):
            raise Unsupported("the parameters of a group are no numbers", entry=f"{key}.param_groups.{i}.params")
        settings: dict[str, Any] = {}
        for name, setting in entries:
            if name == "params":
                settings[name] = list(range(len(numbers), len(numbers) + len(params)))
                continue
            where = f"{key}.param_groups.{i}.{name}".removeprefix(".")
            number = numpy_number(setting) if isinstance(setting, Record) else None
            plain = setting if number is None else number
            tensor = pickled_tensor(where, setting)
            if type(name) is str and tensor and prod(tensor.spec.shape) == 1:
                settings[name] = tensor.spec
                tensors.append(tensor)
            elif type(name) is str and _is_plain(plain):
                settings[name] = plain
            else:
                left_out.append(LeftOut(where, "a tensor" if tensor else type(setting).__name__))
        numbers += params
        groups.append(settings)
    return tuple(groups), numbers, left_out


def _within_limits(looked_at: int, key: str) -> int:
    if looked_at > MAX_PARTS:
        raise LimitExceeded("the optimizer has too many parts", entry=key, expected=f"up to {MAX_PARTS}")
    return looked_at


def _is_plain(value: Any) -> bool:
    """Numbers, text, None, and flat lists and tuples of them."""
    if isinstance(value, (list, tuple)):
        return all(not isinstance(item, (list, tuple)) and _is_plain(item) for item in value)
    return value is None or type(value) in (int, float, bool, str)
