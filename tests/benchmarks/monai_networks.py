"""Every MONAI network that builds with batch normalisation, in 3-D and, where it can, in 2-D and 1-D.

Small where the constructor lets it be: recognition looks at names, shapes and order, which width does not change.
Missing are networks that import packages MONAI does not bring (UNETR, DAF3D).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from monai.networks import nets
from torch import nn

Factory = Callable[[], nn.Module]
Case = tuple[str, Factory]

_LEVELS = {"channels": (8, 16), "strides": (2, 2)}
_UNET = {"in_channels": 1, "out_channels": 2, "channels": (8, 16, 32), "strides": (2, 2)}
_AUTOENCODER = {"in_channels": 1, "out_channels": 2, **_LEVELS}
_FEATURES = (8, 8, 16, 16, 32, 8)
_SIDE = 32
_RESNETS = ("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200")
_SENETS = ("SENet154", "SEResNet50", "SEResNet101", "SEResNet152", "SEResNext50", "SEResNext101")
_DENSENETS = ("DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264")
_EFFICIENT_NETS = ("efficientnet-b0", "efficientnet-b1", "efficientnet-b4")


def monai_networks() -> Iterator[Case]:
    """(name, factory) of each, the number of spatial axes in the name."""
    for dims in (3, 2, 1):
        for name, build in (*_encoders(dims), *_autoencoders(dims), *_unets(dims), *_adversaries(dims)):
            yield f"{name} {dims}-D", build
    for dims in (3, 2):
        for name, build in (*_squeeze_and_excitation(dims), *_segmentation(dims), *_transformers(dims)):
            yield f"{name} {dims}-D", build
    for mode, padding in (("fast", False), ("original", True)):
        yield _case(f"HoVerNet {mode} 2-D", nets.HoVerNet, mode=mode, out_classes=3, decoder_padding=padding)


def _case(name: str, network: Any, *arguments: Any, **settings: Any) -> Case:
    return name, partial(network, *arguments, **settings)


def _batch(dims: int) -> dict[str, Any]:
    return {"spatial_dims": dims, "norm": "batch"}


def _encoders(dims: int) -> Iterator[Case]:
    for name in _RESNETS:
        settings = {"spatial_dims": dims, "n_input_channels": 1, "num_classes": 3, "widen_factor": 0.25}
        yield _case(name, getattr(nets, name), **settings)
        yield _case(f"{name} shortcut A", getattr(nets, name), shortcut_type="A", **settings)
    for name in _DENSENETS:
        settings = {"in_channels": 1, "out_channels": 3, "init_features": 16, "growth_rate": 8}
        yield _case(name, getattr(nets, name), **_batch(dims), **settings)
    for name in _EFFICIENT_NETS:
        yield _case(name, nets.EfficientNetBN, name, pretrained=False, spatial_dims=dims, in_channels=1)
    yield _case("HighResNet", nets.HighResNet, spatial_dims=dims, in_channels=1, out_channels=2)


def _autoencoders(dims: int) -> Iterator[Case]:
    shape = (1, *(_SIDE,) * dims)
    middle = {"inter_channels": [16, 16], "inter_dilations": [1, 2], "num_res_units": 1}
    yield _case("AutoEncoder", nets.AutoEncoder, **_batch(dims), **_AUTOENCODER)
    yield _case("AutoEncoder with a middle", nets.AutoEncoder, **middle, **_batch(dims), **_AUTOENCODER)
    variational = {"in_shape": shape, "out_channels": 1, "latent_size": 4}
    yield _case("VarAutoEncoder", nets.VarAutoEncoder, **variational, **_batch(dims), **_LEVELS)
    yield _case("Regressor", nets.Regressor, in_shape=shape, out_shape=(2,), norm="batch", **_LEVELS)
    yield _case("Classifier", nets.Classifier, in_shape=shape, classes=3, norm="batch", **_LEVELS)


def _unets(dims: int) -> Iterator[Case]:
    yield _case("UNet", nets.UNet, **_batch(dims), **_UNET)
    for ordering in ("NDA", "AN", "AND"):
        name = f"UNet residual {ordering}"
        yield _case(name, nets.UNet, num_res_units=2, adn_ordering=ordering, **_batch(dims), **_UNET)
    yield _case("AttentionUnet", nets.AttentionUnet, spatial_dims=dims, **_UNET)
    for upsample in ("deconv", "nontrainable"):
        settings = {"features": _FEATURES, "upsample": upsample, **_batch(dims)}
        yield _case(f"BasicUNet {upsample}", nets.BasicUNet, **settings)
        yield _case(f"BasicUNetPlusPlus {upsample}", nets.BasicUNetPlusPlus, **settings)


def _adversaries(dims: int) -> Iterator[Case]:
    shape = (1, *(_SIDE,) * dims)
    yield _case("Discriminator", nets.Discriminator, in_shape=shape, norm="batch", **_LEVELS)
    yield _case("Critic", nets.Critic, in_shape=shape, norm="batch", **_LEVELS)
    generator = {"latent_shape": (8,), "start_shape": (8, *(2,) * dims), "channels": [8, 4], "strides": [2, 2]}
    yield _case("Generator", nets.Generator, norm="batch", **generator)
    patch = {"channels": 8, "in_channels": 1, **_batch(dims)}
    yield _case("PatchDiscriminator", nets.PatchDiscriminator, **patch)
    yield _case("MultiScalePatchDiscriminator", nets.MultiScalePatchDiscriminator, num_d=2, num_layers_d=3, **patch)


def _squeeze_and_excitation(dims: int) -> Iterator[Case]:
    for name in _SENETS:
        # The full depth repeats these blocks, and takes gigabytes.
        settings = {"layers": (2, 2, 2, 2), "spatial_dims": dims, "in_channels": 1, "num_classes": 3}
        yield _case(name, getattr(nets, name), **settings)


def _segmentation(dims: int) -> Iterator[Case]:
    for residual in (False, True):
        settings = {
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, 2],
            "upsample_kernel_size": [2, 2],
            "filters": [8, 16, 32],
            "norm_name": "batch",
            "deep_supervision": True,
        }
        yield _case(f"DynUNet{' residual' * residual}", nets.DynUNet, dims, 1, 2, res_block=residual, **settings)
    for mode in ("deconv", "nontrainable", "pixelshuffle"):
        settings = {"init_filters": 8, "upsample_mode": mode, **_batch(dims)}
        yield _case(f"SegResNet {mode}", nets.SegResNet, **settings)
        yield _case(f"SegResNetDS {mode}", nets.SegResNetDS, dsdepth=2, **settings)
    yield _case("SegResNetDS2", nets.SegResNetDS2, init_filters=8, dsdepth=2, **_batch(dims))
    yield _case("SegResNetVAE", nets.SegResNetVAE, (_SIDE,) * dims, init_filters=8, in_channels=1, **_batch(dims))
    for backbone in ("resnet18", "efficientnet-b0"):
        settings = {"decoder_channels": (64, 32, 16, 16, 8), "spatial_dims": dims}
        yield _case(f"FlexibleUNet {backbone}", nets.FlexibleUNet, 1, 2, backbone, **settings)
    for mode in ("transpose", "bilinear" if dims == 2 else "trilinear"):
        yield _case(f"AHNet {mode}", nets.AHNet, layers=(1, 1, 1, 1), spatial_dims=dims, upsample_mode=mode)
    yield _case("VNet", nets.VNet, spatial_dims=dims)

    def dints() -> nn.Module:
        topology = nets.TopologyInstance(spatial_dims=dims, norm_name="batch", channel_mul=0.25)
        return nets.DiNTS(topology, 1, 2, norm_name="batch", spatial_dims=dims)

    yield "DiNTS", dints


def _transformers(dims: int) -> Iterator[Case]:
    settings = {"num_heads": (1, 1, 2, 2), "feature_size": 12, "norm_name": "batch", "window_size": 4}
    yield _case("SwinUNETR", nets.SwinUNETR, 1, 2, spatial_dims=dims, **settings)
    shape = {"label_nc": 2, "input_shape": [_SIDE] * dims, "channels": [8, 16], "z_dim": 4}
    yield _case("SPADENet", nets.SPADENet, dims, 1, 1, norm="batch", spade_intermediate_channels=8, **shape)
