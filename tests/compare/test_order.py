"""Weak orders (P Def. 3.4): exactly on quadratics, by coupled paths elsewhere."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from stablestep import quadratic_order, weak_order
from stablestep.compare.scaling import largest, scaling
from stablestep.compressor import RandomSparsification
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Function, Quadratic, Quartic
from stablestep.setup import Agents, Setup
from tests.statistics import assert_estimate, assert_fails

HESSIAN = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.4], [-0.3, 0.4, 0.7]])
SIGMA, COUNT, START = np.array([0.5, 1.5, 1.0]), 2, np.array([1.0, -0.5, 0.8])
PLAIN = Setup(Quadratic(HESSIAN), Agents(COUNT, Gaussian(SIGMA)))
FINE = [0.02, 0.01, 0.005, 0.0025]
ORDERS = {"first": 1, "classic": 2, "new": 1}
SIGN = {"first": 0, "classic": 1, "new": -1}


def reference(kind, eta, time, sign=None):
    """The largest E f(X_kη) − E f(x_k), with its sign, by matrix exponentials and a Lyapunov equation."""
    matrix = HESSIAN + (SIGN[kind] if sign is None else sign) * eta / 2 * HESSIAN @ HESSIAN
    noise = np.diag(SIGMA**2) / COUNT
    level = linalg.solve_continuous_lyapunov(matrix, eta * noise)
    step, kick = np.eye(3) - eta * HESSIAN, eta**2 * noise
    second, errors = np.outer(START, START), []
    decay = linalg.expm(-matrix * eta)
    start, power = second - level, np.eye(3)
    for _ in range(round(time / eta)):
        second, power = step @ second @ step.T + kick, decay @ power
        exact = power @ start @ power.T + level
        errors.append(np.trace(HESSIAN @ (exact - second)) / 2)
    return largest(np.array(errors))


@pytest.mark.parametrize("kind", ORDERS)
def test_quadratic_order_is_exact(kind):
    found = quadratic_order(PLAIN, kind, FINE, START, 1.0)
    np.testing.assert_allclose(found.error, [reference(kind, eta, 1.0) for eta in FINE], rtol=1e-6)
    assert found.order == ORDERS[kind] and found.slope_low < ORDERS[kind] < found.slope_high
    assert found.slope_high - found.slope_low < 0.12 and np.all(found.stderr == 0)


@pytest.mark.parametrize("kind", ORDERS)
def test_exact_errors_too_may_not_be_asymptotic(kind):
    """Up to the edge 2/λ of the optimizer no power of η is seen, sampling or not."""
    found = quadratic_order(PLAIN, kind, [0.8, 0.4, 0.2, 0.1], START, 4.0)
    assert found.order == "undecided" and found.reason.endswith("take smaller etas.")


def test_the_order_tells_the_sign_of_the_correction():
    """The classic correction with the wrong sign or half its size is of first order."""
    for wrong in (-1, 0.5, 2):
        errors = np.array([reference("classic", eta, 1.0, wrong) for eta in FINE])
        assert scaling(FINE, errors, np.zeros(4)).order == 1


def test_new_has_twice_the_error_of_the_first_order_model():
    """Theory 0, item 1, at small η."""
    first, new = (quadratic_order(PLAIN, kind, FINE, START, 1.0).error.values[-1] for kind in ("first", "new"))
    assert new / first == pytest.approx(2, abs=0.05)


ETAS = [0.2, 0.1, 0.05, 0.025]
QUARTIC = Setup(Quartic(1), Agents(1, Gaussian(0.2)))
WRITTEN = Setup(
    Function(lambda x: jnp.sum(jnp.log(jnp.cosh(x))) + x[0] ** 2 * x[1] ** 2 / 4, 2), Agents(4, Gaussian(0.5))
)


ROUGH = Setup(Function(lambda x: jnp.sum(jnp.abs(x) ** 3), 1), Agents(1, Gaussian(1.0)))
VALLEY = Setup(Function(lambda x: (1 - x[0]) ** 2 + 10 * (x[1] - x[0] ** 2) ** 2, 2), Agents(1, Gaussian(0.1)))


def measured(setup, kind, x0, runs, seed, etas=ETAS, time=1.0):
    return weak_order(setup, kind, etas=etas, x0=x0, time=time, runs=runs, seed=seed)


@pytest.mark.parametrize(("kind", "runs"), [("first", 4000), ("classic", 40_000)])
def test_weak_order_on_the_quartic_in_its_stable_ball(kind, runs, seed):
    found = measured(QUARTIC, kind, 0.9, runs, seed)
    assert found.order == ORDERS[kind] and str(found.order) in found.reason
    assert found.slope_high - found.slope_low < 0.6
    assert np.all(found.error > 5 * found.stderr)


def test_too_few_runs_decide_nothing(seed):
    """With 1000 runs the smallest error of the classic model is known to 25 %, with 60 it is as large as its standard error."""
    found = measured(QUARTIC, "classic", 0.9, 1000, seed)
    assert found.order == "undecided" and "take more runs" in found.reason
    found = measured(QUARTIC, "classic", 0.9, 60, seed)
    assert found.order == "undecided" and "standard errors of 0; take more runs" in found.reason
    assert np.isnan(found.slope) and (found.slope_low, found.slope_high) == (-np.inf, np.inf)


def test_weak_order_on_a_written_function(seed):
    assert measured(WRITTEN, "new", np.array([1.0, -0.7]), 4000, seed).order == 1


def test_an_error_that_changes_its_sign_has_no_order(seed):
    """On |x|³ the size of the error of the first-order model has "the slope 1.8" here, and its local slopes are 3.0, 4.4 and −0.3."""
    found = measured(ROUGH, "first", 0.3, 20_000, seed)
    assert found.error[0] < 0 < found.error[-1]
    assert found.order == "undecided" and np.isnan(found.slope)
    assert "changes its sign" in found.reason or "standard errors of 0" in found.reason


@pytest.mark.parametrize(("kind", "order"), [("first", 1), ("classic", "undecided")])
def test_a_stiff_valley(kind, order, seed):
    """Rosenbrock's: the plain slope of the first-order model is 1.4 on this range, and the error of the classic one changes its sign."""
    found = measured(VALLEY, kind, np.array([-0.5, 0.5]), 1000, seed, [0.02, 0.01, 0.005, 0.0025], 0.5)
    assert found.order == order
    if order == 1:
        assert np.polyfit(np.log(found.eta), np.log(found.error), 1)[0] > 1.35
        assert found.slope_low < 1 < found.slope_high
    else:
        assert "changes its sign" in found.reason


def test_weak_order_agrees_with_the_closed_moments(seed):
    """The coupled estimate at t = time against E f of both, exactly and with its sign; the mutant has twice the error."""
    setup = Setup(Quadratic([1.0]), Agents(1, Gaussian(0.3)))
    found = weak_order(setup, "first", etas=ETAS, x0=1.0, time=1.0, runs=4000, seed=seed, substeps=16)
    for index, eta in enumerate(ETAS):
        k = round(1 / eta)
        discrete = (1 - eta) ** (2 * k) + eta**2 * 0.09 * (1 - (1 - eta) ** (2 * k)) / (1 - (1 - eta) ** 2)
        model = np.exp(-2) + eta * 0.09 * (1 - np.exp(-2)) / 2
        exact, error = (model - discrete) / 2, float(found.stderr[index])
        # 1 % for what Richardson leaves of the integration error.
        rough = np.hypot(error, 0.01 * exact / 5)
        assert_estimate(float(found.error[index]), rough, exact)
        for mutant in (2 * exact, -exact):
            with assert_fails():
                assert_estimate(float(found.error[index]), rough, mutant)


@pytest.mark.parametrize(
    ("setup", "options", "match"),
    [
        (QUARTIC, dict(etas=[0.1, 0.05, 0.025]), "3 different values, but a slope needs at least four"),
        (QUARTIC, dict(etas=[0.1, 0.1, 0.05, 0.025]), "4 values, but 3 different ones; give each once"),
        (QUARTIC, dict(etas=[0.1, 0.05, 0.025, -0.1]), "each of etas is -0.1"),
        (QUARTIC, dict(etas=0.1), "etas is 0.1, but must list at least four step sizes"),
        (QUARTIC, dict(runs=1), "runs is 1, but must be a whole number of at least 2"),
        (QUARTIC, dict(seed=1.5), "seed is 1.5"),
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


def test_a_number_is_a_point_with_equal_coordinates():
    found = [quadratic_order(PLAIN, "first", FINE, x0, 1.0).error.values for x0 in (1.0, np.ones(PLAIN.dim))]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"setup": 3}, "setup is 3, but must be a Setup"),
        ({"setup": lambda eta: eta}, "but must be a Setup, .* or a function that gives one"),
        ({"x0": np.ones(5)}, r"x0 has shape \(5,\)"),
        ({"x0": "1"}, "x0 is .1., but must be a number, a vector"),
        ({"x0": lambda key: np.ones(2)}, "x0 is .*, but exact moments start at one point"),
        ({"time": "1"}, 'time is "1", but must be a finite number greater than 0'),
        ({"etas": None}, "etas is None, but must list"),
        ({"etas": "0.1"}, 'etas is "0.1", but must list'),
        ({"start": "there"}, 'start is "there"'),
    ],
)
def test_what_quadratic_order_is_given(changed, match):
    given = {"setup": PLAIN, "kind": "first", "etas": FINE, "x0": START, "time": 1.0} | changed
    with pytest.raises(InvalidInput, match=match) as caught:
        quadratic_order(**given)
    assert "\n" not in str(caught.value)


def test_bad_input_of_quadratic_order():
    with pytest.raises(InvalidInput, match="3 different values"):
        quadratic_order(PLAIN, "first", FINE[:3], START, 1.0)
    with pytest.raises(InvalidInput, match="an exact solution is known"):
        quadratic_order(QUARTIC, "first", FINE, np.ones(1), 1.0)
