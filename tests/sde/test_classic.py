"""The classic model under schedules: weak order 2 only with the terms ∂_t and ∇ₓ of the schedule (theory 2.1)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from stablestep.problem import Function
from stablestep.schedule import Constant, Custom, Polynomial, StepLimit
from stablestep.sde import model
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants

SETUP = Setup(Function(lambda x: jnp.sum(x**2 / 2 + x**4 / 4), dim=1), Agents(1))
CONSTANTS = Constants(L0=1.0, L1=1.0, dim=1)
ETAS = np.array([0.08, 0.04, 0.02, 0.01])
START, END = 0.9, 1.6


def gradient(x):
    return x + x**3


# The schedule of an η, and η_t(t, x), ∂_x η_t in plain NumPy.
ROWS = {
    "constant": (Constant, lambda t, x: 1.0, lambda t, x: 0.0),
    "1/(1+t)": (lambda eta: Polynomial(eta, 1.0), lambda t, x: 1 / (1 + t), lambda t, x: 0.0),
    "1/sqrt(1+t)": (lambda eta: Polynomial(eta, 0.5), lambda t, x: (1 + t) ** -0.5, lambda t, x: 0.0),
    "custom": (
        lambda eta: Custom(eta, lambda t: 0.7 + 0.3 * jnp.cos(2 * t)),
        lambda t, x: 0.7 + 0.3 * np.cos(2 * t),
        lambda t, x: 0.0,
    ),
    # With ε = η/2 the limit 2ε/(L0 + L1‖g‖) is always below η, so that η_t = 1/(1 + |g|).
    "1/(1+|g|)": (
        lambda eta: StepLimit("B.2", eta, epsilon=eta / 2, constants=CONSTANTS),
        lambda t, x: 1 / (1 + abs(gradient(x))),
        lambda t, x: -(1 + 3 * x**2) / (1 + abs(gradient(x))) ** 2,
    ),
}


def optimizer(eta, rate):
    x = START
    for k in range(round(END / eta)):
        x -= eta * rate(k * eta, x) * gradient(x)
    return x


def flow(drift):
    return solve_ivp(drift, (0, END), [START], method="DOP853", rtol=1e-11, atol=1e-13).y[0, -1]


def slope(errors):
    return np.polyfit(np.log(ETAS), np.log(np.abs(errors)), 1)[0]


def library_error(kind, make, rate):
    errors = []
    for eta in ETAS:
        drift = jax.jit(model(SETUP, kind, make(float(eta))).drift)
        errors.append(flow(lambda t, x, drift=drift: np.asarray(drift(t, jnp.asarray(x)))) - optimizer(eta, rate))
    return np.array(errors)


@pytest.mark.parametrize("name", ROWS)
def test_classic_is_of_second_order_under_every_schedule(name):
    make, rate, _ = ROWS[name]
    errors = library_error("classic", make, rate)
    assert slope(errors) == pytest.approx(2, abs=0.1)
    assert np.all(np.abs(errors) < 5e-3)


@pytest.mark.parametrize("name", [name for name in ROWS if name != "constant"])
def test_without_the_terms_of_the_schedule_it_is_of_first_order(name):
    """The mutant −η_t m − (ηη_t²/2) H m: theory 2.1 measures slopes 1.02, 1.05 and 0.99."""
    _, rate, _ = ROWS[name]

    def drift(eta):
        return lambda t, x: -rate(t, x[0]) * gradient(x) - eta / 2 * rate(t, x[0]) ** 2 * (1 + 3 * x**2) * gradient(x)

    errors = [flow(drift(eta)) - optimizer(eta, rate) for eta in ETAS]
    assert slope(errors) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("kind", ["first", "new"])
def test_other_models_are_of_first_order(kind):
    make, rate, _ = ROWS["constant"]
    errors = library_error(kind, make, rate)
    assert slope(errors) == pytest.approx(1, abs=0.1)


def test_new_has_twice_the_error_of_the_first_order_model():
    """Theory 0, item 1: the leading error of the new model is twice that of gradient flow."""
    make, rate, _ = ROWS["constant"]
    ratio = library_error("new", make, rate)[-1] / library_error("first", make, rate)[-1]
    assert ratio == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("name", ROWS)
def test_classic_drift_is_the_formula(name):
    """−s − (η/2) s s' + (η/2) ∂_t s with s = η_t g in one dimension; ∂_t by central differences."""
    make, rate, rate_slope = ROWS[name]
    eta, t, step = 0.05, 0.7, 1e-5
    built = model(SETUP, "classic", make(eta))
    for x in (-0.8, 0.4, 1.3):
        s = rate(t, x) * gradient(x)
        outer = rate_slope(t, x) * np.sign(x) * gradient(x) + rate(t, x) * (1 + 3 * x**2)
        time = (rate(t + step, x) - rate(t - step, x)) / (2 * step) * gradient(x)
        found = float(built.drift(t, jnp.array([x]))[0])
        assert found == pytest.approx(-s - eta / 2 * outer * s + eta / 2 * time, abs=1e-10)


def test_a_schedule_of_the_gradient_norm_is_differentiable_at_a_stationary_point():
    built = model(SETUP, "classic", ROWS["1/(1+|g|)"][0](0.1))
    assert float(built.drift(0.0, jnp.zeros(1))[0]) == 0.0
