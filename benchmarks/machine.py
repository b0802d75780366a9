"""What a figure was measured on: the processor, the versions, and how busy the machine was."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stablestep import native

PACKAGES = ("stablestep", "stablestep-native", "jax", "jaxlib", "diffrax", "numpy", "torch", "torchsde")


def machine() -> dict:
    """The processor by its model name, and every version."""
    versions = {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
    facts = {"cpu": _cpu_model(), "cores": os.cpu_count(), "system": platform.system()}
    return {"versions": versions, **facts, "native": native.build() or "not used"}


def load() -> float | None:
    """How many processes wanted to run in the last minute, where the system says so: near 0 on an idle machine."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
