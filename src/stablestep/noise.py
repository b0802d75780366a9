"""The law of one agent's gradient noise: what it adds to ∇f(x), which moments exist, and how often it flips a sign."""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from stablestep import student
from stablestep.errors import InvalidInput, require
from stablestep.problem import Problem, SumProblem
from stablestep.stream import Stream, fast_log, to_cosine, to_open

Vector = Float[Array, " d"]


class Noise(eqx.Module):
    """A symmetric law of the stochastic gradient around ∇f(x)."""

    @abc.abstractmethod
    def sample(self, stream: Stream, problem: Problem, x: Vector, gradient: Vector) -> Vector:
        """One stochastic gradient at x, whose exact gradient is `gradient`."""

    @abc.abstractmethod
    def covariance(self, problem: Problem, x: Vector, gradient: Vector) -> lx.AbstractLinearOperator:
        """Covariance of the stochastic gradient; raises `InvalidInput` where it is infinite."""

    @property
    def has_mean(self) -> bool:
        """Whether E‖noise‖ < ∞."""
        return True

    @property
    def has_variance(self) -> bool:
        """Whether E‖noise‖² < ∞."""
        return True

    @property
    def is_zero(self) -> bool:
        return False

    @property
    def independent(self) -> bool:
        """Whether the coordinates are independent with a known distribution function, so that signs have a law of their own."""
        return False

    def flip_probability(self, gradient: Vector) -> Vector:
        """P(noise_j > |∂_j f|): how often the sign of coordinate j is the wrong one; NaN where noise and gradient are both 0."""
        raise self._no_distribution()

    def mean_sign(self, gradient: Vector) -> Vector:
        """E sign(g_j), a smooth odd function of the gradient (2Ξ(∂_j f/scale_j) for the papers' noise, P Eqs. 124-126)."""
        raise self._no_distribution()

    def sign_slope(self, gradient: Vector) -> Vector:
        """E sign(g_j) / ∂_j f, and its limit where ∂_j f = 0 (ℓ_ν/scale_j)."""
        raise self._no_distribution()

    def _no_distribution(self) -> InvalidInput:
        return InvalidInput(
            f"{type(self).__name__} noise has no known distribution of single coordinates; use sampling='agents'."
        )

    def affine_variance(self, dim: int) -> tuple[float, float]:
        """(σ0², σ1²) with Var_j ≤ σ0² + σ1²‖∇f‖² for each coordinate j (P Def. 3.2; the largest coordinate counts)."""
        raise InvalidInput(f"{self} has no known affine variance (σ0², σ1²); estimate it from samples.")

    def student_scale(self) -> tuple[float, float, float]:
        """(ν, smallest scale, largest scale over the coordinates), the noise of P Cor. B.7; ν = ∞ for Gaussian noise."""
        raise InvalidInput(
            f"the theorems on signs assume Student-t (or Gaussian) noise of a fixed scale, but the noise is {self}; "
            "estimate nu and scale_max and give theorem.Constants by hand."
        )

    def check(self, problem: Problem) -> None:
        """Raise `InvalidInput` if this noise cannot act on `problem`."""


def _deviation(name: str, value: ArrayLike) -> float | np.ndarray:
    array = np.asarray(value, float)
    require(array.ndim <= 1, f"{name} must be a number or one number for each coordinate, but has shape {array.shape}.")
    require(
        bool(np.all(np.isfinite(array)) and np.all(array >= 0)),
        f"{name} is {value}, but must be finite and at least 0.",
    )
    return float(array) if array.ndim == 0 else array


def _check_length(noise: str, name: str, value, problem: Problem) -> None:
    length = np.size(value)
    require(
        np.ndim(value) == 0 or length == problem.dim,
        f"{noise}: {name} has {length} entries, but the problem has {problem.dim} coordinates; give one number or {problem.dim}.",
    )


class _Scaled(Noise):
    """Noise whose coordinates are a scale times a known symmetric variable Z."""

    @abc.abstractmethod
    def scale(self, gradient: Vector) -> Vector:
        """The scale of each coordinate, or of all."""

    @abc.abstractmethod
    def tail(self, z: Vector) -> Vector:
        """P(Z > z) for z ≥ 0."""

    @abc.abstractmethod
    def odd(self, z: Vector) -> Vector:
        """P(|Z| < |z|) with the sign of z, that is 2Ξ(z), with its true derivative under `jax.grad`."""

    def flip_probability(self, gradient):
        return self.tail(jnp.abs(gradient) / self.scale(gradient))

    def mean_sign(self, gradient):
        scale = self.scale(gradient)
        quiet = scale == 0
        return jnp.where(quiet, jnp.sign(gradient), self.odd(gradient / jnp.where(quiet, 1, scale)))

    def sign_slope(self, gradient):
        scale = self.scale(gradient)
        quiet, positive = scale == 0, jnp.where(scale == 0, 1, scale)
        z = gradient / positive
        small = jnp.abs(z) < 1e-3
        at_zero = jax.jvp(self.odd, (jnp.zeros_like(z),), (jnp.ones_like(z),))[1]
        noisy = jnp.where(small, at_zero, self.odd(z) / jnp.where(small, 1, z)) / positive
        # Without noise the ratio is 1/|g|; where g = 0 as well the sign is 0, and any finite ratio gives it.
        return jnp.where(quiet, jnp.where(gradient == 0, 0, 1 / jnp.where(gradient == 0, 1, jnp.abs(gradient))), noisy)


class Gaussian(_Scaled):
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

    def __init__(self, sigma0: ArrayLike = 0.0, sigma1: ArrayLike = 0.0):
        self.sigma0 = _deviation("sigma0", sigma0)
        self.sigma1 = _deviation("sigma1", sigma1)

    def scale(self, gradient: Vector) -> Vector:
        """Standard deviation of each coordinate."""
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
        return _normal_tail(z)

    def odd(self, z):
        return _normal_odd(z)

    def affine_variance(self, dim):
        return float(np.max(np.square(self.sigma0))), float(np.max(np.square(self.sigma1)))

    def student_scale(self):
        if np.any(np.asarray(self.sigma1)):
            return super().student_scale()
        return np.inf, float(np.min(self.sigma0)), float(np.max(self.sigma0))

    def check(self, problem):
        _check_length("Gaussian", "sigma0", self.sigma0, problem)
        _check_length("Gaussian", "sigma1", self.sigma1, problem)


class StudentT(_Scaled):
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

    def __init__(self, df: float, scale: ArrayLike = 1.0, coordinates: str = "independent"):
        require(
            np.ndim(df) == 0 and bool(df > 0), f"df is {df}, but degrees of freedom must be a number greater than 0."
        )
        known = ("independent", "multivariate")
        require(coordinates in known, f'coordinates is "{coordinates}", but must be "independent" or "multivariate".')
        self.df = float(df)
        self.sigma = _deviation("scale", scale)
        self.coordinates = coordinates
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
        first, second = stream.words(count, slot=2)
        log = (fast_log if dtype == jnp.float32 else jnp.log)(to_open(first, dtype))
        radius = jnp.exp(-log / self.df) * jnp.sqrt(-self.df * jnp.expm1(2 * log / self.df))
        return radius * to_cosine(second, dtype)

    def _multivariate(self, stream, count, dtype):
        normal = stream.normal(count, dtype)
        if self.law == "normal":
            return normal
        half = jnp.asarray(self.df, dtype) / 2
        # A gamma variate of small shape can underflow; its logarithm does not.
        log = jax.random.loggamma(stream.child(0, tag=2).key(), half, dtype=dtype)
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
                return _normal_tail(z)
            case _:
                return student.tail(z, self.df, self.fit)

    def odd(self, z):
        match self.law:
            case "two":
                return z / jnp.sqrt(2 + z * z)
            case "normal":
                return _normal_odd(z)
            case _:
                return student.odd(z, self.df, self.fit)

    def affine_variance(self, dim):
        return self._variance_factor() * float(np.max(np.square(self.sigma))), 0.0

    def student_scale(self):
        return self.df, float(np.min(self.sigma)), float(np.max(self.sigma))

    def check(self, problem):
        _check_length("StudentT", "scale", self.sigma, problem)


def _normal_tail(z: Vector) -> Vector:
    return jax.scipy.special.erfc(z * np.sqrt(0.5).astype(z.dtype)) / 2


def _normal_odd(z: Vector) -> Vector:
    return jax.scipy.special.erf(z * np.sqrt(0.5).astype(z.dtype))


class Minibatch(Noise):
    """The gradient of a batch drawn with replacement from the agent's own data: real noise, whatever its law.

    The problem (or the agent's own, `Agents(problem=…)`) must be a finite sum: Logistic, PhaseRetrieval, FiniteSum.

    Raises:
        InvalidInput: if `batch_size` < 1.

    >>> Minibatch(batch_size=8).batch_size
    8
    """

    batch_size: int = eqx.field(static=True)

    def __check_init__(self):
        require(self.batch_size >= 1, f"batch_size is {self.batch_size}, but a batch needs at least one datum.")

    def sample(self, stream, problem, x, gradient):
        assert isinstance(problem, SumProblem)
        uniform = stream.uniform(self.batch_size, jnp.float32, slot=3)
        return problem.batch_gradient(x, (uniform * problem.size).astype(jnp.int32))

    def covariance(self, problem, x, gradient):
        assert isinstance(problem, SumProblem)
        centred = problem.term_gradients(x) - gradient
        weight = 1 / (problem.size * self.batch_size)
        return lx.FunctionLinearOperator(
            lambda vector: weight * (centred.T @ (centred @ vector)),
            jax.eval_shape(lambda: x),
            lx.positive_semidefinite_tag,
        )

    def check(self, problem):
        require(
            isinstance(problem, SumProblem),
            f"Minibatch noise needs a finite sum (Logistic, PhaseRetrieval, FiniteSum), but the problem is {type(problem).__name__}.",
        )
