"""`verify` on files that a wrong conversion would have left: each fault is found, and the layer named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
import torch
from nets import REPLACE, randomised, two_norms
from torch import nn

import porter
from porter import SourceOptions
from porter.verification.options import Options

Arrays = dict[str, np.ndarray[Any, Any]]


def converted(folder: Path) -> Arrays:
    """Convert `two_norms`; the parameters of the file written."""
    torch.save(two_norms().state_dict(), folder / "net.pth")
    porter.convert(folder / "net.pth", folder / "net.ckpt", write_options=REPLACE, verify=False)
    return {name: p.asnumpy().copy() for name, p in mindspore.load_checkpoint(str(folder / "net.ckpt")).items()}


def rewritten(folder: Path, arrays: Arrays) -> Path:
    """Those parameters, saved again by MindSpore."""
    (folder / "net.ckpt").unlink()
    entries = [{"name": name, "data": mindspore.Tensor(array)} for name, array in arrays.items()]
    mindspore.save_checkpoint(entries, str(folder / "net.ckpt"))
    return folder / "net.ckpt"


def swap(arrays: Arrays, first: str, second: str) -> None:
    arrays[first], arrays[second] = arrays[second], arrays[first]


def swap_layers(arrays: Arrays) -> None:
    """Exchange the first four channels' worth of the two layers, which differ in size: whole layers cannot be."""
    for leaf in ("gamma", "beta", "moving_mean", "moving_variance"):
        arrays[f"4.bn2d.{leaf}"] = arrays[f"1.bn2d.{leaf}"][:4].copy()


def scale_one_value(arrays: Arrays) -> None:
    arrays["1.bn2d.moving_variance"][2] *= 1 + 1e-3


FAULTS: dict[str, tuple[Callable[[Arrays], None], str, str]] = {
    "gamma and beta": (lambda a: swap(a, "1.bn2d.gamma", "1.bn2d.beta"), "1", "weight and bias"),
    "mean and variance": (
        lambda a: swap(a, "1.bn2d.moving_mean", "1.bn2d.moving_variance"),
        "1",
        "running_mean and running_var",
    ),
    "one value": (scale_one_value, "1", "running_var"),
    "channels": (lambda a: a.update({n: a[n][::-1].copy() for n in a if n.startswith("4.bn2d")}), "4", "channel"),
    "other values": (swap_layers, "4", ""),
}


@pytest.mark.parametrize(("fault", "layer", "words"), FAULTS.values(), ids=FAULTS)
def test_a_fault_in_the_file_is_found_and_named(
    fault: Callable[[Arrays], None], layer: str, words: str, tmp_path: Path
) -> None:
    arrays = converted(tmp_path)
    assert porter.verify(tmp_path / "net.pth", rewritten(tmp_path, arrays)).ok, "unharmed, it passes"
    fault(arrays)
    found = porter.verify(tmp_path / "net.pth", rewritten(tmp_path, arrays))
    assert not found.ok
    failed = [result for result in found.layers if result.ok is False]
    assert [result.name for result in failed] == [layer]
    assert words in (failed[0].diagnosis or "")
    assert failed[0].cause == "parameters"
    assert {problem.name.split(".")[0] for problem in found.problems} == {layer}


def test_layers_exchanged_are_named_after_each_other(tmp_path: Path) -> None:
    network = randomised(nn.Sequential(nn.Conv3d(2, 6, 3), nn.BatchNorm3d(6), nn.Conv3d(6, 6, 1), nn.BatchNorm3d(6)))
    torch.save(network.state_dict(), tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    arrays = {n: p.asnumpy().copy() for n, p in mindspore.load_checkpoint(str(tmp_path / "net.ckpt")).items()}
    for leaf in ("gamma", "beta", "moving_mean", "moving_variance"):
        swap(arrays, f"1.bn2d.{leaf}", f"3.bn2d.{leaf}")
    found = porter.verify(tmp_path / "net.pth", rewritten(tmp_path, arrays))
    diagnoses = {result.name: result.diagnosis or "" for result in found.layers if result.ok is False}
    assert set(diagnoses) == {"1", "3"}
    assert "3" in diagnoses["1"]
    assert "1" in diagnoses["3"]


def test_a_wrong_value_outside_of_the_norms_is_found(tmp_path: Path) -> None:
    arrays = converted(tmp_path)
    arrays["3.weight"][1, 2, 0, 0, 0] += 1e-6
    found = porter.verify(tmp_path / "net.pth", rewritten(tmp_path, arrays))
    (problem,) = found.problems
    assert (problem.name, problem.problem) == ("3.weight", "values")
    assert problem.text.startswith("[1, 2, 0, 0, 0] is ")
    assert problem.text.endswith(" was expected (1 of 24 values differ)")
    assert problem.differing == 1


@pytest.mark.parametrize(
    ("change", "problem", "name"),
    [
        (lambda a: a.pop("3.weight"), "missing", "3.weight"),
        (lambda a: a.update(extra=np.ones(2, np.float32)), "unexpected", "extra"),
        (lambda a: a.update({"3.weight": a["3.weight"].astype(np.float16)}), "type", "3.weight"),
        (lambda a: a.update({"1.bn2d.gamma": a["1.bn2d.gamma"].reshape(6, 1)}), "type", "1.bn2d.gamma"),
    ],
)
def test_the_list_of_tensors_must_be_the_plans(
    change: Callable[[Arrays], None], problem: str, name: str, tmp_path: Path
) -> None:
    arrays = converted(tmp_path)
    change(arrays)
    found = porter.verify(tmp_path / "net.pth", rewritten(tmp_path, arrays))
    assert [(p.problem, p.name) for p in found.problems] == [(problem, name)]
    assert not found.ok


def wrong_eps() -> mindspore.nn.Cell:
    return twin(eps=1e-3)


def momentum_not_inverted() -> mindspore.nn.Cell:
    return twin(momentum=0.1)


def always_batch_statistics() -> mindspore.nn.Cell:
    return twin(use_batch_statistics=True)


def right_twin() -> mindspore.nn.Cell:
    return twin()


def twin(**settings: Any) -> mindspore.nn.Cell:
    """The MindSpore network of `two_norms`; `settings` go to its second norm alone."""
    from mindspore.nn import BatchNorm3d, Conv3d, ReLU, SequentialCell

    return SequentialCell(
        Conv3d(2, 6, 3, has_bias=True), BatchNorm3d(6), ReLU(), Conv3d(6, 4, 1), BatchNorm3d(4, **settings)
    )


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (right_twin, None),
        (wrong_eps, "eps"),
        (momentum_not_inverted, "not inverted"),
        (always_batch_statistics, "statistics"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_target_networks_settings_are_verified(
    network: Callable[[], mindspore.nn.Cell], words: str | None, tmp_path: Path
) -> None:
    converted(tmp_path)
    options = SourceOptions(net=f"{__file__}:{network.__name__}")
    found = porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=options)
    failed = [result for result in found.layers if result.ok is False]
    assert not found.problems, "the file is right, the network is not"
    if words is None:
        assert found.ok
    else:
        assert [result.name for result in failed] == ["4"]
        assert words in (failed[0].diagnosis or "")
        assert failed[0].cause == "settings"


@pytest.mark.parametrize(
    ("options", "ok"),
    [({"target_momentum": 0.9}, True), ({"target_momentum": 0.1}, False), ({"target_eps": 1e-3}, False)],
)
def test_settings_can_be_given_by_hand(options: dict[str, float], ok: bool, tmp_path: Path) -> None:
    converted(tmp_path)
    found = porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt", **options)  # type: ignore[arg-type]
    assert found.ok is ok
    assert {result.ok for result in found.layers if result.kind == "BatchNorm3d"} == {ok}


def test_the_way_back_is_verified_alike(tmp_path: Path) -> None:
    converted(tmp_path)
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth", verify=False)
    assert porter.verify(tmp_path / "net.ckpt", tmp_path / "back.pth").verified is True
    state = torch.load(tmp_path / "back.pth", weights_only=True)
    state["4.running_var"][0] *= 1.001
    torch.save(state, tmp_path / "back.pth")
    found = porter.verify(tmp_path / "net.ckpt", tmp_path / "back.pth")
    assert [result.name for result in found.layers if result.ok is False] == ["4"]


def test_assumed_settings_are_told(tmp_path: Path) -> None:
    converted(tmp_path)
    found = porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt")
    assert found.warnings == (
        "2 layers were run with PyTorch's default eps 1e-05 and momentum 0.1: the file does not say; "
        "--model, --eps or --momentum does",
    )
    options = SourceOptions(eps=1e-3, momentum=0.2)
    assert porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=options).warnings == ()


@pytest.mark.parametrize("prefix", ["module.", "backbone."])
def test_layers_that_the_target_network_does_not_have_are_not_verified(prefix: str, tmp_path: Path) -> None:
    """Their settings in the network are not known: a wrong momentum there must not pass."""
    state = {prefix + name: tensor for name, tensor in two_norms().state_dict().items()}
    torch.save(state, tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    options = SourceOptions(net=f"{__file__}:right_twin")
    found = porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=options)
    assert [result.name for result in found.not_run] == [f"{prefix}1", f"{prefix}4"]
    assert found.verified is False
    assert found.network is not None
    assert f"{prefix}1.bn2d.gamma" in {problem.difference.name for problem in found.network.problems}


@pytest.mark.parametrize("strict", [False, True])
def test_odd_statistics_are_named_and_fail_when_asked(strict: bool, tmp_path: Path) -> None:
    state = two_norms().state_dict()
    state["4.running_var"][2] = -1.0
    torch.save(state, tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    found = porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt", options=Options(strict=strict))
    assert found.ok is not strict
    warned = [text for text in found.warnings if text.startswith("4: running_var holds values that are negative")]
    failed = {result.name: result.diagnosis for result in found.layers if result.ok is False}
    assert (len(warned), list(failed)) == ((0, ["4"]) if strict else (1, []))
    assert not strict or failed["4"].startswith("running_var holds values that are negative")
