"""(𝔅², ζ²) of clients whose gradients are affine, from their Hessians and minimizers: theory2 section 6."""

import numpy as np
from jaxtyping import Float

from stablestep.errors import InvalidInput, require
from stablestep.message.landscape import Landscape, landscape
from stablestep.problem import Problem, Quadratic

LARGEST = 512  # coordinates of a problem that is no Quadratic, up to which its Hessian is read
_UNKNOWN = (
    "groups have problems of their own, but how far their gradients differ is not known; give dissimilarity=(𝔅², ζ²), "
    "which estimate.dissimilarity measures, or use one problem."
)


def dissimilarity_of(problems: list[Problem], weights: list[float]) -> tuple[float, float]:
    """𝔅² and ζ² with Σ w_i‖∇f_i‖² ≤ 𝔅²‖∇f‖² + ζ² everywhere, with equality somewhere, for f_i = ½xᵀH_i x + b_i·x.

    With z = ∇f, H = Σ w_i H_i and r_i = ∇f_i at f's stationary point the left side is zᵀAz + 2c·z + ρ, A = H⁻¹(Σ w_i H_i²)H⁻¹,
    c = H⁻¹ Σ w_i H_i r_i, ρ = Σ w_i‖r_i‖², so that ζ² = ρ + cᵀ(𝔅² − A)⁻¹c for every 𝔅² > λmax(A). Where c = 0 (one Hessian, or one
    minimizer) 𝔅² = λmax(A) and ζ² = ρ; else 𝔅² is the one that is tightest where ‖∇f‖² = ρ.

    Raises:
        InvalidInput: where a gradient is not affine, or H has no inverse.

    >>> dissimilarity_of([Quadratic([1.0, 3.0]), Quadratic([3.0, 1.0])], [0.5, 0.5])
    (1.25, 0.0)
    """
    parts = _read(problems)
    if any(part.hessian.ndim == 2 for part in parts):
        parts = [Landscape(_full(part.hessian), part.slope, part.value) for part in parts]
    mean, slope = _mean([part.hessian for part in parts], weights), _mean([part.slope for part in parts], weights)
    sizes = np.abs(mean) if mean.ndim == 1 else np.linalg.svd(mean, compute_uv=False)
    require(float(np.min(sizes)) > 1e-12 * float(np.max(sizes)), _UNKNOWN)
    rest = -_solved(mean, slope)
    apart = [_times(part.hessian, rest) + part.slope for part in parts]
    floor = float(_mean([np.array(r @ r) for r in apart], weights))
    lever = _solved(mean, _mean([_times(part.hessian, r) for part, r in zip(parts, apart, strict=True)], weights))
    values, squares = _spectrum(mean, _mean([_squared(part.hessian) for part in parts], weights), lever)
    # What rounding leaves of c is no lever.
    squares = np.where(squares <= 1e-20 * floor, 0.0, squares)
    return _tightest(values, squares, floor)


def _tightest(values: Float[np.ndarray, " d"], squares: Float[np.ndarray, " d"], floor: float) -> tuple[float, float]:
    """(𝔅², ζ²) from the eigenvalues of A, the squares of c in its eigenbasis, and ρ."""
    least, moves = max(1.0, float(np.max(values))), squares > 0
    if not np.any(moves):
        return least, floor

    from scipy.optimize import brentq  # slow to load

    def slope(B2: float) -> float:
        return floor - float(np.sum(squares[moves] / (B2 - values[moves]) ** 2))

    top = int(np.argmax(np.where(moves, values, -np.inf)))
    # One term of the sum alone is ρ there, and all together are no more.
    low, high = (float(values[top]) + np.sqrt(part / floor) for part in (float(squares[top]), float(np.sum(squares))))
    low = max(least, low)
    B2 = low if slope(low) >= 0 else float(brentq(slope, low, high, xtol=1e-14))  # pyright: ignore[reportArgumentType]
    return B2, floor + float(np.sum(squares[moves] / (B2 - values[moves])))


def _read(problems: list[Problem]) -> list[Landscape]:
    require(all(isinstance(one, Quadratic) or one.dim <= LARGEST for one in problems), _UNKNOWN)
    try:
        return [landscape(one) for one in problems]
    except InvalidInput as error:
        raise InvalidInput(_UNKNOWN) from error


def _mean(parts: list[np.ndarray], weights: list[float]) -> np.ndarray:
    return np.sum([weight * part for weight, part in zip(weights, parts, strict=True)], axis=0)


def _full(matrix: np.ndarray) -> np.ndarray:
    return np.diag(matrix) if matrix.ndim == 1 else matrix


def _times(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return matrix * vector if matrix.ndim == 1 else matrix @ vector


def _squared(matrix: np.ndarray) -> np.ndarray:
    return _times(matrix, matrix)


def _solved(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return vector / matrix if matrix.ndim == 1 else np.linalg.solve(matrix, vector)


def _spectrum(mean: np.ndarray, square: np.ndarray, lever: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eigenvalues of A = mean⁻¹ square mean⁻¹, and the squares of `lever` in its basis."""
    if mean.ndim == 1:
        return square / mean**2, lever**2
    inverse = np.linalg.inv(mean)
    values, basis = np.linalg.eigh(inverse @ square @ inverse)
    return values, (basis.T @ lever) ** 2
