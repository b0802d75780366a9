"""Functions and a setup for the tests of sweeps, which other processes can import."""

import os
import tempfile
import time

import numpy as np

from stablestep import compressor, noise, problem
from stablestep.errors import InvalidInput
from stablestep.setup import Agents, Setup

SETUP = Setup(
    problem.Quadratic([1.0, 2.0]), Agents(4, noise.Gaussian(sigma1=0.1), compressor.RandomSparsification(omega=3.0))
)
GRID = {"omega": [0.0, 3.0, 19.0, 99.0], "count": [1, 4, 16]}


def numbers(setup, factor=1.0):
    """Some numbers that depend on the setup, and a text."""
    group = setup.groups[0]
    return {
        "product": factor * group.count * group.compressor.omega(2),
        "count.half": group.count // 2,
        "name": "ω" * group.count,
    }


def picky(setup):
    """Refuses four agents."""
    if setup.count == 4:
        raise InvalidInput("four is too many; use fewer.")
    return float(setup.count)


def broken(setup):
    """Fails at four agents."""
    return {"value": 1 / (setup.count - 4)}


def logged(setup, folder):
    """Leaves a file for each call."""
    descriptor, _ = tempfile.mkstemp(prefix=f"call-{setup.count}-", dir=folder)
    os.close(descriptor)
    return float(setup.count)


def slow(setup, seconds=0.05):
    """Takes a while."""
    time.sleep(seconds)
    return {"value": setup.groups[0].compressor.omega(2), "noise": np.arange(3.0) * setup.count}


def worker(setup):
    """The process that it is computed in."""
    return os.getpid()
