"""The sample network: both twins hold everything bnport converts, and compute alike before and after training."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mindspore
import numpy as np
import pytest
import torch

import porter

SAMPLE = Path(__file__).parent.parent / "samples" / "video_resnet"
TORCH_NET = f"{SAMPLE}/torch_net.py:build"
MINDSPORE_NET = f"{SAMPLE}/mindspore_net.py:build"
BATCHES, LEARNING_RATE = 3, 0.05


@pytest.fixture(scope="module", autouse=True)
def sample_modules():
    """The sample's own modules can be imported, as from its folder."""
    sys.path.insert(0, str(SAMPLE))
    yield
    sys.path.remove(str(SAMPLE))


def load_torch(state):
    import torch_net

    net = torch_net.build()
    net.load_state_dict(state, strict=True)
    return net


def load_mindspore(path):
    """The twin with every parameter from `path`; MindSpore's own strict_load accepts missing and left-over names."""
    import mindspore_net

    net = mindspore_net.build()
    parameters = mindspore.load_checkpoint(str(path))
    facts = {name: (value.shape, value.dtype) for name, value in parameters.items()}
    assert facts == {name: (value.shape, value.dtype) for name, value in net.parameters_dict().items()}
    assert mindspore.load_param_into_net(net, parameters, strict_load=True) == ([], [])
    for name, value in net.parameters_dict().items():
        assert np.array_equal(value.asnumpy(), parameters[name].asnumpy()), name
    return net


def torch_logits(net, clips):
    with torch.no_grad():
        return net.eval()(torch.from_numpy(clips)).numpy()


def mindspore_logits(net, clips):
    return net.set_train(False)(mindspore.Tensor(clips)).asnumpy()


def train_torch(net, batches):
    optimizer = torch.optim.SGD(net.train().parameters(), LEARNING_RATE)
    for clips, directions in batches:
        loss = torch.nn.functional.cross_entropy(net(torch.from_numpy(clips)), torch.from_numpy(directions).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def train_mindspore(net, batches):
    loss_of = mindspore.nn.CrossEntropyLoss()
    optimizer = mindspore.nn.SGD(net.set_train(True).trainable_params(), LEARNING_RATE)
    step = mindspore.value_and_grad(lambda x, y: loss_of(net(x), y), None, optimizer.parameters)
    for clips, directions in batches:
        optimizer(step(mindspore.Tensor(clips), mindspore.Tensor(directions))[1])


def statistics(net):
    """Layer name -> (mean, variance), of either twin."""
    if isinstance(net, torch.nn.Module):
        state = net.state_dict()
        means = [name for name in state if name.endswith(".running_mean")]
        return {
            name.removesuffix(".running_mean"): (
                state[name].numpy().copy(),
                state[name.replace("running_mean", "running_var")].numpy().copy(),
            )
            for name in means
        }
    state = net.parameters_dict()
    means = [name for name in state if name.endswith(".moving_mean")]
    return {
        name.removesuffix(".moving_mean").removesuffix(".bn2d"): (
            state[name].asnumpy(),
            state[name.replace("moving_mean", "moving_variance")].asnumpy(),
        )
        for name in means
    }


def assert_the_twins_agree(torch_net, mindspore_net):
    """In evaluation, and again after three training steps on the same clips.

    Tolerances, as shares of the largest value: one float32 operation is off by 6e-8, and a logit sums some hundred
    products through eight convolutions, each reordered by the other framework. Measured on the two samples: logits
    4e-7 in evaluation and 7e-7 after training, statistics 2e-6. Each limit leaves a factor of ten or more.
    """
    from clips import make_clips

    clips, _ = make_clips(16, seed=1000)
    expected = torch_logits(torch_net, clips)
    largest = np.abs(expected).max()
    assert np.abs(mindspore_logits(mindspore_net, clips) - expected).max() < 1e-5 * largest

    before = statistics(torch_net)
    batches = [make_clips(8, seed=2000 + i) for i in range(BATCHES)]
    train_torch(torch_net, batches)
    train_mindspore(mindspore_net, batches)
    expected = torch_logits(torch_net, clips)
    assert np.abs(mindspore_logits(mindspore_net, clips) - expected).max() < 1e-5 * np.abs(expected).max()
    ours, theirs = statistics(torch_net), statistics(mindspore_net)
    assert list(ours) == list(theirs)
    assert len(ours) == 10, "nine BatchNorm3d, one BatchNorm1d"
    for name in ours:
        for mine, other, start in zip(ours[name], theirs[name], before[name], strict=True):
            assert not np.array_equal(mine, start), f"{name}: three steps moved nothing"
            np.testing.assert_allclose(other, mine, rtol=0, atol=3e-5 * np.abs(mine).max(), err_msg=name)


def test_from_pytorch_the_twin_loads_everything_and_computes_alike(tmp_path):
    options = porter.SourceOptions(model=TORCH_NET)
    done = porter.convert(SAMPLE / "video_resnet.pth", tmp_path / "net.ckpt", source_options=options, verify=True)
    assert done.verified is True
    state = torch.load(SAMPLE / "video_resnet.pth", weights_only=True)["state_dict"]
    assert_the_twins_agree(load_torch(state), load_mindspore(tmp_path / "net.ckpt"))


def test_both_files_of_the_pytorch_training_give_the_twin_the_same_parameters(tmp_path):
    options = porter.SourceOptions(model=TORCH_NET)
    parameters = []
    for source in ("video_resnet.pth", "video_resnet.safetensors"):
        porter.convert(SAMPLE / source, tmp_path / f"{source}.ckpt", source_options=options, verify=False)
        net = load_mindspore(tmp_path / f"{source}.ckpt")
        parameters.append({name: value.asnumpy().tobytes() for name, value in net.parameters_dict().items()})
    assert parameters[0] == parameters[1]


def test_from_mindspore_the_network_loads_everything_and_computes_alike(tmp_path):
    options = porter.SourceOptions(net=MINDSPORE_NET)
    source = SAMPLE / "video_resnet.ckpt"
    done = porter.convert(source, tmp_path / "net.pth", source_options=options, verify=True)
    assert done.verified is True
    state = torch.load(tmp_path / "net.pth", weights_only=True)
    assert {int(count) for name, count in state.items() if name.endswith("num_batches_tracked")} == {0}
    assert_the_twins_agree(load_torch(state), load_mindspore(source))


def test_affine_false_is_known_from_the_network_alone(tmp_path):
    """MindSpore keeps gamma and beta where PyTorch has none; without --net nothing says that they are not meant."""
    source = SAMPLE / "video_resnet.ckpt"
    extra = {"input_norm.weight", "input_norm.bias"}
    porter.convert(source, tmp_path / "plain.pth", verify=False)
    assert extra <= set(torch.load(tmp_path / "plain.pth", weights_only=True))
    options = porter.SourceOptions(net=MINDSPORE_NET)
    done = porter.convert(source, tmp_path / "net.pth", source_options=options, verify=False)
    assert not extra & set(torch.load(tmp_path / "net.pth", weights_only=True))
    dropped = {step.source.name: step.reason for step in done.plan.steps if step.fate == "dropped"}
    assert dropped.keys() == {"input_norm.bn2d.gamma", "input_norm.bn2d.beta"}
    assert "affine=False" in dropped["input_norm.bn2d.gamma"]


def test_affine_false_with_values_of_its_own_keeps_them(tmp_path):
    """MindSpore applies a gamma that it does not train: left out, the outputs would change."""
    parameters = mindspore.load_checkpoint(str(SAMPLE / "video_resnet.ckpt"))
    parameters["input_norm.bn2d.gamma"][1] = 1.5
    mindspore.save_checkpoint([{"name": n, "data": p} for n, p in parameters.items()], str(tmp_path / "net.ckpt"))
    options = porter.SourceOptions(net=MINDSPORE_NET)
    porter.convert(tmp_path / "net.ckpt", tmp_path / "net.pth", source_options=options, verify=True)
    state = torch.load(tmp_path / "net.pth", weights_only=True)
    assert state["input_norm.weight"].tolist() == [1, 1.5, 1]
    assert state["input_norm.bias"].tolist() == [0, 0, 0]


def test_from_mindspore_and_back_is_the_same_checkpoint(tmp_path):
    source = SAMPLE / "video_resnet.ckpt"
    options = porter.SourceOptions(net=MINDSPORE_NET)
    porter.convert(source, tmp_path / "net.pth", source_options=options, verify=False)
    porter.convert(tmp_path / "net.pth", tmp_path / "back.ckpt", verify=False)
    assert (tmp_path / "back.ckpt").read_bytes() == source.read_bytes()


def test_the_twins_settings_are_each_others_translation(tmp_path):
    """--model and --net together: every momentum of the twin is 1 - PyTorch's, or verify would say so."""
    options = porter.SourceOptions(model=TORCH_NET, net=MINDSPORE_NET)
    done = porter.convert(SAMPLE / "video_resnet.pth", tmp_path / "net.ckpt", source_options=options, verify=False)
    assert {layer.settings.momentum for layer in done.source.layers if layer.settings} == {0.1, 0.05, 0.07, 0.2}
    assert {layer.settings.eps for layer in done.source.layers if layer.settings} == {1e-3, 1e-5}
    assert porter.verify(SAMPLE / "video_resnet.pth", tmp_path / "net.ckpt", source_options=options).ok


def run(command):
    environment = os.environ | {"BNPORT": f"{Path(sys.executable).parent}/bnport", "PYTHON": sys.executable}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


@pytest.fixture
def copied(tmp_path):
    return Path(
        shutil.copytree(SAMPLE, tmp_path / "sample", ignore=shutil.ignore_patterns("__pycache__", "converted"))
    )


@pytest.mark.slow
def test_the_pipeline_migrates_and_compares_every_checkpoint(copied, tmp_path):
    done = run(["bash", str(copied / "pipeline.sh"), str(tmp_path / "out")])
    assert done.returncode == 0, done.stdout + done.stderr
    targets = ["video_resnet.pth.ckpt", "video_resnet.safetensors.ckpt", "video_resnet.ckpt.pth"]
    for target in targets:
        assert (tmp_path / "out" / target).is_file()
        assert json.loads((tmp_path / "out" / f"{target}.convert.json").read_text())["verified"] is True
        assert json.loads((tmp_path / "out" / f"{target}.verify.json").read_text())["ok"] is True
    assert done.stdout.count("done: ") == len(targets)
    assert done.stderr == ""


@pytest.mark.slow
def test_the_pipeline_reports_a_broken_checkpoint_and_goes_on(copied, tmp_path):
    (copied / "video_resnet.pth").write_bytes((copied / "video_resnet.pth").read_bytes()[:-100])
    (copied / "video_resnet.safetensors").unlink()
    done = run(["bash", str(copied / "pipeline.sh"), str(tmp_path / "out")])
    assert done.returncode == 1
    assert "not a checkpoint bnport can trust" in done.stderr
    assert "not migrated: video_resnet.pth\n" in done.stderr
    assert "done: video_resnet.ckpt" in done.stdout


def test_the_pipeline_finds_a_momentum_that_the_twin_did_not_invert(copied, tmp_path):
    twin = copied / "mindspore_net.py"
    twin.write_text(twin.read_text().replace("momentum=0.93", "momentum=0.07"))
    for other in ("video_resnet.safetensors", "video_resnet.ckpt"):
        (copied / other).unlink()
    done = run(["bash", str(copied / "pipeline.sh"), str(tmp_path / "out")])
    assert done.returncode == 1
    assert "verification failed" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "mindspore"])
def test_the_training_script_makes_the_checkpoints(framework, tmp_path):
    """Not bit for bit: convolutions sum in the order of the machine's threads."""
    done = run([sys.executable, str(SAMPLE / "train.py"), "--framework", framework, "--folder", str(tmp_path)])
    assert done.returncode == 0, done.stderr
    made = sorted(path.name for path in tmp_path.iterdir())
    expected = {"torch": ["video_resnet.pth", "video_resnet.safetensors"], "mindspore": ["video_resnet.ckpt"]}
    assert made == expected[framework]
    for name in made:
        kept, new = (porter.inspect(folder / name).source.checkpoint.specs for folder in (SAMPLE, tmp_path))
        assert new == kept
