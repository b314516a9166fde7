"""How well layers are recognised from a checkpoint alone.

    python tests/benchmarks/recognition.py [--only TEXT] [--json]

Saves every MONAI network that builds with batch normalisation, and networks made to mislead, in four forms: a state
dict with its `_metadata`, the same without, the whole pickled module, and MindSpore's .ckpt without the record of its
conversion. The live network is the truth. A layer is

- right: decided, and the truth is among its kinds (Conv3d|ConvTranspose3d are converted alike, and need no decision);
- wrong: inferred as something else. Each needs a reason why the file cannot tell, or the benchmark fails;
- certain: wrong, although said to be certain. Must never happen: the benchmark fails;
- undecided: bnport would ask.

Modules that are no layer bnport has a rule for are right where their tensors keep their names.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from misleading_networks import Misleading, misleading_networks
from monai_networks import monai_networks
from rich.console import Console
from rich.table import Table
from torch import nn

import porter
from porter.layers.kinds import KEEP, KINDS
from porter.layers.model import Layer

Verdict = Literal["right", "wrong", "certain", "undecided"]
VERDICTS: tuple[Verdict, ...] = ("right", "wrong", "certain", "undecided")
FORMS = ("metadata", "plain", "pickled", "mindspore")
INVISIBLE = "it has no tensors, and the file no _metadata: nothing in it shows the layer"


@dataclass(frozen=True)
class Finding:
    """What recognition makes of one layer of a network in one form."""

    case: str
    form: str
    layer: str
    truth: str | None
    found: str
    verdict: Verdict
    evidence: str
    reason: str | None

    @property
    def is_norm(self) -> bool:
        return self.truth is not None and "Norm" in self.truth

    @property
    def is_fault(self) -> bool:
        return self.verdict == "certain" or (self.verdict == "wrong" and self.reason is None)


def truth_of(network: nn.Module) -> dict[str, str | None]:
    """Layer name -> torch.nn class by descent, for every module with tensors and every normalisation."""
    truth: dict[str, str | None] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        descent = (cls.__name__ for cls in type(module).__mro__ if cls.__module__.startswith("torch.nn.modules"))
        kind = next((known for known in descent if known in KINDS), None)
        owns = any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
        if owns or isinstance(module, nn.modules.batchnorm._NormBase):
            truth[name] = kind
    return truth


def verdict(layer: Layer | None, truth: str | None) -> Verdict:
    """How `layer`, as recognised (None: not a layer), stands to the truth (None: no layer with a rule)."""
    if layer is None:
        return "right" if truth is None or _keeps_names(truth) else "wrong"
    if layer.certainty == "undecided":
        return "undecided"
    kinds = [kind.name for kind in layer.kinds]
    if truth in kinds or (truth is None and all(_keeps_names(kind) for kind in kinds)):
        return "right"
    return "certain" if layer.certainty == "certain" else "wrong"


def _keeps_names(kind: str) -> bool:
    return kind == KEEP.name or all(p.torch == p.mindspore and p.extra_axis is None for p in KINDS[kind].parameters)


def saved(network: nn.Module, folder: Path) -> Iterator[tuple[str, Path]]:
    """(form, file) for every form that the network can be saved in."""
    state = network.state_dict()
    torch.save(state, folder / "metadata.pth")
    yield "metadata", folder / "metadata.pth"
    torch.save(dict(state), folder / "plain.pth")
    yield "plain", folder / "plain.pth"
    try:
        torch.save(network, folder / "pickled.pth")
    except AttributeError:  # a network with classes or functions that were defined inside a function
        return
    yield "pickled", folder / "pickled.pth"
    with contextlib.suppress(porter.errors.Undecided):
        options = porter.WriteOptions(force=True)
        porter.convert(folder / "pickled.pth", folder / "net.ckpt", write_options=options, verify=False)
        (folder / "net.ckpt.bnport.json").unlink()
        yield "mindspore", folder / "net.ckpt"


def findings(name: str, network: nn.Module, why: Mapping[str, str], folder: Path) -> Iterator[Finding]:
    """Every layer of `network` in every form, scored. Files go to `folder`."""
    truth = truth_of(network)
    modules = dict(network.named_modules(remove_duplicate=False))
    for form, path in saved(network, folder):
        layers = {layer.name: layer for layer in porter.inspect(path).source.layers}
        written = {id(modules[layer_name]) for layer_name in layers if layer_name in modules}
        for layer_name, kind in truth.items():
            layer = layers.get(layer_name)
            if layer is None and id(modules[layer_name]) in written:
                continue  # MindSpore writes a shared layer once, under another name
            invisible = layer is None and not network.get_submodule(layer_name).state_dict()
            yield Finding(
                case=name,
                form=form,
                layer=layer_name,
                truth=kind,
                found=layer.kind_name if layer else "no layer",
                verdict=verdict(layer, kind),
                evidence="; ".join(piece.text for piece in layer.evidence) if layer else "",
                reason=INVISIBLE if invisible else why.get(layer_name) or _namesake(layer, kind),
            )


def _namesake(layer: Layer | None, truth: str | None) -> str | None:
    """The reason that needs no author: the two kinds have the same tensors, whatever the network."""
    statistics = layer is not None and "mean" in layer.tensors
    if statistics and "BatchNorm" in layer.kind_name and (truth or "").startswith("InstanceNorm"):
        return f"a {truth} with statistics has the names, shapes and version of a {layer.kind_name}"
    return None


def run(only: str) -> Iterator[tuple[str, list[Finding]]]:
    """(name, findings) of every network whose name contains `only`."""
    cases = [*misleading_networks(), *(Misleading(name, build, {}) for name, build in monai_networks())]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases:
            if only.lower() in case.name.lower():
                # MONAI's constructors print remarks.
                with contextlib.redirect_stdout(io.StringIO()):
                    network = built(case)
                yield case.name, list(findings(case.name, network, case.why, Path(folder)))


def built(case: Misleading) -> nn.Module:
    """The network with uninitialised parameters: what they hold does not matter, and filling them takes longest."""
    try:
        with torch.device("meta"):
            return case.build().to_empty(device="cpu")
    except (RuntimeError, NotImplementedError):  # a constructor that computes with its tensors
        return case.build()


def totals(found: list[Finding]) -> dict[str, dict[str, int]]:
    """Form -> verdict -> number of layers."""
    counts = Counter((finding.form, finding.verdict) for finding in found)
    return {form: {verdict: counts[form, verdict] for verdict in VERDICTS} for form in FORMS}


def main() -> None:
    parser = argparse.ArgumentParser(description="How well layers are recognised from a checkpoint alone.")
    parser.add_argument("--only", default="", help="networks whose name contains this text")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = dict(run(given.only))
    found = [finding for case in results.values() for finding in case]
    faults = [finding for finding in found if finding.is_fault]
    if given.json:
        print(json.dumps(document(results), indent=2))
    else:
        show(results)
    if faults:
        sys.exit(f"{len(faults)} layers are wrong without a reason why the file cannot tell")


def document(results: Mapping[str, list[Finding]]) -> dict[str, Any]:
    found = [finding for case in results.values() for finding in case]
    return {
        "schema": "bnport.benchmark.recognition/1",
        "networks": [{"name": name, "forms": totals(case)} for name, case in results.items()],
        "normalisations": totals([finding for finding in found if finding.is_norm]),
        "all": totals(found),
        "not_right": [asdict(finding) for finding in found if finding.verdict != "right"],
    }


def show(results: Mapping[str, list[Finding]]) -> None:
    console = Console(width=120)
    found = [finding for case in results.values() for finding in case]
    console.print(_by_network(results))
    for title, verdicts in (("Wrong", ("wrong", "certain")), ("Undecided", ("undecided",))):
        console.print(f"\n[bold]{title}[/]")
        for finding in found:
            if finding.verdict in verdicts:
                kinds = f"{finding.truth or 'no layer'} taken for {finding.found}"
                line = f"{finding.case}, {finding.form}: {finding.layer}: {kinds} ({finding.evidence})"
                reason = f"\n    {finding.reason or 'NO REASON KNOWN'}" if finding.verdict != "undecided" else ""
                console.print(line + reason, markup=False, soft_wrap=True)
    for title, counted in (("normalisations", [f for f in found if f.is_norm]), ("all layers", found)):
        table = Table(
            f"{len(results)} networks, {title}", "right", "wrong", "certain but wrong", "undecided", box=None
        )
        for form, counts in totals(counted).items():
            table.add_row(form, *(str(counts[verdict]) for verdict in VERDICTS))
        console.print("\n", table)


def _by_network(results: Mapping[str, list[Finding]]) -> Table:
    table = Table("Network", *FORMS, box=None, caption="Layers that are right, and those that are not")
    for name, case in results.items():
        cells = []
        for counts in totals(case).values():
            others = (f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
            cells.append(", ".join(others).removesuffix(" right") or "-")
        table.add_row(name, *cells)
    return table


if __name__ == "__main__":
    main()
