"""Clients with data of their own."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stablestep.problem import Problem


class Bowl(Problem):
    """½(x − c)ᵀH(x − c)."""

    matrix: Float[Array | np.ndarray, "d d"]
    centre: Float[Array | np.ndarray, " d"]

    @property
    def dim(self):
        return self.centre.shape[0]

    def value(self, x):
        return jnp.dot(x - self.centre, self.gradient(x)) / 2

    def gradient(self, x):
        return self.matrix @ (x - self.centre)

    @property
    def minimum(self):
        return 0.0
