"""What the small trainings learn from, without a download: digits, the standard library's text, and what a seed makes."""

import sysconfig
from functools import cache
from pathlib import Path

import numpy as np

# Modules of every Python from 3.11 on; all of them files; their text differs a little between versions.
MODULES = "argparse ast calendar dataclasses difflib doctest enum fractions gettext heapq inspect ipaddress locale shutil statistics"
LETTERS = 97  # printable bytes, the line break, and one for all others


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 64], centred so that a first layer sees both signs, and labels [n]."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.data / 8 - 1).astype(np.float32), found.target.astype(np.int32)


@cache
def text() -> np.ndarray:
    """Letters of source text, as whole numbers below `LETTERS`."""
    folder = Path(sysconfig.get_path("stdlib"))
    read = b"".join((folder / f"{module}.py").read_bytes() for module in MODULES.split())
    letters = np.frombuffer(read, np.uint8).astype(np.int32) - 32
    letters = np.where(letters == ord("\n") - 32, 95, letters)
    return np.where((letters < 0) | (letters > 95), LETTERS - 1, letters)


def features(count: int, dim: int, power: float, seed: int) -> np.ndarray:
    """Gaussian rows whose covariance has the eigenvalues i^(−power)."""
    return (np.random.default_rng(seed).normal(size=(count, dim)) * np.arange(1, dim + 1) ** (-power / 2)).astype(
        np.float32
    )


def weights(dim: int, outputs: int, seed: int) -> np.ndarray:
    """Gaussian weights of a teacher."""
    return np.random.default_rng(seed).normal(size=(dim, outputs)).astype(np.float32)
