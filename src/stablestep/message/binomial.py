"""Exact binomial numbers from a few random words: the laws of many agents at the price of one."""

from functools import lru_cache

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, UInt32
from scipy import stats

from stablestep.stream import Family, Stream, to_uniform

_LEVELS = 256
_BLOCK = 4096


class Alias(eqx.Module):
    """Walker's alias tables, one a row, with integer masses: exact for probabilities that are multiples of 2^-32.

    Rounding a binomial to such masses costs a total variation of at most 2^-33 for each value of positive mass (1e-8 up to
    about 100 agents, growing like √n). Arrays `threshold`, `other` have shape (rows, 2^bits); `first` is each row's smallest value.
    """

    threshold: UInt32[Array | np.ndarray, "rows columns"]
    other: Int[Array | np.ndarray, "rows columns"]
    first: Int[Array | np.ndarray, " rows"]
    bits: int = eqx.field(static=True)

    def sample(self, word: UInt32[Array, "*n"], row: Int[Array, "*n"] | None = None) -> Int[Array, "*n"]:
        column = (word >> (32 - self.bits)).astype(jnp.int32)
        rest = word & np.uint32((1 << (32 - self.bits)) - 1)
        place = column if row is None else column + row * (1 << self.bits)
        first = self.first[0] if row is None else jnp.asarray(self.first)[row]
        stay = rest < jnp.ravel(self.threshold)[place]
        return first + jnp.where(stay, column, jnp.ravel(self.other)[place])


@lru_cache(maxsize=256)
def fixed(count: int, probability: float) -> Alias:
    """The table of Binomial(count, probability).

    >>> int(fixed(5, 1.0).sample(jnp.uint32(123)))
    5
    """
    return _tables(count, np.array([probability]))


def _tables(count: int, probabilities: np.ndarray) -> Alias:
    rows = [_masses(count, probability) for probability in probabilities]
    bits = max(1, int(np.ceil(np.log2(max(len(masses) for _, masses in rows)))))
    built = [_alias(masses, bits) for _, masses in rows]
    threshold = np.stack([row[0] for row in built])
    other = np.stack([row[1] for row in built])
    return Alias(threshold, other, np.array([first for first, _ in rows], np.int32), bits)


def _masses(count: int, probability: float) -> tuple[int, np.ndarray]:
    """The first value of positive mass, and the masses in units of 2^-32 (largest remainders, so that they sum to 2^32)."""
    exact = stats.binom.pmf(np.arange(count + 1), count, probability) * 2.0**32
    masses = np.floor(exact).astype(np.int64)
    missing = 2**32 - int(masses.sum())
    masses[np.argsort(masses - exact)[:missing]] += 1
    masses[np.argmax(masses)] += 2**32 - int(masses.sum())
    values = np.flatnonzero(masses)
    return int(values[0]), masses[values[0] : values[-1] + 1]


def _alias(masses: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    capacity = 1 << (32 - bits)
    left = np.zeros(1 << bits, np.int64)
    left[: len(masses)] = masses
    other = np.arange(1 << bits, dtype=np.int32)
    threshold = np.full(1 << bits, capacity, np.int64)
    small = [column for column in range(1 << bits) if left[column] < capacity]
    large = [column for column in range(1 << bits) if left[column] > capacity]
    while small:
        low, high = small.pop(), large[-1]
        threshold[low], other[low] = left[low], high
        left[high] -= capacity - left[low]
        if left[high] <= capacity:
            large.pop()
        if left[high] < capacity:
            small.append(high)
    return threshold.astype(np.uint32), other


class Flips(eqx.Module):
    """Binomial(n, q) for a probability q ≤ ½ of each coordinate's own: the number of agents whose sign is flipped.

    The number of n uniforms below q is the number below the next lower grid level (an alias table for each level) plus a
    Binomial(rest, (q − level)/(1 − level)) with a small mean, drawn by inversion. Blocks of at most 4096 agents.

    >>> flips = Flips.of(10)
    >>> flips.sample(Stream.seed(0), jnp.zeros(3)).tolist()
    [0.0, 0.0, 0.0]
    """

    whole: Alias | None
    remainder: Alias | None
    count: int = eqx.field(static=True)

    @staticmethod
    def of(count: int) -> "Flips":
        blocks, left = divmod(count, _BLOCK)
        return Flips(_levels(_BLOCK) if blocks else None, _levels(left) if left else None, count)

    def sample(self, stream: Stream, probability: Float[Array, " d"]) -> Float[Array, " d"]:
        blocks, left = divmod(self.count, _BLOCK)
        total = jnp.zeros_like(probability)
        if left:
            total = _flips(self.remainder, left, stream, probability)
        if blocks:

            def add(block, total):
                return total + _flips(self.whole, _BLOCK, stream.child(block, Family.BLOCK), probability)

            total = lax.fori_loop(0, blocks, add, total)
        return total


@lru_cache(maxsize=16)
def _levels(count: int) -> Alias:
    return _tables(count, np.arange(_LEVELS) / (2 * _LEVELS))


def _flips(levels, count: int, stream: Stream, probability):
    grid, uniform = stream.words(probability.shape[0], slot=1)
    row = jnp.minimum((probability * (2 * _LEVELS)).astype(jnp.int32), _LEVELS - 1)
    level = row.astype(probability.dtype) / (2 * _LEVELS)
    base = levels.sample(grid, row).astype(probability.dtype)
    rest = jnp.clip((probability - level) / (1 - level), 0, 1)
    return base + _inversion(to_uniform(uniform, probability.dtype), count - base, rest, _depth(count))


@lru_cache(maxsize=16)
def _depth(count: int) -> int:
    """How far the inversion must go: beyond it less than 2^-32 is left at the largest residual probability, 1/levels."""
    return int(stats.binom.isf(2.0**-33, count, 1 / _LEVELS)) + 1


def _inversion(uniform, trials, probability, depth: int):
    """Binomial(trials, probability) by summing the probability function up to `uniform`."""
    odds = probability / (1 - probability)
    mass = jnp.exp(trials * jnp.log1p(-probability))
    below, number = mass, jnp.zeros_like(uniform)

    def advance(k, state):
        mass, below, number = state
        past = uniform >= below
        step = jnp.asarray(k, uniform.dtype)
        mass = mass * odds * (trials - step) / (step + 1)
        return mass, below + mass, number + past.astype(uniform.dtype)

    return lax.fori_loop(0, depth, advance, (mass, below, number), unroll=depth <= 16)[2]
