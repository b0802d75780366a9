"""The published results, each callable: hypotheses, step limit, bound, reference."""

from stablestep.theorem.constants import Constants, constants
from stablestep.theorem.result import Result, bound, result, results, step_limit

__all__ = ["Constants", "Result", "bound", "constants", "result", "results", "step_limit"]
