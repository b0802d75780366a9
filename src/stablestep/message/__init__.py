"""The law of the mean message of all agents: the hinge between the optimizer, its SDE models and the theorems."""

from stablestep.message.law import Law, law

__all__ = ["Law", "law"]
