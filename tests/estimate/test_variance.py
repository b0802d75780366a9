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
    # Which no measurement is: there is no telling how far from the truth.
    for one in (found.sigma0_sq, found.sigma1_sq):
        assert (one.low, one.high, one.covers) == (0.0, np.inf, "nothing") and str(one).endswith("(no interval)")
    assert float(found(4.0)) == pytest.approx(1.3)


@pytest.mark.parametrize(
    ("variance", "expected"), [(0.3 * SQUARES, (0, 0.3)), (np.full(12, 0.7), (0.7, 0)), (0 * SQUARES, (0, 0))]
)
def test_a_part_that_is_missing_is_zero(variance, expected):
    found = affine_variance(SQUARES, variance)
    assert (found.sigma0_sq.value, found.sigma1_sq.value) == pytest.approx(expected, abs=1e-12)


def test_the_unit_of_the_gradient_does_not_matter():
    spread = drawn(np.random.default_rng(3))
    found = affine_variance(SQUARES, spread)
    for one, other in ((1e12, 1.0), (1e200, 1e200), (1e-200, 1e-200), (1e200, 1e-100), (1.0, 1e-250)):
        scaled = affine_variance(one * SQUARES, other * spread)
        for name, factor in (("sigma0_sq", other), ("sigma1_sq", other / one)):
            for side in ("value", "low", "high"):
                expected = factor * getattr(getattr(found, name), side)
                assert getattr(getattr(scaled, name), side) == pytest.approx(expected, rel=1e-6), (
                    one,
                    other,
                    name,
                    side,
                )


def test_intervals_hold_the_truth_about_as_often_as_they_say(seed):
    """Nine times in ten with 12 points, and with 6; without the widening it would be four times in five, and two in three."""
    generator = np.random.default_rng(seed)
    found = [affine_variance(SQUARES, drawn(generator)) for _ in range(REPEATS)]
    inside = sum(one.sigma1_sq.low <= 0.2 <= one.sigma1_sq.high for one in found)
    assert_fraction(inside, REPEATS, 0.9)
    assert_mean([one.sigma1_sq.value for one in found], 0.2)
    with assert_fails("5 % more"):
        assert_mean([one.sigma1_sq.value for one in found], 0.21)
    with assert_fails("twice the variance"):
        assert_fraction(sum(one.sigma1_sq.low <= 0.4 <= one.sigma1_sq.high for one in found), REPEATS, 0.9)


def test_few_points_give_no_interval(seed):
    spread = drawn(np.random.default_rng(seed))
    five, six = (affine_variance(SQUARES[:count], spread[:count]).sigma0_sq for count in (5, 6))
    assert five.covers == "nothing" and five.high == np.inf
    assert six.covers == "90 %" and 0 <= six.low < six.value < six.high < np.inf


def test_what_an_interval_says_of_itself():
    from stablestep.estimate import Estimate

    assert str(Estimate(1.0, 0.5, 2.0, "redrawn points")) == "1 (0.5 to 2 for redrawn points)"
    assert str(Estimate(1.0, 1.0, 1.0, "redrawn points")) == "1 (the same for redrawn points)"
    assert str(of_mean([1.0, 1.0])) == "1 (no spread seen)"


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

    assert Estimate(np.inf, 3.0, np.inf).to_dict() == {"value": None, "low": 3.0, "high": None, "covers": "90 %"}
