"""What MindSpore calls the parameters of a PyTorch network: asked of MindSpore itself.

A twin has a MindSpore cell at the place of every PyTorch layer. It cannot run, but its parameters bear the names and
shapes that MindSpore gives them, and its leaves tell which of them is which PyTorch tensor.
"""

from operator import attrgetter

from mindspore import nn as ms
from torch import nn

# By hand and on purpose not from porter: PyTorch's name below a layer -> MindSpore's.
SAME = {"weight": "weight", "bias": "bias"}
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
NORM_3D = {torch: f"bn2d.{mindspore}" for torch, mindspore in NORM.items()}

# One cell per layer is many random numbers that nobody looks at.
QUICK = {"weight_init": "zeros", "bias_init": "zeros"}


def conv(layer):
    cell = ms.Conv3d if isinstance(layer, nn.Conv3d) else ms.Conv3dTranspose
    return cell(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        group=layer.groups,
        has_bias=layer.bias is not None,
        **QUICK,
    )


def dense(layer):
    return ms.Dense(layer.in_features, layer.out_features, has_bias=layer.bias is not None, **QUICK)


# PyTorch class -> (how to make the cell, names).
CELLS = {
    nn.Conv3d: (conv, SAME),
    nn.ConvTranspose3d: (conv, SAME),
    nn.Linear: (dense, SAME),
    nn.PReLU: (lambda layer: ms.PReLU(layer.num_parameters), {"weight": "w"}),
    nn.BatchNorm1d: (lambda layer: ms.BatchNorm1d(layer.num_features), NORM),
    nn.BatchNorm3d: (lambda layer: ms.BatchNorm3d(layer.num_features), NORM_3D),
    nn.InstanceNorm3d: (lambda layer: ms.InstanceNorm3d(layer.num_features), NORM),
}


def twin_of(module: nn.Module) -> tuple[ms.Cell, dict[str, str]]:
    """The MindSpore twin of `module`, and PyTorch's name -> MindSpore's name for every tensor that both have."""
    cells, parameters = {}, {}

    def build(layer: nn.Module, path: str) -> ms.Cell:
        # A layer that stands in several places is one cell in several places.
        known = cells.get(id(layer))
        if type(layer) in CELLS:
            make, leaves = CELLS[type(layer)]
            cell = cells[id(layer)] = known or make(layer)
            own = layer.state_dict()
            parameters.update(
                {f"{path}{leaf}": attrgetter(theirs)(cell) for leaf, theirs in leaves.items() if leaf in own}
            )
            return cell
        assert not list(layer.parameters(recurse=False)), f"{path}: no twin for {type(layer).__name__}"
        cell = cells[id(layer)] = known or ms.Cell()
        for name, child in layer._modules.items():
            if child.state_dict() or isinstance(child, nn.InstanceNorm3d):
                part = build(child, f"{path}{name}.")
                if known is None:
                    setattr(cell, name, part)
        return cell

    twin = build(module, "")
    return twin, {name: parameter.name for name, parameter in parameters.items()}
