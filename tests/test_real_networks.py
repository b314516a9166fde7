"""State dicts of real networks: to MindSpore's files, as MindSpore itself reads them, and back again."""

from collections import OrderedDict

import mindspore
import numpy as np
import pytest
import torch
from networks import FAST, SLOW, trained
from safetensors.torch import save_file
from twins import twin_of

import porter
from porter.formats.dtypes import BY_NAME

NETWORKS = [
    *(pytest.param(network, id=network.name) for network in FAST),
    *(pytest.param(network, id=network.name, marks=pytest.mark.slow) for network in SLOW),
]


def bits(values) -> bytes:
    """The bytes of a torch.Tensor or of a MindSpore Parameter, bfloat16 included."""
    if isinstance(values, torch.Tensor):
        return values.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if values.dtype == mindspore.bfloat16:
        # Exact: every bfloat16 is a float32 whose lower half is zero.
        return (values.float().asnumpy().view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return values.asnumpy().tobytes()


def dtype_name(values) -> str:
    return str(values.dtype).removeprefix("torch.").lower()


def assert_same_state(back, expected):
    """Same names in the same order, dtypes, shapes and bits."""
    assert list(back) == list(expected)
    for name, values in expected.items():
        assert back[name].dtype == values.dtype, name
        assert back[name].shape == values.shape, name
        assert bits(back[name]) == bits(values), name


def assert_fits_the_twin(parameters, network, state, *, copies=False):
    """`parameters`, as MindSpore loaded them, are the twin's: every name, none else, shape and bits of `state`.

    With `copies`, of a file in which every name has a tensor of its own: shared ones travel under each name.
    """
    twin, names = twin_of(network)
    own = twin.parameters_dict()
    if copies:
        parameters = {name: value for name, value in parameters.items() if name in own}
    assert set(parameters) == set(own)
    shapes = {name: value.shape for name, value in parameters.items()}
    assert shapes == {name: value.shape for name, value in own.items()}
    for torch_name, mindspore_name in names.items():
        assert dtype_name(parameters[mindspore_name]) == dtype_name(state[torch_name]), torch_name
        assert bits(parameters[mindspore_name]) == bits(state[torch_name]), torch_name


@pytest.mark.parametrize("network", NETWORKS)
def test_to_mindspore_and_back(network, tmp_path):
    """Verified on the way, loaded by MindSpore under its own names, bit-equal when back in PyTorch."""
    module = trained(network)
    state = module.state_dict()
    torch.save(state, tmp_path / "net.pth")
    options = porter.SourceOptions(model=network.option) if network.needs_model else None
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", source_options=options, verify=True)
    assert done.verified is True
    assert_fits_the_twin(mindspore.load_checkpoint(str(tmp_path / "net.ckpt")), module, state)

    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth", verify=False)
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert_same_state(back, state)
    again = trained(network, seed=1)
    again.load_state_dict(back, strict=True)
    x = torch.randn(network.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(flat(again(x)), flat(module(x)))


def flat(outputs):
    """What a network returns, a tensor or several, as one."""
    if isinstance(outputs, torch.Tensor):
        return outputs.reshape(-1)
    return torch.cat([flat(output) for output in outputs if output is not None])


@pytest.mark.parametrize("network", NETWORKS)
def test_kinds_are_inferred_as_the_network_has_them(network, tmp_path):
    """Without --model every layer's kind that decides a name is right, or the conversion asks."""
    module = trained(network)
    torch.save(module.state_dict(), tmp_path / "net.pth")
    layers = {layer.name: layer for layer in porter.inspect(tmp_path / "net.pth").source.layers}
    for name, child in module.named_modules():
        if isinstance(child, torch.nn.modules.batchnorm._BatchNorm):
            layer = layers[name]
            assert type(child).__name__ in layer.kind_name.split("|"), name
            assert layer.certainty == "inferred" or network.needs_model, name


@pytest.mark.parametrize("network", NETWORKS)
def test_from_safetensors_to_mindspores_and_back(network, tmp_path):
    """.safetensors lists tensors in its own order; the way back keeps that order."""
    module = trained(network)
    # Copies, for DynUNet's state dict lists each block under two names, and safetensors refuses shared memory.
    save_file({name: values.clone() for name, values in module.state_dict().items()}, tmp_path / "net.safetensors")
    options = porter.SourceOptions(model=network.option)
    porter.convert(tmp_path / "net.safetensors", tmp_path / "ms.safetensors", source_options=options, verify=False)
    parameters = mindspore.load_checkpoint(str(tmp_path / "ms.safetensors"), format="safetensors")
    assert_fits_the_twin(parameters, module, module.state_dict(), copies=network.name == "dynunet")

    porter.convert(tmp_path / "ms.safetensors", tmp_path / "back.safetensors", verify=False)
    assert porter.inspect(tmp_path / "back.safetensors").source.dialect == "torch"
    before, after = (
        porter.inspect(tmp_path / name).source.checkpoint.specs for name in ("net.safetensors", "back.safetensors")
    )
    assert after == before
    assert (tmp_path / "back.safetensors").read_bytes()[-1000:] == (tmp_path / "net.safetensors").read_bytes()[-1000:]


@pytest.mark.parametrize("network", NETWORKS)
def test_to_mint_and_back(network, tmp_path):
    """mindspore.mint names its parameters as PyTorch does, the batch counter included."""
    state = trained(network).state_dict()
    torch.save(state, tmp_path / "net.pth")
    mint = porter.WriteOptions(to="mint")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", write_options=mint, verify=False)
    parameters = mindspore.load_checkpoint(str(tmp_path / "net.ckpt"))
    assert list(parameters) == [name for name in state if name in parameters]
    places = {name: values.data_ptr() for name, values in state.items()}
    assert sorted(places[name] for name in parameters) == sorted(set(places.values())), "each tensor once"
    for name, values in ((name, state[name]) for name in parameters):
        assert parameters[name].shape == tuple(values.shape)
        assert dtype_name(parameters[name]) == dtype_name(values)
        assert bits(parameters[name]) == bits(values), name

    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth", verify=False)
    assert_same_state(torch.load(tmp_path / "back.pth", weights_only=True), OrderedDict(state))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_element_types_travel_bit_for_bit(dtype, tmp_path):
    network = FAST[0]
    module = trained(network).to(getattr(torch, dtype))
    state = module.state_dict()
    torch.save(state, tmp_path / "net.pth")
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=True)
    assert done.verified is True
    assert {step.target.dtype for step in done.plan.steps if step.target} == {BY_NAME[dtype]}
    assert_fits_the_twin(mindspore.load_checkpoint(str(tmp_path / "net.ckpt")), module, state)
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth", verify=False)
    assert_same_state(torch.load(tmp_path / "back.pth", weights_only=True), state)
