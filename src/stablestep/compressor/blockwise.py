"""Few bits for each coordinate, on a scale of each block's own: signs and the mean magnitudes of a few classes."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from stablestep.compressor.base import FLOAT
from stablestep.compressor.biased import Biased
from stablestep.errors import require, shown, whole

# Limits between the classes of magnitude, in units of the block's mean magnitude. For 2 bits near the best ones for Gaussian coordinates;
# those for 4 bits give a little of that away (error .017 for .0095) for coordinates of unlike scales (.04 for .10 on differences of Adam).
LIMITS: dict[int, tuple[float, ...]] = {1: (), 2: (1.2,), 4: (0.35, 0.75, 1.2, 1.8, 2.8, 4.5, 8.0)}


class Blockwise(Biased):
    """In each block the sign of every coordinate, and its class of magnitude, of which the mean is sent: s_j μ(class of |g_j|).

    The classes of a block end at fixed multiples τ of its mean magnitude m; a message is s_j times the mean |g| of the coordinates in its
    class, s = −1 where g < 0, else 1. 2 bits: one limit, 1.2 m, so two means. 4 bits: eight classes. 1 bit: one class, which is the
    scaled sign by blocks. Bits: `bits` · d + 32 for each class of each block. The last block may be shorter.

    What is lost is the spread within the classes, ‖C(g) − g‖² = ‖g‖² − Σ n_c μ_c², in a block of n at most (1 − α)‖g‖² with
    α = max(1/n, 1/(τ + (n + τ)²/(4τn)) for any limit τ). Let R be Σ n_c μ_c² for the two classes above and below τm, which more classes
    only increase. Below, Σ g² ≤ τm‖g‖₁ = τ‖g‖₁²/n ≤ τR. Above are k coordinates of sum S ≤ nm, none above S − τm(k − 1), so that
    Σ g² ≤ S(S − τm(k − 1)) ≤ (S²/k) k(n − τ(k − 1))/n ≤ R (n + τ)²/(4τn). Vectors that lose almost as much exist (2 bits: 1 − 8.1/n);
    for Gaussian coordinates .36, .12 and .017 are lost with 1, 2 and 4 bits (measured).

    Args:
        bits: of each coordinate: 1, 2 or 4.
        block: coordinates in a block.

    Raises:
        InvalidInput: if an argument is out of range.

    >>> Blockwise(bits=2, block=4).compress(jnp.zeros(0), jnp.array([-6.0, 1.0, 2.0, 0.0, 5.0])).tolist()
    [-6.0, 1.0, 1.0, 1.0, 5.0]
    >>> Blockwise(bits=2, block=1024).bits(2048), round(Blockwise(bits=2, block=1024).contraction(2048), 5)
    (4224.0, 0.00465)
    """

    width: int = eqx.field(static=True)
    block: int = eqx.field(static=True)
    stored: ClassVar[dict[str, str]] = {"bits": "width"}  # bits is the method that every compressor has

    def __init__(self, bits: int = 2, block: int = 1024):
        self.width, self.block = whole("bits", bits), whole("block", block)
        require(self.width in LIMITS, f"bits is {shown(bits)}, but must be 1, 2 or 4.")

    @property
    def limits(self) -> tuple[float, ...]:
        """Between the classes, in units of a block's mean magnitude."""
        return LIMITS[self.width]

    def compress(self, uniform, gradient):
        dim = gradient.shape[0]
        size = max(1, min(self.block, dim))
        missing = -dim % size
        present = jnp.pad(jnp.ones(dim, bool), (0, missing)).reshape(-1, size)
        magnitude = jnp.pad(jnp.abs(gradient), (0, missing)).reshape(-1, size)
        found = self._mean_of_class(magnitude, present).reshape(-1)[:dim]
        return jnp.where(gradient < 0, -found, found)

    def _mean_of_class(self, magnitude: Float[Array, "blocks size"], present) -> Float[Array, "blocks size"]:
        """For each coordinate the mean magnitude of its class."""
        size = jnp.sum(present, axis=1, keepdims=True, dtype=magnitude.dtype)
        parts = magnitude / size  # so that a sum of large numbers does not overflow
        scale = jnp.sum(parts, axis=1, keepdims=True)
        above, found = present, jnp.zeros_like(magnitude)
        for limit in self.limits:
            higher = magnitude > limit * scale
            found = jnp.where(above & ~higher, _mean(parts, above & ~higher, size), found)
            above = higher
        return jnp.where(above, _mean(parts, above, size), found)

    @property
    def homogeneous(self):
        return True

    def contraction(self, dim):
        size = min(self.block, dim)
        return max([1 / size, *(1 / (limit + (size + limit) ** 2 / (4 * limit * size)) for limit in self.limits)])

    def bits(self, dim, shared=False):
        return float(self.width * dim + FLOAT * (len(self.limits) + 1) * -(-dim // self.block))


def _mean(parts: Float[Array, "blocks size"], members, size) -> Float[Array, "blocks 1"]:
    """Of the members of each row, whose numbers were divided by the row's size; 0 where there are none."""
    count = jnp.sum(members, axis=1, keepdims=True, dtype=parts.dtype)
    return jnp.sum(jnp.where(members, parts, 0), axis=1, keepdims=True) * (size / jnp.maximum(count, 1))
