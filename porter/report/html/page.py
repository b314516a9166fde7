"""From a verification to the page: what the template shows, and the policy that lets nothing else run."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from math import isfinite, isinf
from typing import Any

from porter.errors import printable
from porter.report.html.picture import HEIGHT, LEFT, WIDTH, picture, verdict
from porter.report.shares import share_of, worst
from porter.report.summary import Call, blanks, next_command, summary
from porter.report.terminal import FRAMEWORK
from porter.verification.files import Verification
from porter.verification.histogram import EDGES
from porter.verification.network_results import ModeResult
from porter.verification.results import Check, LayerResult

# A wrong file may have thousands of wrong tensors.
_PROBLEMS_SHOWN = 200


def render(verification: Verification, call: Call) -> str:
    """The page as HTML text, complete: it loads nothing, and only its own style and script may run."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("porter.report.html", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=_figure, share=_share, told=_told, plain=_plain, order=_order)
    style, script = (_source(environment, name) for name in ("page.css", "page.js"))
    return environment.get_template("page.html").render(
        **_facts(verification, call),
        style=Markup(style),
        script=Markup(script),
        style_hash=_policy_hash(style),
        script_hash=_policy_hash(script),
    )


def _facts(verification: Verification, call: Call) -> dict[str, Any]:
    head, sentence = summary(verification)
    command = next_command(verification, call)
    layers = verification.layers
    return {
        "call": call,
        "frameworks": (FRAMEWORK[verification.from_], FRAMEWORK[verification.to]),
        "head": head,
        "state": verdict(verification.verified),
        "sentence": sentence,
        "command": command,
        "blanks": command and blanks(command),
        "trouble": next((layer for layer in layers if layer.ok is False), None),
        "picture": picture(layers) if layers else None,
        "size": (WIDTH, HEIGHT, LEFT),
        "rows": [_row(index, layer) for index, layer in enumerate(layers)],
        "kinds": sorted({layer.kind for layer in layers}),
        "counts": {name: sum(verdict(layer.ok) == name for layer in layers) for name in ("failed", "not-run", "ok")},
        "problems": verification.problems[:_PROBLEMS_SHOWN],
        "problems_unseen": len(verification.problems[_PROBLEMS_SHOWN:]),
        "network": verification.network,
        "modes": [_mode(mode) for mode in verification.network.modes] if verification.network else [],
        "notes": list(_notes(verification)),
        "circumstances": verification.circumstances,
        "data": {"edges": list(EDGES), "layers": [_details(layer) for layer in layers]},
    }


def _row(index: int, layer: LayerResult) -> dict[str, Any]:
    check = worst(layer)
    share = None if check is None else share_of(check)
    return {
        "index": index,
        "layer": layer,
        "verdict": verdict(layer.ok),
        "check": check,
        "share": share,
        "why": layer.diagnosis or next((c.note for c in layer.checks if c.ok is None and c.note), None),
    }


def _details(layer: LayerResult) -> dict[str, Any]:
    """What the script shows of a layer; texts made here, so that they are made in one way."""
    return {
        "name": _told(layer.name),
        "kind": layer.kind,
        "verdict": verdict(layer.ok),
        "closest": _closest(layer),
        "diagnosis": layer.diagnosis and _plain(layer.diagnosis),
        "notes": [_plain(note) for note in (*layer.suspect, *layer.notes)],
        "checks": [_check(check) for check in layer.checks],
    }


def _closest(layer: LayerResult) -> str:
    check = worst(layer)
    if check is None:
        return "not run"
    share = share_of(check)
    if check.ok is False and check.error is None:
        return f"{check.check}: wrong"
    of = "beyond" if isinf(share) else f"{_share(share)} of" if share < 10 else _share(share)
    return f"{check.check} {of} its bound"


def _check(check: Check) -> dict[str, Any]:
    return {
        "name": check.check,
        "verdict": verdict(check.ok),
        "share": _share(share_of(check)) if check.error is not None else "wrong" if check.ok is False else "",
        "figures": "" if check.bound is None else f"error {_figure(check.error)}, allowed {_figure(check.bound)}",
        "note": check.note and _plain(check.note),
        "histogram": check.histogram,
    }


def _mode(mode: ModeResult) -> dict[str, Any]:
    rows = mode.told or mode.by_layer or mode.activations
    return {"mode": mode, "verdict": verdict(mode.ok), "rows": rows}


def _notes(verification: Verification) -> Iterator[str]:
    yield from verification.warnings
    yield from dict.fromkeys(note for layer in verification.layers for note in layer.notes)
    if verification.network:
        yield from verification.network.notes


def _told(name: str) -> str:
    return printable(name) or "(root)"


def _plain(text: str) -> str:
    return printable(text, 2000)


def _figure(number: float | None) -> str:
    return "-" if number is None else f"{number:.1e}" if number else "0"


def _order(number: float | None) -> float:
    """What a table is sorted by: nothing first, what is not finite last."""
    return -1.0 if number is None else number if isfinite(number) else 1e300


def _share(share: float | None) -> str:
    if share is None:
        return "-"
    if share < 0.001:
        return "0%" if share == 0 else "<0.1%"
    if share < 10:
        return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"
    if isinf(share):
        return "beyond"
    return f"{share:,.0f} times" if share < 1e6 else f"{share:.0e} times"


def _source(environment: Any, name: str) -> str:
    source, _, _ = environment.loader.get_source(environment, name)
    return str(source)


def _policy_hash(text: str) -> str:
    """As a content security policy names an inline element whose whole text this is."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
