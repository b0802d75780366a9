"""Random rounding to a grid: QSGD, TernGrad, natural compression."""

import abc
import math

import equinox as eqx
import jax.numpy as jnp

from stablestep.compressor.base import FLOAT, Compressor, Vector, diagonal
from stablestep.errors import checked, whole
from stablestep.norms import norm


class Dithering(Compressor):
    """Random rounding of |g_j| to a grid: unbiased, coordinates independent, Cov = gap² r(1 − r) for the position r in its gap."""

    @abc.abstractmethod
    def grid(self, gradient: Vector) -> tuple[Vector, Vector]:
        """For each coordinate the next lower grid value and the gap above it."""

    def _position(self, gradient: Vector) -> tuple[Vector, Vector, Vector]:
        low, gap = self.grid(gradient)
        return low, gap, jnp.where(gap > 0, (jnp.abs(gradient) - low) / jnp.where(gap > 0, gap, 1), 0)

    def compress(self, uniform, gradient):
        low, gap, position = self._position(gradient)
        return jnp.sign(gradient) * (low + jnp.where(uniform < position, gap, 0))

    @property
    def homogeneous(self):
        """For `NaturalCompression` where a is a power of two."""
        return True

    def covariance(self, gradient, noise):
        if noise is not None:
            raise self.no_covariance("of a noisy gradient")
        _, gap, position = self._position(gradient)
        return diagonal(gap**2 * position * (1 - position))


class QSGD(Dithering):
    """Random dithering of g/‖g‖₂ to s levels (Alistarh et al. 2017): gap ‖g‖₂/s.

    ω = √d/s − 1 if s ≤ √d/2 (attained at equal coordinates), else d/(4s²); both below the usual min(d/s², √d/s).
    Bits: 32 for the norm and 1 + ⌈log₂(s+1)⌉ for each coordinate.

    Raises:
        InvalidInput: if `levels` < 1.

    >>> QSGD(levels=2).omega(64)
    3.0
    """

    levels: int = eqx.field(static=True, converter=checked(whole, "levels"))

    def grid(self, gradient):
        gap = norm(gradient) / self.levels
        # The largest coordinate may reach the last level by rounding; it stays there.
        level = jnp.minimum(jnp.floor(jnp.abs(gradient) / jnp.where(gap > 0, gap, 1)), self.levels)
        return level * gap, jnp.broadcast_to(gap, gradient.shape)

    def omega(self, dim):
        root = math.sqrt(dim)
        return root / self.levels - 1 if self.levels <= root / 2 else dim / (4 * self.levels**2)

    def bits(self, dim, shared=False):
        return float(FLOAT + dim * (1 + math.ceil(math.log2(self.levels + 1))))


class TernGrad(Dithering):
    """Each coordinate becomes −‖g‖_∞, 0 or ‖g‖_∞ (Wen et al. 2017). ω = (√d − 1)/2, attained at (1, t, …, t), t = 1/(1+√d).

    Bits: 32 for the norm and five ternary digits in a byte, 32 + 8⌈d/5⌉.

    >>> TernGrad().omega(9)
    1.0
    """

    def grid(self, gradient):
        return jnp.zeros_like(gradient), jnp.broadcast_to(jnp.max(jnp.abs(gradient)), gradient.shape)

    def omega(self, dim):
        return (math.sqrt(dim) - 1) / 2

    def bits(self, dim, shared=False):
        return float(FLOAT + 8 * math.ceil(dim / 5))


class NaturalCompression(Dithering):
    """Random rounding of |g_j| to one of the two nearest powers of two (Horváth et al. 2019). ω = 1/8; 9 bits a coordinate.

    Subnormal numbers are sent as 0.

    >>> NaturalCompression().omega(1000), NaturalCompression().bits(1000)
    (0.125, 9000.0)
    """

    def grid(self, gradient):
        magnitude = jnp.abs(gradient)
        normal = magnitude >= jnp.finfo(gradient.dtype).tiny
        _, exponent = jnp.frexp(jnp.where(normal, magnitude, 1))
        low = jnp.where(normal, jnp.ldexp(jnp.ones_like(magnitude), exponent - 1), 0)
        return low, low

    def omega(self, dim):
        return 0.125

    def bits(self, dim, shared=False):
        return 9.0 * dim
