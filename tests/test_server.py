"""What the server makes of mean messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.server import HeavyBall, Majority, Plain, Server

MESSAGES = np.random.default_rng(3).normal(size=(6, 4))
GRADIENT = np.array([1.0, -2.0, 0.0, 3.0])


def directions(server, messages=MESSAGES):
    memory, found = server.memory(jnp.asarray(GRADIENT)), []
    for message in messages:
        direction, memory = server.turn(jnp.asarray(message), memory)
        found.append(np.asarray(direction))
    return np.array(found)


def by_hand(beta, m, gain=1.0, nesterov=False):
    found = []
    for message in gain * MESSAGES:
        m = beta * m + message
        found.append(message + beta * m if nesterov else m)
    return np.array(found)


ROWS = [
    (HeavyBall(0.8), by_hand(0.8, 0.0)),
    (HeavyBall(0.8, nesterov=True), by_hand(0.8, 0.0, nesterov=True)),
    (HeavyBall(0.8, average=True), by_hand(0.8, 0.0, gain=0.2)),
    (HeavyBall(0.8, nesterov=True, average=True), by_hand(0.8, 0.0, gain=0.2, nesterov=True)),
    (HeavyBall(0.8, warm=True), by_hand(0.8, GRADIENT / 0.2)),
    (HeavyBall(0.8, average=True, warm=True), by_hand(0.8, GRADIENT, gain=0.2)),
    (HeavyBall(0.0), MESSAGES),
    (Plain(), MESSAGES),
]


@pytest.mark.parametrize(("server", "expected"), ROWS)
def test_directions(server, expected):
    np.testing.assert_allclose(directions(server), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("options", [{}, {"average": True}])
def test_a_warm_start_is_at_rest(options):
    """Under messages that are the gradient it goes on as if it had always been so: η_e g from the first step on."""
    server = HeavyBall(0.8, warm=True, **options)
    found = directions(server, np.tile(GRADIENT, (4, 1)))
    np.testing.assert_allclose(found, np.tile(GRADIENT / (1 if options else 0.2), (4, 1)), rtol=1e-13)


@pytest.mark.parametrize(("server", "delay"), [(Plain(), 0), (HeavyBall(0.8), 4), (HeavyBall(0.8, nesterov=True), 3.2)])
def test_delay_is_the_mean_age_of_what_is_in_a_direction(server, delay):
    """By the response to one message: Σ j w_j / Σ w_j over the ages j."""
    impulse = np.zeros((400, 4))
    impulse[0] = 1.0
    weights = directions(server, impulse)[:, 0]
    ages = np.arange(400)
    assert (weights @ ages) / weights.sum() == pytest.approx(server.delay) == pytest.approx(delay)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_majority(dtype):
    message = jnp.asarray([0.2, -1e-3, 0.0, jnp.finfo(dtype).eps, -jnp.finfo(dtype).eps], dtype)
    direction, memory = Majority().turn(message, ())
    assert direction.tolist() == [1, -1, 0, 0, 0] and direction.dtype == dtype and memory == ()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("server", [row[0] for row in ROWS])
def test_precision_is_kept(server, dtype):
    gradient = jnp.asarray(GRADIENT, dtype)
    direction, memory = server.turn(gradient, server.memory(gradient))
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves((direction, memory)))


def test_facts():
    assert Plain().plain and not HeavyBall(0.9).plain and not Majority().plain
    assert [one.needs_signs for one in (Plain(), HeavyBall(0.9), Majority())] == [False, False, True]
    assert HeavyBall(0.9, warm=True).needs_unbiased and not HeavyBall(0.9).needs_unbiased
    assert HeavyBall(0.9).name == "HeavyBall"


def test_a_server_of_a_user():
    """Two methods and it runs: the last two messages, as a user would write it."""

    class Twice(Server):
        def memory(self, gradient):
            return jnp.zeros_like(gradient)

        def turn(self, message, memory):
            return (message + memory) / 2, message

    found = directions(Twice())
    np.testing.assert_allclose(found[1:], (MESSAGES[1:] + MESSAGES[:-1]) / 2, rtol=1e-14)
    assert not Twice().plain
