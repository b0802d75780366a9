"""NSGD (theory2 section 5): the direction's mean and covariance, its stationary identity, and its models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from stablestep import compare, integrate, simulate
from stablestep.compressor import RandK, Sign
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic
from stablestep.schedule import Clip, Constant, Normalized, Polynomial
from stablestep.sde import model
from stablestep.sde.normalized import direction_law, slope_at_zero
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from tests.statistics import assert_covariance, assert_estimate, assert_fails, assert_mean

STEP = Normalized(Constant(0.05))
DIMS = (1, 2, 3, 10, 100, 1000)
RADII = np.concatenate([[0.0], np.geomspace(1e-4, 300, 60)])


def agents(dim, sigma=1.0, count=1, matrix=None):
    return Setup(Quadratic(np.ones(dim) if matrix is None else matrix), Agents(count, Gaussian(sigma)))


def phi(r, dim, sigma):
    kappa = np.exp(special.gammaln((dim + 1) / 2) - special.gammaln(dim / 2 + 1)) / (np.sqrt(2) * sigma)
    return kappa * r * special.hyp1f1(0.5, dim / 2 + 1, -(r**2) / (2 * sigma**2))


@pytest.mark.parametrize(("dtype", "accuracy"), [(np.float64, 2e-9), (np.float32, 1e-6)])
@pytest.mark.parametrize("dim", DIMS)
def test_mean_against_scipy(dim, dtype, accuracy):
    law = direction_law(agents(dim, 1.7, 2))
    direction = np.eye(dim)[0] if dim < 3 else np.ones(dim) / np.sqrt(dim)
    points = jnp.asarray(RADII[:, None] * direction, dtype)
    found = np.asarray(jax.vmap(law.mean)(points), float) @ direction
    np.testing.assert_allclose(found, phi(RADII, dim, 1.7 / np.sqrt(2)), atol=accuracy, rtol=1e-5)
    assert found.max() <= 1 + accuracy
    kappa = slope_at_zero(dim) / (1.7 / np.sqrt(2))
    if dim != 2:  # κr/(1 + κr) ≤ φ ≤ min(1, κr) is proved there
        bent = kappa * RADII
        assert np.all(bent / (1 + bent) <= found + accuracy) and np.all(found <= np.minimum(1, bent) + accuracy)


def test_far_away_and_in_many_dimensions():
    """₁F₁ at both ends of the fit: φ → 1 − (d − 1)/(2ρ²), and d = 10⁵."""
    law = direction_law(agents(3))
    r = 1e6
    assert float(law.mean(jnp.array([r, 0, 0]))[0]) == pytest.approx(1 - 1 / r**2, abs=1e-8)
    many = direction_law(agents(100_000))
    x = jnp.zeros(100_000).at[0].set(50.0)
    assert float(many.mean(x)[0]) == pytest.approx(float(phi(50.0, 100_000, 1.0)), rel=1e-7)


@pytest.mark.parametrize(("dim", "value"), [(1, 0.7978845608), (10, 0.3084327760), (1000, 0.0316148719)])
def test_slope_at_zero(dim, value):
    """Theory2 section 8, 10."""
    assert slope_at_zero(dim) == pytest.approx(value, abs=1e-10)
    law = direction_law(agents(dim))
    assert float(law.secant(jnp.zeros(dim))[0]) == pytest.approx(value, rel=1e-8)


def test_its_derivative_is_that_of_the_mean():
    """The Jacobian, which "classic" needs, against SciPy's by differences along the gradient, and φ/r across."""
    law, r, step = direction_law(agents(3, 0.8)), 0.9, 1e-5
    jacobian = np.asarray(jax.jacfwd(law.mean)(jnp.array([r, 0, 0])))
    along = (phi(r + step, 3, 0.8) - phi(r - step, 3, 0.8)) / (2 * step)
    np.testing.assert_allclose(np.diag(jacobian), [along, phi(r, 3, 0.8) / r, phi(r, 3, 0.8) / r], rtol=1e-6)


@pytest.mark.parametrize(("dim", "r"), [(1, 0.5), (2, 1.3), (5, 0.4), (5, 3.0)])
def test_moments_of_the_direction(dim, r, seed):
    """By sampling M/‖M‖; the mutants have φ of another σ, and the covariance of a direction without mean."""
    law, rng = direction_law(agents(dim)), np.random.default_rng(seed)
    x = r * np.ones(dim) / np.sqrt(dim)
    sampled = x + rng.standard_normal((40_000, dim))
    sampled /= np.linalg.norm(sampled, axis=1, keepdims=True)
    mean, covariance = np.asarray(law.mean(jnp.asarray(x))), np.asarray(law.covariance(jnp.asarray(x)).as_matrix())
    assert_mean(sampled, mean)
    assert_covariance(sampled, covariance)
    with assert_fails("another σ"):
        assert_mean(sampled, phi(r, dim, 1.3) * x / r)
    with assert_fails("no mean"):
        assert_covariance(sampled, np.eye(dim) / dim)
    root = np.asarray(law.root(jnp.asarray(x)).as_matrix())
    np.testing.assert_allclose(root @ root.T, covariance, atol=1e-12)
    # E‖M/‖M‖‖² = 1.
    assert np.trace(covariance) + mean @ mean == pytest.approx(1, abs=1e-9)


def test_at_a_stationary_point_the_direction_is_uniform():
    for dim in (1, 4):
        law = direction_law(agents(dim))
        np.testing.assert_allclose(law.covariance(jnp.zeros(dim)).as_matrix(), np.eye(dim) / dim, atol=1e-9)
        np.testing.assert_allclose(jax.jacfwd(law.mean)(jnp.zeros(dim)), slope_at_zero(dim) * np.eye(dim), atol=1e-8)


def test_the_loss_matching_drift():
    """−m + (η/2)(φ/‖g‖)² Hg: the Itô drift of f is (E f(x⁺) − f(x))/η exactly on quadratics; that of "classic" is not."""
    matrix, eta = np.array([[2.0, 0.6], [0.6, 1.0]]), 0.05
    made = agents(2, 0.7, matrix=matrix)
    x = np.array([0.8, -0.5])
    g = matrix @ x
    law = direction_law(made)
    mean, covariance = np.asarray(law.mean(jnp.asarray(x))), np.asarray(law.covariance(jnp.asarray(x)).as_matrix())
    one_step = -g @ mean + eta / 2 * (mean @ matrix @ mean + np.trace(matrix @ covariance))
    built = model(made, "new", Normalized(Constant(eta)))
    assert float(built.loss_drift(0.0, x)) == pytest.approx(one_step, rel=1e-10)
    r = np.linalg.norm(g)
    expected = -mean + eta / 2 * (phi(r, 2, 0.7) / r) ** 2 * matrix @ g
    np.testing.assert_allclose(built.drift(0.0, x), expected, rtol=1e-8)
    classic = model(made, "classic", Normalized(Constant(eta)))
    assert float(classic.loss_drift(0.0, x)) != pytest.approx(one_step, rel=1e-3)


def test_stationary_identity_and_plateau(seed):
    """E[‖g‖φ(‖g‖)] = ηλ/2 for the optimizer, exactly; "new" has the same level of the loss, ≈ η/(4κ) (d = 10: .0162)."""
    made, step = agents(10), Normalized(Constant(0.02))
    law = direction_law(made)
    found = simulate(
        made,
        schedule=step,
        x0=0.0,
        steps=1500,
        runs=4000,
        seed=seed,
        record=2,
        observe=lambda x: jnp.vdot(x, law.mean(x)),
    )
    ends = found.observed.values[:, -1]
    assert_estimate(ends.mean(), ends.std() / np.sqrt(len(ends)), 0.01)
    with assert_fails("twice the level"):
        assert_estimate(ends.mean(), ends.std() / np.sqrt(len(ends)), 0.011)
    level = float(found.loss_mean[-1])
    assert level == pytest.approx(0.02 / (4 * slope_at_zero(10)), rel=0.03)
    path = integrate(
        model(made, "new", step), x0=0.0, time=30.0, dt=0.01, runs=4000, seed=seed + 1, record=2, error=False
    )
    spread = np.hypot(path.loss_stderr[-1], found.loss_stderr[-1])
    assert_estimate(float(path.loss_mean[-1]), float(spread), level)


def test_compare_knows_it_and_classic_is_nearest(seed):
    table = compare(
        agents(3, count=2), schedule=STEP, models=["classic", "new"], x0=1.0, time=2.0, runs=4000, seed=seed
    )
    assert abs(float(table.gap[0, -1])) < abs(float(table.gap[1, -1]))
    assert abs(float(table.gap[0, -1])) < 0.01


def test_a_schedule_inside():
    built = model(agents(2), "first", Normalized(Polynomial(0.1, 1.0)))
    x = jnp.array([0.5, 0.2])
    np.testing.assert_allclose(built.drift(3.0, x), built.drift(0.0, x) / 4, rtol=1e-12)


@pytest.mark.parametrize(
    "made",
    [
        agents(2, [1.0, 2.0]),
        agents(2, 0.0),
        Setup(Quadratic(np.ones(2)), Agents(1, StudentT(3.0))),
        Setup(Quadratic(np.ones(2)), Agents(1, Gaussian(1.0), RandK(k=1))),
        Setup(Quadratic(np.ones(2)), Agents(1, Gaussian(1.0), Sign())),
        Setup(Quadratic(np.ones(2)), Agents(1, Gaussian(1.0)), server=HeavyBall(0.9, average=True)),
    ],
)
def test_who_has_no_model(made):
    with pytest.raises(InvalidInput, match=r"under isotropic Gaussian noise only .*sigma0 > 0.*simulate") as caught:
        model(made, "new", STEP)
    assert "\n" not in str(caught.value)


def test_a_clipped_step_inside_has_none():
    with pytest.raises(InvalidInput, match="Clip depends on the messages themselves"):
        model(agents(2), "new", Normalized(Clip(0.1, 1.0)))
