"""The state of optimizers there and back, bit for bit, and what cannot be carried."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import nn as cells
from torch import nn

import porter
from porter import SourceOptions, WriteOptions
from porter.errors import BnportError, Malformed, Undecided, Unsupported, UsageError
from porter.formats import open_checkpoint
from porter.optimizer.counters import beta_of, power

AUTO = WriteOptions(optimizer="auto", force=True)


class Net(nn.Module):
    """Children declared in another order than their names sort, a Conv1d (an axis more in MindSpore), a tied head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(2, 4, 2, bias=False)
        self.norm = nn.BatchNorm3d(4)
        self.line = nn.Conv1d(4, 3, 2)
        self.alias = self.line
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.line(self.norm(self.stem(x)).mean((3, 4))).mean(2))


def trained(make: Callable[[nn.Module], torch.optim.Optimizer], steps: int = 2) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    net = Net()
    optimizer = make(net)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(3, 2, 4, 4, 4)).square().sum().backward()
        optimizer.step()
    return net, optimizer


def save(path: Path, net: nn.Module, optimizer: Any, key: str = "optimizer") -> None:
    torch.save({"epoch": 3, "state_dict": net.state_dict(), key: optimizer.state_dict()}, path)


def back(folder: Path, source: Path, **there: Any) -> Any:
    """Convert to .ckpt and back, each verified: the .pth that comes back."""
    porter.convert(source, folder / "a.ckpt", write_options=WriteOptions(optimizer="auto", force=True, **there))
    assert porter.verify(source, folder / "a.ckpt").ok
    porter.convert(folder / "a.ckpt", folder / "back.pth", write_options=AUTO)
    assert porter.verify(folder / "a.ckpt", folder / "back.pth").ok
    return torch.load(folder / "back.pth", weights_only=True, mmap=True)


def assert_equal(expected: Any, found: Any) -> None:
    """The same tree: keys, their order, types, and the bits of tensors."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_equal(expected[key], found[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(expected, found, strict=True):
            assert_equal(*pair)
    elif isinstance(expected, torch.Tensor):
        assert (expected.dtype, expected.shape) == (found.dtype, found.shape)
        assert torch.equal(expected, found)
    else:
        assert expected == found


def two_groups(net: nn.Module) -> list[dict[str, Any]]:
    decayed = [p for p in net.parameters() if p.ndim > 1]
    return [{"params": decayed}, {"params": [p for p in net.parameters() if p.ndim == 1], "weight_decay": 0.0}]


MAKERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "SGD": lambda net: torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True),
    "SGD without momentum": lambda net: torch.optim.SGD(net.parameters(), 0.1),
    "Adam": lambda net: torch.optim.Adam(net.parameters(), 0.003, betas=(0.85, 0.997)),
    "Adam with AMSGrad": lambda net: torch.optim.Adam(net.parameters(), amsgrad=True),
    "AdamW": lambda net: torch.optim.AdamW(net.parameters()),
    "AdamW with AMSGrad": lambda net: torch.optim.AdamW(net.parameters(), amsgrad=True),
    "two groups parted by shape": lambda net: torch.optim.AdamW(two_groups(net), 0.01),
    "rates of groups": lambda net: torch.optim.SGD(
        [{"params": group["params"], "lr": 0.1 * (i + 1)} for i, group in enumerate(two_groups(net))], momentum=0.9
    ),
    "named parameters": lambda net: torch.optim.Adam(reversed(list(net.named_parameters()))),
    "a frozen stem": lambda net: torch.optim.Adam(list(net.parameters())[1:]),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_pytorch_to_mindspore_and_back_restores_every_bit(maker: str, tmp_path: Path) -> None:
    net, optimizer = trained(MAKERS[maker])
    save(tmp_path / "a.pth", net, optimizer)
    found = back(tmp_path, tmp_path / "a.pth")
    assert list(found) == ["state_dict", "optimizer"]
    assert_equal(optimizer.state_dict(), found["optimizer"])
    MAKERS[maker](Net()).load_state_dict(found["optimizer"])


@pytest.mark.parametrize("maker", sorted(set(MAKERS) - {"SGD without momentum"}))
def test_every_moment_lies_under_its_own_parameters_name(maker: str, tmp_path: Path) -> None:
    net, optimizer = trained(MAKERS[maker])
    save(tmp_path / "a.pth", net, optimizer)
    done = porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt", write_options=AUTO)
    there = {step.source.name: step.target.name for step in done.plan.steps if step.source and step.target}
    written = mindspore.load_checkpoint(str(tmp_path / "a.ckpt"))
    prefix = {"SGD": "accum.", "Adam": "moment1.", "AdamW": "exp_avg."}[type(optimizer).__name__]
    compared = 0
    for name, parameter in net.named_parameters(remove_duplicate=False):
        slots = optimizer.state.get(parameter, {})
        moment = slots.get("exp_avg", slots.get("momentum_buffer"))
        if name in there and moment is not None:
            np.testing.assert_array_equal(written[prefix + there[name]].asnumpy().ravel(), moment.numpy().ravel())
            compared += 1
    assert compared == (6 if maker == "a frozen stem" else 7)


@pytest.mark.parametrize(
    "rate",
    [torch.tensor(0.003), torch.tensor([0.003], dtype=torch.float64), np.float64(0.003), np.float32(0.003)],
    ids=["float32 tensor", "float64 tensor", "numpy.float64", "numpy.float32"],
)
def test_a_learning_rate_of_any_type_travels_as_its_number(rate: Any, tmp_path: Path) -> None:
    net, optimizer = trained(lambda net: torch.optim.Adam(net.parameters(), 0.003))
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = rate
    torch.save({"state_dict": net.state_dict(), "optimizer": state}, tmp_path / "a.pth")
    found = back(tmp_path, tmp_path / "a.pth")["optimizer"]
    assert mindspore.load_checkpoint(str(tmp_path / "a.ckpt"))["learning_rate"].asnumpy() == np.float32(0.003)
    assert found["param_groups"][0]["lr"] == pytest.approx(0.003, rel=1e-7)
    assert_equal(optimizer.state_dict()["state"], found["state"])


def test_a_learning_rate_that_is_no_number_is_refused(tmp_path: Path) -> None:
    net, optimizer = trained(MAKERS["Adam"])
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = torch.zeros(2)
    torch.save({"state_dict": net.state_dict(), "optimizer": state}, tmp_path / "a.pth")
    fails(Unsupported, "the learning rate is no plain number", tmp_path / "a.pth")


@pytest.mark.parametrize("steps", [0, 1, 1500])
def test_any_number_of_steps_returns(steps: int, tmp_path: Path) -> None:
    net, optimizer = trained(MAKERS["Adam"], steps=1)
    state = optimizer.state_dict()
    for slots in state["state"].values():
        slots["step"].fill_(steps)
    torch.save({"state_dict": net.state_dict(), "optimizer": state}, tmp_path / "a.pth")
    assert_equal(state, back(tmp_path, tmp_path / "a.pth")["optimizer"])


def test_parameters_stepped_unequally_return_and_are_told(tmp_path: Path) -> None:
    net, optimizer = trained(MAKERS["Adam"])
    state = optimizer.state_dict()
    state["state"][1]["step"].fill_(1)
    torch.save({"state_dict": net.state_dict(), "optimizer": state}, tmp_path / "a.pth")
    done = porter.convert(tmp_path / "a.pth", tmp_path / "b.ckpt", write_options=AUTO)
    assert any("PyTorch counts 1 to 2 steps" in warning for warning in done.warnings)
    assert_equal(state, back(tmp_path, tmp_path / "a.pth")["optimizer"])


def test_a_prefix_and_a_cast_leave_the_moments_alone(tmp_path: Path) -> None:
    net, optimizer = trained(MAKERS["Adam"])
    wrapped = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"model": wrapped, "optim": optimizer.state_dict()}, tmp_path / "a.pth")
    found = back(tmp_path, tmp_path / "a.pth", strip_prefix="module.", dtype=porter.plan.dtype_called("float16"))
    assert_equal(optimizer.state_dict(), found["optimizer"])
    written = mindspore.load_checkpoint(str(tmp_path / "a.ckpt"))
    assert written["stem.weight"].dtype == mindspore.float16
    assert written["moment1.stem.weight"].dtype == mindspore.float32


def test_renames_reach_the_moments(tmp_path: Path) -> None:
    net, optimizer = trained(MAKERS["Adam"])
    save(tmp_path / "a.pth", net, optimizer)
    renames = (porter.edits.Rename("stem", "first.conv"),)
    found = back(tmp_path, tmp_path / "a.pth", renames=renames)
    assert "moment1.first.conv.weight" in mindspore.load_checkpoint(str(tmp_path / "a.ckpt"))
    assert_equal(optimizer.state_dict(), found["optimizer"])


def test_the_conv1d_moment_gains_the_axis_and_the_tied_one_is_one(tmp_path: Path) -> None:
    net, optimizer = trained(MAKERS["Adam"])
    save(tmp_path / "a.pth", net, optimizer)
    porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt", write_options=AUTO)
    written = mindspore.load_checkpoint(str(tmp_path / "a.ckpt"))
    moments = [
        name for name in written if name.startswith("moment1.") and name.endswith(("line.weight", "alias.weight"))
    ]
    assert len(moments) == 1
    assert written[moments[0]].shape == (3, 4, 1, 2)
    # parameters(): stem.weight, norm.weight, norm.bias, line.weight, line.bias, head.weight, head.bias
    expected = optimizer.state_dict()["state"][3]["exp_avg"].numpy()
    np.testing.assert_array_equal(written[moments[0]].asnumpy()[:, :, 0], expected)


class Cell(cells.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.stem = cells.Conv3d(2, 4, 2)
        self.norm = cells.BatchNorm3d(4)
        self.head = cells.Dense(4, 3)


def save_cell(path: Path, make: Callable[[Any], Any], *, steps: int = 3) -> list[str]:
    """A network and its optimizer after steps of made-up gradients; the names in the file, in order."""
    net = Cell()
    optimizer = make(net.trainable_params())
    generator = np.random.default_rng(0)
    for _ in range(steps):
        grads = [mindspore.Tensor(generator.normal(size=p.shape).astype("f4")) for p in optimizer.parameters]
        optimizer(tuple(grads))
    found = {p.name: p for p in [*optimizer.get_parameters(), *net.get_parameters()]}
    mindspore.save_checkpoint([{"name": name, "data": p} for name, p in found.items()], str(path))
    return list(found)


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: cells.SGD(p, 0.05, momentum=0.9),
        lambda p: cells.Momentum(p, 0.05, 0.9),
        lambda p: cells.Adam(p, 0.003, beta1=0.8),
        lambda p: cells.Adam(p, 0.003, use_amsgrad=True),
        lambda p: cells.AdamWeightDecay(p, 0.003),
    ],
    ids=["SGD", "Momentum", "Adam", "AMSGrad", "AdamWeightDecay"],
)
def test_mindspore_to_pytorch_and_back_restores_every_byte(make: Any, steps: int, tmp_path: Path) -> None:
    save_cell(tmp_path / "a.ckpt", make, steps=steps)
    porter.convert(tmp_path / "a.ckpt", tmp_path / "a.pth", write_options=AUTO)
    assert porter.verify(tmp_path / "a.ckpt", tmp_path / "a.pth").ok
    porter.convert(tmp_path / "a.pth", tmp_path / "back.ckpt", write_options=AUTO)
    assert (tmp_path / "back.ckpt").read_bytes() == (tmp_path / "a.ckpt").read_bytes()


def test_numbers_follow_pytorchs_order_where_mindspore_saves_another(tmp_path: Path) -> None:
    # MindSpore's LSTM has the same names in another order.
    net = cells.SequentialCell(cells.Dense(3, 3), cells.LSTM(3, 4, 2))
    optimizer = cells.Adam(net.trainable_params())
    found = [*net.get_parameters(), *(p for p in optimizer.get_parameters() if p.name.startswith("moment1."))]
    for i, parameter in enumerate(found):
        parameter.set_data(mindspore.Tensor(np.full(parameter.shape, i, "f4")))
    everything = {p.name: p for p in [*net.get_parameters(), *optimizer.get_parameters()]}
    mindspore.save_checkpoint([{"name": n, "data": p} for n, p in everything.items()], str(tmp_path / "a.ckpt"))
    porter.convert(tmp_path / "a.ckpt", tmp_path / "a.pth", write_options=AUTO)
    state = torch.load(tmp_path / "a.pth", weights_only=True)["optimizer"]["state"]
    names = [name for name, _ in nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 4, 2)).named_parameters()]
    moments = {name.removeprefix("moment1."): p.asnumpy() for name, p in everything.items() if "moment1." in name}
    assert names != list(moments)
    for number, name in enumerate(names):
        np.testing.assert_array_equal(state[number]["exp_avg"].numpy(), moments[name])


def fails(error: type[BnportError], match: str, source: Path, optimizer: str = "auto", **write: Any) -> None:
    target = source.with_name("out.ckpt" if source.suffix == ".pth" else "out.pth")
    with pytest.raises(error, match=match):
        porter.convert(source, target, write_options=WriteOptions(optimizer=optimizer, **write))
    assert not target.exists()


def old(optimizer: torch.optim.Optimizer) -> Any:
    """Adam's state as PyTorch before 2.6 wrote it."""
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        del group["decoupled_weight_decay"]
    return state


def test_what_cannot_be_told_is_asked(tmp_path: Path) -> None:
    source = tmp_path / "a.pth"
    net, optimizer = trained(MAKERS["Adam"])
    torch.save({"state_dict": net.state_dict(), "optimizer": old(optimizer)}, source)
    fails(Undecided, "--optimizer=Adam or --optimizer=experimental.AdamW", source)
    fails(UsageError, "takes no such state", source, "SGD")
    porter.convert(source, tmp_path / "b.ckpt", write_options=WriteOptions(optimizer="experimental.AdamW"))
    torch.save({"state_dict": net.state_dict(), "a": old(optimizer), "b": optimizer.state_dict()}, source)
    fails(Undecided, "several optimizers", source)
    save_cell(tmp_path / "c.ckpt", lambda p: mindspore.experimental.optim.AdamW(p))
    fails(Undecided, "--optimizer=Adam or --optimizer=AdamW", tmp_path / "c.ckpt")


def test_a_part_of_the_parameters_is_never_guessed(tmp_path: Path) -> None:
    # The last of norm.bias, line.bias, head.bias: which of the vectors it is, a shape of (3,) does not say.
    net, optimizer = trained(lambda net: torch.optim.Adam([net.head.bias]))
    save(tmp_path / "a.pth", net, optimizer)
    fails(Undecided, "parameter 0 may be (line|alias).bias or head.bias", tmp_path / "a.pth")
    net, optimizer = trained(lambda net: torch.optim.Adam(reversed(list(net.parameters()))))
    save(tmp_path / "a.pth", net, optimizer)
    fails(Undecided, "not those of the network, in its order", tmp_path / "a.pth")
    halves = lambda net: [{"params": list(net.parameters())[i::2]} for i in (0, 1)]  # noqa: E731
    net, optimizer = trained(lambda net: torch.optim.Adam(halves(net)))
    save(tmp_path / "a.pth", net, optimizer)
    fails(Undecided, "which of the optimizer's groups", tmp_path / "a.pth")


def test_consecutive_groups_are_told_apart_by_shapes(tmp_path: Path) -> None:
    # Of 7 parameters, the first 3 or 5 in one group: each way one order alone fits, though (3,) is in both groups.
    for cut in (3, 5):
        parts = lambda net: [{"params": list(net.parameters())[:cut]}, {"params": list(net.parameters())[cut:]}]  # noqa: B023, E731
        net, optimizer = trained(lambda net: torch.optim.Adam(parts(net)))  # noqa: B023
        save(tmp_path / "a.pth", net, optimizer)
        assert_equal(optimizer.state_dict(), back(tmp_path, tmp_path / "a.pth")["optimizer"])


class Alike(nn.Module):
    """Three layers of the same shapes, called in the order of their declaration, or declared the other way round."""

    def __init__(self, names: Sequence[str] = ("first", "mid", "last")) -> None:
        super().__init__()
        for name in names:
            setattr(self, name, nn.Linear(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.mid(torch.tanh(self.first(x)))))


class AlikeCell(cells.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.mid, self.last = cells.Dense(4, 4), cells.Dense(4, 4), cells.Dense(4, 4)


def backwards() -> Alike:
    return Alike(("last", "mid", "first"))


def save_trained_alike(path: Path, make: Callable[[Any], Any]) -> tuple[Alike, Any]:
    torch.manual_seed(0)
    net = Alike()
    optimizer = make(net)
    net(torch.randn(3, 4)).square().sum().backward()
    optimizer.step()
    save(path, net, optimizer)
    return net, optimizer


def test_groups_of_like_layers_are_asked_for(tmp_path: Path) -> None:
    def head_first(net: Alike) -> list[dict[str, Any]]:
        rest = [*net.first.parameters(), *net.mid.parameters()]
        return [{"params": net.last.parameters()}, {"params": rest, "lr": 1e-4}]

    save_trained_alike(tmp_path / "a.pth", lambda net: torch.optim.Adam(head_first(net)))
    fails(Undecided, "2 groups of 2, 4 parameters; several of the ways", tmp_path / "a.pth")


def test_too_many_ways_to_part_are_asked_for_at_once(tmp_path: Path) -> None:
    net = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(60)))
    optimizer = torch.optim.Adam([{"params": [p]} for p in net.parameters()])
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save(tmp_path / "a.pth", net, optimizer)
    fails(Undecided, "too many of the ways", tmp_path / "a.pth")


def test_an_order_that_shapes_do_not_prove_is_told(tmp_path: Path) -> None:
    save_trained_alike(tmp_path / "a.pth", lambda net: torch.optim.Adam(net.parameters()))
    done = porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt", write_options=AUTO)
    assert any("as 6 of 6 are another's too" in warning for warning in done.warnings)
    save_trained_alike(tmp_path / "a.pth", lambda net: torch.optim.Adam(net.named_parameters()))
    done = porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt", write_options=AUTO)
    assert not any("model.parameters()" in warning for warning in done.warnings)


HERE = f"{__file__}:"


def test_from_mindspore_numbers_follow_the_given_network(tmp_path: Path) -> None:
    net = AlikeCell()
    optimizer = cells.Adam(net.trainable_params())
    everything = {p.name: p for p in [*net.get_parameters(), *optimizer.get_parameters()]}
    for i, name in enumerate(p.name for p in net.get_parameters()):
        everything[f"moment1.{name}"].set_data(mindspore.Tensor(np.full(everything[name].shape, i, "f4")))
    mindspore.save_checkpoint([{"name": n, "data": p} for n, p in everything.items()], str(tmp_path / "a.ckpt"))
    given = SourceOptions(model=f"{HERE}backwards")
    done = porter.convert(tmp_path / "a.ckpt", tmp_path / "a.pth", source_options=given, write_options=AUTO)
    assert not any("the file's order" in warning for warning in done.warnings)
    state = torch.load(tmp_path / "a.pth", weights_only=True)["optimizer"]["state"]
    # last, mid, first: each weight, then bias
    assert [int(state[number]["exp_avg"].ravel()[0]) for number in range(6)] == [4, 5, 2, 3, 0, 1]
    # The record repeats the order where the network is not given.
    assert porter.verify(tmp_path / "a.ckpt", tmp_path / "a.pth").ok


def test_a_state_dict_in_another_order_is_numbered_as_the_given_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = backwards()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(3, 4)).square().sum().backward()
    optimizer.step()
    weights = dict(sorted(net.state_dict().items()))
    torch.save({"state_dict": weights, "optimizer": optimizer.state_dict()}, tmp_path / "a.pth")
    given = SourceOptions(model=f"{HERE}backwards")
    porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt", source_options=given, write_options=AUTO)
    written = mindspore.load_checkpoint(str(tmp_path / "a.ckpt"))
    for name, parameter in net.named_parameters():
        expected = optimizer.state[parameter]["exp_avg"].numpy()
        np.testing.assert_array_equal(written[f"moment1.{name}"].asnumpy(), expected)


@pytest.mark.parametrize("make", [torch.optim.RMSprop, torch.optim.NAdam, torch.optim.Adamax, torch.optim.Adagrad])
def test_other_optimizers_of_pytorch_are_refused(make: Any, tmp_path: Path) -> None:
    net, optimizer = trained(lambda net: make(net.parameters()))
    save(tmp_path / "a.pth", net, optimizer)
    fails(Unsupported, "the state of this optimizer cannot be carried", tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MindSpore's own, about some of these
@pytest.mark.parametrize("name", ["AdaMax", "LazyAdam", "RMSProp", "Lamb", "FTRL", "Adagrad"])
def test_other_optimizers_of_mindspore_are_refused(name: str, tmp_path: Path) -> None:
    save_cell(tmp_path / "a.ckpt", lambda p: getattr(cells, name)(p, learning_rate=0.1), steps=0)
    fails(Unsupported, "its optimizer state cannot be carried", tmp_path / "a.ckpt")


def test_groups_of_mindspore_are_refused_by_name(tmp_path: Path) -> None:
    groups = lambda p: cells.Adam([{"params": p[:2], "lr": 0.1}, {"params": p[2:], "lr": 0.2}])  # noqa: E731
    save_cell(tmp_path / "a.ckpt", groups)
    fails(Unsupported, "which parameters have which of its learning rates", tmp_path / "a.ckpt")


def test_what_is_lost_is_named(tmp_path: Path) -> None:
    net, optimizer = trained(lambda net: torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, dampening=0.1))
    save(tmp_path / "a.pth", net, optimizer)
    momentum = WriteOptions(optimizer="Momentum", force=True)
    done = porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt", write_options=momentum)
    assert any("optimizer.param_groups.0.dampening" in w and "not carried" in w for w in done.warnings)
    save_cell(tmp_path / "b.ckpt", lambda p: cells.Momentum(p, [0.5, 0.4, 0.3, 0.2, 0.1], 0.9))
    done = porter.convert(tmp_path / "b.ckpt", tmp_path / "b.pth", write_options=AUTO)
    assert any("learning_rate is a schedule" in warning for warning in done.warnings)
    # After three steps the next one is the fourth.
    assert torch.load(tmp_path / "b.pth", weights_only=True)["optimizer"]["param_groups"][0]["lr"] == 0.2


def test_betas_of_further_groups_are_named_where_the_class_has_one_correction_for_all(tmp_path: Path) -> None:
    def make(net: nn.Module) -> torch.optim.Optimizer:
        first, second = two_groups(net)
        return torch.optim.Adam([first, {**second, "betas": (0.5, 0.9)}])

    net, optimizer = trained(make)
    save(tmp_path / "a.pth", net, optimizer)
    for name, told in (("Adam", ["optimizer.param_groups.1.betas"]), ("experimental.Adam", [])):
        options = WriteOptions(optimizer=name, force=True)
        done = porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt", write_options=options)
        assert [w.partition(" ")[0] for w in done.warnings if w.endswith("not carried")] == told


def test_no_optimizer_and_no_place_for_one(tmp_path: Path) -> None:
    net, optimizer = trained(MAKERS["SGD"])
    torch.save(net.state_dict(), tmp_path / "a.pth")
    fails(UsageError, "holds no optimizer state", tmp_path / "a.pth")
    porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt")
    fails(UsageError, "holds no optimizer state", tmp_path / "a.ckpt")
    save(tmp_path / "b.pth", net, optimizer)
    with pytest.raises(UsageError, match="between PyTorch and MindSpore only"):
        porter.convert(tmp_path / "b.pth", tmp_path / "c.pth", write_options=AUTO)
    save_cell(tmp_path / "c.ckpt", lambda p: cells.SGD(p, momentum=0.9))
    with pytest.raises(UsageError, match=r"in one \.pth"):
        porter.convert(tmp_path / "c.ckpt", tmp_path / "c.safetensors", write_options=AUTO)


def test_without_the_option_it_is_listed_and_left_out(tmp_path: Path) -> None:
    net, optimizer = trained(MAKERS["Adam"])
    save(tmp_path / "a.pth", net, optimizer)
    done = porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt")
    assert "optimizer: an optimizer (--optimizer carries its state); left out" in done.warnings
    assert not any(name.startswith("moment") for name in open_checkpoint(tmp_path / "a.ckpt").tensors)


def test_a_changed_moment_is_found(tmp_path: Path) -> None:
    net, optimizer = trained(MAKERS["Adam"])
    save(tmp_path / "a.pth", net, optimizer)
    porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt", write_options=AUTO)
    written = tmp_path / "a.ckpt"
    place = open_checkpoint(written).tensors["moment2.head.bias"].extents[0]
    data = bytearray(written.read_bytes())
    data[place.offset + 3] ^= 1
    written.write_bytes(data)
    found = porter.verify(tmp_path / "a.pth", written)
    assert [problem.name for problem in found.problems] == ["moment2.head.bias"]


def test_a_changed_setting_is_found(tmp_path: Path) -> None:
    save_cell(tmp_path / "a.ckpt", lambda p: cells.Adam(p, 0.003))
    porter.convert(tmp_path / "a.ckpt", tmp_path / "a.pth", write_options=AUTO)
    saved = torch.load(tmp_path / "a.pth", weights_only=True)
    saved["optimizer"]["param_groups"][0]["lr"] = 0.3
    torch.save(saved, tmp_path / "a.pth")
    found = porter.verify(tmp_path / "a.ckpt", tmp_path / "a.pth")
    assert [problem.text for problem in found.problems] == ["0.lr is 0.3, expected 0.003"]


@pytest.mark.parametrize(
    "change",
    [
        {"class": "Lion"},
        {"parameters": ["a"]},
        {"parameters": 3},
        {"steps": {"99": 1.0}},
        {"global_step": -1},
        {"param_groups": [{"params": [0]}]},
        {"param_groups": [3]},
        {"order": [3]},
    ],
)
def test_a_record_that_makes_no_sense_is_damaged(change: dict[str, Any], tmp_path: Path) -> None:
    net, optimizer = trained(MAKERS["Adam"])
    save(tmp_path / "a.pth", net, optimizer)
    porter.convert(tmp_path / "a.pth", tmp_path / "a.ckpt", write_options=AUTO)
    record = tmp_path / "a.ckpt.bnport.json"
    document = json.loads(record.read_text())
    document["optimizer"] |= change
    record.write_text(json.dumps(document))
    named = SourceOptions(record=record)
    with pytest.raises(Malformed, match="is damaged"):
        porter.convert(tmp_path / "a.ckpt", tmp_path / "back.pth", source_options=named, write_options=AUTO)


@given(beta=st.integers(1, 999).map(lambda n: n / 1000), steps=st.integers(1, 300))
@settings(deadline=None, max_examples=50)
def test_beta_is_found_from_its_power(beta: float, steps: int) -> None:
    found = beta_of(0.9, power(beta, steps), steps)
    if beta > 0.5 and beta**steps > 1e-30:
        assert found == beta
