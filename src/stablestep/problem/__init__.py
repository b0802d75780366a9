"""Problems: f, its gradient, its infimum, and its curve of valid (L0, L1) pairs."""

from stablestep.problem.base import Problem, SumProblem
from stablestep.problem.data import Logistic, PhaseRetrieval
from stablestep.problem.mixture import Mixture
from stablestep.problem.power import Cosh, EvenPower, Quartic
from stablestep.problem.quadratic import Quadratic
from stablestep.problem.user import FiniteSum, Function
from stablestep.problem.wells import DoubleWell

__all__ = [
    "Cosh",
    "DoubleWell",
    "EvenPower",
    "FiniteSum",
    "Function",
    "Logistic",
    "Mixture",
    "PhaseRetrieval",
    "Problem",
    "Quadratic",
    "Quartic",
    "SumProblem",
]
