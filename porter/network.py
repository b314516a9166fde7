"""The network a user names: `--model` (PyTorch) and `--net` (MindSpore).

This is the only place where bnport imports code that is not its own, and it imports exactly what the user named.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from porter.errors import BackendError, UsageError
from porter.formats.dtypes import BY_MINDSPORE, BY_NAME
from porter.formats.model import ModuleFacts, TensorSpec
from porter.layers.ordinary_settings import ATTRIBUTES, attributes_of
from porter.verification.mindspore_backend import calm_the_log

# The settings that recognition and verification read off a module, in the frameworks' attribute names.
_ATTRIBUTES = (
    *("num_features", "num_channels"),
    *("momentum", "affine", "elementwise_affine", "track_running_stats", "use_batch_statistics"),
    *ATTRIBUTES,
)


def torch_modules(reference: str) -> tuple[ModuleFacts, ...]:
    """The modules of a PyTorch network.

    Args:
        reference: `package.module:factory` or `path/to/file.py:factory`; the factory takes no arguments and
            returns an `nn.Module`. It is called under the meta device, so that no memory is spent on weights, and
            on the CPU where it cannot be built there.

    Raises:
        UsageError: the reference leads nowhere, or not to a network.
        BackendError: PyTorch is not installed.
    """
    modules = torch_network(reference).named_modules(remove_duplicate=False)
    return _with_first_paths((facts_of(name, module), module) for name, module in modules)


def torch_parameters(reference: str) -> tuple[TensorSpec, ...]:
    """What a PyTorch network's state dict holds, parameters and buffers, in its order; else as `torch_modules`."""
    return module_parameters(torch_network(reference))


def module_parameters(module: Any) -> tuple[TensorSpec, ...]:
    """What the state dict of an `nn.Module` holds, parameters and buffers, in its order."""
    torch = _framework("torch", "--model")
    tensors = {name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    return tuple(
        TensorSpec(name, BY_NAME[str(value.dtype).removeprefix("torch.")], tuple(value.shape))
        for name, value in tensors.items()
    )


def torch_aliases(reference: str) -> dict[str, str]:
    """Further names of the tensors of a PyTorch network, each with the first; else as `torch_modules`."""
    network = torch_network(reference)
    first: dict[int, str] = {}
    named = (*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False))
    return {name: first[id(t)] for name, t in named if first.setdefault(id(t), name) != name}


def torch_network(reference: str, *, runs: bool = False) -> Any:
    """The PyTorch network itself, as for `torch_modules`; built on the CPU where it shall be one that `runs`."""
    torch = _framework("torch", "--model")
    factory = _factory(reference, "--model")
    try:
        with torch.device("cpu" if runs else "meta"):
            network = factory()
    except Exception:  # the user's own code, which may touch data that the meta device does not have
        network = _call(factory, reference, "--model")
    if not isinstance(network, torch.nn.Module):
        raise _no_network(reference, "--model", "torch.nn.Module", network)
    return network


def mindspore_modules(reference: str) -> tuple[ModuleFacts, ...]:
    """The cells of a MindSpore network; as `torch_modules`, with an `nn.Cell`."""
    network = mindspore_network(reference)
    mindspore = _framework("mindspore", "--net")
    cells = list(every_cell(network))
    # BatchNorm3d keeps its settings in the inner cell, which is no layer of its own.
    inner = {
        f"{name}.bn2d".removeprefix("."): name for name, cell in cells if _wraps_a_batch_norm_2d(cell, mindspore)
    }
    return _with_first_paths(
        (facts_of(name, cell, settings_in=cell.bn2d if name in inner.values() else None), cell)
        for name, cell in cells
        if name not in inner
    )


def every_cell(cell: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """A MindSpore cell and all below it by every path; `cells_and_names` tells a shared one under its first alone."""
    yield path, cell
    for name, child in cell._cells.items():
        if child is not None:
            yield from every_cell(child, f"{path}.{name}".removeprefix("."))


def mindspore_parameters(reference: str) -> tuple[TensorSpec, ...]:
    """The parameters of a MindSpore network, moving statistics included, in its order; else as `torch_modules`."""
    return cell_parameters(mindspore_network(reference))


def cell_parameters(cell: Any) -> tuple[TensorSpec, ...]:
    """The parameters of an `nn.Cell`, moving statistics included, in its order."""
    parameters = cell.parameters_dict().items()
    return tuple(TensorSpec(name, BY_MINDSPORE[str(p.dtype)], tuple(p.shape)) for name, p in parameters)


def mindspore_network(reference: str) -> Any:
    """The MindSpore network itself; as `torch_modules`, with an `nn.Cell`."""
    calm_the_log()
    mindspore = _framework("mindspore", "--net")
    network = _call(_factory(reference, "--net"), reference, "--net")
    if not isinstance(network, mindspore.nn.Cell):
        raise _no_network(reference, "--net", "mindspore.nn.Cell", network)
    return network


def _wraps_a_batch_norm_2d(cell: Any, mindspore: Any) -> bool:
    return isinstance(cell, mindspore.nn.BatchNorm3d) and hasattr(cell, "bn2d")


def _with_first_paths(modules: Iterable[tuple[ModuleFacts, Any]]) -> tuple[ModuleFacts, ...]:
    first: dict[int, str] = {}
    pairs = ((facts, first.setdefault(id(module), facts.name)) for facts, module in modules)
    return tuple(facts if path == facts.name else facts._replace(same_as=path) for facts, path in pairs)


def facts_of(name: str, module: Any, settings_in: Any = None) -> ModuleFacts:
    """What a live module says of itself.

    Args:
        name: its path.
        settings_in: the cell that keeps its settings, where that is another.
    """
    own, *bases = (f"{cls.__module__}.{cls.__qualname__}" for cls in type(module).__mro__)
    holder = module if settings_in is None else settings_in
    attributes = attributes_of(holder, _ATTRIBUTES)
    if "affine" not in attributes and hasattr(holder, "gamma"):
        attributes["affine"] = bool(holder.gamma.requires_grad)
    elif attributes.get("affine") and not getattr(getattr(holder, "weight", None), "requires_grad", True):
        attributes["frozen"] = True
    return ModuleFacts(name, own, tuple(bases), attributes)


def _factory(reference: str, option: str) -> Any:
    where, colon, name = reference.rpartition(":")
    if not colon or not where or not name:
        raise UsageError(
            "names no factory", entry=f"{option} {reference}", expected="module:factory or file.py:factory"
        )
    try:
        module = _module_from_file(Path(where)) if where.endswith(".py") else _module(where)
        target = module
        for part in name.split("."):
            target = getattr(target, part)
    except Exception as error:  # importing is running the user's code: anything can come out of it
        found = f"{type(error).__name__}: {error}"
        raise UsageError("cannot be imported", entry=f"{option} {reference}", found=found) from error
    return target


def _module(name: str) -> Any:
    # The user means modules of the folder they stand in, as `python -m` does.
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return importlib.import_module(name)


def _module_from_file(path: Path) -> Any:
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # A name of our own: the user's file may be called like a module that is already imported.
    name = f"bnport_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _call(factory: Any, reference: str, option: str) -> Any:
    try:
        return factory()
    except Exception as error:  # the user's code again
        found = f"{type(error).__name__}: {error}"
        hint = "The factory is called without arguments; wrap it in a function that fills them in."
        raise UsageError("does not build", entry=f"{option} {reference}", found=found, hint=hint) from error


def _framework(name: str, option: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = f"Install it with: pip install 'bnport[{name}]'"
        raise BackendError(f"{option} needs {name}, which is not installed", found=str(error), hint=hint) from error


def _no_network(reference: str, option: str, expected: str, network: object) -> UsageError:
    entry = f"{option} {reference}"
    return UsageError("builds no network", entry=entry, expected=expected, found=type(network).__name__)
