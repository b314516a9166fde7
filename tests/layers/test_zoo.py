"""Every row of the layer rules, run: random PyTorch parameters, converted, loaded strictly into the MindSpore layer.

The outputs are compared with PyTorch's in float64, and the way back returns every bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mindspore
import numpy as np
import pytest
import torch
from mindspore import nn as ms
from nets import assert_same, randomised
from torch import nn
from zoo import ROWS, Row

import porter
from porter import SourceOptions
from porter.layers.kinds import KINDS

# No output here sums more than 200 products: of float32's unit 2^-24 a random walk leaves some 15, and a few such
# sums stand behind each other. Two tensors in each other's place differ by about 1.
ALLOWED = 64 * 2.0**-24

Array = np.ndarray[Any, Any]


class Net(nn.Module):
    """A layer two levels down, where MindSpore names parameters after their attributes, beside one that has some."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.other = nn.Linear(9, 7)
        self.body = nn.Module()
        self.body.layer = layer


class Cell(ms.Cell):
    def __init__(self, layer: ms.Cell) -> None:
        super().__init__()
        self.other = ms.Dense(9, 7)
        # Names are given when a cell is assigned, so from the inside outwards.
        body = ms.Cell()
        body.layer = layer
        self.body = body


def attribute(name: str) -> str:
    return name.replace(" ", "_").replace(",", "")


# What `--model` and `--net` name: FILE:MODEL.<row>.
MODEL = SimpleNamespace(**{attribute(name): (lambda row=row: Net(row.torch())) for name, row in ROWS.items()})
NET = SimpleNamespace(**{attribute(name): (lambda row=row: Cell(row.mindspore())) for name, row in ROWS.items()})


def network(row: Row) -> nn.Module:
    net = randomised(Net(row.torch())).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= row.scale
    return net


def options(name: str, row: Row, source: str) -> SourceOptions:
    layers = [("body.layer", row.kind)] if row.kind and (source == "state dict" or row.needs_word) else []
    model = f"{__file__}:MODEL.{attribute(name)}" if source == "model" else None
    return SourceOptions(layers=layers, model=model)


def agree(outputs: list[Array], truth: list[Array]) -> None:
    assert [o.shape for o in outputs] == [t.shape for t in truth]
    for output, true in zip(outputs, truth, strict=True):
        assert np.abs(output - true).max() <= ALLOWED * max(1.0, np.abs(true).max())


def inputs(row: Row, wrap: Any) -> list[Any]:
    """The row's inputs as tensors of one framework, the same numbers every time."""
    rng = np.random.default_rng(7)

    def made(shape: Any) -> Any:
        if isinstance(shape, list):
            return tuple(made(part) for part in shape)
        return wrap(shape if isinstance(shape, np.ndarray) else rng.standard_normal(shape).astype("f4"))

    return [made(shape) for shape in row.inputs]


def arrays(output: Any) -> Iterator[Array]:
    """All tensors of an output, which may be nested tuples."""
    if isinstance(output, tuple | list):
        for part in output:
            yield from arrays(part)
    elif isinstance(output, torch.Tensor):
        yield output.detach().numpy()
    else:
        yield output.asnumpy()


def load_strictly(cell: ms.Cell, path: Path) -> None:
    """Every name and shape, both ways; MindSpore's own check forgives both."""
    parameters = mindspore.load_checkpoint(str(path))
    wanted = cell.parameters_dict()
    assert {n: tuple(p.shape) for n, p in parameters.items()} == {n: tuple(p.shape) for n, p in wanted.items()}
    assert mindspore.load_param_into_net(cell, parameters, strict_load=True) == ([], [])


def truth_of(row: Row, net: nn.Module) -> list[Array]:
    with torch.no_grad():
        layer = net.double().body.layer
        return list(
            arrays(layer(*inputs(row, lambda a: torch.tensor(a).double() if a.dtype == "f4" else torch.tensor(a))))
        )


CASES = [
    pytest.param(name, source, id=f"{name}, {source}")
    for name, row in ROWS.items()
    for source in ("state dict", "pickled module", "model")
    if not (row.needs_class and source == "state dict")
]


@pytest.mark.parametrize(("name", "source"), CASES)
def test_a_row(name: str, source: str, tmp_path: Path) -> None:
    row = ROWS[name]
    net = network(row)
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    torch.save(net if source == "pickled module" else net.state_dict(), tmp_path / "net.pth")
    there = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=options(name, row, source))
    # Where PyTorch's layer has no tensors there is nothing to run.
    assert there.verified is (None if row.no_kernel and row.torch().state_dict() else True)
    cell = Cell(row.mindspore())
    load_strictly(cell, tmp_path / "net.ckpt")
    cell.set_train(False)
    if row.no_kernel:
        with pytest.raises(RuntimeError, match=rf"Unsupported op \[{row.no_kernel}\] on CPU"):
            cell.body.layer(*inputs(row, mindspore.Tensor))
    else:
        agree(list(arrays(cell.body.layer(*inputs(row, mindspore.Tensor)))), truth_of(row, net))
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth")
    assert_same(state, torch.load(tmp_path / "back.pth", weights_only=True))


@pytest.mark.parametrize("source", ["file", "net"])
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.one_way])
def test_a_row_from_mindspore(name: str, source: str, tmp_path: Path) -> None:
    """A checkpoint that MindSpore wrote, without any record."""
    row = ROWS[name]
    cell = Cell(row.mindspore())
    rng = np.random.default_rng(3)
    for parameter in cell.get_parameters():
        low, high = (0.5, 1.5) if "variance" in parameter.name else (-row.scale, row.scale)
        parameter.set_data(mindspore.Tensor(rng.uniform(low, high, parameter.shape).astype("f4")))
    mindspore.save_checkpoint(cell, str(tmp_path / "net.ckpt"))
    net_option = f"{__file__}:NET.{attribute(name)}" if source == "net" else None
    layers = [("body.layer", row.kind)] if row.kind and source == "file" else []
    given = SourceOptions(layers=layers, net=net_option)
    porter.convert(tmp_path / "net.ckpt", tmp_path / "net.pth", source_options=given)
    net = Net(row.torch()).eval()
    net.load_state_dict(torch.load(tmp_path / "net.pth", weights_only=True), strict=True)
    if not row.no_kernel:
        cell.set_train(False)
        agree(list(arrays(cell.body.layer(*inputs(row, mindspore.Tensor)))), truth_of(row, net))
    porter.convert(tmp_path / "net.pth", tmp_path / "back.ckpt")
    assert (tmp_path / "back.ckpt").read_bytes() == (tmp_path / "net.ckpt").read_bytes()


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.needs_class])
def test_a_layer_that_is_the_whole_network(name: str, tmp_path: Path) -> None:
    """MindSpore then keeps the names that the layer's own class gave: mean, variance, PReLU's a."""
    row = ROWS[name]
    layer = randomised(row.torch())
    torch.save(layer.state_dict(), tmp_path / "layer.pth")
    given = SourceOptions(layers=[("(root)", row.kind)] if row.kind else [])
    there = porter.convert(tmp_path / "layer.pth", tmp_path / "layer.ckpt", source_options=given)
    assert there.verified is (None if row.no_kernel and layer.state_dict() else True)
    load_strictly(row.mindspore(), tmp_path / "layer.ckpt")
    porter.convert(tmp_path / "layer.ckpt", tmp_path / "back.pth")
    assert_same(layer.state_dict(), torch.load(tmp_path / "back.pth", weights_only=True))
    if not row.one_way:
        (tmp_path / "layer.ckpt.bnport.json").unlink()
        porter.convert(tmp_path / "layer.ckpt", tmp_path / "again.pth", source_options=given)
        row.torch().load_state_dict(torch.load(tmp_path / "again.pth", weights_only=True), strict=True)


def test_every_kind_has_a_row() -> None:
    inside = {"MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer"}
    assert {row.kind for row in ROWS.values() if row.kind} | inside == set(KINDS)
    assert inside <= set(ROWS)
