"""The bracketer that every predictor uses: ends, roots, errors, and round numbers that it must not try."""

import math

import numpy as np
import pytest

from stablestep.stability.root import ASIDE, FAR, STRETCH, bisect, bracket, crossing, last_bracket, mean_of, root
from tests.statistics import assert_estimate, assert_fails, assert_mean


@pytest.mark.parametrize("edge", [-9.0, -0.5, 0.0, 0.05, 0.1, 3.0, 12.0])
@pytest.mark.parametrize("guess", [-1.0, 0.0, 2.0])
def test_a_bracket_holds_the_edge_and_is_one_stretch_wide(edge, guess):
    low, high = bracket(lambda log_step: log_step > edge, guess)
    assert low <= edge < high and high - low == pytest.approx(STRETCH)
    low, high = bisect(lambda log_step: log_step > edge, low, high, 1e-3)
    assert low <= edge < high and high - low <= 1e-3


def test_an_end_that_is_nowhere_is_infinite_and_the_search_is_finite():
    tried = []

    def never(log_step):
        tried.append(log_step)
        return False

    low, high = bracket(never, 0.0)
    assert high == math.inf and low == pytest.approx(ASIDE + FAR * STRETCH) and len(tried) == FAR + 1
    low, high = bracket(lambda log_step: True, 0.0, far=3)
    assert low == -math.inf and high == pytest.approx(ASIDE - 3 * STRETCH)


def test_round_numbers_are_not_tried():
    """At h = 1 alone everything is calm (error feedback of a Top-k ends there): a bracket from h = 1 must not believe it."""
    tried = []

    def over(log_step):
        tried.append(math.exp(log_step))
        return log_step > math.log(0.21) and tried[-1] != 1.0

    low, high = bisect(over, *bracket(over, 0.0), 1e-4)
    assert low <= math.log(0.21) < high
    for step in tried:
        assert min(abs(step / round_one - 1) for round_one in (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)) > 1e-3


def test_the_last_of_several_crossings():
    logs = np.linspace(-3.0, 3.0, 13)
    assert last_bracket(lambda log_step: abs(log_step) > 1.2, logs) == (1.0, 1.5)
    assert last_bracket(lambda log_step: math.sin(6 * log_step) > 0 or log_step > 2, logs)[1] <= 2.5
    assert last_bracket(lambda log_step: True, logs) == (-math.inf, -3.0)
    assert last_bracket(lambda log_step: False, logs) == (3.0, math.inf)


FUNCTIONS = {
    "line": (lambda x: x - 1.003, 1.003),
    "falls": (lambda x: 1.003 - x, 1.003),
    "flat": (lambda x: (x - 1.003) ** 9, 1.003),
    "steep": (lambda x: math.expm1(200 * (x - 1.003)), 1.003),
    "jump": (lambda x: math.copysign(1.0, x - 1.003), 1.003),
    "infinite": (lambda x: x - 1.003 if x < 2 else math.inf, 1.003),
    "at the end": (lambda x: x, 0.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_crossing_is_found_in_few_tries(name):
    function, expected = FUNCTIONS[name]
    tried = []

    def counted(x):
        tried.append(x)
        return function(x)

    assert crossing(counted, 0.0, 3.0, 1e-9) == pytest.approx(expected, abs=2e-9)
    assert len(tried) <= (10 if name in ("line", "falls") else 40) and all(0 <= x <= 3 for x in tried)


def test_the_error_of_a_root_is_that_of_the_mean_over_the_slope(seed):
    """The root of a + 2(log h − 1), a a mean of 400 normal numbers of deviation 3, has the deviation 3/(2 · 20)."""
    generator = np.random.default_rng(seed)
    draws = generator.normal(0, 3, (300, 400))
    found = [root(lambda log_step, a=a: a + 2 * (log_step - 1), -3.0, 5.0, 1e-9) for a in draws]
    scores = [(one.log - 1) / one.error for one in found]
    assert_mean(scores, 0.0)
    assert_mean(np.square(scores), 1.0)
    with assert_fails("an error of 0.8 times that"):
        assert_mean(np.square(scores) / 0.8**2, 1.0)
    assert_estimate(found[0].log, found[0].error, 1.0)
    assert found[0].slope == pytest.approx(2.0) and found[0].step == math.exp(found[0].log)


def test_one_sample_has_no_error_and_a_flat_mean_no_end_to_it():
    assert root(lambda log_step: np.array([log_step - 1]), 0.0, 3.0, 1e-9).error == 0.0
    sign = root(lambda log_step: np.array([0.5, 1.5]) * np.sign(log_step - 1.003), 0.0, 3.0, 1e-3)
    assert sign.slope > 0 and math.isfinite(sign.error)
    falling = root(lambda log_step: np.array([0.9, 1.1]) - log_step, 0.0, 3.0, 1e-9)
    assert falling.error == math.inf


def test_what_is_no_number_has_grown():
    assert mean_of(np.array([1.0, np.nan])) == math.inf and mean_of(np.array([1.0, 3.0])) == 2.0
