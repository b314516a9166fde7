"""The running comparison: what is kept, what is measured, and what takes an output's place."""

from __future__ import annotations

import tracemalloc
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import mindspore
import numpy as np
import pytest
import torch
from mindspore import nn as ms
from torch import nn

from porter.verification.activations import Call, make_network_inputs
from porter.verification.mindspore_network import MindSporeNetwork
from porter.verification.options import NetworkInput
from porter.verification.torch_network import TorchNetwork
from porter.verification.traces import STATISTICS, Comparison, Recorder

Named = namedtuple("Named", "first second")


@dataclass(frozen=True)
class Frozen:
    logits: object
    label: str = "unchanged"


class Output(OrderedDict):
    """A mapping whose constructor is its own."""

    def __init__(self):
        super().__init__(x=None)


def own_mapping(tensor):
    made = Output()
    made["x"] = tensor
    return made


# Outputs made of one tensor, and how the tensor is read back.
STRUCTURES = {
    "a tensor": (lambda x: x, lambda out: out),
    "a tuple": (lambda x: (x, None, 3), lambda out: out[0]),
    "a list": (lambda x: [x], lambda out: out[0]),
    "a named tuple": (lambda x: Named(None, x), lambda out: out.second),
    "nested": (lambda x: {"a": (x,), "b": 1}, lambda out: out["a"][0]),
    "a mapping of its own": (own_mapping, lambda out: out["x"]),
    "a frozen dataclass": (Frozen, lambda out: out.logits),
}


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("framework", ["torch", "mindspore"])
def test_an_output_is_exchanged_in_its_structure_and_its_type(framework, dtype, structure):
    make, read = STRUCTURES[structure]
    if framework == "torch":
        network, tensor = TorchNetwork(nn.ReLU()), torch.zeros(2, dtype=getattr(torch, dtype))
    else:
        network, tensor = MindSporeNetwork(ms.ReLU()), mindspore.Tensor(np.zeros(2), getattr(mindspore, dtype))
    value = make(tensor)
    (place,) = network.arrays(value)
    array = np.array([1, 2], np.float32)
    new = network.exchanged(value, {place: array})
    array[:] = 9  # the truth, which must not travel with the network's numbers
    assert type(new) is type(value)
    assert read(new).dtype == tensor.dtype
    assert read(new).tolist() == [1, 2]
    assert read(value).tolist() == [0, 0], "the output itself is left alone"
    assert read(network.exchanged(value, {})) is tensor


class Plain:
    """A network whose outputs are dictionaries of arrays already."""

    def arrays(self, value):
        return value

    def exchanged(self, value, arrays):
        return value | arrays


def test_what_a_comparison_measures_and_gives_back():
    here, there, other = Call("a"), Call("a", 1), Call("b")
    truth = {here: {"x": np.array([1.0, 2.0]), "y": np.zeros(3), "z": np.zeros(4)}, there: {"": np.zeros(1)}}
    free, forced = (Comparison(truth, Plain(), forced) for forced in (False, True))
    # MindSpore's names of the places are others, and there is one more; the first is off by 0.5, the second by 1 and
    # of another shape, the third of another size.
    found = {"p": np.array([1.0, 2.5]), "q": np.ones((1, 3)), "s": np.zeros((2, 3)), "r": np.zeros(1)}
    assert free.watch(here, (), found) is None
    exchanged = forced.watch(here, (), found)
    assert exchanged["p"].tolist() == [1, 2]
    assert exchanged["q"].tolist() == [[0, 0, 0]], "in the shape that the network goes on with"
    assert exchanged["s"].shape == (4,)
    assert exchanged["r"] is found["r"]
    assert forced.watch(other, (), found) is None
    for comparison in (free, forced):
        assert list(comparison.measured) == [here]
        measured = comparison.measured[here]
        assert measured.errors == [0.5, 1, float("inf")]
        assert measured.shapes == [(2,), (1, 3), (2, 3)], "in the order of the truth"
        assert measured.count == 4


@pytest.mark.parametrize("call", [Call(""), Call("a.running_mean", STATISTICS)])
def test_what_a_network_returns_or_keeps_has_its_shape(call):
    comparison = Comparison({call: {"": np.zeros(3)}}, Plain())
    comparison.compare(call, {"": np.zeros((1, 3))})
    assert comparison.measured[call].errors == [float("inf")]


def test_the_same_places_in_another_order_are_compared_by_name():
    truth = {Call(""): {"['a']": np.zeros(1), "['b']": np.ones(2)}}
    comparison = Comparison(truth, Plain())
    comparison.compare(Call(""), {"['b']": np.ones(2), "['a']": np.zeros(1)})
    assert comparison.measured[Call("")].errors == [0, 0]
    assert comparison.measured[Call("")].shapes == [(1,), (2,)]


def test_what_a_sequential_passes_on_is_kept_once():
    net = TorchNetwork(nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU())))
    recorder = Recorder(net)
    inputs = make_network_inputs([NetworkInput((2, 3))], 0)
    values = {name: value.numpy() for name, value in net.module.state_dict().items()}
    paths = {path: path for path in net.modules}
    net.run(values, inputs, recorder.watch, paths, training=False, dtype="float64")
    assert [call.path for call in recorder.trace] == ["0.0", "0.1", "0", ""]
    linear, relu, inner, outer = (arrays[""] for arrays in recorder.trace.values())
    assert relu is inner is outer
    assert relu is not linear
    assert {array.dtype for array in (linear, relu)} == {np.dtype(np.float32)}


def test_whole_numbers_are_kept_as_they_are():
    recorder = Recorder(TorchNetwork(nn.ReLU()))
    recorder.watch(Call(""), (), torch.tensor([2**31 + 1]))
    assert recorder.trace[Call("")][""].tolist() == [2**31 + 1]


def test_a_comparison_keeps_no_numbers():
    """A hundred calls of 1 MB: comparing them takes the room of a few."""
    truth = {Call("a", number): {"": np.zeros(2**18, np.float32)} for number in range(100)}
    comparison = Comparison(truth, Plain(), forced=True)
    tracemalloc.start()
    try:
        for call in truth:
            comparison.watch(call, (), {"": np.ones(2**18, np.float32)})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(comparison.measured) == 100
    assert peak < 16 * 2**20


@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_mindspore_tells_the_network_itself_in_both_modes_and_its_cells_where_they_have_hooks(mode):
    net = MindSporeNetwork(ms.SequentialCell(ms.Dense(3, 4), ms.ReLU()))
    values = {name: parameter.asnumpy() for name, parameter in net.cell.parameters_dict().items()}
    told: list[tuple[Call, tuple[int, ...]]] = []
    inputs = make_network_inputs([NetworkInput((2, 3))], 0)
    watch = SimpleNamespace(tell=lambda call, given, output: told.append((call, output.shape)))
    net.run(values, inputs, watch.tell, {path: path for path in net.modules}, training=False, mode=mode)
    cells = [(Call("0"), (2, 4)), (Call("1"), (2, 4))] if mode == "pynative" else []
    assert told == [*cells, (Call(""), (2, 4))]
