"""Noise that is not symmetric, under which biased messages have floors that symmetric noise hides."""

import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Float

from stablestep.noise import Noise


class Picks(Noise):
    """One of a few displacements with mean 0, each with its own chance: the noise of counterexamples, not symmetric as all others are.

    Args:
        points: the displacements [n, d].
        chances: of each [n].

    >>> Picks(np.array([[4.0], [-1.0]]), np.array([0.2, 0.8])).total_variance
    4.0
    """

    points: Float[np.ndarray, "n d"]
    chances: Float[np.ndarray, " n"]

    def sample(self, stream, problem, x, gradient):
        steps = jnp.cumsum(jnp.asarray(self.chances, jnp.float32))[:-1]
        place = jnp.sum(stream.uniform(1, jnp.float32)[0] >= steps)
        return gradient + jnp.asarray(self.points, gradient.dtype)[place]

    def covariance(self, problem, x, gradient):
        points, chances = (jnp.asarray(each, gradient.dtype) for each in (self.points, self.chances))
        return lx.MatrixLinearOperator((points.T * chances) @ points, lx.positive_semidefinite_tag)

    @property
    def total_variance(self) -> float:
        """E‖noise‖²."""
        return float(self.chances @ np.sum(np.square(self.points), axis=1))


ONE = Picks(np.array([[4.0], [-1.0]]), np.array([0.2, 0.8]))
# The law of Fatkhullin et al. 2023 (Thm 1), of total variance 1.
TWO = Picks(np.sqrt(0.3) * np.array([[2.0, 0.0], [0.0, 1.0], [-2.0, -1.0]]), np.full(3, 1 / 3))
