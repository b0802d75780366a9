"""σ0² and σ1²: how the variance of one worker's gradient depends on the gradient."""

from dataclasses import dataclass

import numpy as np

from stablestep.errors import require
from stablestep.estimate.value import Estimate, bootstrap, pairs, unit, unknown, widened


@dataclass(frozen=True)
class AffineVariance:
    """σ0² and σ1², each per coordinate."""

    sigma0_sq: Estimate
    sigma1_sq: Estimate

    def __call__(self, gradient_sq):
        """σ0² + σ1²‖∇f‖²."""
        return self.sigma0_sq.value + self.sigma1_sq.value * np.asarray(gradient_sq)


def affine_variance(gradient_sq, variance) -> AffineVariance:
    """The fit variance ≈ σ0² + σ1²‖∇f‖² with σ0², σ1² ≥ 0 (P Def. 3.2), by least squares of relative errors.

    A variance measured from n workers has a relative error that does not depend on its size, hence the weights. Resampled points give
    the intervals, widened as so few of them ask for; fewer than six points, or points that lie on the fit exactly, give none.

    Args:
        gradient_sq: ‖∇f‖² [p ≥ 3] at points of a run, without the noise's own share: ‖ḡ‖² − (total variance)/n for a mean ḡ of n.
        variance: the variance of one coordinate of one worker's gradient there [p], averaged over coordinates.

    Raises:
        InvalidInput: for fewer than three points, different lengths, negative or not finite values.

    >>> found = affine_variance([1.0, 2.0, 3.0, 4.0], [0.7, 0.9, 1.1, 1.3])
    >>> round(found.sigma0_sq.value, 9), round(found.sigma1_sq.value, 9)
    (0.5, 0.2)
    """
    squares, spread = pairs(gradient_sq=gradient_sq, variance=variance)
    require(bool(np.all(squares >= 0)), f"gradient_sq has {squares.min()}, but squares are at least 0.")
    require(bool(np.all(spread >= 0)), f"variance has {spread.min()}, but variances are at least 0.")
    # In units of the largest, so that no power of them overflows.
    large, wide = unit(squares), unit(spread)
    squares, spread = squares / large, spread / wide

    def fit(chosen: np.ndarray) -> tuple[float, float]:
        constant, growth = _fit(squares[chosen], spread[chosen])
        return constant * wide, growth * (wide / large)

    points, whole = len(squares), fit(np.arange(len(squares)))
    if _exact(squares, spread):
        return AffineVariance(*(unknown(value) for value in whole))
    found = bootstrap(fit, points, whole)
    return AffineVariance(*(widened(one, points, fitted=2) for one in found))


def _exact(squares: np.ndarray, spread: np.ndarray) -> bool:
    """Whether the fit leaves nothing, which no measured variance does."""
    constant, growth = _fit(squares, spread)
    return bool(np.allclose(constant + growth * squares, spread, rtol=1e-9, atol=0))


def _fit(squares: np.ndarray, spread: np.ndarray) -> tuple[float, float]:
    if not spread.any():
        return 0.0, 0.0
    fitted = np.where(spread > 0, spread, spread[spread > 0].min())
    # The measured variances as weights would favour those that came out small, so the fitted ones take their place.
    for _ in range(3):
        constant, growth = _weighted(squares, spread, 1 / fitted)
        fitted = np.maximum(constant + growth * squares, 1e-6 * spread.max())
    return constant, growth


def _weighted(squares: np.ndarray, spread: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    # In units of the largest square, so that both columns are of one size.
    unit = float(squares.max()) or 1.0
    columns = np.stack([weights, squares / unit * weights], axis=1)
    scale = np.linalg.norm(columns, axis=0)
    scale[scale == 0] = 1.0
    from scipy.optimize import nnls  # slow to load

    constant, growth = nnls(columns / scale, spread * weights)[0] / scale
    return float(constant), float(growth / unit)
