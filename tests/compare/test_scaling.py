"""When errors tell an order, and when they do not."""

import numpy as np
import pytest

from stablestep.compare.scaling import largest, order_table, scaling
from stablestep.errors import InvalidInput
from tests.statistics import assert_at_most, assert_fails

ETAS = np.array([0.2, 0.1, 0.05, 0.025])
EXACT = np.zeros(4)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("correction", [0.0, 1.0, -1.0, 2.0])
@pytest.mark.parametrize("size", [3.0, -1e-9])
def test_a_power_with_a_correction_has_its_order(order, correction, size):
    found = scaling(ETAS, size * ETAS**order * (1 + correction * ETAS), EXACT)
    assert found.order == order and f"Only {order} fits" in found.reason
    assert found.low < order < found.high


def test_the_etas_may_come_in_any_order():
    shuffled = np.array([0.05, 0.2, 0.025, 0.1])
    assert scaling(shuffled, shuffled**2 + shuffled**3, EXACT) == scaling(ETAS, ETAS**2 + ETAS**3, EXACT)


@pytest.mark.parametrize("order", [0.5, 1.5, 2.5])
def test_a_plain_power_may_be_another_number(order):
    found = scaling(ETAS, ETAS**order, EXACT)
    assert found.order == order and "no whole number" in found.reason


@pytest.mark.parametrize(
    ("error", "stderr", "reason"),
    [
        (ETAS - 0.07, EXACT, "changes its sign between η = 0.1 and 0.05"),
        (ETAS - 5 * ETAS**2, EXACT, "between η = 0.2 and 0.1|at η = 0.2 is"),
        (ETAS**2, [0, 0, 0, 0.00013], "at η = 0.025 is 0.00063 ± 0.00013, within 5 standard errors of 0"),
        (0 * ETAS, EXACT, "at η = 0.2 is 0 ± 0"),
        (np.array([1.0, np.nan, 0.2, 0.1]), EXACT, "at η = 0.1 is nan"),
        (ETAS + 30 * ETAS**2, EXACT, "No whole number fits"),
        (ETAS * np.array([1, 1.3, 1, 1.3]), EXACT, "no power of η with one correction"),
        (ETAS**2, 0.1 * ETAS**2, "More than one order fits: .* more runs or more etas"),
        (ETAS - 2.9 * ETAS**2, EXACT, "More than one order fits: .* smaller etas"),
        (np.exp(-1 / ETAS), EXACT, "no power of η|No whole number|More than one"),
    ],
)
def test_errors_that_tell_none(error, stderr, reason):
    found = scaling(ETAS, error, stderr)
    assert found.order == "undecided"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reason)


def test_a_narrow_range_tells_nothing():
    near = np.array([0.1, 0.099, 0.098, 0.097])
    assert scaling(near, near**2, EXACT).order == "undecided"


@pytest.mark.parametrize(("count", "ratio"), [(4, 2), (5, 2), (6, 2), (4, 3), (4, 1.5), (10, 1.3)])
def test_two_powers_never_pass_for_one_between_them(count, ratio):
    """The higher power is the order only where the lower one is below a fifth of it at the smallest η (a half on a narrow range)."""
    etas = ratio ** -np.arange(count, dtype=float)
    for sign in (1, -1):
        for factor in np.geomspace(1e-3, 1e5, 200):
            order = scaling(etas, etas + sign * factor * etas**2, np.zeros(count)).order
            assert order in (1, "undecided") or (order == 2 and factor * etas[-1] > (2 if ratio < 2 else 4.7))


def draws(power, relative, seed, count=4, correction=0.5, rows=4000):
    """Step sizes, the errors there, and rows of them with normal sampling errors."""
    random, etas = np.random.default_rng(seed), 0.2 * 0.5 ** np.arange(count)
    error = etas**power * (1 + correction * etas)
    return etas, error, error * (1 + relative * random.standard_normal((rows, count)))


def outcomes(power, relative, seed, count=4, told=1.0):
    """What is found where `told` times the standard error is given."""
    etas, error, rows = draws(power, relative, seed, count)
    return [scaling(etas, row, told * relative * error) for row in rows]


@pytest.mark.parametrize(("power", "relative", "count"), [(1, 0.005, 4), (2, 0.015, 4), (2, 0.04, 6)])
def test_false_alarms_are_as_rare_as_stated(power, relative, count, seed):
    found = outcomes(power, relative, seed, count)
    assert_at_most(sum(one.order != power for one in found), len(found), 1e-6)
    assert_at_most(sum(not one.low <= power <= one.high for one in found), len(found), 0.05)


def test_a_standard_error_told_too_small_is_seen(seed):
    """The mutant of the first check above."""
    found = outcomes(2, 0.06, seed, told=0.25)
    with assert_fails():
        assert_at_most(sum(one.order != 2 for one in found), len(found), 1e-6)


def test_the_interval_of_a_plain_line_does_not_cover(seed):
    """The mutant of the second: sampling alone."""
    etas, _, rows = draws(1, 0.005, seed)
    x = np.log(etas) - np.mean(np.log(etas))
    slopes, stderr = np.log(rows) @ x / (x @ x), 0.005 / np.sqrt(x @ x)
    with assert_fails():
        assert_at_most(int(np.sum(np.abs(slopes - 1) > 1.96 * stderr)), len(rows), 0.05)


@pytest.mark.parametrize("relative", [0.02, 0.04, 0.06, 0.1])
def test_another_whole_number_is_rarer_still(relative, seed):
    wrong = [one.order not in (2, "undecided") for one in outcomes(2, relative, seed)]
    assert_at_most(sum(wrong), len(wrong), 5e-4)


def test_the_interval_covers_the_departure_from_a_power_law():
    """A plain line through errors η(1 + 5η) has the slope 1.28 and an interval of width 0; this one has 1 in it."""
    error = ETAS * (1 + 5 * ETAS)
    found = scaling(ETAS, error, EXACT)
    assert np.polyfit(np.log(ETAS), np.log(error), 1)[0] == pytest.approx(1.28, abs=0.01)
    assert found.order == 1 and found.low < 1 < 1.27 < found.high


def test_a_table_says_what_it_found():
    error = -(ETAS**2)
    table = order_table(list(ETAS), error, 0.01 * ETAS**2, model="new")
    assert table.order == 2 and table.attrs["model"] == "new" and table.reason.startswith("Only 2 fits")
    assert table.slope_low < table.slope < table.slope_high
    assert table.slope_high - table.slope == pytest.approx(1.96 * table.slope_stderr + table.slope_departure)
    np.testing.assert_array_equal(table.error, error)


def test_the_largest_keeps_its_sign():
    assert largest(np.array([1.0, -3.0, 2.0])) == -3.0


def test_bad_etas():
    with pytest.raises(InvalidInput, match="3 different values, but a slope needs at least four"):
        scaling([0.1, 0.2, 0.4], [1, 2, 3], [0, 0, 0])
    with pytest.raises(InvalidInput, match="each of etas is 0"):
        scaling([0.0, 0.1, 0.2, 0.4], [0, 1, 2, 3], EXACT)
