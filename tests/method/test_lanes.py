"""Whatever the author of a noise draws, it is independent of the compressor's randomness; and what is biased and random at once."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from stablestep.compressor import Compressor, Identity, LocalClip, RandK, RandomSparsification, Sign
from stablestep.errors import InvalidInput
from stablestep.message import law
from stablestep.noise import Gaussian, Noise
from stablestep.problem import Quadratic
from stablestep.schedule import Constant
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.stream import to_normal
from tests.method.reference import Case, plain, transient
from tests.statistics import assert_covariance, assert_fails, assert_mean

SIGMA, OMEGA, ETA = 0.5, 3.0, 0.2


def centred(uniform):
    """Of variance 1."""
    return np.sqrt(12).astype(uniform.dtype) * (uniform - jnp.asarray(0.5, uniform.dtype))


WAYS = (
    lambda s, n, t: s.normal(n, t),
    lambda s, n, t: s.normal(n, t, slot=1),
    lambda s, n, t: centred(s.uniform(n, t)),
    lambda s, n, t: centred(s.uniform(n, t, slot=1)),
    lambda s, n, t: to_normal(s.words(n)[0], t),
    lambda s, n, t: to_normal(s.words(n)[1], t),
    lambda s, n, t: to_normal(s.words(n, slot=1)[0], t),
    lambda s, n, t: to_normal(s.word(n, 0), t),
    lambda s, n, t: to_normal(s.word(n, 1), t),
    lambda s, n, t: to_normal(s.word(n, 3), t),
    lambda s, n, t: s.child().noise.normal(n, t),
    lambda s, n, t: centred(s.child().mask.uniform(n, t)),
    lambda s, n, t: to_normal(s.child(7).words(n)[1], t),
    lambda s, n, t: jax.random.normal(s.key(), (n,), t),
)
COLLISION = (lambda s, n, t: centred(s.stream.mask.uniform(n, t)),) * len(WAYS)


class Drawn(Noise):
    """One way of drawing for each coordinate, which meets the mask's number of the same coordinate, if it meets one."""

    ways: tuple = eqx.field(static=True)

    def sample(self, stream, problem, x, gradient):
        draws = [way(stream, x.shape[0], x.dtype)[j] for j, way in enumerate(self.ways)]
        return gradient + jnp.asarray(SIGMA, x.dtype) * jnp.stack(draws)

    def covariance(self, problem, x, gradient):
        return lx.DiagonalLinearOperator(jnp.full_like(gradient, SIGMA**2))


def point(x):
    return x


def squares(ways, seed, steps=8):
    curvatures = np.ones(len(ways))
    setup = Setup(Quadratic(curvatures), Agents(2, Drawn(ways), RandomSparsification(OMEGA)))
    found = simulate(
        setup, schedule=Constant(ETA), x0=1.0, steps=steps, runs=20_000, seed=seed, observe=point, record=[1, steps]
    )
    assert found.attrs["sampling"] == "agents"
    return found.observed.values[:, 1:] ** 2


def test_noise_and_compression_cannot_meet(seed):
    case = Case(np.eye(1), SIGMA**2 * np.eye(1), 1 / (1 + OMEGA), 2, ETA)
    exact = np.repeat(transient(plain(case), [1.0], 8)[[1, 8], 0], len(WAYS), axis=1)
    assert_mean(squares(WAYS, seed), exact)
    with assert_fails("one random word for both"):
        assert_mean(squares(COLLISION, seed), exact)


G = np.array([1.0, -0.5, 0.8])


class Tilted(Compressor):
    """A random bit for each coordinate, 1 with probability 1/(1 + e^{−g}): biased, random, and made of signs."""

    def compress(self, uniform, gradient):
        return jnp.where(uniform < jax.nn.sigmoid(gradient), 1.0, -1.0).astype(gradient.dtype)

    def bits(self, dim, shared=False):
        return float(dim)

    @property
    def unbiased(self):
        return False

    @property
    def sends_signs(self):
        return True


class Dead(Compressor):
    """The sign of what exceeds a threshold, 0 else: made of signs, but not the sign."""

    def compress(self, uniform, gradient):
        return jnp.where(jnp.abs(gradient) > 0.7, jnp.sign(gradient), 0)

    def bits(self, dim, shared=False):
        return 2.0 * dim

    def draws(self, dim):
        return 0

    @property
    def unbiased(self):
        return False

    @property
    def deterministic(self):
        return True

    @property
    def sends_signs(self):
        return True


def messages(compressor, noise=None, count=2, mask="own"):
    return law(Setup(Quadratic(np.ones(3)), Agents(count, noise, compressor, mask=mask)))


@pytest.mark.parametrize("compressor", [Tilted(), Dead()])
def test_bits_of_a_user_are_not_taken_for_the_sign(compressor, key):
    found = messages(compressor, Gaussian(0.4))
    for what in ("mean", "covariance"):
        with pytest.raises(
            InvalidInput, match=rf"The {what} of .* has no closed form; ask for it by sampling: {what}\("
        ):
            getattr(found, what)(G)
    samples = np.asarray(jax.vmap(lambda k: found.sample(k, jnp.asarray(G)))(jax.random.split(key, 4000)))
    sign = np.asarray(messages(Sign(), Gaussian(0.4)).mean(G))
    with assert_fails("the law of the sign"):
        assert_mean(samples, sign)
    assert np.all(np.abs(samples) <= 1)


def test_random_bits_without_noise_have_no_law_of_the_sign_either(key):
    found = messages(Tilted())
    assert found.methods == ("agents",)
    with pytest.raises(InvalidInput, match="no closed form"):
        found.covariance(G)
    samples = np.asarray(jax.vmap(lambda k: found.sample(k, jnp.asarray(G)))(jax.random.split(key, 4000)))
    assert_mean(samples, np.tanh(G / 2))
    assert_covariance(samples, np.diag(1 - np.tanh(G / 2) ** 2) / 2)


def test_a_clipped_gradient_keeps_its_signs():
    clipped, plain = (messages(one, Gaussian(0.4)) for one in (LocalClip(Sign(), 0.1), Sign()))
    np.testing.assert_array_equal(clipped.mean(G), plain.mean(G))
    np.testing.assert_array_equal(clipped.covariance(G).as_matrix(), plain.covariance(G).as_matrix())


LIGHT = [
    (RandK(k=1, scaled=False), "own"), (RandK(k=2, scaled=False), "shared"), (RandomSparsification(3.0, scaled=False), "own"),
    (RandomSparsification(3.0, scaled=False), "shared"), (RandK(k=2, block=2, scaled=False), "own"),
]  # fmt: skip


@pytest.mark.parametrize(("compressor", "mask"), LIGHT)
def test_unscaled_masks(compressor, mask, key):
    """Biased and random: the mean is p g, the covariance p² that of the scaled mask."""
    found = messages(compressor, Gaussian(0.4), mask=mask)
    mean, covariance = np.asarray(found.mean(G)), np.asarray(found.covariance(G).as_matrix())
    samples = np.asarray(jax.jit(jax.vmap(lambda k: found.sample(k, jnp.asarray(G))))(jax.random.split(key, 20_000)))
    assert_mean(samples, mean)
    assert_covariance(samples, covariance)
    p = compressor.contraction(3)
    np.testing.assert_allclose(mean, p * G, rtol=1e-13)
    for mutant, (wrong_mean, wrong_covariance) in {
        "scaled": (G, covariance / p**2),
        "no randomness": (mean, 0 * covariance),
        "the other mask": (1.1 * mean, covariance * (2 if mask == "own" else 0.5)),
    }.items():
        with assert_fails(mutant):
            assert_mean(samples, wrong_mean)
            assert_covariance(samples, wrong_covariance)


class Skewed(Gaussian):
    """A class derived from Gaussian that draws something else."""

    def sample(self, stream, problem, x, gradient):
        return gradient + self.scale(gradient) * jnp.where(stream.uniform(x.shape[0], x.dtype) < 0.2, 2.0, -0.5)


class Reverse(Sign):
    def compress(self, uniform, gradient):
        return -jnp.sign(gradient)


@pytest.mark.parametrize(
    ("noise", "compressor"),
    [(Skewed(1.0), Identity()), (Skewed(1.0), RandomSparsification(1.0)), (Gaussian(1.0), Reverse())],
)
def test_an_exact_law_is_not_inherited(noise, compressor):
    assert messages(compressor, noise).methods == ("agents",)
