"""Plans of layers whose tensors lie, and lack, as no framework would write them."""

from __future__ import annotations

from pathlib import Path

from porter.formats.dtypes import FLOAT16, FLOAT32, TEXT
from porter.formats.model import Checkpoint, StoredTensor, TensorSpec
from porter.layers.hints import Hints
from porter.layers.kinds import KINDS, Dialect
from porter.layers.recognise import recognise
from porter.plan import Plan
from porter.planning import make_plan


def plan(specs: list[TensorSpec], dialect: Dialect, to: Dialect, left_out: dict[str, str] | None = None) -> Plan:
    tensors = {spec.name: StoredTensor(spec, ()) for spec in specs}
    hints = Hints(layers=(("*", KINDS["BatchNorm3d"]),))
    layers = recognise(Checkpoint(Path("net"), "torch-zip", (), tensors), dialect, specs, hints)
    return make_plan(specs, layers, dialect, to, left_out or {})


def vectors(*names: str) -> list[TensorSpec]:
    return [TensorSpec(name, FLOAT16, (3,)) for name in names]


def test_what_is_created_follows_the_last_tensor_of_its_layer() -> None:
    names = ("a.running_mean", "b.weight", "b.bias", "b.running_mean", "a.running_var", "b.running_var", "c")
    steps = plan(vectors(*names), "torch", "mindspore").steps
    assert [step.target and step.target.name for step in steps] == [
        "a.bn2d.moving_mean",
        "b.bn2d.gamma",
        "b.bn2d.beta",
        "b.bn2d.moving_mean",
        "a.bn2d.moving_variance",
        "a.bn2d.gamma",
        "a.bn2d.beta",
        "b.bn2d.moving_variance",
        "c",
    ]
    created = [step for step in steps if step.fate == "created"]
    assert [(s.fill, s.layer, s.target and s.target.dtype, s.target and s.target.shape) for s in created] == [
        (1.0, "a", FLOAT16, (3,)),
        (0.0, "a", FLOAT16, (3,)),
    ]


def test_what_does_not_travel_keeps_its_layer_and_text_has_none() -> None:
    specs = vectors("a.weight", "a.bias", "a.running_mean", "a.running_var", "note")
    specs[-1] = TensorSpec("note", TEXT, (5,))
    steps = plan(specs, "torch", "mindspore", {"a.bias": "state of the optimizer"}).steps
    told = {step.source.name: (step.fate, step.layer, step.reason) for step in steps if step.source}
    assert told["a.bias"] == ("dropped", "a", "state of the optimizer: not part of the model")
    assert told["note"] == ("dropped", None, "a text entry, no tensor")
    assert told["a.weight"] == ("renamed", "a", "BatchNorm3d: PyTorch's weight is MindSpore's bn2d.gamma")


def test_a_tensor_that_stays_as_it_is_is_its_own_target() -> None:
    norm = vectors("a.weight", "a.bias", "a.running_mean", "a.running_var")
    steps = plan([TensorSpec("fc.weight", FLOAT32, (2, 3)), *vectors("c"), *norm], "torch", "mindspore").steps
    assert [step.source is not None and step.target is step.source for step in steps] == [True] * 2 + [False] * 4
