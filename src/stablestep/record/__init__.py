"""What every Monte Carlo shares: recorded times, the divergence guard, chunks and devices, and the Dataset."""

from stablestep.record.dataset import QUANTILES, dataset, provenance
from stablestep.record.engine import Paths, Process, monte_carlo
from stablestep.record.start import cast, start, working_dtype
from stablestep.record.times import recorded

__all__ = ["QUANTILES", "Paths", "Process", "cast", "dataset", "monte_carlo", "provenance", "recorded", "start", "working_dtype"]
