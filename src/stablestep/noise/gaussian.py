"""Gaussian noise of affine variance (P Def. 3.2)."""

import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from stablestep.errors import Numbers
from stablestep.noise.base import Scaled, check_length, deviation, normal_odd, normal_tail


class Gaussian(Scaled):
    """Gaussian noise of variance σ0² + σ1²‖∇f(x)‖² in each coordinate, independent between coordinates (P Def. 3.2).

    Args:
        sigma0: standard deviation at a stationary point, a number or one for each coordinate.
        sigma1: growth with the gradient norm, likewise.

    Raises:
        InvalidInput: if a standard deviation is negative or not finite.

    >>> Gaussian(sigma0=1.0, sigma1=0.1).affine_variance(dim=10)
    (1.0, 0.010000000000000002)
    """

    sigma0: float | Float[Array | np.ndarray, " d"]
    sigma1: float | Float[Array | np.ndarray, " d"]

    def __init__(self, sigma0: Numbers = 0.0, sigma1: Numbers = 0.0):
        self.sigma0 = deviation("sigma0", sigma0)
        self.sigma1 = deviation("sigma1", sigma1)

    def scale(self, gradient):
        """Standard deviation of each coordinate, or of all."""
        squared = jnp.square(self.sigma0) + jnp.square(self.sigma1) * jnp.sum(gradient * gradient)
        return jnp.sqrt(squared).astype(gradient.dtype)

    def sample(self, stream, problem, x, gradient):
        return gradient + self.scale(gradient) * stream.normal(gradient.shape[0], gradient.dtype)

    def covariance(self, problem, x, gradient):
        return lx.DiagonalLinearOperator(jnp.broadcast_to(jnp.square(self.scale(gradient)), gradient.shape))

    @property
    def is_zero(self):
        return not (np.any(np.asarray(self.sigma0)) or np.any(np.asarray(self.sigma1)))

    @property
    def independent(self):
        return True

    def tail(self, z):
        return normal_tail(z)

    def odd(self, z):
        return normal_odd(z)

    def affine_variance(self, dim):
        return float(np.max(np.square(self.sigma0))), float(np.max(np.square(self.sigma1)))

    def student_scale(self):
        if np.any(np.asarray(self.sigma1)):
            return super().student_scale()
        return np.inf, float(np.min(self.sigma0)), float(np.max(self.sigma0))

    def check(self, problem):
        check_length("Gaussian", "sigma0", self.sigma0, problem)
        check_length("Gaussian", "sigma1", self.sigma1, problem)
