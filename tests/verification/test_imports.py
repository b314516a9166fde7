"""What verification imports beside the frameworks, which take long enough."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys
os.environ["GLOG_v"] = "3"
import torch
from ordinary_cases import SHAPES, ordinary_case
from porter.verification.options import Options
from porter.verification.ordinary import verify_ordinary
from porter.verification.runs import Bench

before, bench, twice = set(sys.modules), Bench(Options()), ("torch", "torch")
results = [verify_ordinary(ordinary_case(kind, shapes, dialects=twice), bench) for kind, shapes in SHAPES]
print([result.name for result in results if not result.ok], *sorted(set(sys.modules) - before))
"""


def test_no_layer_makes_pytorch_import_its_compiler() -> None:
    """It did: 800 modules and 1.2 s for an embedding, half a second for a gradient."""
    folder = Path(__file__).parent
    found = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True, check=True)
    wrong, *imported = found.stdout.split()
    assert wrong == "[]"
    assert not {"sympy", "torch._refs", "torch.fx.experimental.symbolic_shapes"} & set(imported)
