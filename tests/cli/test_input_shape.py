"""`bnport verify --input-shape`: the whole-network check as users meet it, on the sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import porter
from porter.verification.options import NetworkInput

SAMPLE = Path(__file__).parents[2] / "samples" / "video_resnet"
SOURCE = str(SAMPLE / "video_resnet.pth")
MODEL = ("--model", f"{SAMPLE}/torch_net.py:build")
NET = ("--net", f"{SAMPLE}/mindspore_net.py:build")
SHAPE = ("--input-shape", "2x3x8x32x32")


@pytest.fixture
def converted(tmp_path: Path) -> None:
    options = porter.SourceOptions(model=MODEL[1])
    porter.convert(SOURCE, tmp_path / "net.ckpt", source_options=options, verify=False)


@pytest.fixture
def wrong(tmp_path: Path) -> tuple[str, str]:
    """The twin with MindSpore's default padding, which differs where a convolution has a stride."""
    text = (SAMPLE / "mindspore_net.py").read_text().replace('pad_mode="pad", padding=padding', 'pad_mode="same"')
    (tmp_path / "same_net.py").write_text(text)
    return "--net", "same_net.py:build"


# Pads before its first convolution, which keeps its name.
UNPADDED = """
def unpadded(inputs, outputs, kernel, *, stride, bias):
    return nn.Conv3d(inputs, outputs, kernel, stride=stride, pad_mode="valid", has_bias=bias)


class Stem(nn.SequentialCell):
    def __init__(self, pad, *cells):
        super().__init__(*cells)
        self._pad = pad

    def construct(self, x):
        return super().construct(self._pad(x))


"""


def test_right_twins(bnport: Any, converted: None) -> None:
    shown = bnport("verify", SOURCE, "net.ckpt", *MODEL, *NET, *SHAPE)
    assert shown.code == 0, shown.err
    assert "ok  the networks in eval: 31 results compared" in shown.out
    assert "ok  the networks in train: 51 results compared" in shown.out
    assert "20 layers run, all within bounds; both networks agree." in " ".join(shown.out.split())


def test_a_fault_is_shown_with_what_stands_around_it(bnport: Any, converted: None, wrong: tuple[str, str]) -> None:
    shown = bnport("verify", SOURCE, "net.ckpt", *MODEL, *wrong, *SHAPE)
    assert shown.code == 1
    table = shown.out.partition("Layer by layer, in eval")[2].partition("FAILED")[0]
    rows = [line.split()[:2] for line in table.splitlines()]
    assert [row for row in rows if row[0] in ("ok", "NO")] == [
        ["ok", "input_norm"], ["NO", "stem.0"], ["ok", "stem.1"], ["ok", "stem.2"], ["NO", "the"]
    ]  # fmt: skip
    assert "the first divergence is at stem.0" in shown.out
    assert "padding is (1, 2, 2) in PyTorch and pad_mode='same' in MindSpore" in shown.out
    assert "beside the layer" not in shown.out, "the networks were run whole, and differ"
    assert "wrong by themselves, too: stage2.0.conv1\n" in shown.out
    assert "stage2.0.conv1: padding is" in shown.out, "a second one, told as a difference in settings"
    assert "VERIFICATION FAILED 2 layers configured otherwise; the parameters are right." in shown.out


def test_padding_beside_the_layer_is_right_where_the_networks_agree(
    bnport: Any, converted: None, tmp_path: Path
) -> None:
    text = (SAMPLE / "mindspore_net.py").read_text()
    text = text.replace("conv(3, 8, (3, 5, 5)", "nn.ConstantPad3d((2, 2, 2, 2, 1, 1), 0.0), unpadded(3, 8, (3, 5, 5)")
    text = text.replace("class VideoResNet", UNPADDED + "class VideoResNet")
    text = text.replace("self.stem = nn.SequentialCell(\n", "self.stem = Stem(\n")
    (tmp_path / "padded_net.py").write_text(text)
    alone = bnport("verify", SOURCE, "net.ckpt", *MODEL, "--net", "padded_net.py:build")
    assert alone.code == 1
    assert "padding is (1, 2, 2) in PyTorch and pad_mode='valid' in MindSpore" in alone.out
    assert "if the network does the same beside the layer, --input-shape" in " ".join(alone.out.split())
    whole = bnport("verify", SOURCE, "net.ckpt", *MODEL, "--net", "padded_net.py:build", *SHAPE)
    assert whole.code == 0, whole.out
    assert "on a single input this need not show" in whole.out, "but it is told"


def test_json_holds_every_activation(bnport: Any, converted: None, wrong: tuple[str, str]) -> None:
    found = bnport("verify", SOURCE, "net.ckpt", *MODEL, *wrong, *SHAPE, "--json")
    assert (found.code, found.json["ok"], found.json["verified"]) == (1, False, False)
    network = found.json["network"]
    assert (network["ok"], network["inputs"], network["problems"]) == (False, ["2x3x8x32x32"], [])
    evaluation, training = network["modes"]
    assert (evaluation["mode"], evaluation["first_divergence"]) == ("eval", "stem.0")
    assert evaluation["found_in"] == "by_layer"
    assert len(training["by_layer"]) == 51
    assert len(training["activations"]) == 51
    first = next(row for row in evaluation["activations"] if not row["ok"])
    assert first["error"] > first["allowed"] > 0
    assert first["shapes"] == [[2, 8, 8, 16, 16], [2, 8, 8, 16, 16]]
    assert network["only_in"]["MindSpore"] == [f"stage{stage}.relu" for stage in ("1.0", "2.0", "2.1")]


def test_a_network_that_does_not_load_the_file(bnport: Any, converted: None, tmp_path: Path) -> None:
    text = (SAMPLE / "mindspore_net.py").read_text().replace("self.head", "self.classifier")
    (tmp_path / "renamed_net.py").write_text(text)
    shown = bnport("verify", SOURCE, "net.ckpt", *MODEL, "--net", "renamed_net.py:build", *SHAPE)
    assert shown.code == 1
    told = " ".join(shown.out.split())
    missing = "classifier.weight: missing, float32 [4, 12]; closest: head.weight (57% alike, same shape)"
    assert f"MindSpore's network: {missing}" in told
    assert "MindSpore's network: head.weight: left over" in told
    assert "The networks were not run." in shown.out


def test_a_batch_of_one_cannot_be_trained_and_is_not_called_verified(bnport: Any, converted: None) -> None:
    shown = bnport("verify", SOURCE, "net.ckpt", *MODEL, *NET, "--input-shape", "clips=1x3x8x32x32")
    assert shown.code == 5
    assert "NOT VERIFIED" in shown.out
    assert "a batch of 2 or larger volumes may do" in " ".join(shown.out.split())


def test_without_a_shape_the_option_is_named(bnport: Any, converted: None) -> None:
    assert "--input-shape" in bnport("verify", SOURCE, "net.ckpt", *MODEL, *NET).err
    assert "--input-shape" not in bnport("verify", SOURCE, "net.ckpt", *MODEL).err


@pytest.mark.parametrize(
    "arguments",
    [
        (*MODEL, *SHAPE),
        (*MODEL, *NET, "--input-shape", "2x3x8xx32"),
        (*MODEL, *NET, "--input-shape", "2x3x0x32x32"),
        (*MODEL, *NET, "--input-shape", "=2x3"),
        (*MODEL, *NET, "--input-shape", "2x4x8x32x32"),
        (*MODEL, *NET, "--input-shape", "video=2x3x8x32x32"),
    ],
)
def test_wrong_calls(bnport: Any, converted: None, arguments: tuple[str, ...]) -> None:
    found = bnport("verify", SOURCE, "net.ckpt", *arguments, "--json")
    assert found.code == 2
    assert found.json["error"]["type"] == "UsageError"


def test_what_a_shape_says() -> None:
    from porter.cli.options import input_shape

    given = ("2x3x8", "clips=1x3", "tokens=4x16:100", "7")
    clips, tokens = NetworkInput((1, 3), "clips"), NetworkInput((4, 16), "tokens", 100)
    expected = (NetworkInput((2, 3, 8)), clips, tokens, NetworkInput((7,)))
    assert input_shape(None, None, given) == expected  # type: ignore[arg-type]
    assert [str(x) for x in input_shape(None, None, given)] == list(given)  # type: ignore[arg-type]
