"""What this machine can do: convert, which needs no framework, and verify on PyTorch, on MindSpore, or both.

Each framework is imported and tried in a process of its own (`porter.verification.probe`): a crash is a finding.
"""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Literal

from porter.verification.mindspore_backend import LOG_LEVEL
from porter.verification.probe import Facts, Kernel
from porter.versions import version_of

SCHEMA = "bnport.doctor/1"

Purpose = Literal["conversion", "verification"]
Status = Literal["ok", "warning", "problem", "missing"]

# Distribution -> the module whose import proves that it works.
_CORE = {
    "numpy": "numpy",
    "click": "click",
    "rich": "rich.table",
    "safetensors": "safetensors.numpy",
    "isal": "isal.isal_zlib",
}
# Distribution -> the layer without which nothing can be verified on it; verification runs in float32.
_FRAMEWORKS = {"torch": "torch.nn.BatchNorm3d", "mindspore": "mindspore.nn.BatchNorm3d"}
_PYTHONS = ("3.10", "3.11", "3.12")
# The first import after an installation compiles thousands of modules, which takes its time on a slow disk.
_PROBE_SECONDS = 180


@dataclass(frozen=True)
class Finding:
    """One fact about this machine.

    Attributes:
        name: what was looked at.
        needed_for: `conversion`, or `verification`, which conversion can do without.
        status: `ok`; `warning`: works, with something to know; `problem`: does not work; `missing`: not installed.
        detail: what was found.
        hint: what to type or to change; None where there is nothing to do.
    """

    name: str
    needed_for: Purpose
    status: Status
    detail: str
    hint: str | None = None


@dataclass(frozen=True)
class Report:
    """What `examine` found.

    Attributes:
        versions: of Python, bnport and what it builds on; None where it is not installed.
        frameworks: by distribution, what it can run; None where it is not installed or could not be tried.
        findings: the conclusions, conversion's first.
    """

    versions: Mapping[str, str | None]
    frameworks: Mapping[str, Facts | None]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether conversion works."""
        broken = ("problem", "missing")
        return not any(f.needed_for == "conversion" and f.status in broken for f in self.findings)

    @property
    def verifies(self) -> dict[str, bool]:
        """Distribution -> whether `bnport verify` can run layers on it."""
        return {name: facts is not None and _verifies(name, facts) for name, facts in self.frameworks.items()}

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "ok": self.ok,
            "verifies": self.verifies,
            "versions": dict(self.versions),
            "frameworks": {name: facts and asdict(facts) for name, facts in self.frameworks.items()},
            "findings": [asdict(finding) for finding in self.findings],
        }


def examine() -> Report:
    """Look at everything bnport builds on; takes some seconds, for it starts both frameworks. Raises nothing."""
    running = platform.python_version()
    versions = {"python": running, **{name: version_of(name) for name in ("bnport", *_CORE, *_FRAMEWORKS)}}
    installed = [name for name in _FRAMEWORKS if versions[name]]
    with ThreadPoolExecutor() as pool:
        probed = dict(zip(installed, pool.map(_probe, installed), strict=True))
    findings = [_python(running), *(_core(name, versions[name]) for name in _CORE)]
    for name in _FRAMEWORKS:
        findings += _framework(name, versions[name], probed.get(name))
    findings += _traps(versions)
    frameworks = {name: facts if isinstance(facts := probed.get(name), Facts) else None for name in _FRAMEWORKS}
    return Report(versions, frameworks, tuple(findings))


def _probe(framework: str) -> Facts | str:
    """What `framework` can run, or in words why it could not be tried."""
    # The probe must find the modules this process finds, whatever folder it was started in.
    program = "import sys; sys.path[:] = sys.argv[2:]; from porter.verification.probe import main; main(sys.argv[1])"
    command = [sys.executable, "-c", program, framework, *sys.path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"gave no answer within {_PROBE_SECONDS} s"
    if done.returncode < 0:
        return f"crashed with {signal.Signals(-done.returncode).name}"
    if done.returncode > 0:
        return f"does not import: {(done.stderr.strip() or 'no message').splitlines()[-1]}"
    return Facts.from_json(done.stdout.splitlines()[-1])


def _python(running: str) -> Finding:
    if running.rpartition(".")[0] in _PYTHONS:
        return Finding("Python", "conversion", "ok", running)
    detail = f"{running}; tested and supported are {', '.join(_PYTHONS)}"
    return Finding("Python", "conversion", "warning", detail, "MindSpore has no wheels for other versions of Python")


def _core(distribution: str, installed: str | None) -> Finding:
    hint = f"pip install --force-reinstall {distribution}" if distribution != "numpy" else "pip install 'numpy<2'"
    if installed is None:
        return Finding(distribution, "conversion", "missing", "not installed", hint)
    try:
        import_module(_CORE[distribution])
    except Exception as error:
        return Finding(distribution, "conversion", "problem", f"{installed} does not import: {error}", hint)
    return Finding(distribution, "conversion", "ok", installed)


def _framework(name: str, installed: str | None, facts: Facts | str | None) -> Iterator[Finding]:
    if installed is None or facts is None:
        yield Finding(name, "verification", "missing", "not installed", f"pip install 'bnport[{name}]'")
        return
    if isinstance(facts, str):
        hint = f"to see all of it: python -c 'import {name}'; to install anew: pip install --force-reinstall {name}"
        yield Finding(name, "verification", "problem", f"{installed} {facts}", hint)
        return
    yield Finding(name, "verification", "ok", f"{installed}, devices: {', '.join(facts.devices)}")
    for layer, device in dict.fromkeys((kernel.layer, kernel.device) for kernel in facts.kernels):
        kernels = [kernel for kernel in facts.kernels if (kernel.layer, kernel.device) == (layer, device)]
        yield _kernels(f"{layer} on {device}", layer == _FRAMEWORKS[name], kernels)
    if facts.signature:
        meanings = {
            "classic": "momentum weighs the old statistics, 1 - PyTorch's",
            "announced": "PyTorch-like: momentum is not inverted, track_running_stats takes the place of "
            "use_batch_statistics",
        }
        yield Finding("mindspore.nn.BatchNorm3d signature", "verification", "ok", meanings[facts.signature])


def _kernels(name: str, judged: bool, kernels: list[Kernel]) -> Finding:
    """Which element types one layer runs in; a `judged` layer is the one verification stands on."""
    failing = {kernel.dtype: kernel for kernel in kernels if kernel.error}
    running = [dtype for dtype in dict.fromkeys(kernel.dtype for kernel in kernels) if dtype not in failing]
    detail = f"runs in {', '.join(running) or 'no element type'}"
    if failing:
        detail += f"; not in {', '.join(failing)} ({next(iter(failing.values())).error})"
    if "float32" in running:
        return Finding(name, "verification", "ok", detail)
    if judged:
        return Finding(
            name, "verification", "problem", detail, "verification will judge by the other framework alone"
        )
    hint = "conversion is unaffected; verify will compare the tensors bit by bit and say that the layer did not run"
    return Finding(name, "verification", "warning", detail, hint)


def _traps(versions: Mapping[str, str | None]) -> Iterator[Finding]:
    """Combinations that install and import, and then go wrong."""
    if versions["mindspore"] and _numbers(versions["numpy"]) >= (2,):
        detail = (
            f"numpy {versions['numpy']}: MindSpore is compiled for numpy 1, its first operator fails with numpy 2"
        )
        yield Finding("numpy and mindspore", "verification", "problem", detail, "pip install 'numpy<2'")
    advisories = {(2, 6): "CVE-2025-32434", (2, 10): "CVE-2026-24747"}
    open_ones = [
        name for fixed, name in advisories.items() if versions["torch"] and _numbers(versions["torch"]) < fixed
    ]
    if open_ones:
        detail = f"torch {versions['torch']}: {', '.join(open_ones)}: a crafted file can run code through torch.load"
        yield Finding("torch advisories", "verification", "warning", detail, "pip install 'torch>=2.10'")
    if os.environ.get(LOG_LEVEL) == "5":
        detail = "GLOG_v=5 in the environment makes `import mindspore` fail; bnport overrides it, your scripts do not"
        yield Finding("GLOG_v", "verification", "warning", detail, "export GLOG_v=3")


def _numbers(version: str | None) -> tuple[int, ...]:
    """2.13.0+cpu -> (2, 13, 0)"""
    release = re.match(r"[\d.]*", version or "")
    return tuple(int(part) for part in release.group().split(".") if part) if release else ()


def _verifies(framework: str, facts: Facts) -> bool:
    wanted = [k for k in facts.kernels if k.layer == _FRAMEWORKS[framework] and k.dtype == "float32"]
    return bool(wanted) and all(kernel.error is None for kernel in wanted)
