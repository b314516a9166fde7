"""Whole networks: right twins agree in evaluation and in training, and a fault is found where it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mindspore
import pytest
import torch
import whole_networks
from mindspore import nn as ms
from mindspore import ops
from nets import REPLACE
from torch import nn

import porter
from porter import SourceOptions, WriteOptions
from porter.destination import plan_for
from porter.edits import Rename, rename
from porter.errors import BackendError, UsageError
from porter.formats import open_checkpoint
from porter.formats.dtypes import BY_NAME
from porter.source import open_source
from porter.verification.mindspore_network import MindSporeNetwork
from porter.verification.networks import check_networks
from porter.verification.options import NetworkInput, Options
from porter.verification.pairing import pairs_of
from porter.verification.twins import Twins, open_twins

HERE = whole_networks.__file__
INPUTS = {
    "residual": [NetworkInput((2, 3, 16, 32, 32))],
    "u_net": [NetworkInput((2, 1, 16, 16, 24))],
    "attention": [NetworkInput((3, 8, 16), "prior"), NetworkInput((3, 1, 8, 8, 8), "volume")],
}


def trained(name: str) -> nn.Module:
    """The network with statistics and one-dimensional parameters as training leaves them."""
    torch.manual_seed(1)
    net = getattr(whole_networks, name)()
    with torch.no_grad():
        for key, buffer in net.named_buffers():
            if key.endswith("running_mean"):
                buffer.normal_(0, 0.3)
            elif key.endswith("running_var"):
                buffer.uniform_(0.5, 2)
        for parameter in net.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return net


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Each network's .pth, and the .ckpt that bnport makes of it."""
    folder = tmp_path_factory.mktemp("networks")
    for name in INPUTS:
        torch.save(trained(name).state_dict(), folder / f"{name}.pth")
        options = SourceOptions(model=f"{HERE}:{name}")
        porter.convert(folder / f"{name}.pth", folder / f"{name}.ckpt", source_options=options, verify=False)
    return folder


def both(name: str) -> SourceOptions:
    return SourceOptions(model=f"{HERE}:{name}", net=f"{HERE}:{name}_twin")


@pytest.mark.parametrize("name", INPUTS)
def test_layers_of_right_twins_pass_as_their_networks_configure_them(files, name):
    found = porter.verify(files / f"{name}.pth", files / f"{name}.ckpt", source_options=both(name))
    assert found.verified is True
    assert not [note for layer in found.layers for note in layer.notes]


def twins_of(files: Path, name: str):
    source = open_source(files / f"{name}.pth", both(name))
    plan = plan_for(source, "mindspore", WriteOptions())
    output = open_checkpoint(files / f"{name}.ckpt")
    return open_twins(source, plan, output, f"{HERE}:{name}", f"{HERE}:{name}_twin", "CPU")


def check(files: Path, name: str, change=None, options: Options | None = None):
    """The check of `name` and its twin, changed by `change`."""
    twins = twins_of(files, name)
    if change:
        change(twins.mindspore.cell)
        twins.mindspore.__init__(twins.mindspore.cell)
    return check_networks(twins, INPUTS[name], options or Options())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "compared"), [("residual", (35, 51)), ("u_net", (29, 39)), ("attention", (11, 15))])
def test_right_twins_agree(files, name, compared, seed):
    """Right twins stay below half of what is allowed, so that luck does not decide; every layer is compared."""
    result = check(files, name, options=Options(seed=seed))
    assert result.ok is True
    assert [mode.mode for mode in result.modes] == ["eval", "train"]
    assert tuple(len(mode.activations) for mode in result.modes) == compared
    assert tuple(len(mode.by_layer) for mode in result.modes) == compared
    assert max(row.share for mode in result.modes for row in (*mode.activations, *mode.by_layer)) < 0.5


def test_right_twins_need_no_notes_on_their_settings(files):
    assert check(files, "u_net").notes == ()
    assert [note[:16] for name in ("residual", "attention") for note in check(files, name).notes] == [
        "dropout is switc",
        "dropout is switc",
    ]


def test_statistics_moved_and_second_calls_are_compared(files):
    rows = check(files, "residual").modes[1].activations
    assert {row.label for row in rows} >= {"layer1.bn2.running_var", "again.conv1 (call 2)", "the network['logits']"}


def replaced(path: str, cell: ms.Cell):
    def change(net: ms.Cell) -> None:
        parent, _, name = path.rpartition(".")
        owner = getattr(net, parent) if parent else net
        old = getattr(owner, name)
        names = [parameter.name for parameter in old.get_parameters()]
        setattr(owner, name, cell)
        # A cell that comes late is named after its place in its parent alone.
        for parameter, its_name in zip(cell.get_parameters(), names, strict=True):
            parameter.name = its_name

    return change


def constructed(name: str, function):
    """A twin whose `construct` is another; bound to the cell's class, for cells look it up there."""

    def change(net: ms.Cell) -> None:
        net.__class__ = type(name, (type(net),), {"construct": function})

    return change


def deaf(net: ms.Cell) -> None:
    """A normalisation that set_train does not reach."""
    for cell in (net.layer1.bn2, net.layer1.bn2.bn2d):
        cell.add_flags_recursive = lambda **flags: None


def conv(stride=2, pad_mode="pad", padding=1, dilation=1):
    return ms.Conv3d(8, 8, 3, stride, pad_mode=pad_mode, padding=padding, group=2, dilation=dilation)


def tanh_gelu(self, volume, prior):
    x = self.bn(self.patches(volume))
    x = x.reshape(x.shape[0], x.shape[1], -1).swapaxes(1, 2) + self.position + prior
    y = self.norm1(x)
    x = x + self.attention(y, y, y)[0]
    x = x + self.fc2(ops.gelu(self.fc1(self.norm2(x)), approximate="tanh"))
    return self.head(self.norm(x.mean(1)))


def activated_first(self, x):
    """Of the level's parts, convolution, normalisation and activation, the last two exchanged."""
    return self[1](self[2](self[0](x)))


def no_shortcut(self, x):
    y = ops.relu(self.bn1(self.conv1(x)))
    y = ops.relu(self.bn2(self.conv2(y)))
    return ops.relu(self.bn3(self.conv3(y)))


# (network, change of the twin, mode, first divergence, words of the cause)
FAULTS = {
    "eps": ("residual", replaced("layer1.bn2", ms.BatchNorm3d(8)), "eval", "layer1.bn2", "eps is 0.001 in PyTorch"),
    "momentum": (
        "residual",
        replaced("layer1.bn1", ms.BatchNorm3d(8, momentum=0.01)),
        "train",
        "layer1.bn1.running_mean",
        "momentum is 0.01 in PyTorch, which is 0.99 in MindSpore's terms, and 0.01 in MindSpore",
    ),
    "pad_mode='same' with a stride": (
        "residual",
        replaced("layer1.conv2", conv(pad_mode="same", padding=0)),
        "eval",
        "layer1.conv2",
        "padding is (1, 1, 1) in PyTorch and pad_mode='same' in MindSpore",
    ),
    "no padding": (
        "residual",
        replaced("layer1.conv2", conv(padding=0)),
        "eval",
        "layer1.conv2",
        "its output has shape [2, 8, 4, 4, 4] in PyTorch and [2, 8, 3, 3, 3] in MindSpore",
    ),
    "stride": ("residual", replaced("layer1.conv2", conv(stride=1)), "eval", "layer1.conv2", "stride is (2, 2, 2)"),
    "dilation": (
        "residual",
        replaced("layer1.conv2", conv(dilation=2, padding=2)),
        "eval",
        "layer1.conv2",
        "dilation",
    ),
    "frozen statistics": (
        "residual",
        replaced("layer1.bn1", ms.BatchNorm3d(8, momentum=0.99, use_batch_statistics=False)),
        "train",
        "layer1.bn1",
        "use_batch_statistics is False",
    ),
    "batch statistics in evaluation": (
        "residual",
        replaced("layer1.bn1", ms.BatchNorm3d(8, momentum=0.99, use_batch_statistics=True)),
        "eval",
        "layer1.bn1",
        "use_batch_statistics is True",
    ),
    "set_train": ("residual", deaf, "train", "layer1.bn2", "set_train does not reach a normalisation"),
    "pooling": ("u_net", replaced("pool", ms.AvgPool3d(2, 2)), "eval", "pool", "is it the same kind of layer"),
    "transposed padding": (
        "u_net",
        replaced("up1", ms.Conv3dTranspose(12, 6, 3, 2, pad_mode="same")),
        "eval",
        "up1",
        "padding is (1, 1, 1), output_padding=(1, 1, 1) in PyTorch and pad_mode='same' in MindSpore",
    ),
    "groups": ("u_net", replaced("norm", ms.GroupNorm(2, 6)), "eval", "norm", "number of groups is 3 in PyTorch"),
    "heads": (
        "attention",
        replaced("attention", ms.MultiheadAttention(16, 2, batch_first=True)),
        "eval",
        "attention[0]",
        "number of heads is 4 in PyTorch and 2 in MindSpore",
    ),
    "activation in between": (
        "attention",
        constructed("TanhGelu", tanh_gelu),
        "eval",
        "fc2",
        "the input differs: look between fc1 and fc2",
    ),
    "shortcut": (
        "residual",
        lambda net: constructed("NoShortcut", no_shortcut)(net.layer1),
        "eval",
        "layer1",
        "although every layer in it agrees",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_at_its_layer(files, fault):
    name, change, mode, first, cause = FAULTS[fault]
    found = {result.mode: result for result in check(files, name, change).modes}
    diverging = found[mode].first_divergence
    assert diverging is not None
    assert diverging.label == first
    assert cause in found[mode].cause
    if mode == "train":
        assert found["eval"].ok, "evaluation does not show it"
    assert diverging.share > 50, "the smallest of these faults (tanh in place of erf) is far beyond what is allowed"
    wrong = {row.layer for row in found[mode].by_layer if not row.ok}
    assert wrong == {diverging.layer}, "what comes after a wrong layer is not wrong by itself"


def test_layers_called_in_another_order_are_told(files):
    change = lambda net: constructed("ActivatedFirst", activated_first)(net.down1)  # noqa: E731
    for mode in check(files, "u_net", change).modes:
        assert mode.first_divergence.label == "down1.1"
        assert "down1.1 follows down1.0 in PyTorch and down1.2 in MindSpore" in mode.cause


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


class TwoTwin(ms.Cell):
    """Its `a` is the other's `b`: what a wrong rename makes of layers of the same shape."""

    def __init__(self):
        super().__init__()
        self.a, self.b = ms.Dense(6, 6), ms.Dense(6, 6)

    def construct(self, x):
        return self.a(ops.tanh(self.b(x)))


def test_layers_with_each_others_names_are_told(tmp_path, monkeypatch):
    result = Pair(left=Two, right=TwoTwin).result(tmp_path, monkeypatch).modes[0]
    assert result.first_divergence.label == "a"
    assert "a follows the input in PyTorch and b in MindSpore" in result.cause
    assert "a wrong rename" in result.cause


def test_every_wrong_layer_is_found_not_only_the_first(files):
    def change(net):
        replaced("layer1.bn2", ms.BatchNorm3d(8))(net)
        replaced("again.conv2", ms.Conv3d(8, 8, 3, 1, pad_mode="pad", padding=2, group=2, dilation=2))(net)

    result = check(files, "residual", change).modes[0]
    wrong = ["layer1.bn2", "again.conv2", "again.conv2 (call 2)"]
    assert [row.label for row in result.by_layer if not row.ok] == wrong


def test_settings_that_differ_are_told_where_the_outputs_hide_it(files):
    """MindSpore's LayerNorm adds 1e-7 by default, PyTorch's 1e-5: half of 1e-5 of a value near 1."""
    result = check(files, "attention", replaced("norm1", ms.LayerNorm((16,))))
    assert any("eps is 1e-05 in PyTorch and 1e-07 in MindSpore" in note and "norm1" in note for note in result.notes)


def test_a_layer_called_once_instead_of_twice(files):
    def once(self, clips):
        features = self.again(self.layer1(self.stem(clips))).mean((2, 3, 4))
        return {"logits": self.head(features), "features": features}

    result = check(files, "residual", constructed("Once", once))
    assert result.modes[0].first_divergence.label == "head"
    assert "look between again and head" in result.modes[0].cause
    assert any("again" in note and "does not call it as often" in note for note in result.notes)


def test_a_network_with_fewer_outputs(files):
    def one(self, x):
        return whole_networks.UNetTwin.construct(self, x)[0]

    first = check(files, "u_net", constructed("One", one)).modes[0].first_divergence
    assert (first.layer, first.what, first.error, first.allowed) == ("", "number of outputs", 1, 0)
    assert first.shapes == ((2,), (1,))


def test_the_cause_of_another_number_of_outputs_is_no_layer_and_no_statistics(files):
    """In training, too, where statistics are compared."""

    def one(self, x):
        return whole_networks.UNetTwin.construct(self, x)[0]

    causes = {mode.cause for mode in check(files, "u_net", constructed("One", one)).modes}
    assert causes == {"PyTorch's network returns 2 tensors, MindSpore's 1"}


def test_the_cause_of_another_shape_names_both(files):
    def cut(self, x):
        whole, deep = whole_networks.UNetTwin.construct(self, x)
        return whole[:, :1], deep

    result = check(files, "u_net", constructed("Cut", cut)).modes[0]
    assert result.first_divergence.label == "the network[0]"
    told = "its output has shape [2, 2, 16, 16, 24] in PyTorch and [2, 1, 16, 16, 24] in MindSpore"
    assert result.cause.startswith(told)
    assert "although every layer in it agrees" in result.cause


def test_the_cause_of_an_input_of_another_shape_names_the_shapes(files):
    def smaller(self, x):
        return whole_networks.UNetTwin.construct(self, x[:, :, :8])

    cause = check(files, "u_net", constructed("Smaller", smaller)).modes[0].cause
    assert cause.startswith("its output has shape [2, 6, 16, 16, 24] in PyTorch and [2, 6, 8, 16, 24] in MindSpore")
    assert "look between the input and down1.0" in cause


class PlaneNorm(ms.GroupNorm):
    """The volume as a plane: mindspore.nn.GroupNorm once took nothing else."""

    def construct(self, x):
        return super().construct(x.reshape(*x.shape[:2], -1, x.shape[-1]))


class PlaneUNet(whole_networks.UNetTwin):
    def construct(self, x):
        one = self.down1(x)
        two = self.down2(self.pool(one))
        up = self.right2(ops.cat((self.up2(self.bottom(self.pool(two))), two), 1))
        deep = ops.interpolate(self.deep(up), size=x.shape[2:], mode="nearest")
        right = self.right1(ops.cat((self.up1(up), one), 1))
        return self.out(self.norm(right).reshape(right.shape)), deep


@pytest.mark.parametrize(("groups", "ok"), [(3, True), (2, False)])
def test_a_layer_that_runs_on_another_shape_is_compared_number_by_number(files, groups, ok):
    def change(net):
        replaced("norm", PlaneNorm(groups, 6))(net)
        net.__class__ = PlaneUNet

    result = check(files, "u_net", change)
    assert result.ok is ok
    told = "norm has shape [2, 6, 16, 16, 24] in PyTorch and [2, 6, 256, 24] in MindSpore, with the same numbers"
    assert (told in result.notes) is ok
    if not ok:
        assert result.modes[0].first_divergence.label == "norm"
        assert "number of groups is 3 in PyTorch and 2 in MindSpore" in result.modes[0].cause


def test_a_network_whose_output_has_another_shape_fails(files):
    def flat(self, x):
        whole, deep = whole_networks.UNetTwin.construct(self, x)
        return whole.reshape(2, -1), deep

    result = check(files, "u_net", constructed("Flat", flat)).modes[0]
    assert result.first_divergence.label == "the network[0]"


def test_a_network_that_stops_says_where_it_parted_before(files):
    def smaller(self, x):
        return whole_networks.UNetTwin.construct(self, x[:, :, ::2])

    result = check(files, "u_net", constructed("Smaller", smaller))
    assert result.ok is False
    assert result.modes[0].first_divergence.label == "down1.0"

    stops = check(files, "u_net", replaced("up2", ms.Conv3dTranspose(16, 12, 2, 1, pad_mode="valid", has_bias=True)))
    assert stops.modes[0].first_divergence.label == "up2"
    assert "then MindSpore's network does not run" in stops.modes[0].cause


def test_every_name_and_shape_is_checked_before_anything_runs(files):
    def change(net):
        del net.deep
        net.more = ms.Dense(2, 2)
        net.norm = ms.GroupNorm(2, 8)

    result = check(files, "u_net", change)
    assert result.ok is False
    assert result.modes == ()
    found = [(problem.side, problem.difference.name, problem.difference.problem) for problem in result.problems]
    assert sorted(found) == [
        ("MindSpore", "deep.bias", "left over"),
        ("MindSpore", "deep.weight", "left over"),
        ("MindSpore", "more.bias", "missing"),
        ("MindSpore", "more.weight", "missing"),
        ("MindSpore", "norm.beta", "shape"),
        ("MindSpore", "norm.gamma", "shape"),
    ]
    more = next(one.difference for one in result.problems if one.difference.name == "more.bias")
    assert [candidate.name for candidate in more.candidates] == ["deep.bias"], "of equal shape"


def test_pytorch_is_loaded_as_strictly(files):
    twins = twins_of(files, "u_net")
    specs = {spec.name: spec for spec in twins.values.torch_specs}
    specs["extra"] = specs.pop("out.bias")._replace(name="extra")
    specs["norm.weight"] = specs["norm.weight"]._replace(shape=(3,))
    specs["right1.1.num_batches_tracked"] = specs["right1.1.num_batches_tracked"]._replace(shape=(1,))
    del specs["down1.1.num_batches_tracked"]
    changed = replace(twins, values=replace(twins.values, torch_specs=tuple(specs.values())))
    assert [(problem.difference.name, problem.difference.problem) for problem in changed.problems()] == [
        ("norm.weight", "shape"),
        ("out.bias", "missing"),
        ("extra", "left over"),
    ]


def test_the_tolerance_of_the_user_takes_the_allowances_place(files):
    assert check(files, "u_net", options=Options(atol=0.0, rtol=1e-12)).ok is False
    loose = check(files, "residual", replaced("layer1.bn2", ms.BatchNorm3d(8)), Options(rtol=0.1))
    assert loose.modes[0].ok


def test_a_batch_that_cannot_train_is_compared_in_evaluation_only(files):
    twins = twins_of(files, "attention")
    result = check_networks(twins, [NetworkInput((1, 1, 8, 8, 8)), NetworkInput((1, 8, 16))], Options())
    assert [mode.ok for mode in result.modes] == [True, None]
    assert "a batch of 2" in result.modes[1].not_run
    assert result.ok is None


@pytest.mark.parametrize(
    "inputs",
    [
        [NetworkInput((1, 4, 16, 32, 32))],
        [NetworkInput((1, 3, 16, 32, 32), "x")],
        [NetworkInput((1, 3, 16, 32, 32)), NetworkInput((2,))],
    ],
)
def test_an_input_that_does_not_fit_is_a_wrong_call(files, inputs):
    with pytest.raises(UsageError) as caught:
        check_networks(twins_of(files, "residual"), inputs, Options())
    assert "--input-shape" in caught.value.entry


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_parameters_stored_in_half_precision_widen_what_is_allowed(files, tmp_path, dtype):
    """Rounded parameters move every output by about 1e-3: right, for the file says so."""
    write, options = WriteOptions(dtype=BY_NAME[dtype]), SourceOptions(model=f"{HERE}:residual")
    source, output = files / "residual.pth", tmp_path / "n.ckpt"
    porter.convert(source, output, source_options=options, write_options=write, verify=False)
    found = porter.verify(source, output, source_options=both("residual"), inputs=INPUTS["residual"])
    assert found.network.ok is True


def test_from_mindspore_the_same_networks_agree(files, tmp_path):
    porter.convert(files / "residual.ckpt", tmp_path / "n.pth", source_options=both("residual"), verify=False)
    found = porter.verify(
        files / "residual.ckpt", tmp_path / "n.pth", source_options=both("residual"), inputs=INPUTS["residual"]
    )
    assert found.network.ok is True
    assert found.verified is True


class Pair(SimpleNamespace):
    """Two small networks of one convolution and what follows it."""

    layers = ()
    wanted = NetworkInput((2, 1, 6, 6, 6))

    def result(self, folder: Path, monkeypatch):
        torch.manual_seed(0)
        monkeypatch.setattr(whole_networks, "left", self.left, raising=False)
        monkeypatch.setattr(whole_networks, "right", self.right, raising=False)
        monkeypatch.setattr("porter.network._module_from_file", lambda path: whole_networks)
        torch.save(self.left().state_dict(), folder / "left.pth")
        options = SourceOptions(model=f"{HERE}:left", net=f"{HERE}:right", layers=self.layers)
        porter.convert(
            folder / "left.pth", folder / "r.ckpt", source_options=options, write_options=REPLACE, verify=False
        )
        return porter.verify(
            folder / "left.pth", folder / "r.ckpt", source_options=options, inputs=[self.wanted]
        ).network


class Follow(nn.Sequential):
    def __init__(self, *following, function=None):
        super().__init__(nn.Conv3d(1, 2, 3), *following)
        self.function = function

    def forward(self, x):
        y = super().forward(x)
        return self.function(y) if self.function else y


def follow(*following):
    return ms.SequentialCell(ms.Conv3d(1, 2, 3, pad_mode="valid", has_bias=True), *following)


class Rows(nn.Module):
    """A GRU over what is left of the volume: recurrent layers have a dropout of their own, 0 unless it is given."""

    def __init__(self, *before):
        super().__init__()
        self.before, self.gru = nn.Sequential(*before), nn.GRU(6, 4, batch_first=True)

    def forward(self, x):
        return self.gru(self.before(x)[:, 0, 0])[0]


class RowsTwin(ms.Cell):
    def __init__(self):
        super().__init__()
        self.gru = ms.GRU(6, 4, batch_first=True)

    def construct(self, x):
        return self.gru(x[:, 0, 0])[0]


@pytest.mark.parametrize(("before", "told"), [((), 0), ((nn.Dropout(0.0),), 0), ((nn.Dropout(0.5),), 1)])
def test_dropout_is_told_where_there_is_any(tmp_path, monkeypatch, before, told):
    result = Pair(left=lambda: Rows(*before), right=RowsTwin).result(tmp_path, monkeypatch)
    assert result.ok is True
    assert sum("dropout is switched off in both networks (in 1 layer)" in note for note in result.notes) == told


def test_random_numbers_are_said_not_compared(tmp_path, monkeypatch):
    pair = Pair(left=lambda: Follow(function=lambda y: y + torch.rand(2)[0]), right=follow)
    result = pair.result(tmp_path, monkeypatch)
    assert result.ok is None
    assert [[row.label for row in mode.activations] for mode in result.modes] == [["0"], ["0"]]
    assert "draws random numbers" in result.modes[0].not_run


def test_a_network_that_cannot_compute_in_float64_is_its_own_reference(tmp_path, monkeypatch):
    class Single(nn.Module):
        def forward(self, x):
            return nn.functional.linear(x.float(), torch.ones(4, 4, dtype=torch.float32))

    pair = Pair(left=lambda: Follow(Single()), right=lambda: follow(Double()))

    class Double(ms.Cell):
        def construct(self, x):
            return ops.matmul(x, ops.ones((4, 4), mindspore.float32))

    assert pair.result(tmp_path, monkeypatch).ok is True
    fails = Pair(left=lambda: Follow(Strict()), right=lambda: follow(ms.ReLU()))

    class Strict(nn.Module):
        def forward(self, x):
            assert x.dtype == torch.float32
            return torch.relu(x)

    result = fails.result(tmp_path, monkeypatch)
    assert result.ok is True
    assert any("float32 is the reference" in note for note in result.notes)


def test_a_shared_layer_has_two_names_in_pytorch_and_one_in_mindspore(tmp_path, monkeypatch):
    def left():
        shared = nn.Conv3d(1, 1, 3)
        return nn.Sequential(shared, nn.ReLU(), shared)

    def right():
        shared = ms.Conv3d(1, 1, 3, pad_mode="valid", has_bias=True)
        return ms.SequentialCell(shared, ms.ReLU(), shared)

    result = Pair(left=left, right=right).result(tmp_path, monkeypatch)
    assert result.ok is True
    labels = [row.label for row in result.modes[0].activations]
    assert labels == ["0", "1", "0 (call 2)", "the network"]


def test_whole_numbers_for_an_embedding(tmp_path, monkeypatch):
    embeddings = {
        "left": lambda: nn.Sequential(nn.Embedding(7, 4)),
        "right": lambda: ms.SequentialCell(ms.Embedding(7, 4)),
    }
    whole = Pair(**embeddings, wanted=NetworkInput((3, 5), below=7))
    assert whole.result(tmp_path, monkeypatch).ok is True
    with pytest.raises(UsageError, match="does not run on such an input"):
        Pair(**embeddings, wanted=NetworkInput((3, 5))).result(tmp_path, monkeypatch)


def test_a_kernel_that_is_missing_is_no_divergence(tmp_path, monkeypatch):
    """mindspore.nn.InstanceNorm3d has no kernel on the CPU: the convolution before it agrees, and then nothing."""
    pair = Pair(
        left=lambda: Follow(nn.InstanceNorm3d(2, affine=True, track_running_stats=True)),
        right=lambda: follow(ms.InstanceNorm3d(2)),
        layers=[("1", "InstanceNorm3d")],
    )
    with pytest.raises(BackendError) as caught:
        pair.result(tmp_path, monkeypatch)
    assert "InstanceNorm" in caught.value.message


def test_without_both_networks_the_call_is_wrong(files):
    options = SourceOptions(model=f"{HERE}:u_net")
    with pytest.raises(UsageError):
        porter.verify(files / "u_net.pth", files / "u_net.ckpt", source_options=options, inputs=INPUTS["u_net"])


def test_layers_of_renamed_modules_are_compared(files):
    """The U-Net as the `body` of another network, one of its modules renamed: layers without parameters, too."""
    source = open_source(files / "u_net.pth", both("u_net"))
    plan = plan_for(source, "mindspore", WriteOptions())
    pairs = pairs_of(source, rename(plan, [Rename("down1.0", "down1.conv"), Rename("**", "body.**")]))
    expected = {
        "down1.0": "body.down1.conv",
        "down1.1": "body.down1.1",
        "down1": "body.down1",
        "pool": "body.pool",
        "right2.2": "body.right2.2",
    }
    assert {path: pairs.of(path) for path in expected} == expected
    assert pairs.tensors["down1.1.weight"] == "body.down1.1.bn2d.gamma"


def test_what_has_no_parameters_stands_in_the_module_around_it(files):
    """The stem's ReLU and pooling have no tensors to follow; its convolution and normalisation have."""
    source = open_source(files / "residual.pth", both("residual"))
    plan = plan_for(source, "mindspore", WriteOptions())
    pairs = pairs_of(source, rename(plan, [Rename("stem", "entry"), Rename("layer1.conv1", "layer1.first")]))
    paths = ("stem.3", "stem", "layer1.conv1", "layer1.relu", "dropout")
    assert [pairs.of(path) for path in paths] == ["entry.3", "entry", "layer1.first", "layer1.relu", "dropout"]


def test_a_renamed_twin_agrees(files, tmp_path):
    class Renamed(ms.Cell):
        def __init__(self):
            super().__init__()
            self.body = whole_networks.UNetTwin()

        def construct(self, x):
            return self.body(x)

    source = open_source(files / "u_net.pth", both("u_net"))
    plan = plan_for(source, "mindspore", WriteOptions())
    pairs = pairs_of(source, rename(plan, [Rename("**", "body.**")]))
    right = twins_of(files, "u_net")
    mindspore_values = {f"body.{name}": value for name, value in right.values.mindspore.items()}
    specs = [spec._replace(name=f"body.{spec.name}") for spec in right.values.mindspore_specs]
    values = replace(right.values, mindspore=mindspore_values, mindspore_specs=specs)
    result = check_networks(
        Twins(right.torch, MindSporeNetwork(Renamed()), values, pairs), INPUTS["u_net"], Options()
    )
    assert result.ok is True
    assert len(result.modes[0].activations) == 29
    assert result.only_in == {"PyTorch": (), "MindSpore": ("body",)}


def test_an_input_of_another_size_is_looked_for_before_the_layer(files):
    """Rounding grows with the numbers, so that the layer itself must not be blamed for it."""

    def unscaled(self, x):
        return whole_networks.UNetTwin.construct(self, x * 10000)

    result = check(files, "u_net", constructed("Unscaled", unscaled)).modes[0]
    assert result.first_divergence.label == "down1.0"
    assert "the input differs: look between the input and down1.0" in result.cause


class Factor(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


class FactorTwin(ms.Cell):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def construct(self, x):
        return x * self.factor


def test_what_adds_up_without_a_wrong_layer_is_said_so(tmp_path, monkeypatch):
    """A hundred times two roundings: each alone is within what rounding explains, all together are not."""
    pair = Pair(
        left=lambda: Follow(*(Factor(1.0) for _ in range(100))),
        right=lambda: follow(*(FactorTwin(1.0 + 2**-22) for _ in range(100))),
    )
    result = pair.result(tmp_path, monkeypatch).modes[0]
    assert all(row.ok for row in result.by_layer)
    assert (result.where, result.ok) == ("activations", False)
    assert "every single layer agrees" in result.cause
    assert "--rtol" in result.cause


class Logistic(nn.Module):
    def forward(self, x):
        return 3.9 * x * (1 - x)


class LogisticTwin(ms.Cell):
    def construct(self, x):
        return 3.9 * x * (1 - x)


def chaotic(eps: float):
    """Magnifies what is disturbed in its first layer about 1.6 times in each of its steps, until nothing is left."""
    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.Sigmoid(), *(Logistic() for _ in range(80)), nn.BatchNorm3d(2, eps))


def chaotic_twin(eps: float):
    steps = [LogisticTwin() for _ in range(80)]
    conv = ms.Conv3d(1, 2, 3, pad_mode="valid", has_bias=True)
    return ms.SequentialCell(conv, ms.Sigmoid(), *steps, ms.BatchNorm3d(2, eps))


def test_right_layers_prove_a_network_that_no_two_computations_agree_on(tmp_path, monkeypatch):
    result = Pair(left=lambda: chaotic(1e-3), right=lambda: chaotic_twin(1e-3)).result(tmp_path, monkeypatch)
    assert result.ok is True
    for mode in result.modes:
        output = next(row for row in mode.activations if not row.layer)
        assert not output.can_be_judged
        assert all(row.can_be_judged for row in mode.by_layer if row.is_output)


def test_a_wrong_layer_does_not_hide_behind_chaos(tmp_path, monkeypatch):
    result = Pair(left=lambda: chaotic(1e-3), right=lambda: chaotic_twin(1e-5)).result(tmp_path, monkeypatch)
    for mode in result.modes:
        assert all(row.ok for row in mode.activations if row.is_output), "the whole run does not show it"
        assert mode.first_divergence.label == "82"
        assert "eps is 0.001 in PyTorch and 1e-05 in MindSpore" in mode.cause
    assert result.ok is False


def thresholds(*following):
    return Follow(*following, function=lambda y: torch.sign(y[:, :1]) * y[:, 1:])


def thresholds_twin(*following):
    class Twin(ms.SequentialCell):
        def construct(self, x):
            y = super().construct(x)
            return ops.sign(y[:, :1]) * y[:, 1:]

    return Twin(*follow(*following))


def test_a_threshold_is_met_with_the_same_numbers(tmp_path, monkeypatch):
    """A hundred thousand signs of numbers around 0, where rounding decides: layer by layer both see the same."""
    wanted = NetworkInput((2, 1, 40, 40, 40))
    pair = Pair(left=lambda: thresholds(nn.ReLU()), right=lambda: thresholds_twin(ms.ReLU()), wanted=wanted)
    assert pair.result(tmp_path, monkeypatch).ok is True


def test_graph_mode_is_run_too_where_it_is_asked_for(files):
    result = check(files, "residual", options=Options(ms_mode="graph"))
    assert result.ok is True
    assert [row.label for row in result.modes[0].graph] == ["the network['logits']", "the network['features']"]
    statistics = [row.what for row in result.modes[1].graph if not row.is_output]
    assert sorted(set(statistics)) == ["running_mean", "running_var"]
    assert len(statistics) == 2 * 8
    assert any("no hooks in graph mode" in note for note in result.notes)
    assert all(not mode.graph for mode in check(files, "residual").modes)


def test_what_graph_mode_computes_otherwise_is_said(files, monkeypatch):
    run = MindSporeNetwork.run

    def compiled(self, values, *given, mode, **options):
        if mode == "graph":
            values = values | {"out.bias": values["out.bias"] + 1}
        run(self, values, *given, mode=mode, **options)

    monkeypatch.setattr(MindSporeNetwork, "run", compiled)
    result = check(files, "u_net", options=Options(ms_mode="both")).modes[0]
    assert (result.where, result.first_divergence.label) == ("graph", "the network[0]")
    assert "in PyNative mode the networks agree" in result.cause


def test_a_network_that_does_not_compile_is_not_proven_in_graph_mode(files):
    def python_only(self, x):
        import json  # what graph mode cannot take: an import, and a call of Python's own

        json.dumps({})
        return whole_networks.UNetTwin.construct(self, x)

    change = constructed("PythonOnly", python_only)
    assert check(files, "u_net", change).ok is True
    result = check(files, "u_net", change, Options(ms_mode="graph"))
    assert result.ok is None
    assert result.modes[0].not_run.startswith("in graph mode MindSpore's network does not run:")
