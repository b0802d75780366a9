"""The start that every predictor shares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import RandomSparsification, Sign
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian
from stablestep.problem import Function, Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.stability.start_point import ceiling, formula, sharpness, start_point, symmetric

PLAIN = Setup(Quartic(3), Agents(2))


@pytest.mark.parametrize("x0", [2.0, [2.0, 2.0, 2.0], np.array([2, 2, 2])])
def test_value_and_gradient_at_the_start(x0):
    at = start_point(PLAIN, x0)
    assert at.point.tolist() == [2, 2, 2] and at.value == 12 and at.gradient.tolist() == [8, 8, 8]
    assert at.gradient_norm == pytest.approx(8 * np.sqrt(3), rel=1e-15)
    assert at.point.dtype == at.gradient.dtype == np.float64


def test_a_random_start_is_one_draw():
    def draw(key):
        return jax.random.uniform(key, (3,), float)

    one, again, other = (start_point(PLAIN, draw, seed).point for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.any(one == other) and one.shape == (3,)


def test_it_is_in_float64_where_jax_is_not():
    with jax.enable_x64(False):
        assert start_point(PLAIN, 0.1).value == pytest.approx(3 * 0.1**4 / 4, rel=1e-14)


@pytest.mark.parametrize(
    ("agents", "x0", "fixed"),
    [
        ([Agents(2)], 1.0, True),
        ([Agents(2, None, Sign())], 1.0, True),
        ([Agents(2)], lambda key: jax.random.uniform(key, (3,)), False),
        ([Agents(2, Gaussian(0.1))], 1.0, False),
        ([Agents(2), Agents(1, None, RandomSparsification(1.0))], 1.0, False),
    ],
)
def test_whether_anything_is_random(agents, x0, fixed):
    assert start_point(Setup(Quartic(3), *agents), x0).fixed is fixed


def test_a_guess_in_the_problems_own_units():
    """‖x0‖/‖∇f(x0)‖, which scales with x0 as the edge does; 1/‖∇f‖ at the origin."""
    assert start_point(Setup(Quadratic([4.0]), Agents(1)), 7.0).dimensionless(np.array([1.0, 3.0])).tolist() == [
        0.25,
        0.75,
    ]
    shifted = Setup(Function(lambda x: jnp.sum((x - 2) ** 2), 1), Agents(1))
    assert start_point(shifted, 0.0).dimensionless(np.ones(1)).tolist() == [0.25]


def test_the_ceiling_is_above_the_start_of_every_run():
    values = jnp.array([2.0, 5.0])
    np.testing.assert_allclose(ceiling(1.0, values, 1000.0), [1001, 4001])
    np.testing.assert_allclose(ceiling(0.0, -values, 10.0), [20, 50])
    assert np.all(np.isinf(ceiling(0.0, values, np.inf)))
    assert float(ceiling(0.0, jnp.array(0.0), 1000.0)) > 0


def test_an_interval_without_end():
    assert symmetric(0.5, np.inf) == symmetric(0.5, 1e5) and symmetric(0.5, 1e5)[0] < 1e-300


@pytest.mark.parametrize(("ratio", "status"), [(1.0, "sharp"), (1.25, "sharp"), (1.26, "soft"), (np.inf, "soft")])
def test_sharpness(ratio, status):
    assert sharpness(0.4, 0.4 * ratio) == status


def test_results():
    found = formula(0.5, "theorem", "what", 3, L0=1.0)
    assert (found.low, found.high, found.status, found.cost, found.details) == (0.5, 0.5, "formula", 3, {"L0": 1.0})
    assert np.prod(symmetric(0.5, 0.1)) == pytest.approx(0.25) and symmetric(0.5, 0.0) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("setup", "x0", "message"),
    [
        (Quartic(3), 1.0, "must be a Setup"),
        (PLAIN, [1.0, 2.0], r"x0 has shape \(2,\), but must be a number or a vector of length 3"),
        (PLAIN, np.nan, "not finite"),
        (PLAIN, "here", 'x0 is "here"'),
        (PLAIN, lambda key: jnp.ones(2), r"x0\(key\) has shape \(2,\)"),
        (Setup(Function(lambda x: jnp.log(x[0]), 1), Agents(1)), -1.0, "f is not finite at x0"),
    ],
)
def test_bad_input(setup, x0, message):
    with pytest.raises(InvalidInput, match=message):
        start_point(setup, x0)


def test_a_start_without_a_slope():
    with pytest.raises(InvalidInput, match="the gradient at x0 is 0, so no step changes anything there; start some"):
        start_point(PLAIN, 0.0).require_slope()
