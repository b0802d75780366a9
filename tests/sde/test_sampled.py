"""Models of messages without closed moments, against those of the same messages with them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep import integrate
from stablestep.compressor import EF21, QSGD, Compressor, RandomSparsification, TopK
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic, Quartic
from stablestep.schedule import Constant
from stablestep.sde import model
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from tests.statistics import assert_equal_means, assert_fails, assert_mean

OMEGA, STEP, X = 3.0, Constant(0.05), jnp.array([1.0, -0.5])


class Mine(Compressor):
    """A user's copy of RandomSparsification, who did not work out its covariance."""

    def compress(self, uniform, gradient):
        return jnp.where(uniform * (1 + OMEGA) < 1, (1 + OMEGA) * gradient, 0)

    def omega(self, dim):
        return OMEGA

    def bits(self, dim, shared=False):
        return 32 * dim / (1 + OMEGA)


def setup(compressor, count=2, server=None, mask="own"):
    return Setup(Quartic(2), Agents(count, Gaussian(0.3, 0.2), compressor, mask=mask), server=server)


CLOSED = setup(RandomSparsification(OMEGA))
CASES = {
    "own masks": ({}, "new"),
    "shared mask": ({"mask": "shared"}, "classic"),
    "heavy ball": ({"server": HeavyBall(0.5)}, "classic"),
    "underdamped": ({"server": HeavyBall(0.5)}, "underdamped-a"),
}


def square(built):
    root = built.diffusion(0.0, built.begin(X)).as_matrix()
    return root @ root.T


def squares(built, seed, count):
    """Of models that differ in their draws."""
    words = np.random.default_rng(seed).integers(2**32, size=(count, 2), dtype=np.uint32)
    draws = jax.vmap(lambda own: square(eqx.tree_at(lambda model: model.law.words, built, own)))
    return np.asarray(jax.jit(draws)(words))


@pytest.mark.parametrize("case", CASES)
def test_the_covariance_is_right_in_the_mean_over_samples(case, seed):
    """A sample covariance has no bias, whatever the number of draws."""
    options, kind = CASES[case]
    mine, closed = setup(Mine(), **options), setup(RandomSparsification(OMEGA), **options)
    found = squares(model(mine, kind, STEP, samples=100), seed, 1000)
    wanted = square(model(closed, kind, STEP))
    assert_mean(found, wanted)
    with assert_fails("1.1 of it"):
        assert_mean(found, 1.1 * wanted)
    with assert_fails("one agent more"):
        assert_mean(found, square(model(setup(RandomSparsification(OMEGA), **options | {"count": 3}), kind, STEP)))


@pytest.mark.parametrize("kind", ["first", "classic", "new", "flip"])
def test_the_drift_is_exact(kind):
    """The mean of an unbiased compressor is known."""
    drifts = [model(CLOSED, kind, STEP).drift(0.0, X), model(setup(Mine()), kind, STEP, samples=2).drift(0.0, X)]
    np.testing.assert_allclose(*drifts, rtol=1e-12)


def squared(built, seed):
    """‖X‖² of paths that start at the minimum, where all there is comes from the diffusion."""
    paths = integrate(built, x0=0.0, time=0.5, dt=0.05, runs=300, seed=seed, error=False, final=True)
    return np.sum(np.asarray(paths.final_state) ** 2, axis=1)


def test_paths(seed):
    found = squared(model(setup(Mine()), "new", STEP, samples=2000, seed=seed), seed)
    assert_equal_means(found, squared(model(CLOSED, "new", STEP), seed + 1))
    with assert_fails("four agents"):
        assert_equal_means(found, squared(model(setup(RandomSparsification(OMEGA), 4), "new", STEP), seed + 1))


def test_a_sampled_mean(seed):
    """Top-1 of two noisy coordinates: P(|a + σZ| > |b + σZ'|) has no form here; the drift is unbiased over samples."""
    top = Setup(Quadratic([1.0, 1.0]), Agents(1, Gaussian(0.5), TopK(1)))
    built = model(top, "first", STEP, samples=100)
    words = np.random.default_rng(seed).integers(2**32, size=(1000, 2), dtype=np.uint32)
    drift = jax.vmap(lambda own: eqx.tree_at(lambda model: model.law.words, built, own).drift(0.0, X))
    found = np.asarray(jax.jit(drift)(words))
    noisy = np.asarray(X) + 0.5 * np.random.default_rng(seed + 1).normal(size=(400_000, 2))
    kept = np.where(np.abs(noisy) == np.abs(noisy).max(axis=1, keepdims=True), noisy, 0)
    assert_equal_means(found, -kept)
    with assert_fails("the gradient"):
        assert_mean(found, -np.asarray(X))
    for kind in ("classic", "new", "flip"):
        with pytest.raises(InvalidInput, match=r'how the mean message changes with x.*use "first"'):
            model(top, kind, STEP, samples=100)


def test_closed_forms_are_used_where_they_exist():
    np.testing.assert_array_equal(square(model(CLOSED, "new", STEP, samples=2)), square(model(CLOSED, "new", STEP)))
    assert model(setup(QSGD(2)), "new", STEP, samples=50).law.samples == 50


def test_what_the_seed_decides():
    one, again, other = (square(model(setup(Mine()), "first", STEP, samples=50, seed=s)) for s in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({}, r"Mine with this noise has no closed form; .*sde.model\(…, samples=…\)"),
        ({"samples": 1}, "samples is 1, but must be a whole number of at least 2"),
        ({"samples": 2.5}, "samples is 2.5"),
        ({"samples": 10, "seed": -1}, "seed is -1"),
        (
            {"samples": 10, "setup": Setup(Quartic(2), Agents(1, StudentT(1.5), Mine()))},
            "StudentT noise has no variance",
        ),
        ({"samples": 10, "setup": setup(EF21(Mine()))}, "no continuous model of EF21 around Mine"),
    ],
)
def test_bad_input(changed, match):
    with pytest.raises(InvalidInput, match=match) as caught:
        model(**({"setup": setup(Mine()), "kind": "new", "schedule": STEP} | changed))
    assert "\n" not in str(caught.value)
