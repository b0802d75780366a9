"""Masks: some coordinates are kept, times what makes them unbiased (or not: `scaled=False`, the contractive kind)."""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx

from stablestep.compressor.base import FLOAT, Compressor, Operator, Vector, diagonal, index_bits
from stablestep.compressor.kept import checked_amount, kept
from stablestep.errors import at_least_zero, flag, require, whole


class Mask(Compressor):
    """A random set of coordinates, each kept with the same chance p: scaled by 1/p it is unbiased with ω = 1/p − 1, unscaled it has the
    mean p g and contracts, E‖C(g) − g‖² = (1 − p)‖g‖² for every g."""

    scaled: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def chance(self, dim: int) -> float:
        """p."""

    @abc.abstractmethod
    def scaled_covariance(self, gradient: Vector, noise: Operator | None) -> Operator:
        """The covariance of the message with `scaled=True`."""

    def factor(self, dim: int) -> float:
        """What a kept coordinate is multiplied by."""
        return 1 / self.chance(dim) if self.scaled else 1.0

    def omega(self, dim):
        return 1 / self.chance(dim) - 1 if self.scaled else super().omega(dim)

    def contraction(self, dim):
        if self.scaled:
            raise self.no_contraction(f"has ω = {self.omega(dim):g} and is not contractive as it is; use scaled=False")
        return self.chance(dim)

    def gain(self, dim):
        return 1.0 if self.scaled else self.chance(dim)

    @property
    def unbiased(self):
        return self.scaled

    @property
    def linear(self):
        return True

    def covariance(self, gradient, noise):
        found = self.scaled_covariance(gradient, noise)
        return found if self.scaled else found * self.chance(gradient.shape[0]) ** 2


class RandomSparsification(Mask):
    """Keep each coordinate with probability p = 1/(1+ω), independently, and multiply it by 1+ω (P C.1).

    E‖C(g) − g‖² = ω‖g‖² exactly. With noise of covariance Σ the message has covariance Σ + ω diag(g² + diag Σ) (P Eq. 107).
    Bits: d/(1+ω) kept coordinates of 32 bits, each with an index of ⌈log₂ d⌉ bits (none with a shared mask).

    Args:
        omega: ω of the scaled mask.
        scaled: without it kept coordinates are sent as they are: biased, contractive with α = p, for `ErrorFeedback` and `EF21`.

    Raises:
        InvalidInput: if ω < 0.

    >>> RandomSparsification(omega=8.0).bits(1000)
    4666.666666666667
    >>> RandomSparsification(omega=9, scaled=False).contraction(10)
    0.1
    """

    sparsity: float
    scaled: bool = eqx.field(static=True)
    stored: ClassVar[dict[str, str]] = {"omega": "sparsity"}  # omega is the method that every compressor has

    def __init__(self, omega: float, scaled: bool = True):
        self.sparsity, self.scaled = at_least_zero("omega", omega), flag("scaled", scaled)

    def compress(self, uniform, gradient):
        stretch = 1 + self.sparsity
        return jnp.where(uniform * stretch < 1, stretch * gradient if self.scaled else gradient, 0)

    def chance(self, dim):
        return 1 / (1 + self.sparsity)

    def factor(self, dim):
        return 1 + self.sparsity if self.scaled else 1.0

    def omega(self, dim):
        return self.sparsity if self.scaled else super().omega(dim)

    def bits(self, dim, shared=False):
        return dim / (1 + self.sparsity) * (FLOAT + (0 if shared else index_bits(dim)))

    def scaled_covariance(self, gradient, noise):
        if noise is None:
            return diagonal(self.sparsity * gradient**2)
        added = self.sparsity * (gradient**2 + lx.diagonal(noise))
        return diagonal(lx.diagonal(noise) + added) if lx.is_diagonal(noise) else noise + diagonal(added)


class RandK(Mask):
    """Keep k of the d coordinates, chosen uniformly without replacement, times d/k; or whole blocks of contiguous coordinates.

    ω = d/k − 1, with equality in E‖C(g) − g‖² = ω‖g‖². With blocks, n of the B = ⌈d/block⌉ blocks are kept, times B/n, and
    ω = B/n − 1, also where the last block is shorter. With S = ggᵀ + Σ the covariance is Σ + (ω/(d−1)) (d diag S − S).
    Bits: k (32 + ⌈log₂ d⌉); with blocks 32 · (kept coordinates) + n ⌈log₂ B⌉; no indices with a shared mask.

    Args:
        k: number of kept coordinates (of kept coordinates in whole blocks, if `block` is given).
        fraction: or their fraction of d, rounded to a whole number of at least 1.
        block: length of a block.
        scaled: without it kept coordinates are sent as they are: biased, contractive with α = k/d, for `ErrorFeedback` and `EF21`.

    Raises:
        InvalidInput: if not exactly one of k and fraction is given, k is not whole, or k > d.

    >>> RandK(k=100).omega(1000), RandK(fraction=0.01, block=100).omega(1000), RandK(k=100, scaled=False).contraction(1000)
    (9.0, 9.0, 0.1)
    """

    k: int | None = eqx.field(static=True)
    fraction: float | None = eqx.field(static=True)
    block: int | None = eqx.field(static=True)
    scaled: bool = eqx.field(static=True)

    def __init__(
        self, k: int | None = None, fraction: float | None = None, block: int | None = None, scaled: bool = True
    ):
        self.k, self.fraction = checked_amount("RandK", k, fraction)
        self.block = None if block is None else whole("RandK: block", block)
        require(
            block is None or k is None or k % block == 0,
            f"RandK: k is {k}, but must be a multiple of block = {block}; use k = {block} · n or fraction=….",
        )
        self.scaled = flag("scaled", scaled)

    def units(self, dim: int) -> tuple[int, int]:
        """(B, n): how many units there are, and how many are kept."""
        size = self.block or 1
        units = -(-dim // size)
        return units, kept("RandK", None if self.k is None else self.k // size, self.fraction, units)

    def compress(self, uniform, gradient):
        units, count = self.units(gradient.shape[0])
        chosen = jnp.argsort(uniform)[:count]
        mask = jnp.zeros(units, gradient.dtype).at[chosen].set(units / count if self.scaled else 1)
        return gradient * jnp.repeat(mask, self.block or 1)[: gradient.shape[0]]

    def chance(self, dim):
        units, count = self.units(dim)
        return count / units

    def omega(self, dim):
        units, count = self.units(dim)
        return units / count - 1 if self.scaled else super().omega(dim)

    def bits(self, dim, shared=False):
        units, count = self.units(dim)
        return FLOAT * dim * count / units + (0 if shared else count * index_bits(units))

    def draws(self, dim):
        return self.units(dim)[0]

    def scaled_covariance(self, gradient, noise):
        """Σ + ω S within a block, Σ + (c − 1) S across blocks, c = B(n−1)/(n(B−1)) the chance that two blocks are kept together."""
        dim = gradient.shape[0]
        units, count = self.units(dim)
        within = units / count - 1
        across = units * (count - 1) / (count * (units - 1)) - 1 if units > 1 else 0.0
        block = jnp.arange(dim) // (self.block or 1)
        same = (lambda v: jax.ops.segment_sum(v, block, units)[block]) if self.block else (lambda v: v)
        # For Σ diagonal the part of S within a block is diag Σ plus the block of ggᵀ; otherwise Σ must be known entry by entry.
        if noise is None or lx.is_diagonal(noise):
            variance = jnp.zeros_like(gradient) if noise is None else lx.diagonal(noise)

            def product(v):
                inner = gradient * same(gradient * v)
                return (
                    (1 + within) * variance * v + (within - across) * inner + across * gradient * jnp.dot(gradient, v)
                )
        else:
            full = noise.as_matrix()
            second = full + jnp.outer(gradient, gradient)
            matrix = full + jnp.where(block[:, None] == block, within, across).astype(full.dtype) * second

            def product(v):
                return matrix @ v

        return lx.FunctionLinearOperator(product, jax.eval_shape(lambda: gradient), lx.positive_semidefinite_tag)

    def check(self, dim):
        self.units(dim)
