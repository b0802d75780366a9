"""The law of the mean message given what the agents remember: closed forms against draws, and what needs a memory or a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import (
    EF21,
    QSGD,
    ErrorFeedback,
    Identity,
    Momentum,
    RandK,
    RandomSparsification,
    Sign,
    TopK,
)
from stablestep.errors import InvalidInput
from stablestep.message import law
from stablestep.method import method
from stablestep.noise import Gaussian, Minibatch, StudentT
from stablestep.problem import FiniteSum, Quadratic
from stablestep.schedule import Constant
from stablestep.setup import Agents, Setup
from stablestep.stream import Family, Stream
from tests.statistics import assert_covariance, assert_fails, assert_mean

DRAWS, STEP = 40_000, 0.1
H = np.array([[1.0, 0.6, 0.0], [0.6, 0.8, 0.1], [0.0, 0.1, 1.0]])
POINTS = FiniteSum(lambda x, row: jnp.sum((x - row) ** 2) / 2, np.random.default_rng(0).normal(size=(6, 3)), dim=3)
BERNOULLI, PAIR = RandomSparsification(1.0, scaled=False), RandK(2, scaled=False)
NOISY, ALSO = Gaussian(0.5, 0.2), Agents(2, Gaussian(0.4))


def setup(compressor, noise=NOISY, mask="own", problem=None):
    return Setup(problem or Quadratic(H), Agents(3, noise, compressor, mask=mask), ALSO)


ROWS = {
    "EF": setup(ErrorFeedback(BERNOULLI)),
    "EF, shared": setup(ErrorFeedback(BERNOULLI), mask="shared"),
    "EF of rand-k": setup(ErrorFeedback(PAIR)),
    "EF of rand-k, shared": setup(ErrorFeedback(PAIR, step="outside"), mask="shared"),
    "EF21": setup(EF21(PAIR)),
    "EF21-SGDM": setup(Momentum(EF21(BERNOULLI, warm=True), beta=0.5)),
    "EF21, real data": setup(EF21(BERNOULLI), Minibatch(2), problem=POINTS),
    "EF, Student": setup(ErrorFeedback(RandK(1, scaled=False)), StudentT(12.0)),
    "momentum": setup(Momentum(Identity(), beta=0.5)),
}


def state(made, seed, steps=3):
    run = method(made, Constant(STEP))
    stream, begin = Stream.seed(seed), jnp.array([1.0, 2.0, -1.0])

    def walk(stream):
        return jax.lax.fori_loop(
            0, steps, lambda k, now: run.step(stream, jnp.asarray(k), now), run.begin(stream, begin)
        )

    return jax.jit(walk)(stream)


def draws(messages, where, seed):
    def one(index):
        stream = Stream.seed(seed).child(index, Family.MESSAGE)
        return messages.advance(stream, where.x, where.agents, lambda gradient: jnp.asarray(STEP)).message

    return np.asarray(jax.jit(jax.vmap(one))(jnp.arange(DRAWS, dtype=jnp.uint32)))


@pytest.mark.parametrize("name", ROWS)
def test_moments_given_the_memory(name, seed):
    made = ROWS[name]
    where, messages = state(made, seed), law(made)
    samples = draws(messages, where, seed + 1)
    mean = messages.mean(where.x, memory=where.agents, step=STEP)
    spread = np.asarray(messages.covariance(where.x, memory=where.agents, step=STEP).as_matrix())
    assert_mean(samples, mean)
    assert_covariance(samples, spread)
    forgotten = jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if leaf.dtype == mean.dtype else leaf, where.agents)
    with assert_fails("no memory"):
        assert_mean(samples, messages.mean(where.x, memory=forgotten, step=STEP))
    with assert_fails("a covariance 1.1 times as large"):
        assert_covariance(samples, 1.1 * spread)


def test_own_masks_are_not_shared_ones(seed):
    made, other = ROWS["EF of rand-k"], ROWS["EF of rand-k, shared"]
    where = state(made, seed)
    samples = draws(law(made), where, seed + 1)
    with assert_fails("one mask for all"):
        assert_covariance(samples, law(other).covariance(where.x, memory=where.agents).as_matrix())


def test_sampled_moments(seed, key):
    """`samples=` draws with the memory."""
    made = ROWS["EF21"]
    where, messages = state(made, seed), law(made)
    one = messages.mean(where.x, memory=where.agents)
    other = messages.mean(where.x, samples=20_000, key=key, memory=where.agents)
    assert np.max(np.abs(one - other)) < 0.05 < np.max(np.abs(one))
    spread = messages.covariance(where.x, samples=20_000, key=key, memory=where.agents).as_matrix()
    np.testing.assert_allclose(spread, messages.covariance(where.x, memory=where.agents).as_matrix(), atol=0.05)


def test_without_chance():
    """Top-1 with error feedback and no noise: the message itself, and no covariance."""
    made = Setup(Quadratic(H), Agents(2, None, ErrorFeedback(TopK(1))))
    where, messages = state(made, 0), law(made)
    message = messages.advance(Stream.seed(0), where.x, where.agents, lambda gradient: jnp.asarray(STEP)).message
    np.testing.assert_allclose(messages.mean(where.x, memory=where.agents, step=STEP), message, rtol=1e-12)
    assert not np.any(messages.covariance(where.x, memory=where.agents, step=STEP).as_matrix())


def test_the_first_message_of_a_warm_estimate_is_known():
    made = Setup(Quadratic(H), Agents(2, NOISY, EF21(BERNOULLI, warm=True)))
    where, messages = state(made, 0, steps=0), law(made)
    np.testing.assert_allclose(messages.mean(where.x, memory=where.agents), H @ where.x, rtol=1e-12)
    assert not np.any(messages.covariance(where.x, memory=where.agents).as_matrix())


X = jnp.ones(3)
BAD = [
    (setup(EF21(PAIR)), {}, "depends on what the agents remember.*give memory=state.agents, or simulate"),
    (setup(ErrorFeedback(PAIR)), {"memory": True}, "depend on it; give step=ηη_t"),
    (setup(EF21(QSGD(1))), {"memory": True}, "has no closed form; ask for it by sampling"),
    (setup(EF21(TopK(1))), {"memory": True}, "has no closed form; ask for it by sampling"),
    (setup(Momentum(Sign(), beta=0.5)), {"memory": True}, "has no closed form"),
    (
        setup(EF21(PAIR), StudentT(1.0)),
        {"memory": True},
        "does not exist: StudentT noise has no mean|no finite variance",
    ),
]


@pytest.mark.parametrize("what", ["mean", "covariance"])
@pytest.mark.parametrize(("made", "options", "message"), BAD)
def test_bad_input(made, options, message, what):
    given = {"memory": state(made, 0).agents} if options else {}
    with pytest.raises(InvalidInput, match=message) as caught:
        getattr(law(made), what)(X, **given)
    assert "\n" not in str(caught.value)
