"""One step on real messages, where E f and E log f are known."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.problem import Function, Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.stability import critical_step
from tests.stability.reference import ALMOST_SURE, BUMP, MASKED, MEAN_SQUARE, QUARTIC, SPARSE, log_error
from tests.statistics import assert_estimate, assert_fails

METHODS = ("one-step", "one-step-log")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("setup", "x0", "edge"),
    [
        (QUARTIC, 2.0, 0.5),
        (Setup(Quadratic([4.0]), Agents(1)), -3.0, 0.5),
        (Setup(Function(lambda x: jnp.sum(x**2 / 2) + 7, 1, minimum=7.0), Agents(1)), 1.0, 2.0),
        (Setup(Quartic(2), Agents(1)), 1.0, 2.0),
    ],
)
def test_gradient_descent(setup, x0, edge, method):
    """f(x − h∇f) = f(x) at h = 2/x² and 2/λ."""
    found = critical_step(setup, x0=x0, method=method)
    assert found.step == found.low == found.high == pytest.approx(edge, rel=2e-6)
    assert found.status == "exact" and found.details == {"samples": 1}


@pytest.mark.parametrize("method", METHODS)
def test_a_mask_on_one_coordinate(method, seed):
    """f stays or is multiplied by (1 − 5h)²: both means cross at h = .4, whatever is drawn."""
    assert critical_step(MASKED, x0=1.0, method=method, seed=seed).step == pytest.approx(0.4, rel=2e-6)


def test_relative_noise(seed):
    """E f is that of 2/(1 + A); E log f crosses where the almost-sure edge is, as x² is all that f knows."""
    found = {method: critical_step(SPARSE, x0=1.0, method=method, seed=seed) for method in METHODS}
    for method, right, wrong in zip(METHODS, (MEAN_SQUARE, ALMOST_SURE), (ALMOST_SURE, MEAN_SQUARE), strict=True):
        logarithm, error = math.log(found[method].step), log_error(found[method])
        assert_estimate(logarithm, error, math.log(right))
        with assert_fails("the other edge"):
            assert_estimate(logarithm, error, math.log(wrong))
    with assert_fails("noise of 0.8 times the variance"):
        assert_estimate(math.log(found["one-step"].step), log_error(found["one-step"]), math.log(2 / (1 + 7.2)))
    assert found["one-step"].cost > found["one-step"].details["samples"] == 8192


def test_samples_and_seeds():
    one, again, other = (critical_step(SPARSE, x0=1.0, method="one-step", samples=100, seed=seed) for seed in (1, 1, 2))
    assert one == again and one.step != other.step and one.details["samples"] == 100


@pytest.mark.parametrize("method", METHODS)
def test_never(method):
    found = critical_step(BUMP, x0=0.5, method=method)
    assert (found.step, found.status) == (math.inf, "never")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("setup", "x0", "options", "message"),
    [
        (QUARTIC, 0.0, {}, "the gradient at x0 is 0"),
        (QUARTIC, 1.0, {"samples": 0}, "samples is 0"),
        (Setup(Function(lambda x: jnp.sum(x**2) - 5, 1), Agents(1)), 1.0, {}, "not above its infimum.*add a constant"),
        (QUARTIC, 1.0, {"steps": 5}, r'the method "one-step.*" has no option "steps"; it takes samples'),
    ],
)
def test_bad_input(setup, x0, options, message, method):
    with pytest.raises(InvalidInput, match=message) as caught:
        critical_step(setup, x0=x0, method=method, **options)
    assert "\n" not in str(caught.value)


def test_an_unknown_infimum_counts_as_zero():
    unknown = Setup(Function(lambda x: jnp.sum(x**2) / 2 + 1, 1), Agents(1))
    assert critical_step(unknown, x0=1.0, method="one-step").step == pytest.approx(2.0, rel=2e-6)
    assert np.isfinite(critical_step(unknown, x0=1.0, method="one-step-log").step)
