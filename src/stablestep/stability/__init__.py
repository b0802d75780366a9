"""The critical step: by theorem, by model, by simulation; and maps of it."""

from stablestep.stability.advice import Advice, advise
from stablestep.stability.case import CriticalStep
from stablestep.stability.critical import METHODS, critical_step
from stablestep.stability.edge_map import edge_map

__all__ = ["METHODS", "Advice", "CriticalStep", "advise", "critical_step", "edge_map"]
