"""What is installed, as its metadata says: nothing is imported."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

# Distributions whose code a verification's figures come from.
_VERIFYING = ("bnport", "torch", "mindspore", "numpy")


def version_of(distribution: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def environment() -> dict[str, str | None]:
    """Name -> version of what verifications run on: bnport, both frameworks, numpy, Python, the platform."""
    versions = {name: version_of(name) for name in _VERIFYING}
    return {**versions, "python": platform.python_version(), "platform": platform.platform()}
