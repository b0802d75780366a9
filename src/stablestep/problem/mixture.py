"""The weighted sum of several problems: the objective of agents whose data differ."""

from collections.abc import Iterable, Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Float

from stablestep.errors import InvalidInput, Numbers, numbers, require, shown
from stablestep.problem.base import Problem, Scalar, Vector, cast_like, require_finite
from stablestep.problem.quadratic import Quadratic


class Mixture(Problem):
    """f(x) = Σᵢ wᵢ fᵢ(x) for problems fᵢ of one dimension and weights w ≥ 0 that sum to 1.

    (L0, L1) pairs with L1 > 0 are not closed under averaging, so `smoothness` knows f only where it is certain:
    all problems equal, all `Quadratic` (both exact), or all with a pair at L1 = 0, where Σᵢ wᵢ L0ᵢ(0) is valid.
    Infimum: that of the problem if all are equal, of the averaged matrix if all are quadratic, else None.
    Raises `InvalidInput` for dimensions that differ, weights that are negative or do not sum to 1.

    >>> mixed = Mixture([Quadratic([2.0, 0.0]), Quadratic([0.0, 4.0])], weights=[0.5, 0.5])
    >>> mixed.smoothness(L1=0), mixed.minimum, mixed.problems[0].smoothness(L1=0)
    (2.0, 0.0, 2.0)
    """

    problems: tuple[Problem, ...]
    weights: Float[np.ndarray, " n"]

    def __init__(self, problems: Sequence[Problem], weights: Numbers):
        self.problems = _listed(problems)
        self.weights = numbers("Mixture: the array of weights", weights)
        _require_problems(self.problems)
        _require_weights(self.weights, len(self.problems))

    @property
    def dim(self) -> int:
        """The dimension all problems share."""
        return self.problems[0].dim

    def value(self, x: Vector) -> Scalar:
        return self._sum(x, [problem.value(x) for problem in self.problems])

    def gradient(self, x: Vector) -> Vector:
        return self._sum(x, [problem.gradient(x) for problem in self.problems])

    def hessian_product(self, x: Vector, v: Vector) -> Vector:
        return self._sum(x, [problem.hessian_product(x, v) for problem in self.problems])

    def _sum(self, x, parts):
        weights = cast_like(x, self.weights)
        return sum(weights[i] * part for i, part in enumerate(parts[1:], start=1)) + weights[0] * parts[0]

    @property
    def minimum(self) -> float | None:
        single = self._as_one()
        return None if single is None else single.minimum

    @property
    def smallest_L1(self) -> float:
        single = self._as_one()
        return 0.0 if single is None else single.smallest_L1

    def smoothness(self, L1: float) -> float:
        single = self._as_one()
        if single is not None:
            return single.smoothness(L1)
        return float(np.dot(self.weights, [self._bounded_hessian(problem) for problem in self.problems]))

    def _as_one(self) -> Problem | None:
        """The one problem that equals this mixture, if there is one."""
        first, *others = self.problems
        if all(bool(eqx.tree_equal(first, other)) for other in others):
            return first
        matrices = [_full(problem) for problem in self.problems if isinstance(problem, Quadratic)]
        all_quadratic = len(matrices) == len(self.problems)
        return Quadratic(np.tensordot(np.asarray(self.weights), np.stack(matrices), 1)) if all_quadratic else None

    def _bounded_hessian(self, problem: Problem) -> float:
        try:
            return problem.smoothness(0.0)
        except InvalidInput as error:
            raise InvalidInput(
                "Mixture: no (L0, L1) pair is known, because pairs with L1 > 0 are not closed under averaging and "
                f"{type(problem).__name__} has none with L1=0; measure one, or describe f as "
                "Function(f, dim, smoothness=...) with your own curve L1 -> L0."
            ) from error


def _full(problem: Quadratic) -> np.ndarray:
    matrix = np.asarray(problem.matrix, dtype=np.float64)
    return np.diag(matrix) if matrix.ndim == 1 else matrix


def _listed(problems) -> tuple[Problem, ...]:
    listed = isinstance(problems, Iterable) and not isinstance(problems, (str, np.ndarray))
    require(
        listed,
        f"Mixture: problems is {shown(problems)}, but must list problems, such as [Quadratic([1.0]), Quadratic([2.0])].",
    )
    return tuple(problems)


def _require_problems(problems: tuple[Problem, ...]) -> None:
    require(len(problems) > 0, "Mixture: there are no problems; give at least one.")
    for problem in problems:
        require(
            isinstance(problem, Problem),
            f"Mixture: {shown(problem)} is among the problems, but must be a Problem; wrap a function as Function(f, dim).",
        )
    dims = [problem.dim for problem in problems]
    require(len(set(dims)) == 1, f"Mixture: the problems have dim = {dims}, but must have one; use x of one length.")


def _require_weights(weights: np.ndarray, count: int) -> None:
    require(
        weights.shape == (count,),
        f"Mixture: the weights have shape {weights.shape}, but must be {count}, one for each problem.",
    )
    require_finite("Mixture", "the array of weights", weights)
    total = float(np.sum(weights))
    require(
        np.min(weights) >= 0 and abs(total - 1) < 1e-6,
        f"Mixture: the weights are {shown(weights.tolist())} with sum {total}, but must be at least 0 and sum to 1; "
        "divide them by their sum.",
    )
