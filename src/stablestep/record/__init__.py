"""What every Monte Carlo shares: recorded times, the divergence guard, chunks and threads, and the Dataset."""

from stablestep.record.chunks import in_threads, within_memory
from stablestep.record.dataset import NAMES, QUANTILES, dataset, provenance
from stablestep.record.engine import Paths, compiled, monte_carlo
from stablestep.record.run import Run
from stablestep.record.start import ball_radius, cast, describe_start, look_at, start, working_dtype
from stablestep.record.times import recorded

__all__ = [
    "NAMES",
    "QUANTILES",
    "Paths",
    "Run",
    "ball_radius",
    "cast",
    "compiled",
    "dataset",
    "describe_start",
    "in_threads",
    "look_at",
    "monte_carlo",
    "provenance",
    "recorded",
    "start",
    "within_memory",
    "working_dtype",
]
