"""A function of a setup over many points, on any executor, kept in a folder and never computed twice."""

from stablestep.sweep.call import Sweep, sweep
from stablestep.sweep.plan import Plan
from stablestep.sweep.run import NotFinished

__all__ = ["NotFinished", "Plan", "Sweep", "sweep"]
