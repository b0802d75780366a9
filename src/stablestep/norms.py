"""The Euclidean norm of a vector, right at both ends of the range of its type."""

import jax.numpy as jnp
from jaxtyping import Array, Float

SQUARED = 1e140  # numbers between this and its inverse have squares in float64, with room


def norm(vector: Float[Array, " d"]) -> Float[Array, ""]:
    """‖v‖₂, of v over its largest entry, so that the squares neither overflow nor vanish.

    >>> round(float(norm(jnp.array([3e30, 4e30], jnp.float32))) / 1e30, 5)
    5.0
    """
    largest = jnp.max(jnp.abs(vector), initial=0)
    scale = jnp.where((largest > 0) & (largest < jnp.inf), largest, 1)
    return scale * jnp.sqrt(jnp.sum(jnp.square(vector / scale)))
