"""Weak orders (P Def. 3.4): exactly on quadratics, by coupled paths elsewhere."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from stablestep import quadratic_order, weak_order
from stablestep.compare.order import fit_slope
from stablestep.compressor import RandomSparsification
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Function, Quadratic, Quartic
from stablestep.setup import Agents, Setup

HESSIAN = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.4], [-0.3, 0.4, 0.7]])
SIGMA, COUNT, START = np.array([0.5, 1.5, 1.0]), 2, np.array([1.0, -0.5, 0.8])
PLAIN = Setup(Quadratic(HESSIAN), Agents(COUNT, Gaussian(SIGMA)))
FINE = [0.02, 0.01, 0.005, 0.0025]
ORDERS = {"first": 1, "classic": 2, "new": 1}
SIGN = {"first": 0, "classic": 1, "new": -1}


def reference(kind, eta, time, sign=None):
    """sup_k |E f(X_kη) − E f(x_k)| by matrix exponentials and a Lyapunov equation."""
    matrix = HESSIAN + (SIGN[kind] if sign is None else sign) * eta / 2 * HESSIAN @ HESSIAN
    noise = np.diag(SIGMA**2) / COUNT
    level = linalg.solve_continuous_lyapunov(matrix, eta * noise)
    step, kick = np.eye(3) - eta * HESSIAN, eta**2 * noise
    second, worst = np.outer(START, START), 0.0
    decay = linalg.expm(-matrix * eta)
    start, power = second - level, np.eye(3)
    for _ in range(round(time / eta)):
        second, power = step @ second @ step.T + kick, decay @ power
        exact = power @ start @ power.T + level
        worst = max(worst, abs(np.trace(HESSIAN @ (exact - second))) / 2)
    return worst


@pytest.mark.parametrize("kind", ORDERS)
def test_quadratic_order_is_exact(kind):
    found = quadratic_order(PLAIN, kind, FINE, START, 1.0)
    np.testing.assert_allclose(found.error, [reference(kind, eta, 1.0) for eta in FINE], rtol=1e-6)
    assert found.attrs["slope"] == pytest.approx(ORDERS[kind], abs=0.1)
    assert np.all(found.stderr == 0)


def test_the_order_tells_the_sign_of_the_correction():
    """The classic correction with the wrong sign or half its size is of first order."""
    for wrong in (-1, 0.5, 2):
        errors = np.array([reference("classic", eta, 1.0, wrong) for eta in FINE])
        assert fit_slope(np.array(FINE), errors, np.zeros(4))[0] == pytest.approx(1, abs=0.1)


def test_new_has_twice_the_error_of_the_first_order_model():
    """Theory 0, item 1, at small η."""
    first, new = (quadratic_order(PLAIN, kind, FINE, START, 1.0).error.values[-1] for kind in ("first", "new"))
    assert new / first == pytest.approx(2, abs=0.05)


ETAS = [0.2, 0.1, 0.05, 0.025]
QUARTIC = Setup(Quartic(1), Agents(1, Gaussian(0.2)))
WRITTEN = Setup(
    Function(lambda x: jnp.sum(jnp.log(jnp.cosh(x))) + x[0] ** 2 * x[1] ** 2 / 4, 2), Agents(4, Gaussian(0.5))
)


def measured(setup, kind, x0, runs, seed):
    return weak_order(setup, kind, etas=ETAS, x0=x0, time=1.0, runs=runs, seed=seed)


def covers(found, expected, bias=0.15):
    """The interval contains the order; four finite η bias the slope by less than `bias`."""
    return found.attrs["slope_low"] - bias <= expected <= found.attrs["slope_high"] + bias


@pytest.mark.parametrize("kind", ["first", "classic"])
def test_weak_order_on_the_quartic_in_its_stable_ball(kind, seed):
    found = measured(QUARTIC, kind, 0.9, 4000, seed)
    assert covers(found, ORDERS[kind]) and not covers(found, 3 - ORDERS[kind])
    assert found.attrs["slope_high"] - found.attrs["slope_low"] < 0.6
    assert np.all(found.error > 5 * found.stderr)


@pytest.mark.parametrize("kind", ["new"])
def test_weak_order_on_a_written_function(kind, seed):
    found = measured(WRITTEN, kind, np.array([1.0, -0.7]), 4000, seed)
    assert covers(found, 1) and not covers(found, 2)


def test_weak_order_agrees_with_the_closed_moments(seed):
    """The coupled estimate at t = time against E f of both, exactly; the mutant has twice the error."""
    setup = Setup(Quadratic([1.0]), Agents(1, Gaussian(0.3)))
    found = weak_order(setup, "first", etas=ETAS, x0=1.0, time=1.0, runs=4000, seed=seed, substeps=16)
    for index, eta in enumerate(ETAS):
        k = round(1 / eta)
        discrete = (1 - eta) ** (2 * k) + eta**2 * 0.09 * (1 - (1 - eta) ** (2 * k)) / (1 - (1 - eta) ** 2)
        model = np.exp(-2) + eta * 0.09 * (1 - np.exp(-2)) / 2
        exact, error = abs(model - discrete) / 2, float(found.stderr[index])
        assert abs(float(found.error[index]) - exact) < 5 * error + 0.01 * exact
        assert abs(float(found.error[index]) - 2 * exact) > 5 * error + 0.01 * exact


def test_fit_slope_has_an_interval_that_covers():
    """Errors 3η with a known standard error: the interval covers 1 about 95 times in 100."""
    random, etas, stderr = np.random.default_rng(7), np.array(ETAS), np.array([0.03, 0.015, 0.01, 0.01])
    hits = 0
    for _ in range(400):
        _, low, high = fit_slope(etas, 3 * etas + stderr * random.standard_normal(4), stderr)
        hits += low <= 1 <= high
    assert 360 < hits < 396


@pytest.mark.parametrize(
    ("setup", "options", "match"),
    [
        (QUARTIC, dict(etas=[0.1, 0.05, 0.025]), "3 different values, but a slope needs at least four"),
        (QUARTIC, dict(etas=[0.1, 0.1, 0.05, 0.025]), "3 different values"),
        (QUARTIC, dict(etas=[0.3, 0.1, 0.05, 0.025]), "η = 0.3 does not divide time = 1.0"),
        (Setup(Quartic(1), Agents(1, StudentT(5.0))), {}, "Identity messages under Gaussian noise"),
        (Setup(Quartic(1), Agents(1, Gaussian(0.1), RandomSparsification(1.0))), {}, "Identity messages"),
        (QUARTIC, dict(form="printed"), "papers print another formula only"),
    ],
)
def test_bad_input_of_weak_order(setup, options, match):
    with pytest.raises(InvalidInput, match=match):
        weak_order(setup, "new", **(dict(etas=ETAS, x0=0.5, time=1.0, runs=4) | options))


def test_diverging_paths_have_no_order():
    with pytest.raises(InvalidInput, match=r"paths diverge at η = 0.2"):
        measured(QUARTIC, "first", 20.0, 4000, 0)


def test_bad_input_of_quadratic_order():
    with pytest.raises(InvalidInput, match="3 different values"):
        quadratic_order(PLAIN, "first", FINE[:3], START, 1.0)
    with pytest.raises(InvalidInput, match="an exact solution is known"):
        quadratic_order(QUARTIC, "first", FINE, np.ones(1), 1.0)
