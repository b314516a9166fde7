"""Renames proposed from structure: right where structure tells, said to be unsure where it does not."""

from __future__ import annotations

import random

import ports
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter import network
from porter.align import UNIQUE, Alignment, align
from porter.edits import rename_all
from porter.formats.dtypes import FLOAT32
from porter.formats.model import TensorSpec

Shapes = dict[str, tuple[int, ...]]


def specs(shapes: Shapes) -> list[TensorSpec]:
    return [TensorSpec(name, FLOAT32, shape) for name, shape in shapes.items()]


def renamed(source: list[TensorSpec], found: Alignment) -> dict[str, str]:
    """Name -> what the proposals make of it; raises where one of them has no way back."""
    names = [spec.name for spec in source]
    return dict(zip(names, rename_all(names, [proposal.rename for proposal in found.proposals]), strict=True))


def mindspore_names() -> list[TensorSpec]:
    """The PyTorch network's parameters as the layer rules call them."""
    leaves = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    found = []
    for spec in network.torch_parameters(f"{ports.__file__}:TorchNet"):
        path, _, leaf = spec.name.rpartition(".")
        if leaf == "num_batches_tracked":
            continue
        is_norm = len(spec.shape) == 1 and not path.endswith("fc")
        found.append(TensorSpec(f"{path}.bn2d.{leaves[leaf]}" if is_norm else spec.name, spec.dtype, spec.shape))
    return found


# By hand: what becomes of some of TorchNet's names in each port.
EXPECTED = {
    "Wrapped": {
        "stem.0.weight": "stem.conv.weight",
        "layer1.1.conv2.1.bn2d.gamma": "stages.0.1.conv2.bn.bn2d.gamma",
        "layer2.0.downsample.0.weight": "stages.1.0.down_sample.conv.weight",
        "fc.bias": "head.bias",
    },
    "Flat": {
        "stem.1.bn2d.beta": "bn0.bn2d.beta",
        "layer1.0.conv1.0.weight": "stage1.0.conv_a.weight",
        "layer1.0.conv2.1.bn2d.moving_mean": "stage1.0.bn_b.bn2d.moving_mean",
        "layer2.0.downsample.1.bn2d.gamma": "stage2.0.shortcut.1.bn2d.gamma",
        "fc.weight": "classifier.weight",
    },
    "Recogniser": {
        "stem.0.weight": "backbone.stem.0.weight",
        "layer2.1.conv1.0.weight": "backbone.layer2.1.conv1.conv.weight",
        "fc.weight": "head.1.weight",
    },
}


@pytest.mark.parametrize("port", EXPECTED)
def test_ports_as_people_write_them(port: str) -> None:
    source, target = mindspore_names(), network.mindspore_parameters(f"{ports.__file__}:{port}")
    found = align(source, target)
    made = renamed(source, found)
    assert EXPECTED[port].items() <= made.items()
    shapes = {spec.name: spec.shape for spec in target}
    assert {made[spec.name]: spec.shape for spec in source} == shapes
    assert found.is_unique
    assert found.unmatched == ()
    assert len(found.proposals) <= 12  # repeated blocks are one rename


def convs(*names: str) -> Shapes:
    return {f"{name}.weight": (2, 2, 1, 1, 1) for name in names}


@pytest.mark.parametrize(
    ("source", "target", "confidence"),
    [
        (("conv",), ("stem",), 1.0),
        (("conv1", "conv2"), ("unit1", "unit2"), 0.9),
        (("a.0", "a.3", "a.6"), ("a.0", "a.2", "a.4"), 0.9),  # 3 is 2, although there is no 3 to take from 6
        (("a.0", "a.1", "a.2"), ("a.1", "a.2", "a.3"), 0.9),  # and here 1 is not 1
        (("conv_a", "conv_b"), ("conv1", "conv2"), 0.9),
        (("left", "right"), ("top", "bottom"), 0.5),
        (("q_proj", "k_proj", "v_proj"), ("q", "k", "v"), 0.9),
        (("to_q", "to_k", "to_v", "to_out.0"), ("query", "key", "value", "proj"), 0.9),
        (("attn_norm", "mlp_norm"), ("attention.norm", "feed.norm"), 0.9),
        (("enc.0", "enc.1", "dec.0", "dec.1"), ("encoder.0", "encoder.1", "decoder.0", "decoder.1"), 0.9),
        (("main", "aux"), ("main", "extra"), 0.9),
    ],
)
def test_confidence_is_what_tells_likes_apart(
    source: tuple[str, ...], target: tuple[str, ...], confidence: float
) -> None:
    before = specs(convs(*source))
    found = align(before, specs(convs(*target)))
    assert [name.removesuffix(".weight") for name in renamed(before, found).values()] == list(target)
    assert min(proposal.confidence for proposal in found.proposals) == confidence
    assert found.is_unique == (confidence >= UNIQUE)
    assert {proposal.rename.unchecked for proposal in found.proposals} == {confidence < 0.6}


def test_like_names_outweigh_the_order_of_declaration() -> None:
    before = specs(convs("to_q", "to_k", "to_v", "to_out"))
    found = align(before, specs(convs("value", "out", "key", "query")))
    expected = {"to_q.weight": "query.weight", "to_k.weight": "key.weight", "to_v.weight": "value.weight"}
    assert renamed(before, found) == {**expected, "to_out.weight": "out.weight"}
    assert {proposal.confidence for proposal in found.proposals} == {0.7}
    assert not found.is_unique


def test_what_lies_in_an_unsure_place_is_no_surer() -> None:
    before = specs({"left.0.weight": (2, 3), "left.1.gamma": (2,), "right.0.weight": (2, 3), "right.1.gamma": (2,)})
    after = {"top.fc.weight": (2, 3), "top.ln.gamma": (2,), "bottom.fc.weight": (2, 3), "bottom.ln.gamma": (2,)}
    found = align(before, specs(after))
    assert list(renamed(before, found).values()) == list(after)
    assert {proposal.confidence for proposal in found.proposals} == {0.5}


def test_modules_that_change_names_in_a_circle() -> None:
    before = specs({"a.w": (1,), "b.w": (2,), "c.w": (3,)})
    found = align(before, specs({"a.w": (2,), "b.w": (3,), "c.w": (1,)}))
    assert renamed(before, found) == {"a.w": "c.w", "b.w": "a.w", "c.w": "b.w"}


def test_names_that_cannot_be_freed_are_given_up() -> None:
    """0 must leave before a can become 0, and a.0.c before 0 can become b.0, for ever."""
    before = specs({f"{name}.weight": (2,) for name in ("a.c.0", "a.0.c", "a.0.1", "0", "1.a")})
    found = align(before, specs({f"{name}.weight": (2,) for name in ("0.x.x", "0.a.a", "0.a.0", "a", "b.0")}))
    assert len(set(renamed(before, found).values())) == len(before)


def test_parameters_beside_modules() -> None:
    before = specs({"token": (1, 4), "block.weight": (4, 4), "block.sub.bias": (3,)})
    found = align(before, specs({"embed.token": (1, 4), "body.block.sub.bias": (3,), "body.weight": (4, 4)}))
    expected = {"token": "embed.token", "block.weight": "body.weight", "block.sub.bias": "body.block.sub.bias"}
    assert renamed(before, found) == expected


def test_what_the_source_lacks_is_said_and_not_made_up() -> None:
    before = specs(convs("a", "b"))
    found = align(before, specs({**convs("x", "y", "z"), "head.weight": (5, 2)}))
    assert found.proposals == ()
    assert sorted(found.unmatched) == ["head.weight", "x.weight", "y.weight", "z.weight"]
    assert not found.is_unique


LEVEL = st.sampled_from(["a", "b", "c1", "c2", "0", "1"])


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(
        st.lists(LEVEL, min_size=1, max_size=3).map(".".join),
        st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple),
        min_size=1,
        max_size=10,
    ),
    st.integers(0, 10**6),
)
def test_any_network_under_other_names_is_matched_shape_for_shape(shapes: Shapes, seed: int) -> None:
    """Every module called anew, at random: all parameters find a place of their shape, by renames with a way back."""
    before = [TensorSpec(f"{name}.weight", FLOAT32, shape) for name, shape in shapes.items()]
    words = random.Random(seed)
    new: dict[str, str] = {"": ""}
    after = []
    for spec in before:
        *path, leaf = spec.name.split(".")
        for depth in range(1, len(path) + 1):
            old = ".".join(path[:depth])
            if old not in new:
                called = words.choice(["m", "n", "a", "b"]) + str(len(new))
                new[old] = f"{new['.'.join(path[: depth - 1])]}.{called}".removeprefix(".")
        after.append(TensorSpec(f"{new['.'.join(path)]}.{leaf}", spec.dtype, spec.shape))
    found = align(before, after)
    made = renamed(before, found)
    assert {made[spec.name]: spec.shape for spec in before} == {spec.name: spec.shape for spec in after}
