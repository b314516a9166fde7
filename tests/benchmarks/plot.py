"""A plot of two panels with logarithmic axes, as SVG, without a library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 420, 300, 60, 34, 44
_COLOURS = ("#6b7280", "#0f6cbd", "#c2410c", "#15803d", "#7c3aed", "#b45309")


@dataclass(frozen=True)
class Panel:
    """Curves of one panel: label -> (x, y) points, both above 0; `x`, `y` name the axes."""

    title: str
    x: str
    y: str
    curves: Mapping[str, Sequence[tuple[float, float]]]


def svg(panels: Sequence[Panel]) -> str:
    """The panels beside each other; a colour goes by a curve's label."""
    labels = list(dict.fromkeys(label for panel in panels for label in panel.curves))
    colours = {label: _COLOURS[i % len(_COLOURS)] for i, label in enumerate(labels)}
    # The last number of an axis is written beyond its end.
    width, height = _WIDTH * len(panels) + 10, _HEIGHT + 20 * (len(labels) + 2) // 3
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>'
    ]
    for i, panel in enumerate(panels):
        parts += [f'<g transform="translate({i * _WIDTH},0)">', *_panel(panel, colours), "</g>"]
    for i, label in enumerate(labels):
        x, y = _LEFT + i % 3 * 250, _HEIGHT + 6 + i // 3 * 20
        parts.append(f'<path d="M{x} {y}h24" stroke="{colours[label]}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 30}" y="{y + 4}">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, colours: Mapping[str, str]) -> Iterator[str]:
    points = [point for curve in panel.curves.values() for point in curve]
    across, up = _Axis([x for x, _ in points]), _Axis([y for _, y in points])
    right, bottom = _WIDTH - 20, _HEIGHT - _BOTTOM
    yield f'<text x="{_LEFT}" y="20" font-weight="bold">{escape(panel.title)}</text>'
    for power in across.powers:
        x = across.place(10.0**power, _LEFT, right)
        yield f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#e5e7eb"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{10.0**power:,g}</text>'
    for power in up.powers:
        y = up.place(10.0**power, bottom, _TOP)
        yield f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#e5e7eb"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
    yield f'<text x="{right}" y="{bottom + 34}" text-anchor="end">{escape(panel.x)}</text>'
    yield f'<text x="14" y="{_TOP}" text-anchor="end" transform="rotate(-90 14 {_TOP})">{escape(panel.y)}</text>'
    for label, curve in panel.curves.items():
        places = [(across.place(x, _LEFT, right), up.place(y, bottom, _TOP)) for x, y in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{line}" fill="none" stroke="{colours[label]}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colours[label]}"/>' for x, y in places)


class _Axis:
    """A logarithmic axis over whole powers of ten."""

    def __init__(self, values: Sequence[float]) -> None:
        self._low = floor(log10(min(values)))
        self._high = max(ceil(log10(max(values))), self._low + 1)

    @property
    def powers(self) -> range:
        return range(self._low, self._high + 1)

    def place(self, value: float, start: float, end: float) -> float:
        """Where between `start` and `end` a value stands."""
        return start + (end - start) * (log10(value) - self._low) / (self._high - self._low)
