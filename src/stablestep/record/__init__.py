"""What every Monte Carlo shares: recorded times, the divergence guard, chunks and devices, and the Dataset."""

from stablestep.record.dataset import QUANTILES, dataset, provenance
from stablestep.record.engine import Paths, Process, compiled, monte_carlo
from stablestep.record.start import ball_radius, cast, describe, describe_start, start, working_dtype
from stablestep.record.times import recorded

__all__ = [
    "QUANTILES",
    "Paths",
    "Process",
    "ball_radius",
    "cast",
    "compiled",
    "dataset",
    "describe",
    "describe_start",
    "monte_carlo",
    "provenance",
    "recorded",
    "start",
    "working_dtype",
]
