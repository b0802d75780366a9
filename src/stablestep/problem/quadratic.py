"""Quadratic functions: the problems on which everything has a closed form."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from stablestep.errors import InvalidInput, Numbers, numbers, require
from stablestep.problem.base import (
    Problem,
    Scalar,
    Vector,
    cast_like,
    checked_L1,
    require_finite,
    require_norm,
)


def _symmetric(given: Numbers) -> np.ndarray:
    matrix = numbers("Quadratic: the matrix", given)
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    require(
        matrix.size > 0 and (matrix.ndim == 1 or square),
        f"Quadratic: the matrix has shape {matrix.shape}, but must be (d, d), or d eigenvalues; for d = 1 give [value].",
    )
    require_finite("Quadratic", "the matrix", matrix)
    return matrix if matrix.ndim == 1 else _symmetric_part(matrix)


def _symmetric_part(matrix: np.ndarray) -> np.ndarray:
    gap = np.abs(matrix - matrix.T)
    i, j = np.unravel_index(np.argmax(gap), gap.shape)
    if gap[i, j] > 1e-6 * np.max(np.abs(matrix)):
        raise InvalidInput(
            f"Quadratic: entry ({i}, {j}) of the matrix is {matrix[i, j]} and entry ({j}, {i}) is {matrix[j, i]}, but the matrix "
            "must be symmetric; give (Q + Q.T) / 2, which defines the same f."
        )
    return (matrix + matrix.T) / 2


class Quadratic(Problem):
    """f(x) = ½ xᵀQx for a symmetric matrix Q [d, d], or for the eigenvalues [d] of a diagonal one.

    `smoothness(L1)` = λmax(|Q|) for every L1 ≥ 0 (minimal). Infimum 0 if Q is positive semidefinite, else None (-∞).
    Raises `InvalidInput` for a matrix that is not square, not finite, or not symmetric to 1e-6 of its largest entry.

    >>> problem = Quadratic([1.0, 4.0])
    >>> float(problem.value(jnp.array([2.0, 1.0]))), problem.gradient(jnp.array([2.0, 1.0])).tolist()
    (4.0, [2.0, 4.0])
    >>> problem.smoothness(L1=0), problem.minimum, Quadratic([[0.0, 1.0], [1.0, 0.0]]).minimum
    (4.0, 0.0, None)
    """

    stored: ClassVar[dict[str, str]] = {"matrix_or_eigenvalues": "matrix"}
    matrix: Float[np.ndarray, "d d"] | Float[np.ndarray, " d"]

    def __init__(self, matrix_or_eigenvalues: Numbers):
        self.matrix = _symmetric(matrix_or_eigenvalues)

    @property
    def dim(self) -> int:
        """d."""
        return self.matrix.shape[-1]

    @property
    def eigenvalues(self) -> np.ndarray:
        """The eigenvalues of Q [d], ascending."""
        given = np.asarray(self.matrix, dtype=np.float64)
        return np.sort(given) if given.ndim == 1 else np.linalg.eigvalsh(given)

    def value(self, x: Vector) -> Scalar:
        return jnp.vdot(x, self.gradient(x)) / 2

    def gradient(self, x: Vector) -> Vector:
        return self.hessian_product(x, x)

    def hessian_product(self, x: Vector, v: Vector) -> Vector:
        matrix = cast_like(x, self.matrix)
        return matrix * v if matrix.ndim == 1 else matrix @ v

    @property
    def minimum(self) -> float | None:
        eigenvalues = self.eigenvalues
        rounding = 1e-12 * np.max(np.abs(eigenvalues))
        return 0.0 if eigenvalues[0] >= -rounding else None

    def smoothness(self, L1: float) -> float:
        checked_L1("Quadratic", L1)
        return float(np.max(np.abs(self.eigenvalues)))

    def coordinate_curvature(self, gradient):
        """|λ_j|, where the eigenvalues are given; a full matrix is not separable."""
        matrix = np.asarray(self.matrix, float)
        return np.abs(matrix) if matrix.ndim == 1 else super().coordinate_curvature(gradient)

    def best_L1(self, gradient_norm: float) -> float:
        """0: the Hessian is bounded, so L1 buys nothing."""
        require_norm(gradient_norm)
        return 0.0
