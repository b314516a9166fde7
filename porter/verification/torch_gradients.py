"""A PyTorch module forwards and backwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from porter.verification.differentiation import Passes, check_shape

if TYPE_CHECKING:
    from porter.verification.cases import Array


def differentiate(
    module: Any, slots: Mapping[str, str], inputs: Sequence[Array], upstream: Array, device: str
) -> Passes[Array]:
    """Run a module forwards and backwards, in the mode it is in.

    Args:
        slots: name of the parameter -> slot, of those whose gradients count.
        upstream: the gradient of the output, float32.
    """
    import torch

    tensors = [torch.from_numpy(x).to(device) for x in inputs]
    trained = [x.requires_grad_() for x in tensors if x.is_floating_point()]
    parameters = {slots[name]: p for name, p in module.named_parameters() if name in slots}
    # An LSTM cell takes its two states as one argument.
    in_pairs = isinstance(module, torch.nn.LSTMCell)
    # The oneDNN of PyTorch 2.13 writes beyond the gradient of Conv3d(1, 64, 7, stride=2, padding=3) on 7x7x7 values.
    with _without_onednn():
        output = module(tensors[0], tuple(tensors[1:])) if in_pairs else module(*tensors)
        output = output[0] if isinstance(output, tuple) else output
        check_shape(tuple(output.shape), upstream.shape)
        # A scalar needs no gradient of its own: to check one's shape torch imports its symbolic shapes, for 0.5 s.
        weighted = (output * torch.from_numpy(upstream).to(device)).sum()
        found = torch.autograd.grad(weighted, [*trained, *parameters.values()])
    arrays = [gradient.cpu().numpy() for gradient in found]
    return Passes(
        output.detach().cpu().numpy(),
        tuple(arrays[: len(trained)]),
        dict(zip(parameters, arrays[len(trained) :], strict=True)),
    )


@contextmanager
def _without_onednn() -> Iterator[None]:
    import torch

    onednn: Any = torch.backends.mkldnn  # a property of a module, which its stub does not tell
    before = onednn.enabled
    onednn.enabled = False
    try:
        yield
    finally:
        onednn.enabled = before
