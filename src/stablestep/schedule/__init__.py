"""Step sizes: the step at time t = kη is ηη_t, a function of the time and of what the server sees."""

from stablestep.schedule.base import Schedule, Seen
from stablestep.schedule.limit import ENSEMBLE, Limited, Note, StepLimit
from stablestep.schedule.of_norms import Clip, LocalNorms, Normalized
from stablestep.schedule.of_time import Constant, Custom, Polynomial

__all__ = [
    "ENSEMBLE",
    "Clip",
    "Constant",
    "Custom",
    "Limited",
    "LocalNorms",
    "Normalized",
    "Note",
    "Polynomial",
    "Schedule",
    "Seen",
    "StepLimit",
]
