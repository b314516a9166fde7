"""Real 3-D networks, from MONAI, that use batch normalisation.

The factories are also what the tests name in `--model`: they build, and do nothing else. `FAST` covers the shapes of
network that recognition must cope with; `SLOW` are larger or further variants.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from monai.networks import nets
from torch import nn


def resnet10():
    return nets.resnet10(spatial_dims=3, n_input_channels=1, num_classes=3, widen_factor=0.25)


def densenet121():
    return nets.DenseNet121(spatial_dims=3, in_channels=1, out_channels=3, init_features=16, growth_rate=8)


def segresnet():
    return nets.SegResNet(spatial_dims=3, init_filters=8, norm="batch")


def unet():
    return nets.UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=2,
        channels=(8, 16, 32),
        strides=(2, 2),
        num_res_units=2,
        norm="batch",
    )


def basic_unet():
    return nets.BasicUNet(spatial_dims=3, features=(8, 8, 16, 16, 32, 8), norm="batch")


def dynunet():
    return nets.DynUNet(
        3,
        1,
        2,
        kernel_size=[3, 3, 3],
        strides=[1, 2, 2],
        upsample_kernel_size=[2, 2],
        filters=[8, 16, 32],
        norm_name="batch",
        res_block=True,
    )


def highresnet():
    return nets.HighResNet(spatial_dims=3, in_channels=1, out_channels=2)


def attention_unet():
    return nets.AttentionUnet(spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2))


def resnet18():
    return nets.resnet18(spatial_dims=3, n_input_channels=1, num_classes=3, shortcut_type="A")


def resnet50():
    return nets.resnet50(spatial_dims=3, n_input_channels=1, num_classes=3)


def densenet121_full():
    return nets.DenseNet121(spatial_dims=3, in_channels=1, out_channels=3)


def vnet():
    return nets.VNet()


def basic_unet_plus_plus():
    return nets.BasicUNetPlusPlus(spatial_dims=3, features=(8, 8, 16, 16, 32, 8), norm="batch")


def seresnet50():
    return nets.SEResNet50(spatial_dims=3, in_channels=1, num_classes=3)


def efficientnet_b0():
    return nets.EfficientNetBN("efficientnet-b0", spatial_dims=3, in_channels=1, num_classes=3, pretrained=False)


def flexible_unet():
    return nets.FlexibleUNet(1, 2, "resnet18", spatial_dims=3)


def segresnet_ds():
    return nets.SegResNetDS(spatial_dims=3, init_filters=8, norm="batch")


def segresnet_vae():
    return nets.SegResNetVAE((16, 16, 16), spatial_dims=3, init_filters=8, in_channels=1, norm="batch")


def generator():
    return nets.Generator(latent_shape=(8,), start_shape=(8, 2, 2, 2), channels=[8, 4], strides=[2, 2], norm="batch")


def regressor():
    return nets.Regressor(in_shape=(1, 16, 16, 16), out_shape=1, channels=(4, 8), strides=(2, 2), norm="batch")


def autoencoder():
    return nets.AutoEncoder(
        spatial_dims=3, in_channels=1, out_channels=1, channels=(4, 8), strides=(2, 2), norm="batch"
    )


@dataclass(frozen=True)
class Network:
    """A network, and what tests must know of it.

    Attributes:
        build: its factory.
        input_shape: a small input, (N, C, D, H, W) or (N, C).
        needs_model: bnport rightly asks for `--model`: a squeeze-and-excitation's linear layers stand as near to a
            norm as its convolution, or an InstanceNorm without tensors leaves nothing but a version number.
    """

    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    needs_model: bool = False

    @property
    def name(self) -> str:
        return self.build.__name__

    @property
    def option(self) -> str:
        """What `--model` takes."""
        return f"{__file__}:{self.name}"


VOLUME = (2, 1, 16, 16, 16)

FAST = [
    Network(resnet10, VOLUME),
    Network(densenet121, (2, 1, 32, 32, 32)),
    Network(segresnet, VOLUME),
    Network(unet, VOLUME),
    Network(basic_unet, VOLUME),
    Network(dynunet, VOLUME),
    Network(generator, (2, 8)),
]

SLOW = [
    Network(resnet18, VOLUME),
    Network(resnet50, VOLUME),
    Network(densenet121_full, (2, 1, 32, 32, 32)),
    Network(vnet, VOLUME),
    Network(basic_unet_plus_plus, VOLUME),
    Network(highresnet, VOLUME),
    Network(attention_unet, VOLUME, needs_model=True),
    Network(seresnet50, (2, 1, 32, 32, 32), needs_model=True),
    Network(efficientnet_b0, (2, 1, 32, 32, 32)),
    Network(flexible_unet, (2, 1, 32, 32, 32)),
    Network(segresnet_ds, VOLUME),
    Network(segresnet_vae, VOLUME),
    Network(regressor, VOLUME),
    Network(autoencoder, VOLUME),
]


def trained(network: Network, seed: int = 0) -> nn.Module:
    """The network in evaluation, every normalisation with parameters and statistics that no other one has."""
    torch.manual_seed(seed)
    module = network.build()
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.2)
                layer.running_mean.normal_(0, 0.5)
                layer.running_var.uniform_(0.5, 2)
                layer.num_batches_tracked.random_(1, 100_000)
    return module.eval()
