"""Where signs with momentum and normalized steps come to rest (theory2.md sections 5 and 5.5)."""

import numpy as np
import pytest
from scipy.special import gamma, hyp1f1

from stablestep.compressor import Identity, Momentum, Sign
from stablestep.noise import Gaussian
from stablestep.problem import Quadratic
from stablestep.schedule import Constant, Normalized
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from tests.statistics import assert_equal_means, assert_fails, assert_mean

ETA, BETA = 0.02, 0.9


def point(x):
    return x


def long(setup, schedule, steps, runs, seed, x0=0.0, dtype="float32"):
    """Points of the last half of each run, [runs, times, d]."""
    kept = np.linspace(steps // 2, steps, 50).astype(int)
    return simulate(
        setup, schedule=schedule, x0=x0, steps=steps, runs=runs, seed=seed, record=kept, observe=point, dtype=dtype
    ).observed.values[:, 1:]


def by_hand(beta, steps, runs, seed):
    """f of Signum on x²/2 under unit Gaussian noise, in NumPy."""
    generator, x, m, total = np.random.default_rng(seed), np.zeros(runs), np.zeros(runs), np.zeros(runs)
    for k in range(steps):
        m = beta * m + (1 - beta) * (x + generator.standard_normal(runs))
        x = x - ETA * np.sign(m)
        total += (k >= steps // 2) * x**2 / 2
    return total / (steps - steps // 2)


def small_step(beta, D):
    """(η/4)√(π/2) √((1−β)/(1+β)) D."""
    return ETA / 4 * np.sqrt(np.pi / 2) * np.sqrt((1 - beta) / (1 + beta)) * D


def variance_of_signs(beta):
    """D(0) = 1 + (4/π) Σ arcsin β^k."""
    return 1 + 4 / np.pi * np.sum(np.arcsin(beta ** np.arange(1, 10_000)))


def test_variance_of_signs():
    assert [variance_of_signs(beta) for beta in (0.5, 0.9)] == pytest.approx([2.307176, 13.2788686994], abs=6e-7)


def test_momentum_before_the_sign_raises_the_plateau(seed):
    """.018888 was measured, .019090 is the limit of small steps."""
    setup = Setup(Quadratic([1.0]), Agents(1, Gaussian(1.0), Momentum(Sign(), beta=BETA)))
    found = (long(setup, Constant(ETA), 2000, 2000, seed)[..., 0] ** 2 / 2).mean(axis=1)
    assert_equal_means(found, by_hand(BETA, 2000, 2000, seed + 1))
    assert_mean(found, 0.018888)
    for mutant, wrong in {"D = 1": small_step(BETA, 1.0), "β = 0": 0.0062858, "1.1": 1.1 * 0.018888}.items():
        with assert_fails(mutant):
            assert_mean(found, wrong)
    assert abs(found.mean() / small_step(BETA, variance_of_signs(BETA)) - 1) < 0.02


def test_momentum_after_the_sign_does_not(seed):
    """Signs, then an average: the plateau of plain signs, .0062858 at β = 0, to leading order."""
    signs = Agents(1, Gaussian(1.0), Sign())
    after = Setup(Quadratic([1.0]), signs, server=HeavyBall(beta=0.5, average=True))
    plain = Setup(Quadratic([1.0]), signs)
    found = [(long(one, Constant(ETA), 1000, 4000, seed)[..., 0] ** 2 / 2).mean(axis=1) for one in (after, plain)]
    assert_mean(found[1], 0.0062858)
    assert abs(found[0].mean() / small_step(0.0, 1.0) - 1) < 0.03
    with assert_fails("momentum before the sign"):
        assert_mean(found[0], small_step(0.5, variance_of_signs(0.5)))


def of_normalized_noise(r, dim):
    """φ: E of M/‖M‖ along g, ‖g‖ = r, under noise I."""
    kappa = gamma((dim + 1) / 2) / (np.sqrt(2) * gamma(dim / 2 + 1))
    return kappa * r * hyp1f1(0.5, dim / 2 + 1, -(r**2) / 2), kappa


def test_plateau_of_normalized_steps(seed):
    """E[‖g‖ φ(‖g‖)] = ηλ/2 exactly; f near η/(4κ) = .01621, .016244 measured."""
    dim = 10
    setup = Setup(Quadratic(np.ones(dim)), Agents(1, Gaussian(1.0)))
    points = long(setup, Normalized(Constant(ETA)), 3000, 1000, seed)
    norms = np.linalg.norm(points, axis=2)
    phi, kappa = of_normalized_noise(norms, dim)
    identity, loss = (norms * phi).mean(axis=1), (norms**2 / 2).mean(axis=1)
    assert kappa == pytest.approx(0.3084327760, abs=6e-11)
    assert_mean(identity, ETA / 2)
    assert_mean(loss, 0.016244)
    with assert_fails("another dimension"):
        assert_mean((norms * of_normalized_noise(norms, dim - 1)[0]).mean(axis=1), ETA / 2)
    with assert_fails("η/4"):
        assert_mean(loss, ETA / 4)


def test_plateau_without_noise():
    """The top eigenvector alternates between a and η − a: the mean of ‖g‖ is λη/2, that of f is λ(a² + (η − a)²)/4."""
    setup, eta = Setup(Quadratic([1.0, 0.3, 0.1]), Agents(1, None, Identity())), 0.1
    found = simulate(
        setup, schedule=Normalized(Constant(eta)), x0=1.0, steps=20_001, runs=1, record=[20_000], observe=point,
        dtype="float64",
    )  # fmt: skip
    one, other = found.observed.values[0, 1:]
    assert abs(one[0]) + abs(other[0]) == pytest.approx(eta, rel=1e-6) and one[0] * other[0] < 0
    assert float(found.gradient_norm_mean[1:].mean()) == pytest.approx(eta / 2, rel=1e-6)
    assert float(found.loss_mean[1:].mean()) == pytest.approx((one[0] ** 2 + other[0] ** 2) / 4, rel=1e-6)
