"""What is said of a conversion that does not fit the target network."""

from __future__ import annotations

import mindspore
import ports

from porter.differences import compare
from porter.formats.dtypes import FLOAT16, FLOAT32
from porter.formats.model import TensorSpec
from porter.target import DoesNotFit, parameters_of

NETWORK = [
    TensorSpec("stem.weight", FLOAT32, (4, 3)),
    TensorSpec("stem.bias", FLOAT32, (4,)),
    TensorSpec("head.weight", FLOAT32, (4, 3)),
]


def test_the_hint_fits_what_is_wrong() -> None:
    def hint(output: list[TensorSpec]) -> str:
        return DoesNotFit(compare(output, NETWORK), "net.py:build").hint or ""

    assert "--align" in hint([TensorSpec("a", FLOAT32, (4, 3)), *NETWORK[1:]])
    assert "is it the checkpoint of this network" in hint(NETWORK[1:])
    assert "drop" in hint([*NETWORK, TensorSpec("a", FLOAT32, (1,))])
    assert "--dtype" in hint([NETWORK[0]._replace(dtype=FLOAT16), *NETWORK[1:]])


def test_many_differences_are_counted_and_all_are_in_the_document() -> None:
    network = [TensorSpec(f"n{i}", FLOAT32, (i + 1,)) for i in range(500)]
    output = [TensorSpec(f"o{i}", FLOAT32, (i + 1,)) for i in range(500)]
    error = DoesNotFit(compare(output, network), "net.py:build")
    assert "found 500 missing, 500 left over" in str(error)
    assert str(error).count("\n") < 15
    assert len(error.document()["differences"]) == 1000
    assert error.document()["differences"][7]["candidates"][0]["name"] == "o7"


def test_parameters_are_those_the_frameworks_load() -> None:
    cell = ports.Wrapped()
    found = parameters_of(f"{ports.__file__}:Wrapped", "mindspore")
    expected = [(p.name, tuple(p.shape)) for p in cell.get_parameters()]
    assert [(spec.name, spec.shape) for spec in found] == expected
    assert {spec.dtype for spec in found} == {FLOAT32}
    assert {p.dtype for p in cell.get_parameters()} == {mindspore.float32}
    state = ports.TorchNet().state_dict()
    assert [(s.name, s.shape) for s in parameters_of(f"{ports.__file__}:TorchNet", "torch")] == [
        (name, tuple(value.shape)) for name, value in state.items()
    ]
