"""Linear models: the Ornstein-Uhlenbeck law against closed moments, and the stationary losses of theory 2.6."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from stablestep import integrate, simulate
from stablestep.compressor import Identity, RandomSparsification
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic, Quartic
from stablestep.schedule import Constant, Polynomial
from stablestep.sde import model
from stablestep.sde.exact import linear_parts, transition
from stablestep.setup import Agents, Setup
from tests.statistics import assert_covariance, assert_fails, assert_mean

HESSIAN = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.4], [-0.3, 0.4, 0.7]])
SIGMA = np.array([0.5, 1.5, 1.0])
COUNT, ETA = 3, 0.4
SETUP = Setup(Quadratic(HESSIAN), Agents(COUNT, Gaussian(SIGMA)))
NOISE = ETA * np.diag(SIGMA**2) / COUNT  # GGᵀ
SIGN = {"first": 0.0, "classic": 1.0, "new": -1.0, "flip": -1.0}


def linear(kind, eta=ETA):
    return HESSIAN + SIGN[kind] * eta / 2 * HESSIAN @ HESSIAN


def spread(matrix, time):
    """∫₀ᵗ e^{−As} C e^{−Aᵀs} ds by Van Loan's block exponential."""
    d = len(matrix)
    block = linalg.expm(np.block([[matrix, NOISE], [np.zeros((d, d)), -matrix.T]]) * time)
    return block[d:, d:].T @ block[:d, d:]


@pytest.mark.parametrize("kind", SIGN)
def test_linear_parts_are_those_of_the_drift(kind):
    built = model(SETUP, kind, Constant(ETA))
    drift, covariance = linear_parts(built)
    np.testing.assert_allclose(drift, linear(kind), rtol=1e-12)
    np.testing.assert_allclose(covariance, NOISE, atol=1e-15)
    columns = jax.vmap(lambda x: built.drift(0.0, x))(jnp.eye(3))
    np.testing.assert_allclose(-np.asarray(columns).T, drift, rtol=1e-12)


@pytest.mark.parametrize("kind", SIGN)
@pytest.mark.parametrize("time", [0.05, 3.0])
def test_transition_is_the_matrix_exponential(kind, time):
    decay, covariance = transition(linear(kind), NOISE, time)
    np.testing.assert_allclose(decay, linalg.expm(-linear(kind) * time), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(covariance, spread(linear(kind), time), rtol=1e-10, atol=1e-12)


def test_transition_of_flat_and_of_unstable_directions():
    decay, covariance = transition(np.diag([0.0, -0.5]), np.eye(2), 2.0)
    np.testing.assert_allclose(decay, np.diag([1, np.e]), rtol=1e-12)
    np.testing.assert_allclose(np.diag(covariance), [2, np.exp(2) - 1], rtol=1e-12)


def test_exact_paths_have_the_exact_law(seed):
    """Mean and covariance at the end of three unequal gaps; the mutant has the first-order model's."""
    start, time = np.array([1.0, -2.0, 0.5]), 3 * ETA
    built = model(SETUP, "new", Constant(ETA))
    found = integrate(built, x0=start, time=time, dt=ETA, record=[1, 3], runs=20_000, seed=seed, method="exact")
    state, matrix = found.final_state.values, linear("new")
    assert_mean(state, linalg.expm(-matrix * time) @ start)
    assert_covariance(state, spread(matrix, time))
    with assert_fails("the first-order model"):
        assert_mean(state, linalg.expm(-HESSIAN * time) @ start)
    with assert_fails("the stationary covariance"):
        assert_covariance(state, linalg.solve_continuous_lyapunov(matrix, NOISE))
    middle = linalg.expm(-matrix * ETA) @ start
    expected = (middle @ HESSIAN @ middle + np.trace(HESSIAN @ spread(matrix, ETA))) / 2
    assert abs(float(found.loss_mean[1]) - expected) < 5 * float(found.loss_stderr[1])
    assert np.all(found.integration_error == 0)


def test_exact_paths_leave_the_ball_when_unstable():
    """η > 2/λ: the new model of the quadratic grows, and its runs are counted."""
    built = model(Setup(Quadratic([1.0]), Agents(1, Gaussian(0.1))), "new", Constant(3.0))
    found = integrate(built, x0=1.0, time=30.0, dt=3.0, runs=50, method="exact", radius=100.0)
    assert float(found.diverged[-1]) == 1 and float(found.loss_mean[-1]) == np.inf
    assert np.all(found.divergence_time > 3) and np.all(found.divergence_time <= 30)


def test_exact_needs_a_linear_model():
    for setup, schedule in [
        (Setup(Quartic(1), Agents(1, Gaussian(1.0))), Constant(0.1)),
        (Setup(Quadratic([1.0]), Agents(1, Gaussian(1.0, 0.1))), Constant(0.1)),
        (Setup(Quadratic([1.0]), Agents(1, Gaussian(1.0), RandomSparsification(1.0))), Constant(0.1)),
        (Setup(Quadratic([1.0]), Agents(1, StudentT(5.0))), Constant(0.1)),
        (Setup(Quadratic([1.0]), Agents(1, Gaussian(1.0))), Polynomial(0.1, 0.5)),
    ]:
        with pytest.raises(InvalidInput, match=r'an exact solution is known.*method="euler"'):
            integrate(model(setup, "new", schedule), x0=1.0, time=1.0, method="exact")


def stationary(kind, eta=ETA):
    """The covariance of a model in its stationary state, from the Lyapunov equation of the library's own drift."""
    drift, covariance = linear_parts(model(SETUP, kind, Constant(eta)))
    return linalg.solve_continuous_lyapunov(drift, covariance)


@pytest.mark.parametrize("eta", [0.05, 0.4, 0.8])
def test_stationary_losses_of_sgd_on_a_quadratic(eta):
    """Theory 2.6: discrete = new = (η/2) tr((2I − ηH)⁻¹Σ/N), also where H and Σ do not commute; first = (η/4) trΣ/N."""
    noise = np.diag(SIGMA**2) / COUNT
    step = np.eye(3) - eta * HESSIAN
    discrete = linalg.solve_discrete_lyapunov(step, eta**2 * noise)
    expected = eta / 2 * np.trace(np.linalg.solve(2 * np.eye(3) - eta * HESSIAN, noise))
    losses = {kind: np.trace(HESSIAN @ stationary(kind, eta)) / 2 for kind in SIGN}
    assert np.trace(HESSIAN @ discrete) / 2 == pytest.approx(expected, rel=1e-10)
    assert losses["new"] == pytest.approx(expected, rel=1e-10)
    assert losses["flip"] == pytest.approx(expected, rel=1e-10)
    assert losses["first"] == pytest.approx(eta / 4 * np.trace(noise), rel=1e-10)
    classic = eta / 2 * np.trace(np.linalg.solve(2 * np.eye(3) + eta * HESSIAN, noise))
    assert losses["classic"] == pytest.approx(classic, rel=1e-10)
    # Only the loss agrees: the covariances do not, because H and Σ do not commute.
    assert np.abs(stationary("new", eta) - discrete).max() > 1e-4 * eta


def test_stationary_numbers_of_the_scalar_quadratic():
    """Theory 4: η/(2(2−η)) for discrete and new, η/4 first, η/(2(2+η)) classic."""
    setup, eta = Setup(Quadratic([1.0]), Agents(1, Gaussian(1.0))), 0.6
    expected = {"new": eta / (2 * (2 - eta)), "first": eta / 4, "classic": eta / (2 * (2 + eta))}
    for kind, value in expected.items():
        drift, covariance = linear_parts(model(setup, kind, Constant(eta)))
        assert covariance[0, 0] / (2 * drift[0, 0]) / 2 == pytest.approx(value, rel=1e-12)


CURVATURE, OMEGA, SIGMA0, SIGMA1, DIM, AGENTS = 1.5, 2.0, 0.8, 0.3, 2, 4
BERNOULLI = Setup(Quadratic([CURVATURE] * DIM), Agents(AGENTS, Gaussian(SIGMA0, SIGMA1), RandomSparsification(OMEGA)))
KEPT = {"new": 1.0, "first": 0.0, "classic": -1.0}


def bernoulli_level(kind, eta):
    """Theory 2.6: (λ/2)(η/N)(1+ω)dσ0² / [2λ − ηλ²(1 + (ω + (1+ω)dσ1²)/N)]; first drops the 1, classic takes −1."""
    noise = (OMEGA + (1 + OMEGA) * DIM * SIGMA1**2) / AGENTS
    numerator = CURVATURE / 2 * eta / AGENTS * (1 + OMEGA) * DIM * SIGMA0**2
    return numerator / (2 * CURVATURE - eta * CURVATURE**2 * (KEPT[kind] + noise))


def growth(kind, eta, dt=0.0):
    """(α, β) with E‖x‖² changing by α‖x‖² + β per unit of time, from the library's drift and covariance."""
    built = model(BERNOULLI, kind, Constant(eta))
    found = []
    for x in (np.zeros(DIM), np.array([1.0, 0.0]), np.array([0.6, -0.8])):
        drift = np.asarray(built.drift(0.0, jnp.asarray(x)))
        trace = np.trace(np.asarray(built.covariance(0.0, jnp.asarray(x)).as_matrix()))
        found.append(2 * x @ drift + trace + dt * drift @ drift)
    assert found[1] == pytest.approx(found[2], rel=1e-12)
    return found[1] - found[0], found[0]


@pytest.mark.parametrize("kind", KEPT)
def test_stationary_loss_of_dcsgd(kind):
    for eta in (0.1, 0.5):
        alpha, beta = growth(kind, eta)
        assert -beta / alpha * CURVATURE / 2 == pytest.approx(bernoulli_level(kind, eta), rel=1e-10)


def test_new_has_the_discrete_level_of_dcsgd():
    """E‖x⁺‖² = (1−ηλ)²‖x‖² + η² tr Cov, with the covariance of theory 2.4 in NumPy."""
    eta = 0.5
    multiplicative = CURVATURE**2 * (OMEGA + (1 + OMEGA) * DIM * SIGMA1**2) / AGENTS
    additive = (1 + OMEGA) * DIM * SIGMA0**2 / AGENTS
    level = eta**2 * additive / (1 - (1 - eta * CURVATURE) ** 2 - eta**2 * multiplicative)
    assert level * CURVATURE / 2 == pytest.approx(bernoulli_level("new", eta), rel=1e-12)


def test_dcsgd_levels_by_monte_carlo(seed):
    """Optimizer and new SDE from x0 = 0 to the common level; the SDE's Euler scheme has a level of its own, known exactly."""
    eta, dt, runs, time = 0.5, 0.5 / 16, 6000, 15.0

    def loss(x):
        return jnp.vdot(x, x) * CURVATURE / 2

    schedule = Constant(eta)
    discrete = simulate(BERNOULLI, schedule=schedule, x0=0.0, steps=30, runs=runs, seed=seed, record=2, observe=loss)
    built = model(BERNOULLI, "new", schedule)
    path = integrate(built, x0=0.0, time=time, dt=dt, runs=runs, seed=seed + 1, record=2, observe=loss)
    assert_mean(discrete.observed[:, -1], bernoulli_level("new", eta))
    alpha, beta = growth("new", eta, dt)
    assert_mean(path.observed[:, -1], -beta / alpha * CURVATURE / 2)
    for name in ("first", "classic"):
        with assert_fails(name):
            assert_mean(path.observed[:, -1], bernoulli_level(name, eta))


def test_identity_and_bernoulli_without_sparsity_agree():
    plain, sparse = (
        model(Setup(Quadratic([1.0, 2.0]), Agents(2, Gaussian(0.5, 0.1), compressor)), "new", Constant(0.2))
        for compressor in (Identity(), RandomSparsification(0.0))
    )
    x = jnp.array([0.3, -0.8])
    np.testing.assert_allclose(plain.drift(0.0, x), sparse.drift(0.0, x), rtol=1e-12)
    np.testing.assert_allclose(plain.covariance(0.0, x).as_matrix(), sparse.covariance(0.0, x).as_matrix(), rtol=1e-12)
