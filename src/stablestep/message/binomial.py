"""Exact binomial numbers from a few random words: the laws of many agents at the price of one."""

from functools import lru_cache

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, UInt32

from stablestep.stream import Family, Stream, to_uniform

_LEVELS = 256
_BLOCK = 4096
_FEW = 64  # up to here (1 − q)^n does not vanish in float32
_UNROLLED = 64  # steps of an inversion: in a loop they cost several times as much


class Alias(eqx.Module):
    """Walker's alias tables, one a row, with integer masses: exact for probabilities that are multiples of 2^-32.

    Rounding a binomial to such masses costs a total variation of at most 2^-33 for each value of positive mass (1e-8 up to
    about 100 agents, growing like √n). A column's entry holds in one word, so that one look-up finds both, its alias (the upper `bits`)
    and how many of its 2^(32 - bits) remainders stay; `first` is each row's smallest value.
    """

    entries: UInt32[Array | np.ndarray, "rows columns"]
    first: Int[Array | np.ndarray, " rows"]
    bits: int = eqx.field(static=True)

    def sample(self, word: UInt32[Array, "*n"], row: Int[Array, "*n"] | None = None) -> Int[Array, "*n"]:
        column = word >> (32 - self.bits)
        place = column if row is None else column + row.astype(jnp.uint32) * np.uint32(1 << self.bits)
        # Without the barrier jaxlib 0.10.2 vectorises nothing of what is around the look-up, and is three times slower.
        entry = lax.optimization_barrier(jnp.ravel(self.entries)[place.astype(jnp.int32)])
        chosen = jnp.where(self._remainder(word) < self._remainder(entry), column, entry >> (32 - self.bits))
        first = self.first[0] if row is None else jnp.asarray(self.first)[row]
        return first + chosen.astype(jnp.int32)

    def _remainder(self, word):
        return word & np.uint32((1 << (32 - self.bits)) - 1)


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
    entries = np.stack([_alias(masses, bits) for _, masses in rows])
    return Alias(entries, np.array([first for first, _ in rows], np.int32), bits)


def probabilities(count: int, probability: float) -> np.ndarray:
    """The probability function of Binomial(count, probability), by ratios of neighbours outwards from the largest; to 1e-13 or so, and
    without scipy.stats, which is slow to load.

    >>> probabilities(2, 0.5).tolist()
    [0.25, 0.5, 0.25]
    """
    if probability in (0, 1):
        return np.eye(count + 1)[count * int(probability)]
    k = np.arange(count)
    ratios = (count - k) / (k + 1) * (probability / (1 - probability))
    mode = int(np.argmin(ratios > 1)) if ratios[-1] <= 1 else count
    with np.errstate(under="ignore", over="ignore"):
        below = np.cumprod(1 / ratios[:mode][::-1])[::-1]
        found = np.concatenate([below, [1.0], np.cumprod(ratios[mode:])])
    return found / found.sum()


def _masses(count: int, probability: float) -> tuple[int, np.ndarray]:
    """The first value of positive mass, and the masses in units of 2^-32 (largest remainders, so that they sum to 2^32)."""
    exact = probabilities(count, probability) * 2.0**32
    masses = np.floor(exact).astype(np.int64)
    missing = 2**32 - int(masses.sum())
    masses[np.argsort(masses - exact)[:missing]] += 1
    masses[np.argmax(masses)] += 2**32 - int(masses.sum())
    values = np.flatnonzero(masses)
    return int(values[0]), masses[values[0] : values[-1] + 1]


def _alias(masses: np.ndarray, bits: int) -> np.ndarray:
    capacity = 1 << (32 - bits)
    left = np.zeros(1 << bits, np.int64)
    left[: len(masses)] = masses
    other = np.arange(1 << bits)
    stay = np.zeros(1 << bits, np.int64)  # a full column is its own alias, so that all of it stays
    small = [column for column in range(1 << bits) if left[column] < capacity]
    large = [column for column in range(1 << bits) if left[column] > capacity]
    while small:
        low, high = small.pop(), large[-1]
        stay[low], other[low] = left[low], high
        left[high] -= capacity - left[low]
        if left[high] <= capacity:
            large.pop()
        if left[high] < capacity:
            small.append(high)
    return (other * capacity + stay).astype(np.uint32)


class Flips(eqx.Module):
    """Binomial(n, q) for a probability q ≤ ½ of each coordinate's own: the number of agents whose sign is flipped.

    Few are drawn by inversion, from one word. Of many, the number of n uniforms below q is the number below the next lower grid level (an
    alias table for each level) plus a Binomial(rest, (q − level)/(1 − level)) with a small mean, drawn by inversion. Blocks of at most 4096
    agents.

    >>> flips = Flips.of(10)
    >>> flips.sample(Stream.seed(0), jnp.zeros(3)).tolist()
    [0.0, 0.0, 0.0]
    """

    whole: Alias | None
    remainder: Alias | None
    count: int = eqx.field(static=True)

    @staticmethod
    def of(count: int) -> "Flips":
        if count <= _FEW:
            return Flips(None, None, count)
        blocks, left = divmod(count, _BLOCK)
        return Flips(_levels(_BLOCK) if blocks else None, _levels(left) if left else None, count)

    def sample(self, stream: Stream, probability: Float[Array, " d"]) -> Float[Array, " d"]:
        if self.count <= _FEW:
            uniform = to_uniform(stream.noise.word(probability.shape[0]), probability.dtype)
            return inverted(uniform, self.count, probability)
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
    grid, uniform = stream.noise.words(probability.shape[0])
    row = jnp.minimum((probability * (2 * _LEVELS)).astype(jnp.int32), _LEVELS - 1)
    level = row.astype(probability.dtype) / (2 * _LEVELS)
    base = levels.sample(grid, row).astype(probability.dtype)
    rest = jnp.clip((probability - level) / (1 - level), 0, 1)
    return base + _inversion(to_uniform(uniform, probability.dtype), count - base, rest, _depth(count))


@lru_cache(maxsize=16)
def _depth(count: int) -> int:
    """How far the inversion must go: beyond it less than 2^-32 is left at the largest residual probability, 1/levels."""
    beyond = np.cumsum(probabilities(count, 1 / _LEVELS)[::-1])[::-1]  # P(X ≥ k)
    return int(np.flatnonzero(beyond > 2.0**-33)[-1]) + 1


def _inversion(uniform, trials, probability, depth: int):
    """Binomial(trials, probability) by summing the probability function up to `uniform`."""
    mass = jnp.exp(trials * jnp.log1p(-probability))
    return _summed(uniform, mass, probability, lambda k: (trials - k) / (k + 1), depth)


def inverted(uniform: Float[Array, " d"], count: int, probability: Float[Array, " d"]) -> Float[Array, " d"]:
    """Binomial(count, probability) for a probability up to ½, each of one uniform: of at most 64 within 3e-6 in total variation
    (float32: as much as rounding 1 − q makes).

    >>> inverted(jnp.array([0.0, 0.5, 0.999]), 2, jnp.array([0.5, 0.5, 0.5])).tolist()
    [0.0, 1.0, 2.0]
    """
    return _summed(uniform, (1 - probability) ** count, probability, lambda k: (count - k) / (k + 1), count)


def _summed(uniform, mass, probability, ratio, depth: int):
    """How often `uniform` passes the sum of the probability function from its first `mass` on; the next over one is odds · `ratio`."""
    odds = probability / (1 - probability)

    def advance(k, state):
        mass, below, number = state
        past = uniform >= below
        mass = mass * (odds * ratio(jnp.asarray(k, uniform.dtype)))
        return mass, below + mass, number + past.astype(uniform.dtype)

    return lax.fori_loop(0, depth, advance, (mass, mass, jnp.zeros_like(uniform)), unroll=depth <= _UNROLLED)[2]
