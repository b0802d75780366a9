"""Binomial numbers: both samplers against the law, outcome by outcome."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stablestep.message.binomial import Flips, fixed, inverted
from stablestep.stream import Family, Stream, to_uniform
from tests.statistics import assert_counts, assert_covariance, assert_fails, assert_mean, assert_variance

DRAWS = 60_000
TABLE = [(1, 0.3), (2, 0.5), (5, 0.111), (16, 1 / 9), (256, 1 / 9), (256, 0.9), (1000, 0.01), (10_000, 1 / 17)]
FLIPS = [
    (1, 0.2),
    (2, 0.499),
    (7, 0.5),
    (16, 0.01),
    (16, 0.25),
    (64, 0.5),
    (65, 0.37),
    (256, 0.123),
    (1000, 0.4321),
    (4096, 0.2501),
]
BLOCKS = [(4097, 0.3), (10_000, 0.1234)]


def flip(n, probability, stream):
    return jax.jit(lambda s, p: Flips.of(n).sample(s, p))(stream, probability)


def counts(numbers, n):
    return np.bincount(np.asarray(numbers).astype(int), minlength=n + 1)


def check(numbers, n, probability):
    """The sampled numbers follow Binomial(n, p), and would not pass for p · 1.1."""
    values, found = np.arange(n + 1), counts(numbers, n)
    assert found.size == n + 1
    assert_counts(found, stats.binom.pmf(values, n, probability))
    assert_mean(numbers, n * probability)
    with assert_fails("a probability 1.1 times too large"):
        assert_counts(found, stats.binom.pmf(values, n, min(probability * 1.1, 0.999)))


@pytest.mark.parametrize(("n", "probability"), TABLE)
def test_alias(n, probability, seed):
    table = fixed(n, probability)
    check(table.sample(Stream.seed(seed).words(DRAWS)[0]), n, probability)


@pytest.mark.parametrize(("n", "probability"), TABLE)
def test_alias_masses_exactly(n, probability):
    """The share of words that leads to each value, added up from the table, is the binomial probability to 2^-32."""
    table = fixed(n, probability)
    columns, capacity = np.arange(2**table.bits), 2.0 ** (32 - table.bits)
    mass = np.zeros(n + 2 + 2**table.bits)
    first = int(table.first[0])
    other, stay = np.divmod(table.entries[0].astype(np.int64), int(capacity))
    np.add.at(mass, first + columns, stay / capacity)
    np.add.at(mass, first + other, 1 - stay / capacity)
    mass = mass / 2**table.bits
    expected = stats.binom.pmf(np.arange(n + 1), n, probability)
    assert mass[n + 1 :].sum() == 0
    np.testing.assert_allclose(mass[: n + 1], expected, atol=(n + 1) * 2.0**-31)
    assert np.abs(mass[: n + 1] - expected).sum() / 2 < 1e-7


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_alias_of_a_certain_number(probability, seed):
    numbers = fixed(6, probability).sample(Stream.seed(seed).words(1000)[0])
    assert np.all(np.asarray(numbers) == 6 * probability)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(("n", "probability"), FLIPS)
def test_flips(n, probability, dtype, seed):
    numbers = flip(n, jnp.full(DRAWS, probability, dtype), Stream.seed(seed))
    assert numbers.dtype == dtype
    check(numbers, n, probability)


def lowest_words(n, probability, dtype):
    """For each k the least word of which inversion makes more than k, found by bisection: how it shares 2^32 words out."""
    low, high = np.zeros(n, np.int64), np.full(n, 2**32)
    chance = jnp.full(n, probability, dtype)
    draw = jax.jit(lambda words: inverted(to_uniform(words, dtype), n, chance))
    for _ in range(33):
        middle = (low + high) // 2
        words = jnp.asarray(np.minimum(middle, 2**32 - 1).astype(np.uint32))
        more = (np.asarray(draw(words)) > np.arange(n)) | (middle == 2**32)
        low, high = np.where(more, low, middle), np.where(more, middle, high)
    return high


@pytest.mark.parametrize(("dtype", "within"), [(jnp.float32, 3e-6), (jnp.float64, 2e-8)])
@pytest.mark.parametrize("probability", [1e-4, 0.03, 0.25, 0.4999, 0.5])
@pytest.mark.parametrize("n", [2, 16, 64])
def test_inversion_exactly(n, probability, dtype, within):
    """The share of words that leads to each number, against the binomial probability: the total variation, without sampling."""
    chance = float(np.asarray(probability, dtype))
    found = np.diff(lowest_words(n, probability, dtype) / 2.0**32, prepend=0, append=1)
    expected = stats.binom.pmf(np.arange(n + 1), n, chance)
    assert np.abs(found - expected).sum() / 2 < within
    assert np.abs(found - stats.binom.pmf(np.arange(n + 1), n, chance * 0.9)).sum() / 2 > 3e-6


@pytest.mark.parametrize(("n", "probability"), BLOCKS)
def test_flips_of_several_blocks(n, probability, seed):
    numbers = np.asarray(flip(n, jnp.full(20_000, probability, jnp.float32), Stream.seed(seed)))
    assert_mean(numbers, n * probability)
    assert_variance(numbers, n * probability * (1 - probability))
    with assert_fails("blocks that share their randomness"):
        assert_variance(numbers, 1.1 * n * probability * (1 - probability))
    assert_counts(counts(numbers, n), stats.binom.pmf(np.arange(n + 1), n, probability))
    with assert_fails():
        assert_counts(counts(numbers, n), stats.binom.pmf(np.arange(n + 1), n, 1.1 * probability))


def test_each_coordinate_has_its_own_probability(seed):
    probability = jnp.array([0.0, 0.001, 0.1, 0.25, 0.333, 0.5], jnp.float32)
    flips = Flips.of(12)
    draw = jax.jit(jax.vmap(lambda i: flips.sample(Stream.seed(seed).child(i, Family.RUN), probability)))
    numbers = np.asarray(draw(jnp.arange(50_000, dtype=jnp.uint32)))
    assert not np.any(numbers[:, 0])
    for column, p in zip(numbers.T[1:], np.asarray(probability, float)[1:], strict=True):
        assert_counts(counts(column, 12), stats.binom.pmf(np.arange(13), 12, p))
    p = np.asarray(probability, float)
    assert_covariance(numbers[:, 2:], np.diag(12 * p * (1 - p))[2:, 2:])
