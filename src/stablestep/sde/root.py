"""Roots of covariances, diagonal where they are."""

import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Float

Vector = Float[Array, " d"]


def root_of(covariance: lx.AbstractLinearOperator, x: Vector) -> lx.AbstractLinearOperator:
    """G with GGᵀ = `covariance`: diagonal, or triangular."""
    if lx.is_diagonal(covariance):
        return lx.DiagonalLinearOperator(jnp.sqrt(lx.diagonal(covariance)))
    return lx.MatrixLinearOperator(triangular_root(matrix_of(covariance, x)), lx.lower_triangular_tag)


def matrix_of(operator: lx.AbstractLinearOperator, x: Vector) -> Float[Array, "d d"]:
    """A symmetric operator's matrix; lineax's own `as_matrix` fails for functions under `shard_map`."""
    return jax.vmap(operator.mv)(jnp.eye(x.shape[0], dtype=x.dtype))


def triangular_root(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """A lower triangular root of a positive semidefinite matrix, with a column of zeros for each pivot that is 0.

    By plain arithmetic: batched LAPACK calls inside a loop deadlock when a process has several CPU devices, and are slower.
    """
    size, rows = matrix.shape[0], jnp.arange(matrix.shape[0])
    least = jnp.finfo(matrix.dtype).eps * size * jnp.diagonal(matrix)

    def column(j, root):
        rest = matrix[:, j] - root @ root[j]
        counts = rest[j] > least[j]
        scaled = rest / jnp.sqrt(jnp.where(counts, rest[j], 1))
        return root.at[:, j].set(jnp.where(counts & (rows >= j), scaled, 0))

    return lax.fori_loop(0, size, column, jnp.zeros_like(matrix))
