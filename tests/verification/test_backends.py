"""The two backends against the real frameworks."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import mindspore
import numpy as np
import pytest
import torch
from layer_cases import layer_case, parameters

from porter.errors import BackendError
from porter.layers.kinds import KINDS
from porter.layers.settings import Settings
from porter.verification import mindspore_backend, torch_backend
from porter.verification.cases import Side
from porter.verification.mindspore_backend import (
    LOG_LEVEL,
    MindSporeBackend,
    calm_the_log,
    mindspore_arguments,
    refusal,
)
from porter.verification.torch_backend import TorchBackend, torch_arguments
from porter.verification.trajectory import Inexpressible

BN3D = KINDS["BatchNorm3d"]
INITIAL = {
    slot: np.full(2, fill, np.float32) for slot, fill in (("gamma", 1), ("beta", 0), ("mean", 0), ("variance", 1))
}

# The comparison page this project starts from: train mode, 2 channels, momentum 0.1 / 0.9, as printed there.
SEED_INPUT = np.array([0.1, 0.2, 0.3, 0.4, 0.9, 1.0, 1.1, 1.2], np.float32).reshape(1, 2, 1, 2, 2)
SEED_TORCH = [-1.3411044, -0.44703478, 0.4470349, 1.3411044, -1.3411034, -0.44703388, 0.44703573, 1.3411053]
SEED_MINDSPORE = [-1.3411044, -0.44703478, 0.4470349, 1.3411044, -1.3411039, -0.44703427, 0.44703534, 1.341105]


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_seed_documents_example_on_torch() -> None:
    layer = TorchBackend().layer(BN3D, Side("torch", Settings(), INITIAL), INITIAL)
    assert layer.train(SEED_INPUT).ravel().tolist() == np.array(SEED_TORCH, np.float32).tolist()


@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_the_seed_documents_example_on_mindspore(mode) -> None:
    layer = MindSporeBackend(mode=mode).layer(BN3D, Side("mindspore", Settings(), INITIAL), INITIAL)
    assert layer.train(SEED_INPUT).ravel().tolist() == np.array(SEED_MINDSPORE, np.float32).tolist()


class AnnouncedBatchNorm3d:
    """The signature MindSpore's documentation announces for after 2.9."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, dtype=None):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("settings", "classic", "announced"),
    [
        (Settings(), (0.9, None), (0.1, True)),
        (Settings(momentum=0.003), (0.997, None), (0.003, True)),
        (Settings(momentum=0.0, statistics="batch"), (1.0, True), (0.0, False)),
        (Settings(momentum=1.0, statistics="frozen"), (0.0, False), (1.0, True)),
    ],
)
def test_the_installed_signature_decides_what_momentum_means(settings, classic, announced) -> None:
    old = mindspore_arguments(mindspore.nn.BatchNorm3d, settings)
    new = mindspore_arguments(AnnouncedBatchNorm3d, settings)
    assert (old["momentum"], old["use_batch_statistics"]) == classic
    assert (new["momentum"], new["track_running_stats"]) == announced
    inspect.signature(AnnouncedBatchNorm3d).bind(8, **new)


class AnnouncedCell:
    """What the backend needs of such a cell: PyTorch's parameter names, set_train."""

    def __init__(self, num_features, eps, momentum, affine, track_running_stats):
        self.momentum = momentum
        names = ("weight", "bias", "running_mean", "running_var")
        self.own = {name: mindspore.Parameter(mindspore.ops.zeros(num_features), name=name) for name in names}

    def parameters_dict(self):
        return self.own


def test_a_cell_of_the_announced_signature_is_filled_by_pytorchs_names(monkeypatch) -> None:
    monkeypatch.setattr(mindspore.nn, "BatchNorm3d", AnnouncedCell)
    values = parameters(0)
    layer = MindSporeBackend().layer(BN3D, Side("mindspore", Settings(), values), values)
    assert layer._cell.momentum == 0.1
    assert (layer._cell.own["running_mean"].asnumpy() == values["mean"]).all()
    assert (layer._cell.own["weight"].asnumpy() == values["gamma"]).all()


@pytest.mark.parametrize("kind", ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"])
def test_every_parameter_reaches_its_place(kind) -> None:
    values = parameters(0)
    ours = MindSporeBackend().layer(KINDS[kind], Side("mindspore", Settings(), values), values)
    assert set(ours._parameters) == {"gamma", "beta", "mean", "variance"}
    for slot, parameter in ours._parameters.items():
        assert (parameter.asnumpy() == values[slot]).all(), slot
    theirs = TorchBackend().layer(KINDS[kind], Side("torch", Settings(), {**values, "count": np.array(9)}), values)
    state = theirs._module.state_dict()
    for slot, name in KINDS[kind].names_in("torch").items():
        assert (state[name].numpy() == {**values, "count": 9}[slot]).all(), slot


@pytest.mark.parametrize("eps", [0.0, 1.5, -1e-5, float("nan"), float("inf")])
def test_mindspore_does_refuse_the_eps_we_say_it_refuses(eps, in_tmp) -> None:
    assert "eps" in (refusal(Settings(eps=eps)) or "")
    cell = mindspore.nn.BatchNorm3d(2, eps=eps)
    with pytest.raises((TypeError, ValueError)):
        cell(mindspore.Tensor(SEED_INPUT))


@pytest.mark.parametrize("momentum", [-0.1, 1.5])
def test_mindspore_does_refuse_the_momentum_we_say_it_refuses(momentum) -> None:
    assert "momentum" in (refusal(Settings(momentum=momentum)) or "")
    with pytest.raises(ValueError, match="momentum"):
        mindspore.nn.BatchNorm3d(2, momentum=1 - momentum)


@pytest.mark.parametrize("settings", [Settings(), Settings(eps=1.0), Settings(eps=1e-12), Settings(momentum=1.0)])
def test_mindspore_takes_what_we_do_not_refuse(settings) -> None:
    assert refusal(settings) is None
    layer = MindSporeBackend().layer(BN3D, Side("mindspore", settings, INITIAL), INITIAL)
    assert layer.evaluate(SEED_INPUT).shape == SEED_INPUT.shape


def test_the_cumulative_average_cannot_be_expressed() -> None:
    with pytest.raises(Inexpressible, match="momentum None"):
        MindSporeBackend().layer(BN3D, Side("mindspore", Settings(momentum=None), INITIAL), INITIAL)


def test_a_layer_torch_cannot_run_is_a_backend_error() -> None:
    layer = TorchBackend().layer(BN3D, Side("torch", Settings(eps=0.0), INITIAL), INITIAL)
    with pytest.raises(BackendError, match="eps must be positive"):
        layer.train(SEED_INPUT)


def test_bias_false_is_the_layer_itself_where_torch_has_it() -> None:
    values = parameters(0)
    side = Side("torch", Settings(), {slot: v for slot, v in values.items() if slot != "beta"})
    layer = TorchBackend().layer(BN3D, side, {**values, "beta": np.zeros(8, np.float32)})
    has_argument = "bias" in inspect.signature(torch.nn.BatchNorm3d).parameters
    assert (layer._module.bias is None) == has_argument

    def older_torch(num_features, eps, momentum, affine, track_running_stats):
        raise NotImplementedError

    assert "bias" not in torch_arguments(older_torch, side)
    assert torch_arguments(older_torch, side)["affine"] is True


def test_cells_are_shared_but_their_values_are_not() -> None:
    backend = MindSporeBackend()
    outputs, cells = [], set()
    for seed in (0, 1, 0):
        values = parameters(seed)
        layer = backend.layer(BN3D, Side("mindspore", Settings(), values), values)
        outputs.append(layer.evaluate(np.ones((2, 8, 3, 4, 5), np.float32)))
        layer.train(np.ones((2, 8, 3, 4, 5), np.float32))
        cells.add(layer._cell)
    assert len(cells) == len(backend._cells) == 1
    assert (outputs[0] == outputs[2]).all()
    assert (outputs[0] != outputs[1]).any()
    backend.layer(BN3D, Side("mindspore", Settings(momentum=0.2), values), values)
    assert len(backend._cells) == 2


def test_graph_mode_restores_the_mode_and_leaves_no_folder(in_tmp, monkeypatch) -> None:
    monkeypatch.setattr(mindspore_backend, "refusal", lambda settings: None)
    before = mindspore.get_context("mode")
    layer = MindSporeBackend(mode="graph").layer(BN3D, Side("mindspore", Settings(eps=2.0), INITIAL), INITIAL)
    with pytest.raises(BackendError, match="eps must be in"):
        layer.evaluate(SEED_INPUT)
    assert os.listdir(in_tmp) == []
    assert "MS_OM_PATH" not in os.environ
    assert mindspore.get_context("mode") == before


def test_torchs_threads_are_restored() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        TorchBackend().layer(BN3D, Side("torch", Settings(), INITIAL), INITIAL).evaluate(SEED_INPUT)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_mint_says_that_it_has_no_kernel_here(in_tmp) -> None:
    values = {**parameters(0), "count": np.array(3)}
    layer = MindSporeBackend().layer(BN3D, Side("mint", Settings(), values), values)
    assert set(layer._parameters) == {"gamma", "beta", "mean", "variance", "count"}
    with pytest.raises(BackendError, match="BatchNormExt"):
        layer.evaluate(np.ones((2, 8, 3, 4, 5), np.float32))


@pytest.mark.parametrize(("given", "used"), [(None, "3"), ("5", "3"), ("0", "0"), ("2", "2")])
def test_the_users_log_level_is_kept_but_for_the_one_that_breaks_the_import(given, used, monkeypatch) -> None:
    if given is None:
        monkeypatch.delenv(LOG_LEVEL)
    else:
        monkeypatch.setenv(LOG_LEVEL, given)
    calm_the_log()
    assert os.environ[LOG_LEVEL] == used


def test_available_says_what_is_missing(monkeypatch) -> None:
    assert TorchBackend().available() is None
    assert MindSporeBackend().available() is None
    if not torch.cuda.is_available():
        assert TorchBackend("GPU").available() == "PyTorch sees no GPU"
    for module, backend, extra in (
        (torch_backend, TorchBackend(), "bnport[torch]"),
        (mindspore_backend, MindSporeBackend(), "bnport[mindspore]"),
    ):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
        assert extra in (backend.available() or "")


def test_an_unknown_device_is_a_reason_not_a_traceback() -> None:
    reason = MindSporeBackend("Abacus").available()
    assert reason is not None
    assert reason.startswith("MindSpore does not run on Abacus: ")
    assert MindSporeBackend().available() is None


def test_versions_are_those_of_the_frameworks() -> None:
    assert TorchBackend().versions == {"torch": torch.__version__}
    assert MindSporeBackend().versions == {"mindspore": mindspore.__version__}
    assert torch_backend.installed("no-such-distribution") == {}


def test_the_layer_of_a_case_runs_like_the_module_itself() -> None:
    """The whole path once by hand: what the backend calls momentum 0.1 is torch.nn.BatchNorm3d(momentum=0.1)."""
    values = parameters(5)
    case = layer_case(values, Settings(momentum=0.1, eps=1e-3))
    x = np.random.default_rng(0).normal(size=(2, 8, 3, 4, 5)).astype(np.float32)
    module = torch.nn.BatchNorm3d(8, momentum=0.1, eps=1e-3)
    names = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
    module.load_state_dict({names[s]: torch.from_numpy(v) for s, v in values.items()}, strict=False)
    module(torch.from_numpy(x))
    layer = TorchBackend().layer(case.kind, case.source, values)
    layer.train(x)
    np.testing.assert_allclose(layer.statistics()[0], module.running_mean.numpy(), rtol=1e-6)
