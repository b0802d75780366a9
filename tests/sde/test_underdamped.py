"""Underdamped models of heavy ball (theory2 section 2.3): scaling, drifts, noise, starts, and who has none."""

import jax.numpy as jnp
import numpy as np
import pytest

from stablestep import integrate
from stablestep.compressor import ErrorFeedback, RandomSparsification
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian
from stablestep.problem import Function, Quadratic
from stablestep.schedule import Constant, Polynomial
from stablestep.sde import model
from stablestep.sde.exact import pair_transition
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from tests.statistics import assert_covariance, assert_fails, assert_mean

MATRIX, SIGMA = np.array([[2.0, 0.6], [0.6, 1.0]]), 0.7
X, M = np.array([0.8, -0.5]), np.array([0.3, 0.9])
QUARTIC = Function(lambda x: jnp.sum(x**2 / 2 + x**4 / 4), dim=2)


def ball(problem=None, sigma=SIGMA, **options):
    return Setup(
        Quadratic(MATRIX) if problem is None else problem, Agents(2, Gaussian(sigma)), server=HeavyBall(**options)
    )


def pairs(built, t=0.0):
    return [np.asarray(part) for part in built.drift(t, (jnp.asarray(X), jnp.asarray(M)))]


def test_a_is_the_equation():
    """1 − β = cη, t = kη: dX = −m, dm = c(g − m) + c√η C^½ dW; heavy ball without average has η_e = η/(1 − β)."""
    for options, eta in ((dict(beta=0.9, average=True), 0.05), (dict(beta=0.9), 0.005)):
        built = model(ball(**options), "underdamped-a", Constant(eta))
        assert float(built.friction) == pytest.approx(2) and float(built.tick) == pytest.approx(0.05)
        dx, dm = pairs(built)
        np.testing.assert_allclose(dx, -M)
        np.testing.assert_allclose(dm, 2 * (MATRIX @ X - M), rtol=1e-12)
        g = built.diffusion(0.0, (jnp.asarray(X), jnp.asarray(M))).as_matrix()
        np.testing.assert_allclose(g, 2 * np.sqrt(0.05) * SIGMA / np.sqrt(2) * np.eye(2), rtol=1e-12)


def test_the_correction_of_a():
    """(η/2)(−c(g − m), c(Hm + c(g − m))), off quadratics with H at the point."""
    eta, c = 0.05, 2.0
    plain, better = (
        pairs(model(ball(QUARTIC, beta=0.9, average=True), kind, Constant(eta)))
        for kind in ("underdamped-a", "underdamped-a-classic")
    )
    pull = c * (X + X**3 - M)
    np.testing.assert_allclose(better[0] - plain[0], -eta / 2 * pull, rtol=1e-10)
    np.testing.assert_allclose(better[1] - plain[1], eta / 2 * c * ((1 + 3 * X**2) * M + pull), rtol=1e-10)


def test_b_is_the_equation():
    """1 − β = γ√η, t = k√η: dX = V, dV = −γV − g + η^¼ C^½ dW, η that of heavy ball (with average η(1 − β))."""
    for options, eta in ((dict(beta=0.8), 0.04), (dict(beta=0.8, average=True), 0.2)):
        built = model(ball(**options), "underdamped-b", Constant(eta))
        assert float(built.friction) == pytest.approx(1) and float(built.tick) == pytest.approx(0.2)
        dx, dv = pairs(built)
        np.testing.assert_allclose(dx, M)
        np.testing.assert_allclose(dv, -M - MATRIX @ X, rtol=1e-12)
        g = built.diffusion(0.0, (jnp.asarray(X), jnp.asarray(M))).as_matrix()
        np.testing.assert_allclose(g, 0.04**0.25 * SIGMA / np.sqrt(2) * np.eye(2), rtol=1e-12)


def test_starts():
    """Cold: at rest. Warm: m = g, V = −√η g/(1 − β)."""
    g = MATRIX @ X
    rows = {"underdamped-a": g, "underdamped-a-classic": g, "underdamped-b": -0.2 * g / 0.2}
    for kind, momentum in rows.items():
        for warm in (False, True):
            built = model(ball(beta=0.8, warm=warm), kind, Constant(0.04))
            x, m = built.begin(jnp.asarray(X))
            np.testing.assert_allclose(x, X)
            np.testing.assert_allclose(m, momentum * warm, rtol=1e-12)
            np.testing.assert_allclose(built.start(jnp.asarray(X)), X)


def test_a_schedule_moves_the_point_only():
    for kind, sign in (("underdamped-a", -1), ("underdamped-b", 1)):
        built = model(ball(beta=0.8), kind, Polynomial(0.04, 1.0))
        # A time t is t/tick iterations of η each.
        t = 3.0
        rate = 1 / (1 + t / float(built.tick) * 0.04)
        moving, still = pairs(built, t), pairs(built)
        np.testing.assert_allclose(moving[0], sign * rate * M, rtol=1e-10)
        np.testing.assert_allclose(moving[1], still[1])


@pytest.mark.parametrize("kind", ["underdamped-a", "underdamped-a-classic", "underdamped-b"])
def test_integrated_it_has_the_exact_law(kind, seed):
    """Euler-Maruyama at a fine dt against the exponential of the linear pair; the mutant is twice the noise."""
    built = model(ball(beta=0.8), kind, Constant(0.02))
    decay, spread = pair_transition(built)
    state, covariance = np.concatenate([X, np.zeros(2)]), np.zeros((4, 4))
    for _ in range(10):
        state, covariance = decay @ state, decay @ covariance @ decay.T + spread
    found = integrate(
        built, x0=X, time=10 * float(built.tick), dt=float(built.tick) / 200, runs=8000, seed=seed, record=2, final=True
    )
    assert_covariance(found.final_state.values, covariance[:2, :2])
    with assert_fails("twice the noise"):
        assert_covariance(found.final_state.values, 2 * covariance[:2, :2])
    # dt/tick of the drift's change is left in the mean.
    rest = np.abs(decay @ state - state).max() / 200 * 10
    assert np.abs(found.final_state.values.mean(0) - state[:2]).max() < 5 * np.sqrt(covariance[0, 0] / 8000) + rest
    assert found.time.long_name == ("t = k√η" if kind == "underdamped-b" else "t = kη_e")
    assert abs(float(found.integration_error[-1])) < 0.02
    with assert_fails("the mean at the start"):
        assert_mean(found.final_state.values, X)


@pytest.mark.parametrize(
    ("made", "kind", "schedule", "match"),
    [
        (Setup(Quadratic(MATRIX), Agents(1)), "underdamped-a", Constant(0.1), "is of server.HeavyBall"),
        (ball(beta=0.9, nesterov=True), "underdamped-b", Constant(0.1), "without nesterov"),
        (ball(beta=0.0), "underdamped-b", Constant(0.1), "β > 0"),
        (
            Setup(
                Quadratic(MATRIX),
                Agents(1, None, ErrorFeedback(RandomSparsification(1.0, scaled=False))),
                server=HeavyBall(0.9),
            ),
            "underdamped-a",
            Constant(0.1),
            "of heavy ball alone, not with ErrorFeedback",
        ),
        (ball(beta=0.9), "underdamped-a-classic", Polynomial(0.1, 1.0), "known for a constant step"),
    ],
)
def test_who_has_none(made, kind, schedule, match):
    with pytest.raises(InvalidInput, match=match) as caught:
        model(made, kind, schedule)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["exact", "ode"])
def test_methods_of_a_point_alone(method):
    built = model(ball(beta=0.9, sigma=0.0), "underdamped-a", Constant(0.1))
    with pytest.raises(InvalidInput, match="not for the pair of a point and a momentum"):
        integrate(built, x0=1.0, time=1.0, method=method)


def test_printed_has_no_momentum():
    with pytest.raises(InvalidInput, match="form='printed' is for methods of the papers"):
        model(ball(beta=0.9), "underdamped-a", Constant(0.1), form="printed")
