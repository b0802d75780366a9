"""Signs of a multivariate Student-t vector: dependent through the χ² that its coordinates share."""

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from stablestep.noise import StudentT
from stablestep.student import CHI2_WEIGHTS


def multivariate_sign_covariance(noise: StudentT, gradient: Float[Array, " d"]) -> lx.AbstractLinearOperator:
    """Covariance of sign(z_j + T_j), z = g/scale, T ~ t_ν(0, I): 1 − 4Ξ(z_j)² on the diagonal and, off it,
    E_w[(2Φ(z_j√w) − 1)(2Φ(z_l√w) − 1)] − 4Ξ(z_j)Ξ(z_l) with w = χ²_ν/ν (P Eq. 127 holds for independent coordinates only).

    >>> noise = StudentT(1.0, scale=[1.0, 2.0], coordinates="multivariate")
    >>> entry = multivariate_sign_covariance(noise, jnp.array([1.0, 0.5])).as_matrix()[0, 1]
    >>> round(float(entry), 5)
    0.03174
    """
    dtype = gradient.dtype
    root = jnp.sqrt(jnp.asarray(noise.shared_w, dtype) / 2)
    conditional = jax.scipy.special.erf(
        gradient[:, None] / jnp.broadcast_to(noise.scale(gradient), gradient.shape)[:, None] * root
    )
    mean = noise.mean_sign(gradient)
    matrix = (conditional * jnp.asarray(CHI2_WEIGHTS, dtype)) @ conditional.T - jnp.outer(mean, mean)
    matrix = (matrix + matrix.T) / 2  # a product of matrices is symmetric to rounding only
    diagonal = jnp.eye(gradient.shape[0], dtype=bool)
    return lx.MatrixLinearOperator(jnp.where(diagonal, 1 - mean**2, matrix), lx.positive_semidefinite_tag)
