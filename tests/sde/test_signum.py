"""Signum (theory2 section 5.5): D(u), its numbers, its long-run meaning, the model, and who has none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate as quadrature
from scipy import stats

from stablestep import integrate, simulate
from stablestep.compressor import EF21, Momentum, RandomSparsification, Sign
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic
from stablestep.record import cast
from stablestep.schedule import Constant
from stablestep.sde import model
from stablestep.sde.signum import cauchy_series, gaussian_rule
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from tests.statistics import assert_estimate, assert_fails

LINE = Quadratic([1.0])
CAUCHY = StudentT(df=1.0)


def signum(beta, noise=None, count=1, problem=LINE):
    return Setup(problem, Agents(count, Gaussian(1.0) if noise is None else noise, Momentum(Sign(), beta=beta)))


def variance(beta, u, noise=None, count=1):
    """D(u)/N, of the library."""
    made = signum(beta, noise, count)
    scale = 1.0 if isinstance(noise, StudentT) else np.sqrt((1 - beta) / (1 + beta))
    built = model(made, "first", Constant(0.1))
    return float(built.law.covariance(jnp.array([u * scale])).as_matrix()[0, 0])


def bivariate(beta, u, terms):
    """1 − (2Φ − 1)² + 8 Σ [Φ₂(u, u; βᵏ) − Φ²], by SciPy's bivariate normal law."""
    phi = stats.norm.cdf(u)
    pairs = [stats.multivariate_normal(cov=[[1, beta**k], [beta**k, 1]]).cdf([u, u]) for k in range(1, terms)]
    return 1 - (2 * phi - 1) ** 2 + 8 * np.sum(np.array(pairs) - phi**2)


def arcsine(beta):
    return 1 + 4 / np.pi * np.sum(np.arcsin(beta ** np.arange(1, int(40 / (1 - beta)))))


@pytest.mark.parametrize(("beta", "value"), [(0.5, 2.307176), (0.9, 13.2788686994), (0.99, 137.97265)])
def test_gaussian_at_zero(beta, value):
    """Theory2 section 8, 11; (1 − β)D → 2 ln 2."""
    assert variance(beta, 0.0) == pytest.approx(value, rel=2e-7)
    assert variance(beta, 0.0) == pytest.approx(arcsine(beta), rel=1e-10)
    assert 0.001 * (1 + sum(gaussian_rule(0.999)[1])) == pytest.approx(2 * np.log(2), rel=2e-3)


@pytest.mark.parametrize("u", [0.3, 1.0, 2.5, 5.0])
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_gaussian_away_from_zero(beta, u):
    expected = bivariate(beta, u, 1 if beta == 0 else int(12 / (1 - beta)))
    assert variance(beta, u) == pytest.approx(expected, abs=2e-4)
    assert variance(beta, -u) == pytest.approx(expected, abs=2e-4)


def rho(a):
    """(4/π²) ∫ arctan(a tan θ/(1 − a)) dθ."""
    return 4 / np.pi**2 * quadrature.quad(lambda v: np.arctan(a / (1 - a) * np.tan(v)), 0, np.pi / 2, epsabs=1e-12)[0]


def arctangent(beta):
    """1 + 2 Σ ρ(βᵏ)."""
    return 1 + 2 * sum(rho(beta**k) for k in range(1, int(30 / -np.log(beta))))


@pytest.mark.parametrize(("beta", "value", "accuracy"), [(0.5, 3.39123, 2e-6), (0.9, 21.286817, 3e-8)])
def test_cauchy_at_zero(beta, value, accuracy):
    """Theory2 section 8, 11 has 21.2867995 for 21.286817, which is right to 1e-6."""
    assert variance(beta, 0.0, CAUCHY) == pytest.approx(value, rel=accuracy)
    assert variance(beta, 0.0, CAUCHY) == pytest.approx(arctangent(beta), rel=1e-8)


def test_cauchy_towards_one():
    """Theory2 section 8, 11: (1 − β)D → 2∫ρ(a)da/a = 2.23885116 (cut there), and −log β · D is its trapezoidal rule."""
    limit = quadrature.quad(lambda a: 2 * rho(a) / a, 0, 1, epsabs=1e-11)[0]
    assert limit == pytest.approx(2.23885116, abs=5e-9)
    far, near = (-np.log(beta) * variance(beta, 0.0, CAUCHY) - limit for beta in (0.9, 0.99))
    assert abs(near) < 2e-4 and abs(near) < abs(far) / 10


def held_average(noise, beta, u, rng, length, runs):
    """Sums of sign(u + average) over `length` steps, after the average has come to rest."""
    average, total = np.zeros(runs), np.zeros(runs)
    for k in range(-200, length):
        average = beta * average + (1 - beta) * noise(rng, runs)
        if k >= 0:
            total += np.sign(u + average)
    return total


@pytest.mark.parametrize(
    ("noise", "draw", "shrink"),
    [
        (Gaussian(1.0), lambda rng, n: rng.standard_normal(n), np.sqrt(0.3 / 1.7)),
        (CAUCHY, lambda rng, n: rng.standard_cauchy(n), 1.0),
    ],
    ids=["Gaussian", "Cauchy"],
)
@pytest.mark.parametrize("u", [0.0, 0.8])
def test_long_run_variance_of_signs(noise, draw, shrink, u, seed):
    """Var(Σ sign)/length → D(u) as the length grows, to 2 % here; the mutant has D = 1 − mean², without the lags."""
    length, runs = 800, 8000
    total = held_average(draw, 0.7, u * shrink, np.random.default_rng(seed), length, runs)
    found = total.var(ddof=1) / length
    rough = np.hypot(found * np.sqrt(2 / runs), 0.02 * found / 5)
    assert_estimate(found, rough, variance(0.7, u, noise))
    mean = float(model(signum(0.7, noise), "first", Constant(0.1)).law.mean(jnp.array([u * shrink]))[0])
    assert total.mean() / length == pytest.approx(mean, abs=5 * total.std() / length / np.sqrt(runs) + 1e-9)
    with assert_fails("no lags"):
        assert_estimate(found, rough, 1 - mean**2)


def test_own_momenta_and_drift():
    """−2Ξ(g/σ_e) with σ_e = σ√((1−β)/(1+β)), Cauchy: σ; D/N for N agents."""
    beta, x = 0.9, jnp.array([0.2])
    gaussian = model(signum(beta, Gaussian(2.0), 4), "first", Constant(0.1))
    effective = 2 * np.sqrt(0.1 / 1.9)
    assert float(gaussian.drift(0.0, x)[0]) == pytest.approx(1 - 2 * stats.norm.cdf(0.2 / effective), rel=1e-12)
    cauchy = model(signum(beta, StudentT(1.0, 2.0)), "first", Constant(0.1))
    assert float(cauchy.drift(0.0, x)[0]) == pytest.approx(1 - 2 * stats.cauchy.cdf(0.1), rel=1e-12)
    assert variance(beta, 0.0, None, 4) == pytest.approx(13.2788686994 / 4, rel=1e-8)
    assert float(gaussian.covariance(0.0, jnp.zeros(1)).as_matrix()[0, 0]) == pytest.approx(0.1 * 13.2788686994 / 4)


def test_without_momentum_it_is_the_model_of_signs():
    x = jnp.array([0.3, -1.2])
    problem = Quadratic([1.0, 2.0])
    plain = model(Setup(problem, Agents(3, Gaussian(0.5), Sign())), "first", Constant(0.1))
    built = model(signum(0.0, Gaussian(0.5), 3, problem), "first", Constant(0.1))
    np.testing.assert_allclose(built.drift(0.0, x), plain.drift(0.0, x), rtol=1e-12)
    np.testing.assert_allclose(built.diffusion(0.0, x).as_matrix(), plain.diffusion(0.0, x).as_matrix(), rtol=1e-10)


@pytest.mark.parametrize("noise", [Gaussian(1.0), CAUCHY], ids=["Gaussian", "Cauchy"])
def test_single_precision(noise):
    built = model(signum(0.9, noise), "first", Constant(0.1))
    for u in (0.0, 0.3, 4.0):
        exact, rough = (
            cast(built, dtype).law.covariance(jnp.array([u], dtype)).as_matrix()[0, 0] for dtype in (float, jnp.float32)
        )
        assert float(rough) == pytest.approx(float(exact), abs=2e-5)


def test_the_plateau(seed):
    """β = .9, η = .002: the optimizer, the model and (η/4)√(π/2) σ_e D = .0019090 agree; D = 1 is an order of magnitude below."""
    made, step = signum(0.9), Constant(0.002)
    common = dict(x0=0.0, runs=6000, record=2)
    discrete = simulate(made, schedule=step, steps=1000, seed=seed, **common)
    path = integrate(model(made, "first", step), time=2.0, dt=0.002, seed=seed + 1, error=False, **common)
    both = float(np.hypot(discrete.loss_stderr[-1], path.loss_stderr[-1]))
    # What is left of order η: 3 %.
    rough = np.hypot(both, 0.03 * 0.0019 / 5)
    assert_estimate(float(path.loss_mean[-1]), rough, float(discrete.loss_mean[-1]))
    assert float(discrete.loss_mean[-1]) == pytest.approx(0.0019090, rel=0.1)
    with assert_fails("D = 1"):
        assert_estimate(0.0019090 / 13.2788686994, rough, float(discrete.loss_mean[-1]))


@pytest.mark.parametrize(
    ("made", "kind", "match"),
    [
        (signum(0.9), "classic", 'Signum has no model "classic"'),
        (signum(0.9), "new", 'Signum has no model "new"'),
        (
            signum(0.9, StudentT(3.0)),
            "first",
            "Momentum around Sign under this StudentT noise is known; there is one of Signum",
        ),
        (signum(0.9, StudentT(1.0, coordinates="multivariate")), "first", "Gaussian and Cauchy noise"),
        (signum(0.9, Gaussian(0.0)), "first", "positive scales"),
        (
            Setup(LINE, Agents(1, Gaussian(1.0), Momentum(Sign(), beta=0.9)), server=HeavyBall(0.5)),
            "first",
            "no continuous model of Momentum around Sign is known",
        ),
        (
            Setup(LINE, Agents(1, Gaussian(1.0), EF21(RandomSparsification(1.0)))),
            "first",
            "no continuous model of EF21 around RandomSparsification",
        ),
    ],
)
def test_who_has_none(made, kind, match):
    with pytest.raises(InvalidInput, match=match) as caught:
        model(made, kind, Constant(0.1))
    assert "\n" not in str(caught.value)


def test_cauchy_fit_is_one_series_for_all_gradients():
    assert len(cauchy_series(0.9)) == 29
    built = model(signum(0.9, CAUCHY), "first", Constant(0.1))
    far = jax.vmap(lambda x: built.law.covariance(x[None]).as_matrix()[0, 0])(jnp.array([10.0, 100.0, 1e6]))
    assert np.all(np.asarray(far) >= 0) and float(far[-1]) < 1e-3
