"""The critical step: by theorem, by model, by simulation; and maps of it."""

from stablestep.stability.advice import Advice, advise
from stablestep.stability.critical import METHODS, critical_step
from stablestep.stability.edge_map import edge_map
from stablestep.stability.start_point import CriticalStep

__all__ = ["METHODS", "Advice", "CriticalStep", "advise", "critical_step", "edge_map"]
