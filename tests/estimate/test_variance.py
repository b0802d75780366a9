"""The affine fit of the noise variance."""

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.estimate import affine_variance, of_mean
from tests.statistics import assert_fails, assert_fraction, assert_mean

SQUARES = np.geomspace(0.1, 30, 12)
REPEATS = 200


def drawn(generator, agents=40):
    """Variances measured from `agents` Gaussian gradients of 5 coordinates: σ0² = .5, σ1² = .2."""
    truth = 0.5 + 0.2 * SQUARES
    return truth * generator.chisquare(5 * agents, size=len(SQUARES)) / (5 * agents)


def test_exact_points_are_fitted_exactly():
    found = affine_variance(SQUARES, 0.5 + 0.2 * SQUARES)
    assert found.sigma0_sq.value == pytest.approx(0.5) and found.sigma1_sq.value == pytest.approx(0.2)
    assert found.sigma1_sq.high - found.sigma1_sq.low < 1e-9
    assert float(found(4.0)) == pytest.approx(1.3)


@pytest.mark.parametrize(
    ("variance", "expected"), [(0.3 * SQUARES, (0, 0.3)), (np.full(12, 0.7), (0.7, 0)), (0 * SQUARES, (0, 0))]
)
def test_a_part_that_is_missing_is_zero(variance, expected):
    found = affine_variance(SQUARES, variance)
    assert (found.sigma0_sq.value, found.sigma1_sq.value) == pytest.approx(expected, abs=1e-12)


def test_the_unit_of_the_gradient_does_not_matter():
    found, scaled = affine_variance(SQUARES, 0.5 + 0.2 * SQUARES), affine_variance(1e12 * SQUARES, 0.5 + 0.2 * SQUARES)
    assert scaled.sigma1_sq.value == pytest.approx(1e-12 * found.sigma1_sq.value)


def test_intervals_hold_the_truth_about_as_often_as_they_say(seed):
    """About four times in five with 12 resampled points, not nine times in ten; and the mean of the estimates is right."""
    generator = np.random.default_rng(seed)
    found = [affine_variance(SQUARES, drawn(generator)) for _ in range(REPEATS)]
    inside = sum(one.sigma1_sq.low <= 0.2 <= one.sigma1_sq.high for one in found)
    assert_fraction(inside, REPEATS, 0.81)
    assert_mean([one.sigma1_sq.value for one in found], 0.2)
    with assert_fails("5 % more"):
        assert_mean([one.sigma1_sq.value for one in found], 0.21)
    with assert_fails("twice the variance"):
        assert_fraction(sum(one.sigma1_sq.low <= 0.4 <= one.sigma1_sq.high for one in found), REPEATS, 0.81)


def test_the_interval_of_a_mean(seed):
    generator = np.random.default_rng(seed)
    found = [of_mean(generator.normal(3.0, 2.0, size=30)) for _ in range(400)]
    assert_fraction(sum(one.low <= 3.0 <= one.high for one in found), 400, 0.89)
    with assert_fails("another mean"):
        assert_fraction(sum(one.low <= 3.5 <= one.high for one in found), 400, 0.89)


@pytest.mark.parametrize(
    ("squares", "variance", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], "at least 3"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0], "3 points and variance 4"),
        ([1.0, 2.0, -3.0], [1.0, 2.0, 3.0], "gradient_sq has -3.0"),
        ([1.0, 2.0, 3.0], [1.0, -2.0, 3.0], "variance has -2.0"),
        ([1.0, 2.0, 3.0], [1.0, np.inf, 3.0], r"variance\[1\]"),
    ],
)
def test_bad_input(squares, variance, message):
    with pytest.raises(InvalidInput, match=message):
        affine_variance(squares, variance)


def test_json_has_no_infinity():
    from stablestep.estimate import Estimate

    assert Estimate(np.inf, 3.0, np.inf).to_dict() == {"value": None, "low": 3.0, "high": None}
