"""The published results, each callable: hypotheses, step limit, bound, reference."""

from stablestep.theorem.catalogue import bound, density, result, results, step_limit
from stablestep.theorem.constants import Constants
from stablestep.theorem.covering import Covered, covered, covering
from stablestep.theorem.ef import necessary
from stablestep.theorem.normalized import normalized_bound
from stablestep.theorem.of_estimates import constants_from
from stablestep.theorem.of_setup import constants, described
from stablestep.theorem.result import Hypothesis, Result
from stablestep.theorem.variant import Variant

__all__ = [
    "Constants",
    "Covered",
    "Hypothesis",
    "Result",
    "Variant",
    "bound",
    "constants",
    "constants_from",
    "covered",
    "covering",
    "density",
    "described",
    "necessary",
    "normalized_bound",
    "result",
    "results",
    "step_limit",
]
