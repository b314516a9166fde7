"""The settings of layers other than batch normalisations, read off a module of either framework, in PyTorch's terms.

Names are those of torch.nn 2.13's and mindspore.nn 2.10's attributes; each row was run in both. Two things say more
than they seem to:

- Padding is kept as (before, after) of each axis. MindSpore's `same` is that, too, without a stride; with one it
  depends on the input and stays `SAME`. A transposed convolution cuts its padding off its full result, and
  `output_padding` cuts that much less behind: the two are one pair, whose second number may be negative.
- `output_padding` of MindSpore's Conv2dTranspose appends zeros to the finished result (nn/layer/conv.py), where
  PyTorch's, and MindSpore's own Conv3dTranspose, compute those elements: it is a setting of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from porter.layers.settings import same_number

# Setting -> its attribute in PyTorch, and those that it may have in MindSpore.
_PLAIN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "eps": ("eps", ("eps", "epsilon")),
    "kernel size": ("kernel_size", ("kernel_size",)),
    "stride": ("stride", ("stride",)),
    "dilation": ("dilation", ("dilation",)),
    "groups": ("groups", ("group",)),
    "number of groups": ("num_groups", ("num_groups",)),
    "number of heads": ("num_heads", ("num_heads",)),
    "zeros among the keys": ("add_zero_attn", ("add_zero_attn",)),
    "batch first": ("batch_first", ("batch_first",)),
    "nonlinearity": ("nonlinearity", ("nonlinearity",)),
    "negative slope": ("negative_slope", ("alpha",)),
    "approximation": ("approximate", ("approximate",)),
    "ceil mode": ("ceil_mode", ("ceil_mode",)),
    "max norm": ("max_norm", ()),
}
# What the settings below, which no single attribute says, are read from.
_TOGETHER = ("padding", "output_padding", "padding_mode", "pad_mode", "normalized_shape", "begin_norm_axis")
# Of MindSpore's Dense, which may end with an activation.
_ENDS_WITH = "activation_flag"

_NAMES = (name for torch, mindspore in _PLAIN.values() for name in (torch, *mindspore))

ATTRIBUTES = tuple(dict.fromkeys((*_NAMES, *_TOGETHER, _ENDS_WITH)))

_VALUES = (int, float, str, tuple)

PADDING, APPENDED, AXES = "padding", "appended zeros", "number of normalised axes"
# What a network may do beside the layer as well: it pads, or transposes, before and after.
BESIDE = (PADDING, "batch first")
# What the other framework's layer of the same kind has no setting for; its network may do it beside the layer.
_ONE_SIDED = ("max norm", "activation")
# As much padding as makes the output as long as the input, divided by the stride.
SAME = "same"


class Setting(NamedTuple):
    """A setting in PyTorch's terms, comparable with the other framework's, and as its own framework says it."""

    value: Any
    told: str


Settings = Mapping[str, Setting]


def settings_of_module(module: Any, *, mindspore: bool) -> Settings:
    """As `read_settings`, of a live module."""
    attributes = attributes_of(module)
    return read_settings(attributes, mindspore=mindspore, transposed="Transpose" in type(module).__name__)


def attributes_of(module: Any, names: Iterable[str] = ATTRIBUTES) -> dict[str, Any]:
    """Those of a live module's attributes that settings are read from, and what its inner cells say instead."""
    found = {name: getattr(module, name) for name in names if hasattr(module, name)}
    # mindspore.nn.RNN keeps its nonlinearity as the class of the cell that it runs; Dense its activation as a cell.
    inner = type(getattr(module, "rnn", None)).__name__
    if "nonlinearity" not in found and inner.startswith("_DynamicRNN"):
        found["nonlinearity"] = inner.removeprefix("_DynamicRNN").lower()
    if found.get(_ENDS_WITH) is True:
        found[_ENDS_WITH] = type(module.activation).__name__
    return found


def read_settings(attributes: Mapping[str, Any], *, mindspore: bool, transposed: bool) -> Settings:
    """The settings that a module's attributes say, whatever it is.

    Args:
        mindspore: it is one of mindspore.nn, where a 1-D layer has the settings of a 2-D one over a height of 1.
        transposed: it is a transposed convolution.
    """
    found: dict[str, Setting] = {}
    for setting, (torch, others) in _PLAIN.items():
        names = others if mindspore else (torch,)
        value = next((attributes[name] for name in names if isinstance(attributes.get(name), _VALUES)), None)
        if value is not None:
            found[setting] = Setting(value, str(value))
    found |= _axes(attributes)
    activation = attributes.get(_ENDS_WITH)
    if isinstance(activation, str):
        found["activation"] = Setting(activation, activation)
    # A class of the user's own may mean anything by these names.
    window = [found[name].value for name in ("kernel size", "stride", "dilation") if name in found]
    sizes = [n for value in window for n in (value if isinstance(value, tuple) else (value,))]
    if "kernel size" not in found or not all(isinstance(n, int) for n in sizes):
        return found
    read = _Padding(attributes, len(window[0]) if isinstance(window[0], tuple) else 3)
    return found | dict((read.in_mindspore if mindspore else read.in_torch)(transposed))


def differing(torch: Settings, mindspore: Settings) -> list[str]:
    """What both sides say, and say differently, in words."""
    return [
        f"{name} is {mine.told} in PyTorch and {mindspore[name].told} in MindSpore"
        for name, mine in torch.items()
        if name in mindspore and _differ(mine.value, mindspore[name].value)
    ]


def said_by_one_alone(torch: Settings, mindspore: Settings) -> list[str]:
    """What one framework's layer does and the other's cannot be told to, in words."""
    sides = (("PyTorch", torch, "MindSpore"), ("MindSpore", mindspore, "PyTorch"))
    return [
        f"{name} is {said[name].told} in {here}; {there}'s layer has no such setting, and both were run without"
        for here, said, there in sides
        for name in _ONE_SIDED
        if name in said
    ]


def per_axis(value: Any, rank: int) -> tuple[Any, ...]:
    """A setting of the last `rank` axes; a single value stands for all of them."""
    return tuple(value)[-rank:] if isinstance(value, tuple | list) else (value,) * rank


def same_padding(kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """What `same` pads where the stride is 1, in both frameworks."""
    totals = (d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    return tuple((total // 2, total - total // 2) for total in totals)


def same_crop(kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[Any, ...]:
    """What `same` cuts off a transposed convolution, so that its output is the input's length times the stride."""
    totals = (d * (k - 1) + 1 - s for d, k, s in zip(dilation, kernel, stride, strict=True))
    return tuple((max(total, 0) // 2, total - max(total, 0) // 2) for total in totals)


def valid_crop(kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[Any, ...]:
    """What `valid` cuts off a transposed convolution: nothing; a stride beyond the kernel makes it longer."""
    return tuple((0, min(d * (k - 1) + 1 - s, 0)) for d, k, s in zip(dilation, kernel, stride, strict=True))


def _axes(attributes: Mapping[str, Any]) -> dict[str, Setting]:
    """MindSpore counts them by where they begin; from the first axis on, the count depends on the input."""
    shape, begin = attributes.get("normalized_shape"), attributes.get("begin_norm_axis")
    if begin is None and isinstance(shape, tuple):
        begin = -len(shape)
    return {AXES: Setting(-begin, str(-begin))} if isinstance(begin, int) and begin < 0 else {}


class _Padding:
    """The padding of a layer whose kernel has `rank` axes."""

    def __init__(self, attributes: Mapping[str, Any], rank: int) -> None:
        self._attributes, self._rank = attributes, rank
        self._given = attributes.get("padding")
        self._kernel, self._stride, self._dilation = (
            per_axis(attributes.get(name, 1), rank) for name in ("kernel_size", "stride", "dilation")
        )

    def in_torch(self, transposed: bool) -> Iterator[tuple[str, Setting]]:
        given, told = self._given, str(self._given)
        if given not in ("valid", "same") and not isinstance(given, int | tuple):
            return
        if given == "same":
            value = same_padding(self._kernel, self._dilation)
        else:
            value = self._pairs(0 if given == "valid" else given)
        mode, longer = self._attributes.get("padding_mode", "zeros"), self._attributes.get("output_padding", 0)
        if mode != "zeros":
            # What is not zeros is put before the input, and the layer itself pads nothing.
            value, told = self._pairs(0), f"{told} by {mode!r} (a layer of its own in MindSpore)"
        if transposed and any(per_axis(longer, self._rank)):
            value, told = self._less_behind(value, longer), f"{told}, output_padding={longer}"
        yield PADDING, Setting(value, told)
        if transposed:
            yield APPENDED, Setting(0, "0")

    def in_mindspore(self, transposed: bool) -> Iterator[tuple[str, Setting]]:
        mode, given = self._attributes.get("pad_mode"), self._given
        if mode is None or (mode.lower() == "pad" and given is None):
            return
        told = f"pad_mode='{mode}'" + (f", padding={given}" if mode.lower() == "pad" else "")
        value = self._cropped(mode.lower()) if transposed else self._padded(mode.lower())
        longer = self._attributes.get("output_padding", 0)
        appended = transposed and self._rank == 2
        if transposed and not appended and any(per_axis(longer, self._rank)):
            value, told = self._less_behind(value, longer), f"{told}, output_padding={longer}"
        yield PADDING, Setting(value, told)
        if transposed:
            behind = longer if appended else 0
            yield APPENDED, Setting(behind, f"{behind}{' (its output_padding)' if behind else ''}")

    def _padded(self, mode: str) -> Any:
        if mode == "pad":
            return self._flat()
        if mode == "valid":
            return self._pairs(0)
        strided = any(s != 1 and k != 1 for s, k in zip(self._stride, self._kernel, strict=True))
        return SAME if strided else same_padding(self._kernel, self._dilation)

    def _cropped(self, mode: str) -> Any:
        if mode == "pad":
            return self._flat()
        return (same_crop if mode == "same" else valid_crop)(self._kernel, self._stride, self._dilation)

    def _flat(self) -> tuple[tuple[int, int], ...]:
        flat = self._given
        if not isinstance(flat, tuple) or len(flat) == self._rank:
            return self._pairs(flat)
        return tuple(zip(flat[::2], flat[1::2], strict=True))[-self._rank :]

    def _pairs(self, padding: Any) -> tuple[tuple[int, int], ...]:
        return tuple((p, p) for p in per_axis(padding, self._rank))

    def _less_behind(self, pairs: tuple[tuple[int, int], ...], longer: Any) -> tuple[tuple[int, int], ...]:
        more = per_axis(longer, self._rank)
        return tuple((before, after - n) for (before, after), n in zip(pairs, more, strict=True))


def _differ(mine: Any, other: Any) -> bool:
    """A MindSpore 1-D layer has 2-D settings, over a height of 1; a single number stands for all axes."""
    if isinstance(mine, int | float) and isinstance(other, int | float) and not isinstance(mine, bool):
        return not same_number(float(mine), float(other))
    if isinstance(mine, tuple) or isinstance(other, tuple):
        rank = min(len(value) for value in (mine, other) if isinstance(value, tuple))
        return per_axis(mine, rank) != per_axis(other, rank)
    return bool(mine != other)
