"""Blockwise: classes and their means, what is lost at worst and for Gaussian coordinates, and what it cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stablestep import sde
from stablestep.compressor import Blockwise, ErrorFeedback
from stablestep.compressor.blockwise import LIMITS
from stablestep.errors import InvalidInput
from stablestep.message.moments import moments
from stablestep.noise import Gaussian
from stablestep.problem import Quadratic
from stablestep.schedule import Constant
from stablestep.setup import Agents, Setup
from tests.statistics import assert_fails, assert_mean

BITS = (1, 2, 4)
NOTHING = jnp.zeros(0)


def message(compressor, vector):
    return np.asarray(compressor.compress(NOTHING, jnp.asarray(vector)))


def by_hand(vector, limits, block):
    """The definition, one block and one class after the other."""
    found = np.zeros_like(vector)
    for first in range(0, len(vector), block):
        part = vector[first : first + block]
        classes = np.searchsorted(np.array(limits) * np.abs(part).mean(), np.abs(part))
        for each in set(classes):
            found[first : first + block][classes == each] = np.abs(part[classes == each]).mean()
    return np.where(vector < 0, -found, found)


@pytest.mark.parametrize("block", [1, 7, 64, 500])
@pytest.mark.parametrize("bits", BITS)
def test_the_definition(bits, block, seed):
    vector = np.random.default_rng(seed).standard_t(2, size=200)
    vector[20:30], vector[64:128] = 0, 0
    found = message(Blockwise(bits, block), vector)
    np.testing.assert_allclose(found, by_hand(vector, LIMITS[bits], block), rtol=1e-12, atol=1e-14)


def lost(compressor, vector):
    return np.sum((message(compressor, vector) - vector) ** 2) / np.sum(vector**2)


def hard(limit, size):
    """k coordinates just above the limit and all the rest of the magnitude in one more."""
    k = round(size / (3 * limit))
    vector = np.zeros(size)
    vector[:k] = limit * (1 + 1e-6)
    vector[0] = size - vector[1:].sum()
    return vector


@pytest.mark.parametrize("size", [1, 2, 3, 17, 256, 1024])
@pytest.mark.parametrize("bits", BITS)
def test_no_vector_loses_more_than_stated(bits, size, seed):
    compressor, generator = Blockwise(bits, size), np.random.default_rng(seed)
    vectors = [np.abs(generator.normal(size=size)) ** power for power in (0.1, 1.0, 3.0, 10.0, 40.0)]
    vectors += [hard(limit, size) for limit in LIMITS[bits]] + [np.eye(size)[0] + 1e-3]
    assert max(lost(compressor, vector) for vector in vectors) <= 1 - compressor.contraction(size) + 1e-12


def test_the_contraction_is_nearly_attained():
    """A bound with twice the α would be false."""
    assert lost(Blockwise(2, 1024), hard(1.2, 1024)) > 1 - 2 * Blockwise(2, 1024).contraction(1024)
    assert lost(Blockwise(1, 1024), np.eye(1024)[0] + 1e-9) > 1 - 1.1 * Blockwise(1, 1024).contraction(1024)


def test_the_contraction_is_that_of_the_longest_block():
    compressor = Blockwise(2, 64)
    assert compressor.contraction(1000) == compressor.contraction(64) < compressor.contraction(20)
    assert Blockwise(2, 1).contraction(9) == 1


def gaussian_loss(limits):
    """1 − Σ p_c μ_c² of a normal variable in an endless block, whose mean magnitude is √(2/π)."""
    edges = np.array([0.0, *limits, np.inf]) * np.sqrt(2 / np.pi)
    chance, moment = 2 * np.diff(stats.norm.cdf(edges)), -2 * np.diff(stats.norm.pdf(edges))
    return 1 - np.sum(moment**2 / chance)


@pytest.mark.parametrize(("bits", "stated"), [(1, 0.36), (2, 0.12), (4, 0.017)])
def test_gaussian_coordinates(bits, stated, seed):
    vectors = np.random.default_rng(seed).normal(size=(200, 4096))
    compressor = Blockwise(bits, 4096)
    errors = np.mean(
        (np.asarray(jax.vmap(compressor.compress, (None, 0))(NOTHING, jnp.asarray(vectors))) - vectors) ** 2, 1
    )
    exact = gaussian_loss(LIMITS[bits])
    assert exact == pytest.approx(stated, abs=0.005 if bits < 4 else 0.0005)
    assert_mean(errors, exact)
    with assert_fails("1.1 times the loss"):
        assert_mean(errors, 1.1 * exact)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("bits", BITS)
def test_scaling(bits, dtype, seed):
    """Nothing overflows or vanishes at the ends of float32."""
    vector = jnp.asarray(np.random.default_rng(seed).normal(size=300), dtype)
    compressor = Blockwise(bits, 128)
    for scale in (2.0**-90, 2.0**125):
        np.testing.assert_array_equal(message(compressor, scale * vector), scale * message(compressor, vector))


@pytest.mark.parametrize("bits", BITS)
def test_blocks_of_zeros_and_numbers_that_are_none(bits):
    vector = np.ones(12)
    vector[:4], vector[5] = 0, np.nan
    found = message(Blockwise(bits, 4), vector)
    assert not found[:4].any() and np.isnan(found[4:8]).any() and (found[8:] == 1).all()


@pytest.mark.parametrize(("bits", "dim", "expected"), [(1, 1024, 1024 + 32), (2, 1025, 2050 + 128), (4, 3, 12 + 256)])
def test_bits(bits, dim, expected):
    assert Blockwise(bits, 1024).bits(dim) == Blockwise(bits, 1024).bits(dim, shared=True) == expected


def test_error_feedback_learns_a_constant_gradient():
    """The mean of the messages tends to it as 1/k, for every coordinate, although each message is far off."""
    gradient = jnp.array([1.0, -0.01, 0.3, 0.0, 0.05, -2.0])
    feedback = ErrorFeedback(Blockwise(2, 4), step="outside")
    memory, total = feedback.memory(gradient, gradient), jnp.zeros(6)
    for _ in range(200):
        message, memory = feedback.send(NOTHING, gradient, memory, jnp.nan)
        total += message
    np.testing.assert_allclose(total / 200, gradient, atol=0.02)
    assert np.abs(message - gradient).max() > 0.02


SETUP = Setup(Quadratic(np.ones(3)), Agents(2, Gaussian(1.0), Blockwise(2, 4)))
VIEWS = {
    "sde": lambda setup: sde.model(setup, "first", Constant(0.1)),
    "moments": lambda setup: moments(setup, 0.1, np.ones(3), 5),
    "omega": lambda setup: setup.groups[0].compressor.omega(3),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_that_need_moments_refuse_it_in_one_sentence(name):
    with pytest.raises(InvalidInput, match="Blockwise") as caught:
        VIEWS[name](SETUP)
    assert "\n" not in str(caught.value) and str(caught.value).count(". ") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(bits=3), "bits is 3, but must be 1, 2 or 4"),
        (dict(bits=True), "bits is True"),
        (dict(bits=2.5), r"bits is 2\.5"),
        (dict(block=0), "block is 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        Blockwise(**arguments)
