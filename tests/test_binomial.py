"""Binomial numbers: both samplers against the law, outcome by outcome."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stablestep.message.binomial import Flips, fixed
from stablestep.stream import Family, Stream
from tests.statistics import assert_counts, assert_covariance, assert_fails, assert_mean, assert_variance

DRAWS = 60_000
TABLE = [(1, 0.3), (2, 0.5), (5, 0.111), (16, 1 / 9), (256, 1 / 9), (256, 0.9), (1000, 0.01), (10_000, 1 / 17)]
FLIPS = [(1, 0.2), (2, 0.499), (7, 0.5), (16, 0.01), (16, 0.25), (256, 0.123), (1000, 0.4321), (4096, 0.2501)]
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
    np.add.at(mass, first + columns, table.threshold[0] / capacity)
    np.add.at(mass, first + table.other[0], 1 - table.threshold[0] / capacity)
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
