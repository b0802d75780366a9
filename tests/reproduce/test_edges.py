"""Mean-square edges by simulation, and moments at rest."""

import numpy as np
import pytest

from stablestep import noise, problem
from stablestep.reproduce.edges import crossing, mean_square_edge
from stablestep.reproduce.rest import at_rest, mean_square
from stablestep.reproduce.sections.memory.heavy_ball import exact, momentum, threshold
from stablestep.setup import Agents, Setup
from tests.statistics import assert_estimate, assert_fails


def test_the_last_crossing_from_below():
    x = np.log([1.0, 2.0, 4.0, 8.0])
    assert crossing(x, np.array([-1.0, 1.0, -1.0, 3.0])) == pytest.approx(4 * 2**0.25)
    assert np.isnan(crossing(x, np.array([1.0, 2.0, 3.0, 4.0]))) and np.isnan(crossing(x, -np.ones(4)))
    assert crossing(x, np.array([-1.0, np.inf, np.inf, np.inf])) == 1.0


def test_the_edge_of_gradient_descent():
    edge = mean_square_edge(Setup(problem.Quadratic([1.0]), Agents(1)), 2.1, (10, 40), 1, 0)
    assert edge == pytest.approx(2.0, rel=1e-3)


def test_an_edge_under_noise(seed):
    """Of compressed gradient descent, whose exact edge is that of the moments; 2/λ is not it."""
    setup = momentum(0.0, 0.25, 16, 1024)
    edge = mean_square_edge(setup, 1.5, (2, 8), 16, seed)
    assert edge == pytest.approx(exact(setup), rel=0.05) and exact(setup) == pytest.approx(threshold(0.0, 0.25))
    assert edge != pytest.approx(2.0, rel=0.15)


def test_nothing_within_reach():
    assert np.isnan(mean_square_edge(Setup(problem.Quadratic([1.0]), Agents(1)), 0.5, (10, 40), 1, 0))


def test_at_rest_on_a_quadratic(seed):
    setup = Setup(problem.Quadratic([1.0]), Agents(1, noise.Gaussian(sigma0=1.0)))
    square, stderr = mean_square(at_rest(setup, 0.1, 8.0, 20_000, seed))
    assert_estimate(square, stderr, 0.1 / 1.9)
    with assert_fails("the leading order"):
        assert_estimate(square, stderr, 0.1 / 2 * 1.2)
