"""Models without noise: blow-up times and thresholds of the quartic, the principal flow, explosions by Euler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from stablestep import integrate
from stablestep.problem import Function, Quadratic, Quartic
from stablestep.record import start
from stablestep.schedule import Constant, Polynomial
from stablestep.sde import model
from stablestep.setup import Agents, Setup

QUARTIC = Setup(Quartic(1), Agents(1))
RATES = np.array([1.0, 2.0])
QUADRATIC = Setup(Quadratic(RATES), Agents(1))
# Times are recorded on as many steps everywhere, so that the solver compiles once.
STEPS = 16


def solve(setup, kind, eta, x0, time, **options):
    built = model(setup, kind, Constant(eta))
    return integrate(built, x0=x0, time=time, dt=time / STEPS, method="ode", runs=1, **options)


def blow_up(eta, square):
    """Theory 1.1: −1/(2X0²) − (3η/4) ln(1 − 2/(3ηX0²))."""
    return -1 / (2 * square) - 0.75 * eta * np.log(1 - 2 / (3 * eta * square))


@pytest.mark.parametrize(("square", "eta", "time"), [(1, 1, 0.32395922), (4, 0.5, 0.02704942), (1, 0.7, 1.09837428)])
def test_blow_up_time_of_the_new_ode_on_the_quartic(square, eta, time):
    assert blow_up(eta, square) == pytest.approx(time, abs=6e-9)
    horizon = min(1.5 * time, STEPS * eta)
    found = solve(QUARTIC, "new", float(eta), np.sqrt(square), horizon)
    assert float(found.divergence_time[0]) == pytest.approx(time, abs=2e-8)
    gone = found.time.values >= time
    assert np.all(np.isinf(found.loss_mean.values[gone])) and np.all(np.isfinite(found.loss_mean.values[~gone]))
    assert np.all(found.diverged.values == gone)


@pytest.mark.parametrize(
    ("product", "explodes"), [(0.66, False), (2 / 3 - 1e-3, False), (2 / 3 + 1e-3, True), (0.7, True)]
)
def test_the_threshold_of_the_new_ode_is_two_thirds(product, explodes):
    """GD on x⁴/4 contracts for ηX0² < 2, the new ODE only below 2/3 (theory 1.1, A.3.2)."""
    found = solve(QUARTIC, "new", product, 1.0, 10.0)
    assert bool(found.diverged[-1] == 1) is explodes


@pytest.mark.parametrize("kind", ["first", "classic"])
@pytest.mark.parametrize("eta", [1.0, 3.0])
def test_first_and_classic_never_explode(kind, eta):
    found = solve(QUARTIC, kind, eta, 3.0, 5.0)
    assert float(found.diverged[-1]) == 0
    assert np.all(np.diff(found.loss_mean.values) < 0)


def test_gradient_flow_of_the_quartic_is_exact():
    """P Eq. 42: f = 1/(4(2t + X0⁻²)²)."""
    found = solve(QUARTIC, "first", 0.5, 1.5, 3.0)
    np.testing.assert_allclose(found.loss_mean, 1 / (4 * (2 * found.time.values + 1.5**-2) ** 2), rtol=1e-7)
    assert np.all(found.integration_error == 0)


@pytest.mark.parametrize("eta", [0.5, 2.0, 2.5])
def test_new_ode_of_the_quadratic_grows_beyond_two_over_lambda(eta):
    """P Eqs. 15, 39-40: f0 e^{−2λ(1 − λη/2)t}, whose threshold 2/λ is that of gradient descent."""
    found = solve(QUADRATIC, "new", eta, np.array([1.0, 0.0]), 4.0)
    np.testing.assert_allclose(found.loss_mean, 0.5 * np.exp(-2 * (1 - eta / 2) * found.time.values), rtol=1e-6)


@pytest.mark.parametrize("eta", [0.3, 0.8, 1.3])
def test_principal_flow_is_gradient_descent_on_quadratics(eta):
    """Below, between and above 1/λ: at t = kη it is (1 − ηλ)^k x0, through complex values between."""
    found = integrate(model(QUADRATIC, "principal", Constant(eta)), x0=1.0, time=STEPS * eta, dt=eta, runs=1)
    k = np.arange(STEPS + 1)
    expected = (RATES * (1 - eta * RATES) ** (2 * k[:, None])).sum(1) / 2
    np.testing.assert_allclose(found.loss_mean, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.final_state[0], (1 - eta * RATES) ** STEPS, rtol=1e-5, atol=1e-7)


def test_principal_drift_is_the_formula_in_rotated_coordinates():
    """Σ log(1 − ηλ)/(ηλ) (u·g) u, real below 1/λ; at λ = 0 the factor is −1; the first mutant is plain gradient flow."""
    rotation = np.linalg.qr(np.arange(9.0).reshape(3, 3) ** 2 + np.eye(3))[0]
    values, eta, x = np.array([0.0, 0.5, 3.0]), 0.2, np.array([1.0, -0.7, 0.3])
    matrix = rotation @ np.diag(values) @ rotation.T
    drift = model(Setup(Quadratic(matrix), Agents(1)), "principal", Constant(eta)).drift
    logs = np.append(0, np.log(1 - eta * values[1:]) / eta)
    np.testing.assert_allclose(drift(0.0, jnp.asarray(x)), rotation @ (logs * (rotation.T @ x)), atol=1e-10)
    found = drift(0.0, jnp.asarray(x + 0.5j))
    np.testing.assert_allclose(found, rotation @ (logs * (rotation.T @ (x + 0.5j))), atol=1e-10)
    assert not np.allclose(found, -matrix @ (x + 0.5j))


def test_principal_flow_above_one_over_lambda_is_complex():
    drift = model(QUADRATIC, "principal", Constant(0.8)).drift(0.0, jnp.array([1.0 + 0j, 1.0]))
    expected = np.log((1 - 0.8 * RATES).astype(complex)) / 0.8
    np.testing.assert_allclose(drift, expected, rtol=1e-12)
    assert float(drift[1].imag) == pytest.approx(np.pi / 0.8)


def test_principal_drift_of_a_written_function_and_of_a_schedule():
    """Automatic differentiation takes no complex point: derivatives are taken at Re x."""
    setup = Setup(Function(lambda x: jnp.sum(jnp.cosh(x)), 2), Agents(1))
    x, rate = np.array([0.4, -0.9]), 2.0**-0.5
    found = model(setup, "principal", Polynomial(0.3, 0.5)).drift(1.0, jnp.asarray(x + 0.1j))
    expected = np.log1p(-0.3 * rate * np.cosh(x)) / (0.3 * np.cosh(x)) * (np.sinh(x) + 0.1j * np.cosh(x))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


RUNS = 400


@pytest.mark.parametrize("dt", [1 / 512, 1 / 4096])
def test_euler_counts_explosions(dt, seed):
    """A run from x0 blows up before t = 1 iff |x0| exceeds an edge; none is passed off as part of the mean."""
    built = model(QUARTIC, "new", Constant(1.0))
    found = integrate(built, x0=jax.random.normal, time=1.0, dt=dt, runs=RUNS, seed=seed, record=8, dtype="float64")
    edge = optimize.brentq(lambda x: blow_up(1.0, x**2) - 1, 0.82, 2)
    gone = np.isfinite(found.divergence_time.values)
    first = start(jax.random.normal, QUARTIC.problem, RUNS, seed, np.float64)[:, 0]
    first = np.abs(np.asarray(first))
    clear = np.abs(first - edge) > 0.02
    np.testing.assert_array_equal(gone[clear], (first > edge)[clear])
    assert float(found.diverged[-1]) == gone.mean()
    assert float(found.loss_mean[-1]) == np.inf and np.isfinite(float(found.loss_mean_surviving[-1]))


def test_euler_approaches_the_blow_up_time_from_above():
    built, lags = model(QUARTIC, "new", Constant(1.0)), []
    for dt in (1 / 256, 1 / 1024, 1 / 4096):
        found = integrate(built, x0=1.0, time=1.0, dt=dt, runs=RUNS, record=8, dtype="float64")
        assert np.all(found.divergence_time == found.divergence_time[0])
        lags.append(float(found.divergence_time[0]) - blow_up(1.0, 1.0))
    assert all(lag > 0 for lag in lags) and lags[2] < 0.4 * lags[1] < 0.16 * lags[0]
