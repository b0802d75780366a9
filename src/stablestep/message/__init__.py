"""The law of the mean message of all agents: the hinge between the optimizer, its SDE models and the theorems; and exact moments."""

from stablestep.message.law import Law, law
from stablestep.message.moments import moments

__all__ = ["Law", "law", "moments"]
