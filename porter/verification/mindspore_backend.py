"""Layers on MindSpore: mindspore.nn, and mindspore.mint.nn where the device has kernels for it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from porter import stopping
from porter.errors import BackendError
from porter.layers.kinds import Kind
from porter.layers.settings import NO_CUMULATIVE_AVERAGE, USE_BATCH_STATISTICS, Settings, invert_momentum
from porter.verification.cases import MindSporeMode, Side
from porter.verification.mindspore_gradients import differentiate
from porter.verification.torch_backend import first_line, installed, torch_arguments
from porter.verification.trajectory import Inexpressible

if TYPE_CHECKING:
    from porter.verification.cases import Array

LOG_LEVEL = "GLOG_v"


class MindSporeBackend:
    """MindSpore's batch normalisations, in float32.

    Layers of one size and one configuration share a cell, for graph mode takes 0.3 s to compile each new one: a layer
    is good until the next is asked for.

    Args:
        device: the device target, CPU, GPU or Ascend.
        mode: the execution mode of its layers.
    """

    name = "MindSpore"

    def __init__(self, device: str = "CPU", mode: MindSporeMode = "pynative") -> None:
        self._device = device
        self.mode = mode
        self._cells: dict[str, Any] = {}

    def available(self) -> str | None:
        """Why no layer can run here; None when it can."""
        if find_spec("mindspore") is None:
            return "MindSpore is not installed (pip install 'bnport[mindspore]')"
        calm_the_log()
        try:
            import mindspore

            if mindspore.get_context("device_target") != self._device:
                mindspore.set_context(device_target=self._device)
        except Exception as error:
            return f"MindSpore does not run on {self._device}: {first_line(error)}"
        return None

    @property
    def versions(self) -> dict[str, str]:
        return installed("mindspore")

    def layer(self, kind: Kind, side: Side, values: dict[str, Array]) -> MindSporeLayer:
        """The layer of `side` with gamma, beta, mean and variance from `values`, shape (C,), float32.

        Raises:
            Inexpressible: MindSpore has no such settings.
            BackendError: the installed MindSpore refuses them.
        """
        reason = None if side.dialect == "mint" else refusal(side.settings)
        if reason:
            raise Inexpressible(reason)
        try:
            return MindSporeLayer(kind, side, values, self._cell(kind, side, len(values["gamma"])), self.mode)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BackendError(f"MindSpore refuses the layer: {first_line(error)}") from error

    def _cell(self, kind: Kind, side: Side, channels: int) -> Any:
        import mindspore

        if side.dialect == "mint":
            cls = getattr(mindspore.mint.nn, kind.name)
            arguments = torch_arguments(cls, side)
        else:
            cls = getattr(mindspore.nn, kind.mindspore)
            arguments = mindspore_arguments(cls, side.settings)
        key = f"{side.dialect} {kind.name} {channels} {arguments}"
        if key not in self._cells:
            with execution(self.mode):
                self._cells[key] = cls(channels, **arguments)
        return self._cells[key]


class MindSporeLayer:
    """One MindSpore batch normalisation (`porter.verification.trajectory.Layer`).

    A cell of the announced signature has no frozen statistics: like PyTorch's it is kept in evaluation.
    """

    def __init__(self, kind: Kind, side: Side, values: dict[str, Array], cell: Any, mode: MindSporeMode) -> None:
        import mindspore

        self._cell = cell
        self._mode = mode
        self._trains = side.settings.statistics != "frozen"
        self._compares = side.settings.statistics != "batch"
        self._parameters = _by_slot(kind, self._cell.parameters_dict())
        for slot, parameter in self._parameters.items():
            given = side.parameters.get("count", 0) if slot == "count" else values[slot]
            parameter.set_data(mindspore.Tensor(given, parameter.dtype))

    def evaluate(self, x: Array) -> Array:
        return self._run(x, training=False)

    def train(self, x: Array) -> Array:
        return self._run(x, training=self._trains)

    def gradients(self, x: Array, upstream: Array, *, training: bool) -> tuple[Array | None, ...]:
        trained = {slot: p for slot, p in self._parameters.items() if slot in ("gamma", "beta")}
        self._cell.set_train(training and self._trains)
        with execution(self._mode):
            try:
                found = differentiate(self._cell, trained, [x], upstream)
            except Exception as error:
                raise BackendError(f"MindSpore cannot run the layer: {first_line(error)}") from error
        return found.inputs[0], found.parameters.get("gamma"), found.parameters.get("beta")

    def statistics(self) -> tuple[Array, Array] | None:
        if not self._compares:
            return None
        return self._parameters["mean"].asnumpy().copy(), self._parameters["variance"].asnumpy().copy()

    def _run(self, x: Array, *, training: bool) -> Array:
        import mindspore

        # A cell is born in evaluation mode: the mode is set for every run, never assumed.
        self._cell.set_train(training)
        with execution(self._mode):
            try:
                output: Array = self._cell(mindspore.Tensor(x)).asnumpy()
            except Exception as error:
                raise BackendError(f"MindSpore cannot run the layer: {first_line(error)}") from error
        return output


def mindspore_arguments(cls: type, settings: Settings) -> dict[str, Any]:
    """Keyword arguments of mindspore.nn's batch normalisation for `settings`, as the installed signature means them.

    Up to 2.10 momentum weighs the old value and `use_batch_statistics` has three values. The signature MindSpore
    announces in its documentation takes `track_running_stats`, and its momentum is PyTorch's.
    """
    if "track_running_stats" in inspect.signature(cls).parameters:
        return {
            "eps": settings.eps,
            "momentum": settings.momentum,
            "affine": settings.affine,
            "track_running_stats": settings.statistics != "batch",
        }
    # refusal() has turned down a momentum of None before.
    return {
        "eps": float(settings.eps),
        "momentum": invert_momentum(settings.momentum or 0.0),
        "affine": settings.affine,
        "use_batch_statistics": USE_BATCH_STATISTICS[settings.statistics],
    }


def refusal(settings: Settings) -> str | None:
    """What mindspore.nn's batch normalisation cannot express, in words; checked in 2.7-2.10."""
    momentum, eps = settings.momentum, settings.eps
    if not 0 < eps <= 1:
        return f"MindSpore accepts eps in (0, 1] only: {eps:g} cannot be expressed"
    if momentum is None:
        return NO_CUMULATIVE_AVERAGE
    if not 0 <= momentum <= 1:
        return f"MindSpore accepts momentum in [0, 1] only: {momentum:g} cannot be expressed"
    return None


def _by_slot(kind: Kind, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Slot -> parameter of a cell that stands alone; the announced signature may bring PyTorch's names."""
    mindspore, torch = kind.names_in("mindspore", root=True), kind.names_in("torch")
    names = mindspore if mindspore["mean"] in parameters else torch
    return {slot: parameters[name] for slot, name in names.items() if name in parameters}


def calm_the_log() -> None:
    """MindSpore reads GLOG_v once, at import: errors only, unless the user wants more; 5 makes the import fail."""
    if os.environ.get(LOG_LEVEL, "5") == "5":
        os.environ[LOG_LEVEL] = "3"


@contextmanager
def execution(mode: MindSporeMode) -> Iterator[None]:
    """Run in `mode`, each operation waited for, and restore what was before.

    Not waited for, MindSpore's threads wait for each other in loops that keep the processors busy: small layers then
    take twice as long, and more where others want the processors, too.
    """
    import mindspore

    graph = mode == "graph"
    wanted = mindspore.GRAPH_MODE if graph else mindspore.PYNATIVE_MODE
    with _graph_files() if graph else nullcontext(), _context(mode=wanted, pynative_synchronize=True):
        try:
            yield
        finally:
            # With its first operation, and with each graph, MindSpore makes a SIGTERM of every SIGINT.
            stopping.heed_again()


@contextmanager
def _context(**wanted: Any) -> Iterator[None]:
    """Settings of mindspore.set_context, for a while."""
    import mindspore

    before = {name: mindspore.get_context(name) for name in wanted}
    changed = {name: value for name, value in wanted.items() if value != before[name]}
    if changed:
        mindspore.set_context(**changed)
    try:
        yield
    finally:
        if changed:
            mindspore.set_context(**{name: before[name] for name in changed})


@contextmanager
def _graph_files() -> Iterator[None]:
    """A failing compilation leaves rank_N/om/analyze_fail.ir in the working folder; MS_OM_PATH sends it elsewhere."""
    kept = os.environ.get("MS_OM_PATH")
    with TemporaryDirectory(prefix="bnport-") as folder:
        os.environ["MS_OM_PATH"] = folder
        try:
            yield
        finally:
            if kept is None:
                del os.environ["MS_OM_PATH"]
            else:
                os.environ["MS_OM_PATH"] = kept
