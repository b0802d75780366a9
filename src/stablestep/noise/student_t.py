"""Heavy tails: Student-t noise (P Section 4.3, Cor. B.7)."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from stablestep.errors import Numbers, is_number, one_of, require, shown
from stablestep.noise import student
from stablestep.noise.base import Scaled, check_length, deviation, normal_odd, normal_tail
from stablestep.stream import fast_log, to_cosine, to_open


class StudentT(Scaled):
    """Student-t noise: scale_j · t_ν in coordinate j (P Section 4.3, Cor. B.7).

    The mean exists for ν > 1 and the variance, scale² ν/(ν − 2), for ν > 2. With `coordinates="multivariate"` one χ² is shared by
    all coordinates, the law t_ν(0, I) as the papers write it; their formula (127) is that of independent coordinates.

    Args:
        df: degrees of freedom ν > 0 (`inf` for the normal law).
        scale: scale parameter, a number or one for each coordinate.
        coordinates: "independent" or "multivariate".

    Raises:
        InvalidInput: if ν ≤ 0, a scale is negative, or `coordinates` is unknown.

    >>> noise = StudentT(df=1.0, scale=2.0)
    >>> noise.has_mean, noise.has_variance
    (False, False)
    """

    df: float
    sigma: float | Float[Array | np.ndarray, " d"]
    fit: Float[Array | np.ndarray, " coefficients"] | None
    stored: ClassVar[dict[str, str]] = {"scale": "sigma"}  # scale is the method that every such noise has
    shared_w: Float[Array | np.ndarray, " nodes"] | None
    coordinates: str = eqx.field(static=True)
    law: str = eqx.field(static=True)
    moments: tuple[bool, bool] = eqx.field(
        static=True
    )  # kept apart from df, which a compiled kernel sees as a variable

    def __init__(self, df: float, scale: Numbers = 1.0, coordinates: str = "independent"):
        fits = is_number(df) and bool(df > 0)
        require(fits, f"df is {shown(df)}, but degrees of freedom must be a number greater than 0.")
        self.df = float(df)
        self.sigma = deviation("scale", scale)
        self.coordinates = one_of("coordinates", coordinates, ("independent", "multivariate"))
        self.law = {2.0: "two", np.inf: "normal"}.get(self.df, "general")
        self.moments = self.df > 1, self.df > 2
        self.fit = np.array(student.tail_fit(self.df)) if self.law == "general" else None
        shares = coordinates == "multivariate" and self.law != "normal"
        self.shared_w = student.chi2_nodes(self.df) if shares else None

    def sample(self, stream, problem, x, gradient):
        draw = self._multivariate if self.coordinates == "multivariate" else self._independent
        return gradient + self.scale(gradient) * draw(stream, gradient.shape[0], gradient.dtype)

    def scale(self, gradient):
        return jnp.asarray(self.sigma, gradient.dtype)

    def _independent(self, stream, count, dtype):
        """Bailey's polar method (Mathematics of Computation 62, 1994), exact for every ν."""
        if self.law == "normal":
            return stream.normal(count, dtype)
        first, second = stream.words(count)
        log = (fast_log if dtype == jnp.float32 else jnp.log)(to_open(first, dtype))
        radius = jnp.exp(-log / self.df) * jnp.sqrt(-self.df * jnp.expm1(2 * log / self.df))
        return radius * to_cosine(second, dtype)

    def _multivariate(self, stream, count, dtype):
        normal = stream.normal(count, dtype)
        if self.law == "normal":
            return normal
        half = jnp.asarray(self.df, dtype) / 2
        # A gamma variate of small shape can underflow; its logarithm does not.
        log = jax.random.loggamma(stream.key(), half, dtype=dtype)
        return normal * jnp.exp((jnp.log(half) - log) / 2)

    @property
    def has_mean(self):
        return self.moments[0]

    @property
    def has_variance(self):
        return self.moments[1]

    @property
    def is_zero(self):
        return not np.any(np.asarray(self.sigma))

    @property
    def independent(self):
        return self.coordinates == "independent" or self.law == "normal"

    def _variance_factor(self) -> float:
        require(
            self.has_variance,
            f"Student-t noise with df = {self.df} has no finite variance; use df > 2, or a model of signs (compressor=Sign()).",
        )
        return 1.0 if self.law == "normal" else self.df / (self.df - 2)

    def covariance(self, problem, x, gradient):
        variance = self._variance_factor() * jnp.square(self.scale(gradient))
        return lx.DiagonalLinearOperator(jnp.broadcast_to(variance, gradient.shape))

    def tail(self, z):
        match self.law:
            case "two":
                root = jnp.sqrt(2 + jnp.square(jnp.minimum(z, 1e15)))
                return 1 / (root * (root + jnp.minimum(z, 1e15)))
            case "normal":
                return normal_tail(z)
            case _:
                return student.tail(z, self.df, self.fit)

    def odd(self, z):
        match self.law:
            case "two":
                return z / jnp.sqrt(2 + z * z)
            case "normal":
                return normal_odd(z)
            case _:
                return student.odd(z, self.df, self.fit)

    def sign_covariance(self, gradient):
        """Covariance of sign(z_j + T_j), z = g/scale, T ~ t_ν(0, I): 1 − 4Ξ(z_j)² on the diagonal and, off it,
        E_w[(2Φ(z_j√w) − 1)(2Φ(z_l√w) − 1)] − 4Ξ(z_j)Ξ(z_l) with w = χ²_ν/ν (P Eq. 127 holds for independent coordinates only).

        >>> noise = StudentT(1.0, scale=[1.0, 2.0], coordinates="multivariate")
        >>> entry = noise.sign_covariance(jnp.array([1.0, 0.5])).as_matrix()[0, 1]
        >>> round(float(entry), 5)
        0.03174
        """
        if self.independent:
            return super().sign_covariance(gradient)
        dtype = gradient.dtype
        root = jnp.sqrt(jnp.asarray(self.shared_w, dtype) / 2)
        conditional = jax.scipy.special.erf(
            gradient[:, None] / jnp.broadcast_to(self.scale(gradient), gradient.shape)[:, None] * root
        )
        mean = self.mean_sign(gradient)
        matrix = (conditional * jnp.asarray(student.chi2_weights(), dtype)) @ conditional.T - jnp.outer(mean, mean)
        matrix = (matrix + matrix.T) / 2  # a product of matrices is symmetric to rounding only
        diagonal = jnp.eye(gradient.shape[0], dtype=bool)
        return lx.MatrixLinearOperator(jnp.where(diagonal, 1 - mean**2, matrix), lx.positive_semidefinite_tag)

    def affine_variance(self, dim):
        return self._variance_factor() * float(np.max(np.square(self.sigma))), 0.0

    def student_scale(self):
        return self.df, float(np.min(self.sigma)), float(np.max(self.sigma))

    def check(self, problem):
        check_length("StudentT", "scale", self.sigma, problem)
