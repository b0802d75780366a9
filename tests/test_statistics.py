"""The checks that check everything else: they accept what is right, and see an error of 10 %."""

import numpy as np
import pytest
from scipy import stats

from tests.statistics import (
    ALARM,
    assert_at_most,
    assert_counts,
    assert_covariance,
    assert_distribution,
    assert_equal_means,
    assert_estimate,
    assert_fails,
    assert_fraction,
    assert_mean,
    assert_same_distribution,
    assert_variance,
    threshold,
)

MIXING = np.array([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.0, -0.3, 2.0]])


@pytest.fixture
def generator(seed):
    return np.random.default_rng(seed)


@pytest.fixture
def normal(generator):
    return generator.normal(size=(20_000, 3))


def test_mean(normal):
    samples = normal + np.array([1.0, 2.0, -3.0])
    assert_mean(samples, [1.0, 2.0, -3.0])
    for factor in ([1.1, 1, 1], [1, 1, 0.95]):
        with assert_fails():
            assert_mean(samples, np.array([1.0, 2.0, -3.0]) * factor)


def test_mean_of_equal_samples_needs_no_luck():
    assert_mean(np.full((1000, 2), 0.1), [0.1, 0.1])
    with assert_fails():
        assert_mean(np.full((1000, 2), 0.1), [0.1, 0.1 + 1e-9])


def test_mean_rejects_nan(normal):
    normal[7, 1] = np.nan
    with assert_fails():
        assert_mean(normal, np.zeros(3))


def test_equal_means(generator, normal):
    assert_equal_means(normal, generator.normal(size=(10_000, 3), scale=3.0))
    with assert_fails():
        assert_equal_means(normal, generator.normal(size=(10_000, 3)) + np.array([0.0, 0.0, 0.2]))


def test_estimate():
    assert_estimate(1.04, 0.01, 1.0)
    assert_estimate(2.0, 0.0, 2.0)
    for measured, error, expected in ((1.06, 0.01, 1.0), (2.0, 0.0, 2.1), (1.0, np.inf, 1.0), (np.nan, 1.0, 1.0)):
        with assert_fails():
            assert_estimate(measured, error, expected)


def test_covariance(normal):
    samples = normal @ MIXING.T + 5.0
    assert_covariance(samples, MIXING @ MIXING.T)
    with assert_fails():
        assert_covariance(samples, 1.1 * MIXING @ MIXING.T)
    with assert_fails():
        assert_covariance(samples, np.diag(np.diag(MIXING @ MIXING.T)))


def test_variance(normal):
    assert_variance(2 * normal, np.full(3, 4.0))
    with assert_fails():
        assert_variance(2 * normal, np.full(3, 4.4))


def test_same_distribution(generator, normal):
    assert_same_distribution(normal, generator.normal(size=(15_000, 3)))
    with assert_fails():
        assert_same_distribution(normal, generator.normal(size=(20_000, 3)) * np.array([1.0, 1.0, 1.3]))


def test_same_distribution_with_atoms(generator):
    kept = generator.random((2, 20_000)) < 0.25
    samples = np.where(kept, generator.normal(size=kept.shape), 0.0)
    assert_same_distribution(*samples)
    with assert_fails():
        assert_same_distribution(samples[0], np.where(generator.random(20_000) < 0.2, samples[1] / 0.25, 0.0))


def test_distribution(generator):
    samples = generator.standard_t(2.5, size=100_000)
    assert_distribution(samples, stats.t(2.5).cdf)
    with assert_fails():
        assert_distribution(samples, stats.t(2.5, scale=1.1).cdf)


def test_counts(generator):
    law = stats.binom(20, 0.1).pmf(np.arange(21))
    counts = np.bincount(generator.binomial(20, 0.1, size=50_000), minlength=21)
    assert_counts(counts, law)
    with assert_fails():
        assert_counts(counts, stats.binom(20, 0.11).pmf(np.arange(21)))
    with assert_fails():
        assert_counts(counts[:3], [0.5, 0.5, 0.0])


def test_at_most(generator):
    successes = int(np.sum(generator.uniform(size=20_000) < 0.3))
    assert_at_most(successes, 20_000, 0.3)
    assert_at_most(successes, 20_000, 0.33)
    with assert_fails():
        assert_at_most(successes, 20_000, 0.27)


def test_fraction(generator):
    successes = generator.binomial(20_000, 0.3)
    assert_fraction(successes, 20_000, 0.3)
    with assert_fails():
        assert_fraction(successes, 20_000, 0.33)


@pytest.mark.parametrize(
    "check",
    [
        lambda: assert_mean(np.zeros((5, 2)), np.zeros(2)),
        lambda: assert_mean(np.zeros((500, 2)), np.zeros(3)),
        lambda: assert_counts([500, 500], [0.5, 0.4]),
    ],
)
def test_a_misused_check_is_not_a_detected_mutant(check):
    with pytest.raises(AssertionError), assert_fails():
        check()


def test_a_mutant_that_passes_is_reported(normal):
    with pytest.raises(AssertionError, match="half the step passed"), assert_fails("half the step"):
        assert_mean(normal, np.zeros(3))


def test_false_alarms_are_as_rare_as_stated():
    assert threshold(1) == pytest.approx(5.0)
    assert 2 * 1000 * stats.norm.sf(threshold(1000)) == pytest.approx(ALARM)


def test_keys_of_different_tests_differ(seed, request):
    assert request.getfixturevalue("seed") == seed
    assert 0 <= seed < 2**31


def test_a_fair_coin_needs_its_mean(seed):
    """(x − mean)² is always 1; around the sample mean it is less, by what has no standard error."""
    coins = np.random.default_rng(seed).choice([-1.0, 1.0], size=(1000, 1))
    assert_covariance(coins, [[1.0]], mean=[0.0])
    with assert_fails("a variance of 1.01"):
        assert_covariance(coins, [[1.01]], mean=[0.0])
    with assert_fails("another mean"):
        assert_covariance(coins, [[1.0]], mean=[0.5])
