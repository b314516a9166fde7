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
from porter.layers.kinds import Dialect
from porter.layers.model import Layer

SAMPLES = Path(__file__).parents[2] / "samples" / "video_resnet"

_UNET = {"in_channels": 1, "out_channels": 2, "channels": (8, 16, 32), "strides": (2, 2), "num_res_units": 2}
_RESNET = {"n_input_channels": 1, "num_classes": 3, "widen_factor": 0.25}
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "UNet": partial(nets.UNet, spatial_dims=3, norm="batch", **_UNET),
    "ResNet-10": partial(nets.resnet10, spatial_dims=3, **_RESNET),
    "SegResNet": partial(nets.SegResNet, spatial_dims=3, init_filters=8, norm="batch"),
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
        """The batch normalisations that stand in the output, in order."""
        layers = porter.inspect(self.source, self.options).source.layers
        return [layer for layer in layers if layer.kind.family == "BatchNorm" and layer.tensors]

    @cached_property
    def to(self) -> Dialect:
        return "mindspore" if self.output.suffix == ".ckpt" else "torch"

    def tensor(self, layer: Layer, slot: str) -> str:
        """The name in the output of one parameter of a batch normalisation."""
        leaf = layer.kind.names_in(self.to, root=not layer.name)[slot]
        return f"{layer.name}.{leaf}" if layer.name else leaf


class Tensors:
    """The tensors of an output file in memory; what is assigned is what `write` writes, byte for byte.

    bfloat16 is held as float32, whose lower half is cut off again when it is written.
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
        self._values[name] = values.astype(self._values[name].dtype).reshape(self._values[name].shape)

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


def trained(name: str, seed: int) -> nn.Module:
    """A MONAI network whose normalisations have values as training leaves them, each its own."""
    torch.manual_seed(seed)
    module = NETWORKS[name]()
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.2)
                layer.running_mean.normal_(0, 0.5)
                layer.running_var.uniform_(0.3, 2)
                layer.num_batches_tracked.random_(1, 100_000)
    return module.eval()


def sample(folder: Path) -> Subject:
    """The trained sample, with the settings of its own network."""
    options = porter.SourceOptions(model=f"{SAMPLES / 'torch_net.py'}:build")
    return converted("video_resnet", SAMPLES / "video_resnet.pth", folder / "video_resnet.ckpt", options=options)


def monai(name: str, folder: Path, *, seed: int = 0, dtype: str = "float32") -> Subject:
    """A MONAI network, converted to MindSpore."""
    source = folder / f"{name}-{seed}.pth"
    torch.save(trained(name, seed).state_dict(), source)
    return converted(f"{name}, {dtype}", source, folder / f"{name}-{seed}-{dtype}.ckpt", dtype=dtype)


def back(there: Subject) -> Subject:
    """The way back to PyTorch, whose layers count their batches."""
    return converted(f"{there.name}, back", there.output, there.output.with_suffix(".safetensors"), to="torch")


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
