"""bnport: convert 3D-network checkpoints between PyTorch and MindSpore, and prove every converted layer."""

from porter.api import Conversion, Inspection, convert, inspect, verify
from porter.destination import WriteOptions
from porter.errors import BnportError
from porter.source import SourceOptions

__version__ = "0.1.0"

__all__ = [
    "BnportError",
    "Conversion",
    "Inspection",
    "SourceOptions",
    "WriteOptions",
    "convert",
    "inspect",
    "verify",
]
