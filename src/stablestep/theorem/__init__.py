"""The published results, each callable: hypotheses, step limit, bound, reference."""

from stablestep.theorem.catalogue import bound, density, result, results, step_limit
from stablestep.theorem.constants import Constants, constants
from stablestep.theorem.covering import covering
from stablestep.theorem.normalized import normalized_bound
from stablestep.theorem.result import Hypothesis, Result
from stablestep.theorem.variant import Variant

__all__ = [
    "Constants",
    "Hypothesis",
    "Result",
    "Variant",
    "bound",
    "constants",
    "covering",
    "density",
    "normalized_bound",
    "result",
    "results",
    "step_limit",
]
