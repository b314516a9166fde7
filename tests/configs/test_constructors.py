"""Translated settings, given to the real constructors, make layers whose statistics agree after training."""

from __future__ import annotations

from typing import Any

import mindspore
import numpy as np
import pytest
import torch
from translations import translated

CHANNELS = 3
# What rounding in float32 leaves of values near 1.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def call(name: str, arguments: str) -> str:
    """A Python file that makes one layer, as a `mindspore` or `torch` user writes it."""
    return f"import torch\nimport mindspore\nlayer = {name}({CHANNELS}{', ' * bool(arguments)}{arguments})\n"


def made(text: str) -> Any:
    """The layer that a Python file makes."""
    names: dict[str, Any] = {"announced": announced}
    exec(text, names)
    return names["layer"]


def batches(layer_class: str) -> list[np.ndarray[Any, Any]]:
    """Three batches, shape (4, C, *), with a mean and a variance of their own."""
    random = np.random.default_rng(0)
    sizes = (5,) * {"BatchNorm1d": 0, "BatchNorm2d": 2, "BatchNorm3d": 3, "SyncBatchNorm": 2}[layer_class]
    shape = (4, CHANNELS, *sizes)
    return [(random.normal(1 + step, 2, shape)).astype(np.float32) for step in range(3)]


def trained_torch(layer: Any, layer_class: str) -> tuple[list[Any], list[Any]]:
    """Outputs of three train steps and one evaluation, then mean and variance, empty where it keeps none."""
    layer.train()
    inputs = [torch.from_numpy(batch) for batch in batches(layer_class)]
    outputs = [layer(batch).detach().numpy() for batch in inputs]
    layer.eval()
    outputs.append(layer(inputs[0]).detach().numpy())
    statistics = [] if layer.running_mean is None else [layer.running_mean.numpy(), layer.running_var.numpy()]
    return outputs, statistics


def trained_mindspore(layer: Any, layer_class: str) -> tuple[list[Any], list[Any]]:
    """Likewise; MindSpore always keeps statistics."""
    layer.set_train(True)
    inputs = [mindspore.Tensor(batch) for batch in batches(layer_class)]
    outputs = [layer(batch).asnumpy() for batch in inputs]
    inner = getattr(layer, "bn2d", layer)
    statistics = [inner.moving_mean.asnumpy(), inner.moving_variance.asnumpy()]
    layer.set_train(False)
    return [*outputs, layer(inputs[0]).asnumpy()], statistics


def agree(ours: tuple[list[Any], list[Any]], theirs: tuple[list[Any], list[Any]]) -> bool:
    """Whether outputs agree, and statistics where both keep them."""
    pairs = [*zip(ours[0], theirs[0], strict=True), *zip(ours[1], theirs[1], strict=False)]
    return all(np.allclose(a, b, **CLOSE) for a, b in pairs)


TORCH = [
    "",
    "eps=1e-3",
    "momentum=0.1",
    "momentum=0.997",
    "momentum=1",
    "momentum=0",
    "momentum=0.010000000000000009",
    "eps=1",
    "affine=False",
    "track_running_stats=True",
    "track_running_stats=False",
    "1e-3, 0.01, True, False",
    "1e-3, 0.01, True, True, None, torch.float32",
    "momentum=1 - 0.7, track_running_stats=bool(0)",
    "bias=True, device=None",
]
MINDSPORE = [
    "",
    "momentum=0.9",
    "eps=1e-3, momentum=0.4",
    "use_batch_statistics=None",
    "use_batch_statistics=True",
    "1e-3, 0.8, True, 'ones', 'zeros', 'zeros', 'ones', None",
    "gamma_init='ones', beta_init=0, dtype=mindspore.float32",
    "affine=False",
]


@pytest.mark.parametrize("arguments", TORCH)
def test_from_torch(arguments: str) -> None:
    text = call("torch.nn.BatchNorm3d", arguments)
    there, translation = translated(text, "python", from_=None)
    assert "mindspore.nn.BatchNorm3d" in there
    assert [*translation.needs_person, *translation.undecided] == []
    ours = trained_torch(made(text), "BatchNorm3d")
    assert agree(ours, trained_mindspore(made(there), "BatchNorm3d"))


@pytest.mark.parametrize("arguments", MINDSPORE)
def test_from_mindspore(arguments: str) -> None:
    text = call("mindspore.nn.BatchNorm3d", arguments)
    there, translation = translated(text, "python", to="torch", from_=None)
    assert "torch.nn.BatchNorm3d" in there
    assert [*translation.needs_person, *translation.undecided] == []
    ours = trained_torch(made(there), "BatchNorm3d")
    assert agree(ours, trained_mindspore(made(text), "BatchNorm3d"))


@pytest.mark.parametrize("layer_class", ["BatchNorm1d", "BatchNorm2d"])
def test_the_other_classes(layer_class: str) -> None:
    text = call(f"torch.nn.{layer_class}", "eps=1e-3, momentum=0.3, track_running_stats=True")
    there, _ = translated(text, "python", from_=None)
    assert agree(trained_torch(made(text), layer_class), trained_mindspore(made(there), layer_class))


def test_statistics_show_a_momentum_that_was_not_inverted() -> None:
    # The judge: without it, agreement above would prove nothing.
    text = call("torch.nn.BatchNorm3d", "momentum=0.1")
    pasted = text.replace("torch.nn", "mindspore.nn")
    assert not agree(trained_torch(made(text), "BatchNorm3d"), trained_mindspore(made(pasted), "BatchNorm3d"))


def test_a_frozen_layer_is_pytorchs_in_eval() -> None:
    text = call("mindspore.nn.BatchNorm3d", "moving_mean_init=0.5, use_batch_statistics=False, gamma_init='zeros'")
    there, translation = translated(text, "python", to="torch", from_=None)
    said = "\n".join(warning.text for warning in translation.warnings)
    assert "eval()" in said
    layer = made(there)
    for line in said.splitlines():
        _, _, statement = line.partition("; ")
        if statement.startswith("torch.nn.init"):
            exec(statement, {"torch": torch, "layer": layer})
    layer.eval()
    (first, *_) = batches("BatchNorm3d")
    frozen = made(text)
    frozen.set_train(True)
    output = layer(torch.from_numpy(first)).detach().numpy()
    assert np.allclose(output, frozen(mindspore.Tensor(first)).asnumpy(), **CLOSE)
    assert np.allclose(layer.running_mean.numpy(), frozen.bn2d.moving_mean.asnumpy())


@pytest.mark.parametrize(
    ("value", "tensor"),
    [("gamma_init=2.5", "weight"), ("beta_init='ones'", "bias"), ("moving_mean_init=3", "running_mean")],
)
def test_the_line_that_fills_a_tensor_fills_it_as_mindspore_does(value: str, tensor: str) -> None:
    text = call("mindspore.nn.BatchNorm3d", value)
    there, translation = translated(text, "python", to="torch", from_=None)
    layer = made(there)
    exec(translation.warnings[0].text.partition("; ")[2], {"torch": torch, "layer": layer})
    inner = made(text).bn2d
    names = {"weight": inner.gamma, "bias": inner.beta, "running_mean": inner.moving_mean}
    assert np.array_equal(getattr(layer, tensor).detach().numpy(), names[tensor].asnumpy())


@pytest.mark.parametrize("arguments", [a for a in TORCH if "bias" not in a and "torch.float32" not in a])
def test_mint_takes_what_is_translated_and_means_it(arguments: str) -> None:
    # mint's batch normalisation runs on Ascend only: its settings are compared.
    text = call("torch.nn.BatchNorm3d", arguments)
    there, _ = translated(text, "python", to="mint", from_=None)
    ours, theirs = made(text), made(there)
    assert type(theirs) is mindspore.mint.nn.BatchNorm3d
    names = ("num_features", "eps", "momentum", "affine", "track_running_stats")
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]
    back, _ = translated(there, "python", to="torch", from_=None)
    assert back == text


def announced(
    num_features: int,
    eps: float = 1e-5,
    momentum: float = 0.1,
    affine: bool = True,
    track_running_stats: bool = True,
    dtype: Any = None,
) -> torch.nn.Module:
    """The signature that MindSpore has announced, and what it is announced to mean."""
    assert isinstance(eps, float)
    assert dtype in (None, mindspore.float32)
    return torch.nn.BatchNorm3d(num_features, eps, momentum, affine, track_running_stats)


@pytest.mark.parametrize("arguments", TORCH)
def test_the_announced_signature_takes_what_is_translated(arguments: str) -> None:
    text = call("torch.nn.BatchNorm3d", arguments)
    there, _ = translated(text, "python", from_=None, signature="announced")
    layer = made(there.replace("mindspore.nn.BatchNorm3d", "announced"))
    assert agree(trained_torch(made(text), "BatchNorm3d"), trained_torch(layer, "BatchNorm3d"))


def test_what_needs_a_person_is_what_mindspore_refuses() -> None:
    for arguments in ("momentum=None", "momentum=1.5", "eps=0", "eps=2.0"):
        text = call("torch.nn.BatchNorm3d", arguments)
        made(text)
        there, translation = translated(text, "python", from_=None)
        assert len(translation.needs_person) == 1
        with pytest.raises((TypeError, ValueError)):
            trained_mindspore(made(there), "BatchNorm3d")


def test_mindspore_moves_statistics_that_pytorch_does_not_keep() -> None:
    text = call("torch.nn.BatchNorm3d", "track_running_stats=False")
    there, _ = translated(text, "python", from_=None)
    _, kept = trained_torch(made(text), "BatchNorm3d")
    _, moved = trained_mindspore(made(there), "BatchNorm3d")
    assert kept == []
    assert not np.allclose(moved[0], 0)
