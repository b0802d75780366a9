"""The loss as a process (P A.4): its drift and volatility against formulas, and Y beside f(X) on the same paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian
from stablestep.problem import Function
from stablestep.schedule import Constant, Polynomial
from stablestep.sde import loss_process, model
from stablestep.setup import Agents, Setup
from tests.statistics import assert_fails, assert_variance

ETA, SIGMA, COUNT = 0.25, np.array([0.6, 0.3]), 2
SETUP = Setup(Function(lambda x: x[0] ** 4 / 4 + x[0] * x[1] ** 2 / 2 + x[1] ** 2, 2), Agents(COUNT, Gaussian(SIGMA)))


def derivatives(x):
    gradient = np.array([x[0] ** 3 + x[1] ** 2 / 2, x[0] * x[1] + 2 * x[1]])
    return gradient, np.array([[3 * x[0] ** 2, x[1]], [x[1], x[0] + 2]])


def expected_drift(x, rate, c):
    """P Eqs. 45-51: g·b + ½ tr(H GGᵀ), b = −η_t g + c (ηη_t²/2) Hg."""
    g, h = derivatives(x)
    noise = ETA * rate**2 * np.diag(SIGMA**2) / COUNT
    return -rate * g @ g + c * ETA * rate**2 / 2 * g @ h @ g + np.trace(h @ noise) / 2


@pytest.mark.parametrize(("kind", "c"), [("first", 0), ("new", 1), ("classic", -1), ("flip", 1)])
def test_loss_drift_is_itos_formula(kind, c):
    built = model(SETUP, kind, Constant(ETA))
    loss_drift = jax.jit(lambda x: built.loss_drift(0.0, x))
    for x in (np.array([0.8, -0.4]), np.array([-0.3, 1.2])):
        found = float(loss_drift(jnp.asarray(x)))
        assert found == pytest.approx(expected_drift(x, 1.0, c), rel=1e-12)
        _, h = derivatives(x)
        noise = ETA * np.diag(SIGMA**2) / COUNT
        assert found != pytest.approx(expected_drift(x, 1.0, c) + np.trace(h @ noise) / 2)  # ½ forgotten
        assert found != pytest.approx(expected_drift(x, 1.0, c) - np.trace(h @ noise) / 2)  # no Itô term


def test_loss_volatility_and_its_printed_form():
    """√(ηη_t² gᵀCg); P Eq. 52 lacks the η under the root, that is a factor √η."""
    built, t, rate = model(SETUP, "new", Polynomial(ETA, 1.0)), 1.0, 0.5
    x = np.array([0.8, -0.4])
    g, _ = derivatives(x)
    expected = rate * np.sqrt(ETA * g @ (SIGMA**2 / COUNT * g))
    assert float(built.loss_volatility(t, jnp.asarray(x))) == pytest.approx(expected, rel=1e-12)
    printed = float(built.loss_volatility(t, jnp.asarray(x), form="printed"))
    assert printed == pytest.approx(expected / np.sqrt(ETA), rel=1e-12)
    assert float(built.loss_drift(t, jnp.asarray(x))) == pytest.approx(expected_drift(x, rate, 1), rel=1e-12)


def follow(dt, **options):
    built = model(SETUP, "new", Constant(ETA))
    return loss_process(built, x0=0.7, time=0.5, dt=dt, runs=500, record=5, dtype="float64", **options)


def distance(found):
    return float(np.sqrt(np.mean((found.loss - found.process) ** 2)))


def test_the_process_is_the_loss_pathwise(seed):
    """The gap of Euler-Maruyama falls with dt (strong order ½ or better); with the printed volatility it stays."""
    coarse, fine = (distance(follow(ETA / part, seed=seed)) for part in (32, 512))
    wrong = distance(follow(ETA / 512, seed=seed, form="printed"))
    assert fine < 0.5 * coarse and fine < 0.01
    assert wrong > 10 * fine


def test_variance_of_one_step_of_the_loss(seed):
    """Var Y = dt η gᵀΣg/N after one step; printed, it is larger by 1/η."""
    built, dt = model(SETUP, "new", Constant(ETA)), ETA / 64
    common = dict(x0=0.7, time=dt, dt=dt, runs=5000, seed=seed, dtype="float64")
    g, _ = derivatives(np.array([0.7, 0.7]))
    expected = dt * ETA * g @ (SIGMA**2 / COUNT * g)
    process = loss_process(built, **common).process[:, -1]
    assert_variance(process, expected)
    with assert_fails("the printed volatility"):
        assert_variance(process, expected / ETA)
    assert_variance(loss_process(built, form="printed", **common).process[:, -1], expected / ETA)


def test_bad_input():
    built = model(SETUP, "new", Constant(ETA))
    with pytest.raises(InvalidInput, match='form is "correct"'):
        loss_process(built, x0=0.7, time=1.0, form="correct")
    with pytest.raises(InvalidInput, match='form is "x"'):
        built.loss_volatility(0.0, jnp.zeros(2), form="x")
    with pytest.raises(InvalidInput, match="without noise has no volatility"):
        loss_process(model(Setup(SETUP.problem, Agents(1)), "new", Constant(ETA)), x0=0.7, time=1.0)
