"""Biased compressors without memory: signs and Top-k."""

import equinox as eqx
import jax
import jax.numpy as jnp

from stablestep.compressor.base import FLOAT, Compressor, index_bits
from stablestep.compressor.kept import checked_amount, kept


class Biased(Compressor):
    """A function of the gradient that is not right in the mean."""

    def draws(self, dim):
        return 0

    @property
    def unbiased(self):
        return False

    @property
    def deterministic(self):
        return True


class Sign(Biased):
    """The sign of each coordinate, DSignSGD (P Section 3). The sign of 0 is 0. Bits: d.

    Not contractive, however scaled: for error feedback use `ScaledSign`.

    >>> Sign().compress(jnp.zeros(0), jnp.array([-2.0, 0.0, 3.0])).tolist()
    [-1.0, 0.0, 1.0]
    """

    def compress(self, uniform, gradient):
        return jnp.sign(gradient)

    def bits(self, dim, shared=False):
        return float(dim)

    @property
    def sends_signs(self):
        return True

    @property
    def is_sign(self):
        return True


class ScaledSign(Biased):
    """(‖g‖₁/d) sign g (Karimireddy et al. 2019). Bits: d + 32.

    ‖C(g) − g‖² = (1 − ‖g‖₁²/(d‖g‖²))‖g‖² where no coordinate is 0 (and less where some are), so α = 1/d, which is approached where one
    coordinate dominates; for Gaussian g it is near 2/π.

    >>> ScaledSign().compress(jnp.zeros(0), jnp.array([-3.0, 1.0])).tolist(), ScaledSign().contraction(4)
    ([-2.0, 2.0], 0.25)
    """

    def compress(self, uniform, gradient):
        return jnp.mean(jnp.abs(gradient)) * jnp.sign(gradient)

    @property
    def homogeneous(self):
        return True

    def contraction(self, dim):
        return 1 / dim

    def bits(self, dim, shared=False):
        return float(dim + FLOAT)


class TopK(Biased):
    """The k coordinates of largest magnitude (ties go to the lower index). Bits: k (32 + ⌈log₂ d⌉).

    ‖C(g) − g‖² ≤ (1 − k/d)‖g‖², attained at equal magnitudes. By itself it can stall or diverge and is not a recommended method here:
    put it inside `ErrorFeedback` or `EF21`.

    Raises:
        InvalidInput: as `RandK`.

    >>> TopK(k=1).compress(jnp.zeros(0), jnp.array([1.0, -3.0, 2.0])).tolist(), TopK(k=2).contraction(10)
    ([0.0, -3.0, 0.0], 0.2)
    """

    k: int | None = eqx.field(static=True)
    fraction: float | None = eqx.field(static=True)

    def __init__(self, k: int | None = None, fraction: float | None = None):
        self.k, self.fraction = checked_amount("TopK", k, fraction)

    def compress(self, uniform, gradient):
        _, chosen = jax.lax.top_k(jnp.abs(gradient), self.kept(gradient.shape[0]))
        return jnp.zeros_like(gradient).at[chosen].set(gradient[chosen])

    def kept(self, dim: int) -> int:
        return kept("TopK", self.k, self.fraction, dim)

    @property
    def homogeneous(self):
        return True

    def contraction(self, dim):
        return self.kept(dim) / dim

    def bits(self, dim, shared=False):
        return float(self.kept(dim) * (FLOAT + index_bits(dim)))

    def check(self, dim):
        self.kept(dim)
