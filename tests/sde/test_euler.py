"""Euler-Maruyama against closed moments: refinement, its own error, its noise, memory, chunks, compilation."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate as integral
from scipy import special, stats

from stablestep import integrate
from stablestep.compressor import RandK, RandomSparsification, Sign
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic, Quartic
from stablestep.record import chunks
from stablestep.schedule import Constant
from stablestep.sde import model
from stablestep.setup import Agents, Setup
from tests.sde.reference import HESSIAN, POINTS, SCALES, PlainAgents, Reference
from tests.statistics import assert_covariance, assert_fails, assert_mean

RATES, SIGMA, COUNT, ETA, START, TIME, RUNS = np.array([1.0, 3.0]), np.array([0.5, 1.5]), 2, 0.4, 1.0, 1.6, 20_000
OU = Setup(Quadratic(RATES), Agents(COUNT, Gaussian(SIGMA)))
DRIFT = RATES - ETA / 2 * RATES**2  # of the new model
NOISE = ETA * SIGMA**2 / COUNT


def euler_loss(dt, time=TIME):
    """E f after Euler-Maruyama: E x_j² ← (1 − a_j dt)² E x_j² + dt C_jj, exactly."""
    square = np.full(2, START**2)
    for _ in range(round(time / dt)):
        square = (1 - DRIFT * dt) ** 2 * square + dt * NOISE
    return float(RATES @ square / 2)


def exact_loss(time=TIME):
    decay = np.exp(-2 * DRIFT * time)
    return float(RATES @ (decay * START**2 + NOISE * (1 - decay) / (2 * DRIFT)) / 2)


@pytest.fixture(scope="module")
def refined():
    """The same model at dt = η, η/2, η/4, η/16; the seeds differ, so that the results are independent."""
    built = model(OU, "new", Constant(ETA))
    return {
        part: integrate(
            built, x0=START, time=TIME, dt=ETA / part, runs=RUNS, seed=900 + part, record=2, dtype="float64"
        )
        for part in (1, 2, 4, 16)
    }


def last(found, name):
    return float(found[name][-1])


@pytest.mark.parametrize("part", [1, 2, 4, 16])
def test_mean_loss_is_that_of_the_scheme(refined, part):
    found = refined[part]
    error = last(found, "loss_stderr")
    assert abs(last(found, "loss_mean") - euler_loss(ETA / part)) < 5 * error
    assert abs(last(found, "loss_mean") - 1.3 * euler_loss(ETA / part)) > 5 * error  # the mutant


@pytest.mark.parametrize("part", [1, 2, 4, 16])
def test_integration_error_is_what_halving_gives(refined, part):
    """2(E f at dt − E f at dt/2), measured on coupled paths; a broken coupling would shift the coarse path's variance."""
    found, dt = refined[part], ETA / part
    expected = 2 * (euler_loss(dt) - euler_loss(dt / 2))
    error = last(found, "integration_error_stderr")
    assert error > 0 and abs(last(found, "integration_error") - expected) < 5 * error


@pytest.mark.parametrize("part", [4, 16])
def test_integration_error_estimates_the_true_error(refined, part):
    found, true = refined[part], euler_loss(ETA / part) - exact_loss()
    remainder = abs(2 * (euler_loss(ETA / part) - euler_loss(ETA / part / 2)) - true)
    assert remainder < 0.3 * abs(true)
    assert abs(last(found, "integration_error") - true) < 5 * last(found, "integration_error_stderr") + remainder


def test_integration_error_falls_linearly(refined):
    """From dt = η/4 to η/16 by about 4 in expectation, and the measured errors agree with that."""
    coarse, fine = (2 * (euler_loss(ETA / p) - euler_loss(ETA / p / 2)) for p in (4, 16))
    assert 3 < coarse / fine < 5
    measured = last(refined[4], "integration_error") - 4 * last(refined[16], "integration_error")
    error = np.hypot(last(refined[4], "integration_error_stderr"), 4 * last(refined[16], "integration_error_stderr"))
    assert abs(measured) < 5 * error + abs(coarse - 4 * fine)


def corrected(found):
    error = np.hypot(last(found, "loss_stderr"), last(found, "integration_error_stderr"))
    return last(found, "loss_mean") - last(found, "integration_error"), error


def test_refinement_does_not_change_the_corrected_mean(refined):
    """dt and dt/4 agree once the integration error is taken off; at dt = η without that they do not."""
    (a, a_error), (b, b_error) = corrected(refined[4]), corrected(refined[16])
    assert abs(a - b) < 5 * np.hypot(a_error, b_error)
    assert abs(b - exact_loss()) < 5 * b_error
    raw = last(refined[1], "loss_mean") - last(refined[16], "loss_mean")
    assert abs(raw) > 5 * np.hypot(last(refined[1], "loss_stderr"), last(refined[16], "loss_stderr"))


# Same shapes as `refined`, so that nothing below compiles unless it must.
COMMON = dict(x0=START, time=TIME, dt=ETA / 4, dtype="float64", final=True)


def test_same_seed_same_result():
    built = model(OU, "new", Constant(ETA))
    a, b, other = (integrate(built, runs=RUNS, seed=seed, record=2, **COMMON).final_state.values for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert np.all(a != other)


def test_runs_and_chunks_do_not_change_a_path(monkeypatch):
    built = model(OU, "new", Constant(ETA))
    many = integrate(built, runs=RUNS, seed=3, record=2, **COMMON)
    options = dict(runs=11, seed=3, record=[4, 8], observe={"first": lambda x: x[0]}, **COMMON)
    few = integrate(built, **options)
    np.testing.assert_allclose(few.final_state, many.final_state[:11], rtol=1e-12)
    np.testing.assert_allclose(few.time, np.array([0, 4, 8, 16]) * ETA / 4)
    np.testing.assert_allclose(few.iteration, [0, 1, 2, 4])
    np.testing.assert_array_equal(few["first"][:, -1], few.final_state[:, 0])
    assert few.attrs["model"] == "new" and few.attrs["dt"] == pytest.approx(ETA / 4)
    monkeypatch.setattr(chunks, "CHUNK", 8)
    split = integrate(built, **options)
    for name in ("final_state", "loss_mean", "integration_error", "first"):
        np.testing.assert_allclose(split[name], few[name], rtol=1e-12)


def compiled(caplog, eta, rates, sigma, runs=RUNS):
    """The functions that a run with these parameters compiles."""
    caplog.clear()
    setup = Setup(Quadratic(rates), Agents(COUNT, Gaussian(np.array(sigma))))
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        integrate(
            model(setup, "new", Constant(eta)), **(COMMON | {"time": 4 * eta, "dt": eta / 4}), runs=runs, record=2
        )
    messages = [record.getMessage() for record in caplog.records]
    return [message for message in messages if message.startswith("Finished XLA compilation")]


def test_new_parameter_values_do_not_recompile(caplog):
    compiled(caplog, 0.2, [1.0, 2.0], [0.1, 0.2])
    assert not compiled(caplog, 0.3, [0.5, 1.5], [0.3, 0.1])
    assert any("chunk" in message for message in compiled(caplog, 0.3, [0.5, 1.5], [0.3, 0.1], runs=2))


def one_step(setup, kind, seed, runs=20_000):
    built = model(setup, kind, Constant(ETA))
    dt = ETA / 8
    found = integrate(built, x0=POINTS[0], time=dt, dt=dt, runs=runs, seed=seed, final=True, dtype="float64")
    drift = np.asarray(built.drift(0.0, jnp.asarray(POINTS[0])))
    return (found.final_state.values - POINTS[0] - dt * drift) / np.sqrt(dt)


def test_one_step_has_the_covariance_of_rand_k(seed):
    """Var = dt GGᵀ with GGᵀ = η Cov(mean message), not diagonal; theory 0, item 7 and the formula of Rand-k."""
    setup = Setup(Quadratic(HESSIAN), Agents(1, Gaussian(SCALES), RandK(1)))
    noise = one_step(setup, "new", seed)
    expected = ETA * Reference([PlainAgents(1, SCALES, k=1)]).covariance(POINTS[0])
    assert_mean(noise, np.zeros(3))
    assert_covariance(noise, expected)
    with assert_fails("the diagonal alone"):
        assert_covariance(noise, np.diag(np.diag(expected)))
    with assert_fails("a factor 1.1"):
        assert_covariance(noise, 1.1 * expected)


def test_one_step_has_the_covariance_of_dependent_signs(seed):
    """Signs under multivariate t₁ noise: 1 − 4Ξ² on the diagonal, and dependence off it (theory 1.3)."""
    setup = Setup(Quadratic(np.eye(3)), Agents(1, StudentT(1.0, SCALES, "multivariate"), Sign()))
    noise = one_step(setup, "first", seed, 6000)
    z = POINTS[0] / SCALES
    mean = 2 / np.pi * np.arctan(z)
    expected = ETA * np.diag(1 - mean**2)
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        expected[i, j] = expected[j, i] = ETA * (joint_sign(z[[i, j]]) - mean[i] * mean[j])
    found = model(setup, "first", Constant(ETA)).covariance(0.0, jnp.asarray(POINTS[0])).as_matrix()
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert np.abs(expected[0, 1]) > 1e-3
    assert_covariance(noise, expected)
    with assert_fails("no √η in the diffusion"):
        assert_covariance(noise, expected / ETA)


def joint_sign(z):
    """E sign(z₁ + T₁) sign(z₂ + T₂), T ~ t₁(0, I), as an integral over the normal variable that T's coordinates share."""
    return integral.quad(lambda r: 2 * stats.norm.pdf(r) * np.prod(special.erf(z * r / np.sqrt(2))), 0, np.inf)[0]


def test_a_million_coordinates_need_no_matrix():
    """d = 10⁶ with a diagonal law: a d × d matrix would take 8 TB."""
    dim = 10**6
    built = model(
        Setup(Quartic(dim), Agents(4, Gaussian(sigma1=1e-4), RandomSparsification(8.0))), "new", Constant(0.1)
    )
    found = integrate(built, x0=0.1, time=0.1 / 8, dt=0.1 / 16, runs=1, record=2)
    assert np.isfinite(found.loss_mean[-1]) and found.loss_mean[-1] != found.loss_mean[0]
    signs = model(Setup(Quartic(dim), Agents(4, StudentT(1.0), Sign())), "new", Constant(0.1))
    x = jnp.full(dim, 0.1)
    moved = x + signs.drift(0.0, x) + signs.diffusion(0.0, x).mv(x)
    assert bool(jnp.all(jnp.isfinite(moved)))


def test_tamed_steps_survive_where_plain_ones_explode():
    """dt x0² = 10 > 2: Euler for −x³ diverges, the tamed step does not, and reports how wrong it is."""
    built = model(Setup(Quartic(1), Agents(1)), "first", Constant(0.1))
    common = dict(x0=40.0, time=0.5, dt=0.1 / 16, runs=2, record=2, dtype="float64")
    plain, tamed = (integrate(built, method=method, **common) for method in ("euler", "tamed"))
    assert float(plain.diverged[-1]) == 1 and float(tamed.diverged[-1]) == 0
    assert float(tamed.loss_mean[-1]) < float(tamed.loss_mean[0])
    exact = 1 / (4 * (2 * 0.5 + 40.0**-2) ** 2)
    true = float(tamed.loss_mean[-1]) - exact
    assert abs(float(tamed.integration_error[-1])) > 0.2 * abs(true)


def test_tamed_step_is_the_formula_and_converges():
    """x + dt b/(1 + dt‖b‖); at fine steps its reported error is its true error."""
    built = model(Setup(Quartic(1), Agents(1)), "first", Constant(0.1))
    common = dict(x0=2.0, runs=2, method="tamed", record=2, dtype="float64", final=True)
    one = integrate(built, time=0.1 / 16, dt=0.1 / 16, **common)
    move = 8 * 0.1 / 16
    assert float(one.final_state[0, 0]) == pytest.approx(2 - move / (1 + move), rel=1e-12)
    fine = integrate(built, time=0.5, dt=0.1 / 256, **common)
    true = float(fine.loss_mean[-1]) - 1 / (4 * (1.0 + 0.25) ** 2)
    assert float(fine.integration_error[-1]) == pytest.approx(true, rel=0.05)


def test_stochastic_explosions_of_the_new_model_are_counted(seed):
    """Theory 2.2: f = x⁴/4 with noise 1·x⁶ explodes with probability e^{−1/(ηX0²)}; Euler's barrier bias is about 1 %."""
    setup = Setup(Quartic(1), Agents(1, compressor=RandomSparsification(1.0)))
    built = model(setup, "new", Constant(0.5))
    found = integrate(built, x0=1.0, time=20.0, dt=0.5 / 64, runs=4000, seed=seed, record=2)
    fraction = float(found.diverged[-1])
    assert abs(fraction - np.exp(-2)) < 0.02 + 5 * np.sqrt(np.exp(-2) / 4000)
    assert np.isfinite(found.divergence_time.values).mean() == pytest.approx(fraction)
    assert float(found.loss_mean[-1]) == np.inf
