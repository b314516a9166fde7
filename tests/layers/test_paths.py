"""Names as a tree: against the definition, and in names without end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import porter
from porter.formats.dtypes import FLOAT32
from porter.formats.model import Checkpoint, ModuleFacts, TensorSpec
from porter.layers.hints import Hints
from porter.layers.kinds import DIALECTS, Dialect
from porter.layers.paths import Paths
from porter.layers.recognise import recognise

# Levels that sort around the dot, and between a module and what lies in it.
NAMES = st.lists(st.sampled_from(["a", "a-b", "a/b", "b", "0"]), max_size=4).map(".".join)


@given(st.sets(NAMES), NAMES)
@settings(deadline=None)
def test_paths_are_as_defined(names: set[str], path: str) -> None:
    prefix = f"{path}." if path else ""
    below = sorted(name for name in names if name.startswith(prefix) and name != path)
    found = Paths(names)
    assert found.below(path) == below
    assert found.children(path) == {name.removeprefix(prefix).split(".")[0] for name in below}
    assert (path in found) == (path in names or bool(below))


def test_names_with_an_empty_first_level_stay_as_they_are(tmp_path: Path) -> None:
    """Read as a layer, `.weight` would be the root's weight."""
    own = nn.Linear(3, 2).state_dict()
    state = {f"{level}{leaf}": tensor for level in (".", "..0.", "") for leaf, tensor in own.items()}
    torch.save(state, tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.safetensors", verify=False)
    porter.convert(tmp_path / "net.safetensors", tmp_path / "back.pth", verify=False)
    assert list(torch.load(tmp_path / "back.pth")) == list(state)
    assert [layer.name for layer in porter.inspect(tmp_path / "net.pth").source.layers] == [""]


@pytest.mark.parametrize("level", ["x", "linear1", "bn2d"])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("given_network", [False, True])
def test_layers_in_100_000_modules_are_read_at_once(level: str, dialect: Dialect, given_network: bool) -> None:
    """With every module's path written out this takes gigabytes, and minutes."""
    deep = ".".join([level] * 100_000)
    names = [f"{deep}.{name}" for name in ("linear1.weight", "bn2d.gamma", "bn2d.beta", "self_attn.in_proj_weight")]
    specs = [TensorSpec(name, FLOAT32, (4, 4) if name.endswith("weight") else (4,)) for name in (*names, "weight")]
    checkpoint = Checkpoint(Path("net"), "safetensors", (), {}, None)
    # A module of the network is the whole file, which fits.
    network = (ModuleFacts("", "user.Net"), ModuleFacts("head", "user.Head")) if given_network else ()
    layers = recognise(checkpoint, dialect, specs, Hints(network=network))
    assert {f"{deep}.linear1"} <= {layer.name for layer in layers}
