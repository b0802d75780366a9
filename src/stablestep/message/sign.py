"""Signs of a multivariate Student-t vector: dependent through the χ² that its coordinates share."""

import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float
from scipy import special

from stablestep import student

_NODES = 400


def multivariate_sign_covariance(z: Float[Array, " d"], df: float) -> lx.AbstractLinearOperator:
    """Covariance of sign(z_j + T_j), T ~ t_ν(0, I): 1 − 4Ξ(z_j)² on the diagonal and, off it,
    E_w[(2Φ(z_j√w) − 1)(2Φ(z_l√w) − 1)] − 4Ξ(z_j)Ξ(z_l) with w = χ²_ν/ν (P Eq. 127 holds for independent coordinates only).

    >>> entry = multivariate_sign_covariance(jnp.array([1.0, 0.25]), 1.0).as_matrix()[0, 1]
    >>> round(float(entry), 6)
    0.031743
    """
    values = np.asarray(z, float)
    # Gauss-Legendre over the quantiles of w, which are stretched so that the integrand is smooth at both ends.
    nodes, weights = special.roots_legendre(_NODES)
    nodes = (nodes + 1) / 2
    w = special.gammaincinv(df / 2, nodes**2 * (3 - 2 * nodes)) * 2 / df
    conditional = special.erf(values[:, None] * np.sqrt(w / 2))
    mean = 2 * student.Xi(values, df)
    matrix = (conditional * (weights * 3 * nodes * (1 - nodes))) @ conditional.T - np.outer(mean, mean)
    np.fill_diagonal(matrix, 1 - mean**2)
    return lx.MatrixLinearOperator(jnp.asarray(matrix, z.dtype), lx.positive_semidefinite_tag)
