"""Members with steps of their own: where each ends, against NumPy and against the binomial law."""

import numpy as np
import pytest

from stablestep.problem import DoubleWell, Quartic
from stablestep.setup import Agents, Setup
from stablestep.stability.members import Runner
from stablestep.stability.start_point import start_point
from tests.stability.reference import MASKED
from tests.statistics import assert_fails, assert_fraction


def descent(well, x0, eta, steps, blown):
    """Gradient descent on Σ(x² − b)²/4 step by step: up, blown, steps taken."""
    x, values = x0, []
    for k in range(steps):
        x = x - eta * (x**2 - well) * x
        values.append(np.sum((x**2 - well) ** 2) / 4)
        if not values[-1] <= blown * np.sum((x0**2 - well) ** 2) / 4:
            return True, True, k + 1
    late = values[steps - max(steps // 5, 1) :]
    return bool(np.mean(late) > np.sum((x0**2 - well) ** 2) / 4), False, steps


@pytest.mark.parametrize(("steps", "blown"), [(1, 1000.0), (4, 1000.0), (25, 1000.0), (25, 2.0), (25, np.inf)])
def test_descent_step_by_step(steps, blown):
    x0 = np.array([1.0, -0.5])
    etas = np.concatenate([np.geomspace(0.05, 5, 23), [1.9, 1.999, 2.001, 2.1]])
    found = Runner(start_point(Setup(Quartic(2), Agents(3)), x0), len(etas), "float64", blown)(etas, steps)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = [descent(0, x0, eta, steps, blown) for eta in etas]
    assert found.up.tolist() == [up for up, _, _ in expected]
    # Without a threshold only what turns NaN has blown up.
    assert found.blown.tolist() == [gone for _, gone, _ in expected]
    assert found.steps == sum(taken for _, _, taken in expected)
    assert 0 < found.up.sum() < len(etas)


@pytest.mark.parametrize("steps", [14, 15, 25])
def test_the_last_fifth_decides(steps):
    """Beyond η = 1/b descent in a double well goes around, at first in cycles, without ever leaving."""
    x0, etas = np.array([1.2]), np.linspace(1.0, 1.7, 200)
    found = Runner(start_point(Setup(DoubleWell(1, b=1.0), Agents(1)), x0), 200, "float64")(etas, steps)
    expected = [descent(1.0, x0, eta, steps, 1000.0)[0] for eta in etas]
    assert found.up.tolist() == expected and 20 < sum(expected) < 180 and not found.blown.any()


def test_a_tie_is_not_up():
    """h = 2 on x⁴/4 from 1: x ← −x, exactly."""
    found = Runner(start_point(Setup(Quartic(2), Agents(3)), [1.0, 0.0]), 27, "float64")(np.full(27, 2.0), 25)
    assert not found.up.any() and not found.blown.any()


def test_fractions_of_a_masked_message(seed):
    """h = 2.2: f grows a hundredfold with probability 1/5 in each step; after two such steps it has blown up."""
    runner = Runner(start_point(MASKED, 1.0, seed), 4000)
    found = runner(np.full(4000, 2.2), 5)
    some, two = 1 - 0.8**5, 1 - 0.8**5 - 5 * 0.2 * 0.8**4
    assert_fraction(found.up.sum(), 4000, some)
    assert_fraction(found.blown.sum(), 4000, two)
    with assert_fails("one step fewer"):
        assert_fraction(found.up.sum(), 4000, 1 - 0.8**4)
    with assert_fails("blown up at once"):
        assert_fraction(found.blown.sum(), 4000, some)
    again, other = runner(np.full(4000, 2.2), 5), runner(np.full(4000, 2.2), 5, batch=1)
    assert np.array_equal(found.up, again.up) and not np.array_equal(found.up, other.up)
    assert_fraction(other.up.sum(), 4000, some)
    assert_fraction(np.sum(found.up & other.up), 4000, some**2)  # batches are independent
