"""What every noise offers: what it adds to ∇f(x), which moments exist, and how often it flips a sign."""

import abc

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from stablestep.described import Described
from stablestep.errors import InvalidInput, numbers, require, shown
from stablestep.problem import Problem
from stablestep.stream import Lane

Vector = Float[Array, " d"]


class Noise(Described):
    """A symmetric law of the stochastic gradient around ∇f(x).

    A subclass gives `sample` and `covariance`, and says with `has_mean` and `has_variance` which moments exist. One whose coordinates have
    a known distribution gives `flip_probability`, `mean_sign`, `sign_slope` and `sign_covariance` too (`Scaled` does, from `tail` and
    `odd`), so that laws of signs are exact. What is left out raises where it is asked for.
    """

    @abc.abstractmethod
    def sample(self, stream: Lane, problem: Problem, x: Vector, gradient: Vector) -> Vector:
        """One stochastic gradient at x [d], in the type of `gradient`.

        Args:
            stream: the noise's own randomness; whatever is drawn from it, the compressor never sees.
            problem: the agent's problem.
            x: [d].
            gradient: ∇f(x) [d].
        """

    @abc.abstractmethod
    def covariance(self, problem: Problem, x: Vector, gradient: Vector) -> lx.AbstractLinearOperator:
        """Covariance of one stochastic gradient as a lineax operator [d, d]; arguments as `sample`.

        Raises:
            InvalidInput: where it is infinite.
        """

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

    def sign_covariance(self, gradient: Vector) -> lx.AbstractLinearOperator:
        """Covariance of the signs of one stochastic gradient: 4q(1 − q) on the diagonal for independent coordinates (P Eq. 127)."""
        if not self.independent:
            raise self._no_distribution()
        _, wrong = sides(gradient, self.flip_probability(gradient))
        return lx.DiagonalLinearOperator(4 * wrong * (1 - wrong))

    def _no_distribution(self) -> InvalidInput:
        return InvalidInput(
            f"{type(self).__name__} noise has no known distribution of single coordinates; use sampling='agents'."
        )

    def affine_variance(self, dim: int) -> tuple[float, float]:
        """(σ0², σ1²) with Var_j ≤ σ0² + σ1²‖∇f‖² for each coordinate j (P Def. 3.2; the largest coordinate counts).

        Raises:
            InvalidInput: where it is not known, or the variance is infinite.
        """
        raise InvalidInput(f"{self} has no known affine variance (σ0², σ1²); estimate it from samples.")

    def student_scale(self) -> tuple[float, float, float]:
        """(ν, smallest scale, largest scale over the coordinates), the noise of P Cor. B.7; ν = ∞ for Gaussian noise.

        Raises:
            InvalidInput: for any other noise.
        """
        raise InvalidInput(
            f"the theorems on signs assume Student-t (or Gaussian) noise of a fixed scale, but the noise is {self}; "
            "estimate nu and scale_max and give theorem.Constants by hand."
        )

    def check(self, problem: Problem) -> None:
        """Raise `InvalidInput` if this noise cannot act on `problem`."""


def sides(gradient: Vector, wrong: Vector) -> tuple[Vector, Vector]:
    """A coordinate without noise has no flip; if its gradient is 0 as well (NaN), its sign is 0."""
    still = jnp.isnan(wrong)
    side = jnp.where(gradient < 0, -jnp.ones_like(gradient), jnp.ones_like(gradient))
    return jnp.where(still, 0, side), jnp.where(still, 0, wrong)


def deviation(name: str, value: ArrayLike) -> float | np.ndarray:
    array = numbers(name, value)
    require(array.ndim <= 1, f"{name} has shape {array.shape}, but must be a number or one for each coordinate.")
    require(
        bool(np.all(np.isfinite(array)) and np.all(array >= 0)),
        f"{name} is {shown(value)}, but must be finite and at least 0.",
    )
    return float(array) if array.ndim == 0 else array


def check_length(noise: str, name: str, value, problem: Problem) -> None:
    length = np.size(value)
    require(
        np.ndim(value) == 0 or length == problem.dim,
        f"{noise}: {name} has {length} entries, but the problem has {problem.dim} coordinates; give one number or {problem.dim}.",
    )


class Scaled(Noise):
    """Noise whose coordinates are a scale times a known symmetric variable Z."""

    @abc.abstractmethod
    def scale(self, gradient: Vector) -> Vector | Float[Array, ""]:
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


def normal_tail(z: Vector) -> Vector:
    return jax.scipy.special.erfc(z * np.sqrt(0.5).astype(z.dtype)) / 2


def normal_odd(z: Vector) -> Vector:
    return jax.scipy.special.erf(z * np.sqrt(0.5).astype(z.dtype))
