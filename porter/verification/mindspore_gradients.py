"""A MindSpore cell forwards and backwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from porter.verification.differentiation import Passes, check_shape

if TYPE_CHECKING:
    from porter.verification.cases import Array


def differentiate(
    cell: Any, parameters: Mapping[str, Any], inputs: Sequence[Array], upstream: Array
) -> Passes[Array]:
    """Run a cell forwards and backwards, in the mode it is in.

    Args:
        parameters: slot -> parameter, of those whose gradients count.
        upstream: the gradient of the output, float32.
    """
    import mindspore

    weight = mindspore.Tensor(upstream)
    tensors = [mindspore.Tensor(x) for x in inputs]
    trained = {slot: p for slot, p in parameters.items() if p.requires_grad}

    # An LSTM cell takes its two states as one argument. Graph mode compiles this function: it must stay plain.
    in_pairs = isinstance(cell, mindspore.nn.LSTMCell)

    def weighted(*given: Any) -> tuple[Any, Any]:
        output = cell(given[0], given[1:]) if in_pairs else cell(*given)
        output = output[0] if isinstance(output, tuple) else output
        # Of another shape it is no fault of the multiplication: it is told below.
        seen = output * weight if output.shape == weight.shape else output
        return seen.sum(), output

    places = tuple(place for place, x in enumerate(inputs) if x.dtype.kind == "f")
    run = mindspore.value_and_grad(weighted, places or None, list(trained.values()) or None, has_aux=True)
    (_, output), found = _run_clean(run, tensors)
    check_shape(output.shape, upstream.shape)
    by_input, by_parameter = found if places and trained else (found, ()) if places else ((), found)
    return Passes(
        output.asnumpy(),
        tuple(gradient.asnumpy() for gradient in _several(by_input)),
        {slot: gradient.asnumpy() for slot, gradient in zip(trained, _several(by_parameter), strict=True)},
    )


def _run_clean(run: Any, tensors: Sequence[Any]) -> Any:
    """`run(*tensors)`; where that fails, without what MindSpore keeps of a gradient that broke off.

    Seen in 2.10: after one such failure the next gradient of a LayerNorm is "out of range of input num 7", and after
    two, operations waited for, `tensor[0]` is an IndexError for as long as the process lives.
    """
    from mindspore.common.api import _pynative_executor

    try:
        return run(*tensors)
    except Exception:
        _pynative_executor.clear_res()
        raise


def _several(found: Any) -> tuple[Any, ...]:
    """MindSpore gives a gradient alone where only one was asked for."""
    return tuple(found) if isinstance(found, tuple | list) else (found,)
