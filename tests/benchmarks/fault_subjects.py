"""Real networks, converted by bnport, whose output files can be damaged byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks import nets
from numpy.typing import NDArray
from torch import nn

import porter
from porter.formats import open_checkpoint
from porter.formats.dtypes import BY_NAME
from porter.formats.transfer import TensorReader
from porter.layers.kinds import KINDS, Dialect
from porter.layers.model import Layer
from porter.verification.bounds import stored

SAMPLES = Path(__file__).parents[2] / "samples" / "video_resnet"

_UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "norm": "batch"}
_RESNET = {"spatial_dims": 3, "n_input_channels": 1, "num_classes": 3, "widen_factor": 0.125}
_SEGRESNET = {"spatial_dims": 3, "init_filters": 8, "blocks_down": (1, 1, 1), "blocks_up": (1, 1), "norm": "batch"}


class EveryKind(nn.Module):
    """A layer of every kind that `verify` runs, all of it parameters; it has no forward."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(12)
        self.linear = nn.Linear(12, 12)
        self.bilinear = nn.Bilinear(6, 6, 8)
        self.embedding = nn.Embedding(20, 12)
        self.prelu = nn.PReLU(12)
        self.conv1d, self.conv2d, self.conv3d = nn.Conv1d(6, 8, 3), nn.Conv2d(6, 8, 3), nn.Conv3d(6, 8, (3, 3, 2))
        self.up1d, self.up2d, self.up3d = (
            nn.ConvTranspose1d(6, 8, 3),
            nn.ConvTranspose2d(6, 8, 3),
            nn.ConvTranspose3d(6, 8, 3),
        )
        self.depthwise = nn.Conv3d(8, 8, 3, groups=8)
        self.layer_norm, self.group_norm = nn.LayerNorm(12), nn.GroupNorm(3, 12)
        self.instance_norm = nn.InstanceNorm3d(12, affine=True)
        self.lstm, self.gru = nn.LSTM(12, 12, 2, bidirectional=True), nn.GRU(8, 12)
        self.rnn, self.lstm_cell = nn.RNN(8, 12), nn.LSTMCell(12, 12)
        self.gru_cell, self.rnn_cell = nn.GRUCell(8, 12), nn.RNNCell(12, 12)
        self.attention = nn.MultiheadAttention(12, 2)
        self.cross_attention = nn.MultiheadAttention(12, 2, kdim=12, vdim=8)


class EveryDtype(nn.Module):
    """A buffer of each dtype that both frameworks hold beside those of parameters."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"):
            values = torch.randint(0, 2 if name == "bool" else 100, (2, 3))
            self.register_buffer(name, values.to(getattr(torch, name)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "UNet": partial(nets.UNet, channels=(8, 16, 32), strides=(2, 2), num_res_units=2, **_UNET),
    "small UNet": partial(nets.UNet, channels=(4, 8), strides=(2,), num_res_units=1, **_UNET),
    "ResNet-10": partial(nets.resnet10, **_RESNET),
    "SegResNet": partial(nets.SegResNet, **_SEGRESNET),
    "every kind": EveryKind,
    "every dtype": EveryDtype,
}


@dataclass(frozen=True)
class Subject:
    """A source and its right conversion.

    Attributes:
        name: for people.
        source, output: the files; the output is in a format without checksums, so that only `verify` can object.
        options: what verify needs to know about the source.
        write: how it was converted, which the record beside the output would say: a damaged file has none.
    """

    name: str
    source: Path
    output: Path
    options: porter.SourceOptions | None = None
    write: porter.WriteOptions | None = None

    @cached_property
    def layers(self) -> list[Layer]:
        """Those that have tensors, in order."""
        return [layer for layer in porter.inspect(self.source, self.options).source.layers if layer.tensors]

    @cached_property
    def norms(self) -> list[Layer]:
        """The batch normalisations."""
        return [layer for layer in self.layers if layer.kind.family == "BatchNorm"]

    @cached_property
    def _written(self) -> frozenset[str]:
        return frozenset(open_checkpoint(self.output).tensors)

    @cached_property
    def to(self) -> Dialect:
        return "mindspore" if self.output.suffix == ".ckpt" else "torch"

    def tensors(self, layer: Layer) -> dict[str, str]:
        """Slot -> name in the output of those parameters of a layer that both files have."""
        leaves = layer.kind.names_in(self.to, root=not layer.name)
        prefix = f"{layer.name}." if layer.name else ""
        found = {slot: prefix + leaves[slot] for slot in layer.tensors if slot in leaves}
        return {slot: name for slot, name in found.items() if name in self._written}


class Tensors:
    """The tensors of an output file in memory; what is assigned is what `write` writes, byte for byte.

    bfloat16 is held as float32, rounded to what bfloat16 has.
    """

    def __init__(self, path: Path) -> None:
        self._checkpoint = open_checkpoint(path)
        self._bytes = path.read_bytes()
        with TensorReader(self._checkpoint) as reader:
            self._values = {name: reader.array(name).copy() for name in self._checkpoint.tensors}

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._values[name].copy()

    def __setitem__(self, name: str, values: NDArray[Any]) -> None:
        right = self._values[name]
        rounded = stored(values, "bfloat16") if self.dtype(name) == "bfloat16" else values
        self._values[name] = rounded.astype(right.dtype).reshape(right.shape)

    def dtype(self, name: str) -> str:
        return self._checkpoint.tensors[name].spec.dtype.name

    def bits(self, name: str) -> NDArray[Any]:
        """The stored elements as unsigned integers."""
        values = self._values[name]
        bits = values.reshape(-1).view(f"u{values.itemsize}").copy()
        return (bits >> 16).astype("u2") if self.dtype(name) == "bfloat16" else bits

    def set_bits(self, name: str, bits: NDArray[Any]) -> None:
        values = self._values[name]
        wide = bits.astype("u4") << np.uint32(16) if self.dtype(name) == "bfloat16" else bits
        self._values[name] = wide.view(values.dtype).reshape(values.shape)

    def write(self, path: Path) -> bool:
        """Write the file with these values; whether it differs from the one that was read."""
        data = bytearray(self._bytes)
        for name, tensor in self._checkpoint.tensors.items():
            stored, at = self.bits(name).tobytes(), 0
            for extent in tensor.extents:
                data[extent.offset : extent.offset + extent.length] = stored[at : at + extent.length]
                at += extent.length
        path.write_bytes(data)
        return bytes(data) != self._bytes


def trained(module: nn.Module) -> nn.Module:
    """A network with values as training leaves them, each normalisation its own."""
    with torch.no_grad():
        for layer in module.modules():
            for name, parameter in layer.named_parameters(recurse=False):
                if "bias" in name:
                    parameter.normal_(0, 0.2)
            if "Norm" in type(layer).__name__ and layer.weight is not None:
                layer.weight.uniform_(0.5, 1.5)
            if isinstance(layer, nn.PReLU):
                layer.weight.uniform_(0.1, 0.4)
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.running_mean.normal_(0, 0.5)
                layer.running_var.uniform_(0.3, 2)
                layer.num_batches_tracked.random_(1, 100_000)
    return module.eval()


def sample(folder: Path, seed: int = 0) -> Subject:
    """The trained sample, with the settings of its own network; with a seed other than 0, other values."""
    options = porter.SourceOptions(model=f"{SAMPLES / 'torch_net.py'}:build")
    source = SAMPLES / "video_resnet.pth"
    if seed:
        random, state = torch.Generator().manual_seed(seed), torch.load(source)["state_dict"]
        source = folder / f"video_resnet-{seed}.pth"
        torch.save({"state_dict": {name: _other(values, random) for name, values in state.items()}}, source)
    return converted("video_resnet", source, folder / f"video_resnet-{seed}.ckpt", options=options)


def _other(values: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Values of the same distribution, none of them below 0 if none was."""
    if not values.is_floating_point():
        return values
    drawn = values.mean() + (values.std(correction=0) + 0.01) * torch.randn(values.shape, generator=random)
    return drawn.abs() + 0.01 if bool((values >= 0).all()) else drawn


def there(name: str, folder: Path, seed: int = 0, dtype: str = "float32") -> Subject:
    """One of `NETWORKS`, converted to MindSpore."""
    torch.manual_seed(seed)
    module, source = trained(NETWORKS[name]()), folder / f"{name}-{seed}.pth"
    torch.save(module.state_dict(), source)
    kinds = tuple((path, type(m).__name__) for path, m in module.named_modules() if type(m).__name__ in KINDS)
    options = porter.SourceOptions(layers=kinds)
    return converted(f"{name}, {dtype}", source, folder / f"{name}-{seed}-{dtype}.ckpt", dtype=dtype, options=options)


def back(name: str, folder: Path, seed: int = 0, dtype: str = "float32") -> Subject:
    """The way back of `there` to PyTorch, whose batch normalisations count their batches."""
    first = there(name, folder, seed, dtype)
    output = first.output.with_suffix(".safetensors")
    return converted(f"{first.name}, back", first.output, output, dtype=dtype, to="torch")


def converted(
    name: str,
    source: Path,
    output: Path,
    *,
    dtype: str = "float32",
    to: Dialect | None = None,
    options: porter.SourceOptions | None = None,
) -> Subject:
    """Convert without verification."""
    write = porter.WriteOptions(to=to, dtype=None if dtype == "float32" else BY_NAME[dtype], force=True)
    porter.convert(source, output, source_options=options, write_options=write, verify=False)
    return Subject(name, source, output, options, write)
