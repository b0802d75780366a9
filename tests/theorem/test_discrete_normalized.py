"""Normalized SGD in discrete time."""

import numpy as np
import pytest
from scipy.special import hyp1f1

from stablestep import schedule, simulate
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian
from stablestep.problem import Cosh, Quadratic
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, bound, constants, covered, result, step_limit
from stablestep.theorem.discrete_normalized import slope
from tests.statistics import assert_fails, assert_mean
from tests.theorem.descents import plain, unit

NAME = "discrete.normalized"


def gaussian(dim, sigma=1.0, **more):
    return Constants(**({"L0": 1, "L1": 1, "dim": dim, "nu": np.inf, "scale_max": sigma, "sigma0_sq": sigma**2} | more))


@pytest.mark.parametrize(("dim", "value"), [(1, 0.7978845608), (10, 0.3084327760), (1000, 0.0316148719)])
def test_slopes(dim, value):
    """theory2 section 8.10."""
    assert slope(dim, 1.0) == pytest.approx(value, abs=5e-11) and slope(dim, 2.0) == pytest.approx(value / 2, abs=5e-11)


@pytest.mark.parametrize("dim", [1, 2, 3, 10, 200])
def test_the_measure_is_below_the_descent(dim):
    """κr/(1+κr) ≤ φ(r) = κr ₁F₁(½; d/2+1; −r²/2) ≤ min(1, κr), also at d = 2, where there is no proof."""
    r = np.geomspace(1e-4, 15, 400)
    descent = slope(dim, 1.0) * r * hyp1f1(0.5, dim / 2 + 1, -(r**2) / 2)
    measure = result(NAME).measure(gaussian(dim), r)
    assert np.all(measure <= r * descent * (1 + 1e-9)) and np.all(descent <= np.minimum(1, slope(dim, 1.0) * r) + 1e-9)
    assert not np.all(1.1 * measure <= r * descent)


def test_the_descent_is_the_mean_of_the_direction(seed):
    """theory2: MC .3550 at d = 3, r = .7."""
    noise = np.random.default_rng(seed).normal(size=(20000, 3)) + np.array([0.7, 0, 0])
    expected = slope(3, 1.0) * 0.7 * hyp1f1(0.5, 2.5, -0.245)
    samples = noise[:, 0] / np.linalg.norm(noise, axis=1)
    assert_mean(samples, expected)
    with assert_fails("κ of two dimensions"):
        assert_mean(samples, slope(2, 1.0) * 0.7 * hyp1f1(0.5, 2.5, -0.245))


def test_limit():
    """theory2 section 8.8: ηL1 < u0, whatever else."""
    for c in (Constants(L0=3, L1=1, dim=7), gaussian(10, 5.0), Constants(L0=0, L1=1, dim=1, dissimilarity=(1.0, 9.0))):
        assert step_limit(NAME, c) == pytest.approx(1.2564312086, abs=5e-11)


def test_numbers():
    """cosh in one dimension from 3.3: .2606 ≤ .4323."""
    norms = plain(np.sinh, np.array([3.3]), 0.5, 4000, unit)
    found = bound(NAME, Constants(L0=1, L1=1, dim=1), eta=0.5, steps=4000, initial_gap=np.cosh(3.3) - 1)
    assert norms.mean() == pytest.approx(0.2606, abs=5e-5) and found == pytest.approx(0.4323, abs=5e-5)


def test_on_a_quadratic_it_is_attained():
    """The largest eigenvalue's coordinate alternates: mean ‖g‖ → λη/2 = .05, and half of the bound would be false."""
    values, x = np.array([1.0, 0.3, 0.1]), np.array([0.4, 0.3, -0.5])
    norms = plain(lambda x: values * x, x, 0.1, 40000, unit)
    found = bound(NAME, Constants(L0=1, L1=0, dim=3), eta=0.1, steps=40000, initial_gap=float(values @ x**2 / 2))
    assert norms.mean() <= found == pytest.approx(0.05, rel=0.01) and norms.mean() > 0.98 * found


@pytest.mark.parametrize(("dim", "sigma", "eta"), [(1, 1.0, 0.05), (10, 1.0, 0.05), (3, 2.0, 0.5)])
def test_with_gaussian_noise(dim, sigma, eta, seed):
    """The product's own simulation, constants read off the setup."""
    setup = Setup(Cosh(dim, a=1.0), Agents(4, Gaussian(2 * sigma)))  # four agents: the mean has deviation σ
    c = constants(setup, L1=1.0, x0=1.0, normalized=True)
    one = covered(setup, 1.0, normalized=True)
    assert (one.result.name, c.normalized, c.nu) == (NAME, True, np.inf)
    run = simulate(setup, schedule=schedule.Normalized(schedule.Constant(eta)), x0=1.0, steps=200, runs=300, seed=seed,
                   observe=lambda x: result_of(x, c))  # fmt: skip
    found = bound(NAME, c, eta=eta, steps=200)
    measured = float(run.observed.mean("run")[:-1].mean())
    assert measured <= found and measured > 0.05 * found


def result_of(x, c):
    """Ψ in JAX."""
    import jax.numpy as jnp

    norm = jnp.linalg.norm(jnp.sinh(x))
    return norm**2 / (result(NAME).offset(c) + norm)


def test_the_plateau_under_noise(seed):
    """f∞ ≈ η/(4κ) on x²/2, and E‖g‖φ(‖g‖) = η/2 exactly at rest: near the bound, ηL0/2 for Ψ ≤ ‖g‖φ."""
    generator, x, total, count = np.random.default_rng(seed), np.zeros(4000), 0.0, 2000
    for step in range(count):
        x = x - 0.05 * np.sign(x + generator.normal(size=4000))
        total += float(np.mean(result(NAME).measure(gaussian(1), np.abs(x)))) * (step >= 500)
    found = bound(NAME, gaussian(1, L1=0), eta=0.05, steps=10**9, initial_gap=0.0)
    assert found == pytest.approx(0.025) and 0.7 * found < total / 1500 <= found


BAD = [
    ({"omega": 1.0}, "needs noise that does not grow with the gradient, but A is 1"),
    ({"sigma1_sq": 0.1}, "A is 0.2"),
    ({"sigma0_sq": 0.1}, "needs Gaussian noise of the same scale.*but nu is None"),
    ({"sigma0_sq": 1.0, "nu": 3.0, "scale_max": 1.0}, "nu is 3.0"),
    ({"sigma0_sq": 1.0, "nu": np.inf, "scale_max": 1.0, "scale_min": 0.5}, "same scale in every coordinate"),
    ({"sigma0_sq": 4.0, "nu": np.inf, "scale_max": 1.0}, "scale_max = √sigma0_sq"),
    ({"clip": 1.0}, "with normalized steps, but these are made of gradients clipped at 1.0"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_bad_input(values, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        step_limit(NAME, Constants(L0=1, L1=1, dim=2, **values))
    assert "\n" not in str(caught.value)


def test_normalized_steps_are_of_no_other_result():
    c = Constants(L0=1, L1=1, dim=2, normalized=True)
    for name in ("4.2", "4.3", "B.1", "discrete.dcsgd"):
        values = {"nu": 1.0, "scale_max": 1.0} if name == "4.3" else {}
        with pytest.raises(InvalidInput, match=f"{name} is about .* with plain steps, but these are normalized"):
            step_limit(name, Constants(L0=1, L1=1, dim=2, normalized=True, **values), 1.0, 0.5)
    assert step_limit(NAME, c) > 0
    assert covered(Setup(Quadratic([1.0]), Agents(1)), 1.0, normalized=True).step == np.inf
