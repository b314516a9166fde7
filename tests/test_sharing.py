"""Tensors under several names: what MindSpore calls them is asked of MindSpore, for every way of sharing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mindspore
import pytest
import safetensors.torch
import torch
from mindspore import nn as ms
from nets import REPLACE, assert_same, randomised
from torch import nn

import porter
from porter import SourceOptions, WriteOptions
from porter.edits import Rename
from porter.formats import open_checkpoint
from porter.plan import dtype_called
from porter.sharing import shared_names

# The same network is declared once for both: `lib` gives the layers their names in the framework.
TORCH = SimpleNamespace(
    Module=nn.Module,
    conv=lambda i, o: nn.Conv3d(i, o, 1, bias=False),
    norm=nn.BatchNorm3d,
    kernel=lambda i, o: nn.Conv1d(i, o, 1, bias=False),
    linear=lambda i, o: nn.Linear(i, o, bias=False),
    linear_with_bias=nn.Linear,
    embedding=nn.Embedding,
    stack=nn.Sequential,
    table="weight",
    tie_gain=lambda first, second: setattr(second, "weight", first.weight),
    tie_shift=lambda first, second: setattr(second, "bias", first.bias),
)
MINDSPORE = SimpleNamespace(
    Module=ms.Cell,
    conv=lambda i, o: ms.Conv3d(i, o, 1),
    norm=ms.BatchNorm3d,
    kernel=lambda i, o: ms.Conv1d(i, o, 1),
    linear=lambda i, o: ms.Dense(i, o, has_bias=False),
    linear_with_bias=ms.Dense,
    embedding=ms.Embedding,
    stack=ms.SequentialCell,
    table="embedding_table",
    tie_gain=lambda first, second: setattr(second.bn2d, "gamma", first.bn2d.gamma),
    tie_shift=lambda first, second: setattr(second.bn2d, "beta", first.bn2d.beta),
)


def net(lib: Any, **parts: Any) -> Any:
    module = lib.Module()
    for name, part in parts.items():
        setattr(module, name, part)
    return module


def shared_layer(lib: Any) -> Any:
    norm = lib.norm(4)
    return net(lib, first=norm, conv=lib.conv(4, 4), last=norm)


def shared_stack(lib: Any) -> Any:
    stack = lib.stack(lib.conv(4, 4), lib.norm(4))
    return net(lib, a=stack, between=lib.conv(4, 4), b=stack)


def block(lib: Any) -> Any:
    """nnU-Net's: its layers by name and, again, in the order in which they run."""
    conv, norm = lib.conv(4, 4), lib.norm(4)
    return net(lib, conv=conv, norm=norm, all_modules=lib.stack(conv, norm))


def encoder_in_decoder(lib: Any) -> Any:
    """nnU-Net's: the decoder keeps the encoder, whose blocks hold everything twice."""
    encoder = net(lib, stages=lib.stack(block(lib), block(lib)))
    return net(lib, encoder=encoder, decoder=net(lib, encoder=encoder, head=lib.conv(4, 2)))


def shared_below_one_attribute(lib: Any) -> Any:
    return net(lib, stem=lib.conv(1, 4), body=shared_layer(lib))


def twice_in_a_stack(lib: Any) -> Any:
    norm = lib.norm(4)
    return lib.stack(norm, lib.conv(4, 4), norm)


def tied_embedding(lib: Any) -> Any:
    embedding, head = lib.embedding(5, 4), lib.linear(4, 5)
    module = net(lib, embedding=embedding, norm=lib.norm(4), head=head)
    module.head.weight = getattr(embedding, lib.table)
    return module


def tied_weights(lib: Any) -> Any:
    """One parameter, in layers that have a bias each."""
    first, second = lib.linear_with_bias(4, 4), lib.linear_with_bias(4, 4)
    module = net(lib, first=first, norm=lib.norm(4), second=second)
    module.second.weight = first.weight
    return module


def tied_matrix(lib: Any) -> Any:
    """Two layers of one kind that share all they have."""
    first, second = lib.linear(4, 4), lib.linear(4, 4)
    module = net(lib, first=first, norm=lib.norm(4), second=second)
    module.second.weight = first.weight
    return module


def shared_matrix(lib: Any) -> Any:
    linear = lib.linear(4, 4)
    return net(lib, first=linear, norm=lib.norm(4), second=linear)


def separate_matrices(lib: Any) -> Any:
    return net(lib, first=lib.linear(4, 4), norm=lib.norm(4), second=lib.linear(4, 4))


def tied_kernel(lib: Any) -> Any:
    first, second = lib.kernel(4, 4), lib.kernel(4, 4)
    module = net(lib, first=first, norm=lib.norm(4), second=second)
    module.second.weight = first.weight
    return module


def shared_kernel(lib: Any) -> Any:
    conv = lib.conv(4, 4)
    return net(lib, first=conv, norm=lib.norm(4), second=conv)


def statistics_for_each_domain(lib: Any) -> Any:
    """Domain-specific batch normalisation: the second one has statistics of its own, and nothing else."""
    module = tied_gains(lib)
    lib.tie_shift(module.first, module.second)
    return module


def tied_gains(lib: Any) -> Any:
    """Normalisations that share one of their parameters, and nothing else."""
    first, second = lib.norm(4), lib.norm(4)
    module = net(lib, first=first, conv=lib.conv(4, 4), second=second)
    lib.tie_gain(first, second)
    return module


NETWORKS = [
    tied_weights,
    tied_matrix,
    shared_kernel,
    tied_gains,
    statistics_for_each_domain,
    shared_layer,
    shared_stack,
    block,
    encoder_in_decoder,
    shared_below_one_attribute,
    twice_in_a_stack,
    tied_embedding,
]
NORMS_3D = ("**", "BatchNorm3d")
SAY_NORMS = SourceOptions(layers=[NORMS_3D])
SAY_BOTH = SourceOptions(layers=[NORMS_3D, ("embedding", "Embedding")])


def say(build: Any) -> SourceOptions:
    return SAY_BOTH if build is tied_embedding else SAY_NORMS


def pairs_sharing(state: dict[str, torch.Tensor]) -> set[tuple[str, str]]:
    """Pairs of names of one storage; counters aside, which MindSpore does not have."""
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    places = {name: state[name].untyped_storage().data_ptr() for name in names}
    return {(a, b) for a in names for b in names if places[a] == places[b]}


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_mindspores_own_names_and_the_way_back(build: Any, tmp_path: Path) -> None:
    state = randomised(build(TORCH)).state_dict()
    torch.save(state, tmp_path / "net.pth")
    there = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=say(build))
    assert there.verified is True
    twin = build(MINDSPORE).parameters_dict()
    loaded = mindspore.load_checkpoint(str(tmp_path / "net.ckpt"))
    assert {n: p.shape for n, p in loaded.items()} == {n: p.shape for n, p in twin.items()}
    assert porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=say(build)).ok
    back = porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth")
    assert back.verified is True
    found = torch.load(tmp_path / "back.pth", weights_only=True)
    assert_same(state, found)
    assert pairs_sharing(found) == pairs_sharing(state)
    build(TORCH).load_state_dict(found, strict=True)
    (tmp_path / "back.pth.bnport.json").unlink()
    porter.convert(tmp_path / "back.pth", tmp_path / "net.ckpt", source_options=say(build), write_options=REPLACE)
    assert mindspore.load_checkpoint(str(tmp_path / "net.ckpt")).keys() == loaded.keys()


def test_one_name_that_is_known_tells_the_others(tmp_path: Path) -> None:
    """The last name is the one that MindSpore keeps, the first one the one that the user speaks of."""
    norm = randomised(nn.InstanceNorm3d(4, affine=True))
    torch.save(net(TORCH, first=norm, conv=TORCH.conv(4, 4), last=norm).state_dict(), tmp_path / "net.pth")
    options = SourceOptions(layers=[("first", "InstanceNorm3d")])
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=options)
    last = next(layer for layer in done.source.layers if layer.name == "last")
    assert (last.kind_name, last.certainty) == ("InstanceNorm3d", "inferred")
    assert last.evidence[0].text == "its tensors are those of first (InstanceNorm3d)"
    expected = {f"last.{leaf}" for leaf in ("gamma", "beta", "moving_mean", "moving_variance")} | {"conv.weight"}
    assert set(mindspore.load_checkpoint(str(tmp_path / "net.ckpt"))) == expected


def test_the_plan_tells_it(tmp_path: Path) -> None:
    torch.save(shared_layer(TORCH).state_dict(), tmp_path / "net.pth")
    planned = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=SAY_NORMS, dry_run=True)
    step = next(step for step in planned.plan.steps if step.source and step.source.name == "first.weight")
    assert (step.fate, step.target, step.same_as) == ("shared", None, "last.weight")
    assert "the same tensor as last.weight" in step.reason
    assert any(note.startswith("4 names lead to tensors that have another name") for note in planned.warnings)


def test_without_the_record_pytorch_gets_one_name(tmp_path: Path) -> None:
    torch.save(shared_layer(TORCH).state_dict(), tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=SAY_NORMS)
    (tmp_path / "net.ckpt.bnport.json").unlink()
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth")
    assert {name.partition(".")[0] for name in torch.load(tmp_path / "back.pth")} == {"conv", "last"}


def test_safetensors_hold_every_name(tmp_path: Path) -> None:
    state = randomised(shared_layer(TORCH)).state_dict()
    torch.save(state, tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=SAY_NORMS)
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.safetensors")
    assert_same(state, safetensors.torch.load_file(tmp_path / "back.safetensors"))


def test_a_cast_reaches_every_name(tmp_path: Path) -> None:
    state = randomised(shared_layer(TORCH)).half().state_dict()
    torch.save(state, tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=SAY_NORMS)
    options = WriteOptions(dtype=dtype_called("float32"))
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth", write_options=options)
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor.float() if tensor.is_floating_point() else tensor), name


def test_equal_numbers_in_two_storages_are_not_shared(tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in shared_layer(TORCH).state_dict().items()}
    torch.save(state, tmp_path / "net.pth")
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=SAY_NORMS)
    assert not done.plan.fates["shared"]
    assert "first.bn2d.gamma" in mindspore.load_checkpoint(str(tmp_path / "net.ckpt"))


@pytest.mark.parametrize(
    ("build", "kept"), [(tied_matrix, "first"), (shared_matrix, "first"), (shared_kernel, "second")]
)
def test_what_nothing_tells_is_assumed_and_said(build: Any, kept: str, tmp_path: Path) -> None:
    """A matrix is taken for a tied one, a kernel for that of a layer that is used twice."""
    torch.save(build(TORCH).state_dict(), tmp_path / "net.pth")
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=SAY_NORMS)
    assert {step.target.name for step in done.plan.steps if step.target and "norm" not in step.target.name} == {
        f"{kept}.weight"
    }
    assert [note for note in done.warnings if f"{kept}.weight is assumed; --net settles it" in note]


@pytest.mark.parametrize("build", [tied_weights, tied_gains, shared_layer, shared_stack, block, encoder_in_decoder])
def test_what_the_file_tells_is_not_assumed(build: Any, tmp_path: Path) -> None:
    torch.save(build(TORCH).state_dict(), tmp_path / "net.pth")
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=SAY_NORMS, dry_run=True)
    assert done.plan.fates["shared"]
    assert not [note for note in done.warnings if "assumed" in note]


def torch_shared_matrix() -> nn.Module:
    return shared_matrix(TORCH)


def torch_tied_kernel() -> nn.Module:
    return tied_kernel(TORCH)


@pytest.mark.parametrize(("build", "kept"), [(torch_shared_matrix, "second"), (torch_tied_kernel, "first")])
def test_pytorchs_network_tells(build: Any, kept: str, tmp_path: Path) -> None:
    """Named by the user, under a wrapper's prefix, or pickled whole: against what the file alone leads to."""
    options = SourceOptions(model=f"{__file__}:{build.__name__}")
    torch.save(build().state_dict(), tmp_path / "named.pth")
    torch.save({f"module.{name}": value for name, value in build().state_dict().items()}, tmp_path / "wrapped.pth")
    torch.save(build(), tmp_path / "whole.pth")
    for file, known in (("named", options), ("wrapped", options), ("whole", SAY_NORMS)):
        done = porter.convert(
            tmp_path / f"{file}.pth",
            tmp_path / f"{file}.ckpt",
            source_options=known,
            write_options=WriteOptions(strip_prefix="auto"),
        )
        names = {step.target.name for step in done.plan.steps if step.target}
        assert {name for name in names if name.endswith("weight")} == {f"{kept}.weight"}
        assert not [note for note in done.warnings if "assumed" in note]


def mindspore_tied() -> ms.Cell:
    return tied_matrix(MINDSPORE)


def mindspore_shared() -> ms.Cell:
    return shared_matrix(MINDSPORE)


def mindspore_separate() -> ms.Cell:
    return separate_matrices(MINDSPORE)


@pytest.mark.parametrize("build", [tied_matrix, shared_matrix])
@pytest.mark.parametrize("target", [mindspore_tied, mindspore_shared, mindspore_separate])
def test_the_target_network_settles_it(build: Any, target: Any, tmp_path: Path) -> None:
    """One name, the other, or both; without the record the written file says which to expect."""
    state = randomised(build(TORCH)).state_dict()
    torch.save(state, tmp_path / "net.pth")
    options = SourceOptions(layers=[NORMS_3D], net=f"{__file__}:{target.__name__}")
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=options)
    assert mindspore.load_checkpoint(str(tmp_path / "net.ckpt")).keys() == target().parameters_dict().keys()
    assert not [note for note in done.warnings if "assumed" in note]
    assert porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=options).ok
    assert porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=SAY_NORMS).ok
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth")
    assert_same(state, torch.load(tmp_path / "back.pth", weights_only=True))
    (tmp_path / "net.ckpt.bnport.json").unlink()
    assert porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=SAY_NORMS).ok


def test_the_target_network_settles_it_under_names_of_its_own(tmp_path: Path) -> None:
    torch.save(tied_matrix(TORCH).state_dict(), tmp_path / "net.pth")
    options = SourceOptions(layers=[NORMS_3D], net=f"{__file__}:mindspore_renamed")
    renames = WriteOptions(renames=(Rename("**", "body.**"), Rename("body.second", "body.last")))
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=options, write_options=renames)
    assert "body.last.weight" in mindspore.load_checkpoint(str(tmp_path / "net.ckpt"))


def mindspore_renamed() -> ms.Cell:
    linear = MINDSPORE.linear(4, 4)
    body = net(MINDSPORE, norm=MINDSPORE.norm(4), last=linear)
    return net(MINDSPORE, body=body)


def torch_tied_gains() -> nn.Module:
    return tied_gains(TORCH)


def test_layers_that_share_a_gain_alone_are_both_run(tmp_path: Path) -> None:
    """Both ways: in MindSpore the second one has no gain of its own."""
    state = randomised(tied_gains(TORCH)).state_dict()
    torch.save(state, tmp_path / "net.pth")
    there = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=SAY_NORMS)
    back = porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth")
    (tmp_path / "net.ckpt.bnport.json").unlink()
    options = SourceOptions(model=f"{__file__}:torch_tied_gains")
    again = porter.convert(tmp_path / "net.ckpt", tmp_path / "again.pth", source_options=options)
    for done in (there, back, again):
        assert done.verification
        norms = [layer for layer in done.verification.layers if layer.kind == "BatchNorm3d"]
        assert [layer.name for layer in norms if layer.ok] == ["first", "second"]
    found = torch.load(tmp_path / "again.pth", weights_only=True)
    assert torch.equal(found["second.weight"], state["first.weight"])
    torch_tied_gains().load_state_dict(found, strict=True)


def test_names_of_any_depth_take_no_time(tmp_path: Path) -> None:
    """A tensor under 100,000 levels, and under two short names."""
    weight = torch.ones(4, 4)
    deep = {"x." * 100_000 + "y": torch.ones(1), "x." * 100_000 + "z": weight}
    torch.save({"a.weight": weight, "b.weight": weight, **deep}, tmp_path / "net.pth")
    source = open_checkpoint(tmp_path / "net.pth")
    assert set(shared_names(source, source.tensors, []).kept.values()) == {"a.weight"}


def torch_shared_layer() -> nn.Module:
    """What `--model` names."""
    return shared_layer(TORCH)


def test_pytorchs_network_as_the_target_has_every_name(tmp_path: Path) -> None:
    """Written by MindSpore, without any record."""
    mindspore.save_checkpoint(shared_layer(MINDSPORE), str(tmp_path / "net.ckpt"))
    options = SourceOptions(model=f"{__file__}:torch_shared_layer")
    done = porter.convert(tmp_path / "net.ckpt", tmp_path / "net.pth", source_options=options)
    assert done.verified is True
    assert sum(step.fate == "shared" for step in done.plan.steps) == 4
    state = torch.load(tmp_path / "net.pth", weights_only=True)
    torch_shared_layer().load_state_dict(state, strict=True)
    assert pairs_sharing(state) >= {("first.weight", "last.weight"), ("first.running_var", "last.running_var")}
    assert porter.verify(tmp_path / "net.ckpt", tmp_path / "net.pth").ok, "the record tells verify"
    assert porter.verify(tmp_path / "net.ckpt", tmp_path / "net.pth", source_options=options).ok
    porter.convert(tmp_path / "net.pth", tmp_path / "back.ckpt")
    assert (tmp_path / "back.ckpt").read_bytes() == (tmp_path / "net.ckpt").read_bytes()


def mindspore_shared_layer() -> ms.Cell:
    """What `--net` names."""
    return shared_layer(MINDSPORE)


def test_networks_speak_of_a_shared_layer_under_every_name(tmp_path: Path) -> None:
    torch.save(shared_layer(TORCH).state_dict(), tmp_path / "net.pth")
    options = SourceOptions(model=f"{__file__}:torch_shared_layer", net=f"{__file__}:mindspore_shared_layer")
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=options)
    norms = [layer for layer in done.source.layers if layer.name in ("first", "last")]
    assert [(norm.kind_name, norm.certainty) for norm in norms] == [("BatchNorm3d", "certain")] * 2
    assert done.verified is True
    found = porter.inspect(tmp_path / "net.ckpt", SourceOptions(net=options.net)).source.layers
    assert [(layer.name, layer.evidence[0].source) for layer in found if layer.kind.family] == [("last", "network")]
