"""What an agent sends instead of its gradient: a function of the gradient and of given uniforms, its ω and its size in bits.

A compressor is unbiased, E C(g) = g and E‖C(g) − g‖² ≤ ω‖g‖² (P Def. 3.3), or biased (Sign, TopK), and then has no ω. Bits are the
expected length of one message with 32-bit floats; `shared` masks need no indices.
"""

import abc
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from stablestep.errors import InvalidInput, require

Vector = Float[Array, " d"]
Operator = lx.AbstractLinearOperator
_FLOAT = 32


class Compressor(eqx.Module):
    """A randomised map of a gradient, given its randomness as uniforms on [0, 1)."""

    stored: ClassVar[dict[str, str]] = {}  # constructor arguments kept under another name

    @abc.abstractmethod
    def compress(self, uniform: Float[Array, " draws"], gradient: Vector) -> Vector:
        """The compressed gradient; the same uniforms give the same message in every backend."""

    @abc.abstractmethod
    def omega(self, dim: int) -> float:
        """The smallest known ω with E‖C(g) − g‖² ≤ ω‖g‖² in dimension `dim`."""

    @abc.abstractmethod
    def bits(self, dim: int, shared: bool = False) -> float:
        """Expected number of bits of one message."""

    def draws(self, dim: int) -> int:
        """How many uniforms `compress` needs."""
        return dim

    @property
    def unbiased(self) -> bool:
        return True

    @property
    def linear(self) -> bool:
        """Whether, for given uniforms, the message is a linear function of the gradient (a mask)."""
        return False

    @property
    def deterministic(self) -> bool:
        return False

    def covariance(self, gradient: Vector, noise: Operator | None) -> Operator:
        """Covariance of C(G) where E G = `gradient` and Cov G = `noise` (None: no noise)."""
        raise self.no_covariance("with this noise")

    def no_covariance(self, when: str) -> InvalidInput:
        return InvalidInput(
            f"The covariance of {type(self).__name__} {when} has no closed form; ask for it by sampling: covariance(x, samples=…, key=…)."
        )

    def check(self, dim: int) -> None:
        """Raise `InvalidInput` if this compressor cannot act in dimension `dim`."""


def _index_bits(count: int) -> int:
    return math.ceil(math.log2(count)) if count > 1 else 0


def _diagonal(values: Vector) -> Operator:
    return lx.DiagonalLinearOperator(values)


class Identity(Compressor):
    """No compression: DSGD. ω = 0; 32 d bits.

    >>> Identity().omega(10), Identity().bits(10)
    (0.0, 320.0)
    """

    def compress(self, uniform, gradient):
        return gradient

    def omega(self, dim):
        return 0.0

    def bits(self, dim, shared=False):
        return float(_FLOAT * dim)

    def draws(self, dim):
        return 0

    @property
    def linear(self):
        return True

    @property
    def deterministic(self):
        return True

    def covariance(self, gradient, noise):
        return _diagonal(jnp.zeros_like(gradient)) if noise is None else noise


class RandomSparsification(Compressor):
    """Keep each coordinate with probability p = 1/(1+ω), independently, and multiply it by 1+ω (P C.1).

    E‖C(g) − g‖² = ω‖g‖² exactly. With noise of covariance Σ the message has covariance Σ + ω diag(g² + diag Σ) (P Eq. 107).
    Bits: d/(1+ω) kept coordinates of 32 bits, each with an index of ⌈log₂ d⌉ bits (none with a shared mask).

    Raises:
        InvalidInput: if ω < 0.

    >>> RandomSparsification(omega=8.0).bits(1000)
    4666.666666666667
    """

    sparsity: float
    stored: ClassVar[dict[str, str]] = {"omega": "sparsity"}  # omega is the method that every compressor has

    def __init__(self, omega):
        require(
            np.ndim(omega) == 0 and bool(np.isfinite(omega) and omega >= 0),
            f"omega is {omega}, but must be finite and at least 0.",
        )
        self.sparsity = float(omega)

    def compress(self, uniform, gradient):
        kept = uniform * (1 + self.sparsity) < 1
        return jnp.where(kept, (1 + self.sparsity) * gradient, 0)

    def omega(self, dim):
        return self.sparsity

    def bits(self, dim, shared=False):
        return dim / (1 + self.sparsity) * (_FLOAT + (0 if shared else _index_bits(dim)))

    @property
    def linear(self):
        return True

    def covariance(self, gradient, noise):
        if noise is None:
            return _diagonal(self.sparsity * gradient**2)
        added = self.sparsity * (gradient**2 + lx.diagonal(noise))
        return _diagonal(lx.diagonal(noise) + added) if lx.is_diagonal(noise) else noise + _diagonal(added)


def _amount(name: str, k, fraction) -> None:
    require(
        (k is None) != (fraction is None), f"{name} needs either k or fraction, but got k = {k}, fraction = {fraction}."
    )
    require(k is None or (int(k) == k and k >= 1), f"{name}: k is {k}, but must be a whole number of at least 1.")
    require(fraction is None or 0 < fraction <= 1, f"{name}: fraction is {fraction}, but must be in (0, 1].")


def _kept(name: str, k, fraction, dim: int) -> int:
    count = k if k is not None else max(1, round(fraction * dim))
    require(
        count <= dim, f"{name}: k is {count}, but there are only {dim} to choose from; use k ≤ {dim} or fraction=…."
    )
    return count


class RandK(Compressor):
    """Keep k of the d coordinates, chosen uniformly without replacement, times d/k; or whole blocks of contiguous coordinates.

    ω = d/k − 1, with equality in E‖C(g) − g‖² = ω‖g‖². With blocks, n of the B = ⌈d/block⌉ blocks are kept, times B/n, and
    ω = B/n − 1, also where the last block is shorter. With S = ggᵀ + Σ the covariance is Σ + (ω/(d−1)) (d diag S − S).
    Bits: k (32 + ⌈log₂ d⌉); with blocks 32 · (kept coordinates) + n ⌈log₂ B⌉; no indices with a shared mask.

    Args:
        k: number of kept coordinates (of kept coordinates in whole blocks, if `block` is given).
        fraction: or their fraction of d, rounded to a whole number of at least 1.
        block: length of a block.

    Raises:
        InvalidInput: if not exactly one of k and fraction is given, k is not whole, or k > d.

    >>> RandK(k=100).omega(1000), RandK(fraction=0.01, block=100).omega(1000)
    (9.0, 9.0)
    """

    k: int | None = eqx.field(static=True)
    fraction: float | None = eqx.field(static=True)
    block: int | None = eqx.field(static=True)

    def __init__(self, k=None, fraction=None, block=None):
        _amount("RandK", k, fraction)
        require(
            block is None or (int(block) == block and block >= 1),
            f"RandK: block is {block}, but must be a whole number ≥ 1.",
        )
        require(
            block is None or k is None or k % block == 0,
            f"RandK: k is {k}, but must be a multiple of block = {block}; use k = {block} · n or fraction=….",
        )
        self.k, self.fraction, self.block = k, fraction, block

    def _units(self, dim: int) -> tuple[int, int]:
        """(B, n): how many units there are, and how many are kept."""
        size = self.block or 1
        units = -(-dim // size)
        return units, _kept("RandK", None if self.k is None else self.k // size, self.fraction, units)

    def compress(self, uniform, gradient):
        units, kept = self._units(gradient.shape[0])
        chosen = jnp.argsort(uniform)[:kept]
        mask = jnp.zeros(units, gradient.dtype).at[chosen].set(units / kept)
        return gradient * jnp.repeat(mask, self.block or 1)[: gradient.shape[0]]

    def omega(self, dim):
        units, kept = self._units(dim)
        return units / kept - 1

    def bits(self, dim, shared=False):
        units, kept = self._units(dim)
        return _FLOAT * dim * kept / units + (0 if shared else kept * _index_bits(units))

    def draws(self, dim):
        return self._units(dim)[0]

    @property
    def linear(self):
        return True

    def covariance(self, gradient, noise):
        """Σ + ω S within a block, Σ + (c − 1) S across blocks, c = B(n−1)/(n(B−1)) the chance that two blocks are kept together."""
        dim = gradient.shape[0]
        units, kept = self._units(dim)
        within = units / kept - 1
        across = units * (kept - 1) / (kept * (units - 1)) - 1 if units > 1 else 0.0
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
        self._units(dim)


class _Dithering(Compressor):
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

    def covariance(self, gradient, noise):
        if noise is not None:
            raise self.no_covariance("of a noisy gradient")
        _, gap, position = self._position(gradient)
        return _diagonal(gap**2 * position * (1 - position))


class QSGD(_Dithering):
    """Random dithering of g/‖g‖₂ to s levels (Alistarh et al. 2017): gap ‖g‖₂/s.

    ω = √d/s − 1 if s ≤ √d/2 (attained at equal coordinates), else d/(4s²); both below the usual min(d/s², √d/s).
    Bits: 32 for the norm and 1 + ⌈log₂(s+1)⌉ for each coordinate.

    Raises:
        InvalidInput: if `levels` < 1.

    >>> QSGD(levels=2).omega(64)
    3.0
    """

    levels: int = eqx.field(static=True)

    def __check_init__(self):
        require(
            int(self.levels) == self.levels and self.levels >= 1,
            f"levels is {self.levels}, but must be a whole number ≥ 1.",
        )

    def grid(self, gradient):
        gap = jnp.sqrt(jnp.sum(gradient * gradient)) / self.levels
        # The largest coordinate may reach the last level by rounding; it stays there.
        level = jnp.minimum(jnp.floor(jnp.abs(gradient) / jnp.where(gap > 0, gap, 1)), self.levels)
        return level * gap, jnp.broadcast_to(gap, gradient.shape)

    def omega(self, dim):
        root = math.sqrt(dim)
        return root / self.levels - 1 if self.levels <= root / 2 else dim / (4 * self.levels**2)

    def bits(self, dim, shared=False):
        return float(_FLOAT + dim * (1 + math.ceil(math.log2(self.levels + 1))))


class TernGrad(_Dithering):
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
        return float(_FLOAT + 8 * math.ceil(dim / 5))


class NaturalCompression(_Dithering):
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


class _Biased(Compressor):
    def omega(self, dim):
        name = type(self).__name__
        raise InvalidInput(
            f"{name} is biased, so it has no ω; use an unbiased compressor, or the theorems of DSignSGD for Sign."
        )

    def draws(self, dim):
        return 0

    @property
    def unbiased(self):
        return False

    @property
    def deterministic(self):
        return True


class Sign(_Biased):
    """The sign of each coordinate, DSignSGD (P Section 3). The sign of 0 is 0. Bits: d.

    >>> Sign().compress(jnp.zeros(0), jnp.array([-2.0, 0.0, 3.0])).tolist()
    [-1.0, 0.0, 1.0]
    """

    def compress(self, uniform, gradient):
        return jnp.sign(gradient)

    def bits(self, dim, shared=False):
        return float(dim)


class TopK(_Biased):
    """The k coordinates of largest magnitude (ties go to the lower index). Bits: k (32 + ⌈log₂ d⌉).

    Biased: without error feedback, which this library does not have, it can stall or diverge and is not a recommended method here.

    Raises:
        InvalidInput: as `RandK`.

    >>> TopK(k=1).compress(jnp.zeros(0), jnp.array([1.0, -3.0, 2.0])).tolist()
    [0.0, -3.0, 0.0]
    """

    k: int | None = eqx.field(static=True)
    fraction: float | None = eqx.field(static=True)

    def __init__(self, k=None, fraction=None):
        _amount("TopK", k, fraction)
        self.k, self.fraction = k, fraction

    def compress(self, uniform, gradient):
        _, chosen = jax.lax.top_k(jnp.abs(gradient), self.kept(gradient.shape[0]))
        return jnp.zeros_like(gradient).at[chosen].set(gradient[chosen])

    def kept(self, dim: int) -> int:
        return _kept("TopK", self.k, self.fraction, dim)

    def bits(self, dim, shared=False):
        return float(self.kept(dim) * (_FLOAT + _index_bits(dim)))

    def check(self, dim):
        self.kept(dim)
