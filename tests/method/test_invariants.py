"""What holds step by step: the virtual iterate of error feedback, the unit of its memory, and methods without memory bit for bit."""

import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import (
    EF21,
    ErrorFeedback,
    Identity,
    LocalClip,
    Momentum,
    RandK,
    RandomSparsification,
    ScaledSign,
    Sign,
    TernGrad,
    TopK,
)
from stablestep.message import law
from stablestep.method import method
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic, Quartic
from stablestep.record import cast
from stablestep.schedule import Clip, Constant, Custom, LocalNorms, Normalized, Polynomial, Seen
from stablestep.server import HeavyBall, Majority
from stablestep.setup import Agents, Setup
from stablestep.stream import Family, Stream
from stablestep.vary import vary
from tests.method.test_definitions import ETA, RUN, STEPS, X0, advance, agents, decaying, path, setup, world


def small(compressor, server=None):
    return Setup(None, agents(0, compressor), server=server)


def states(described, schedule, seed, sampling="agents"):
    process = cast(method(described, schedule, sampling), np.dtype("float64"))
    stream = Stream.seed(seed).child(RUN, Family.RUN)
    found = [process.begin(stream, jnp.asarray(X0))]
    for k in range(STEPS):
        found.append(advance(process, stream, jnp.int32(k), found[-1]))
    return found


def mean_error(state):
    return np.concatenate([np.asarray(memory[0]) for memory in state.agents]).mean(axis=0)


@pytest.mark.parametrize("step", ["inside", "outside"])
def test_the_virtual_iterate_of_error_feedback(step, seed):
    """x − ē moves by ηη_k times the mean gradient under every schedule, if the step is inside the memory."""
    found = states(setup(ErrorFeedback(TopK(k=1), step=step)), Polynomial(ETA, power=3.0), seed)
    unit = [1.0 if step == "inside" else decaying(k) for k in range(STEPS + 1)]
    virtual = np.array([np.asarray(state.x) - unit[k] * mean_error(state) for k, state in enumerate(found)])
    gradients = [world(seed).gradient(k, np.asarray(state.x)) for k, state in enumerate(found)]
    expected = np.array([-decaying(k) * gradients[k] for k in range(STEPS)])
    if step == "outside":  # there it jumps with the step
        expected += np.array([-(decaying(k + 1) - decaying(k)) * mean_error(found[k + 1]) for k in range(STEPS)])
        assert np.abs(np.diff(virtual, axis=0) + decaying(0) * np.array(gradients[:-1])).max() > 1e-2
    np.testing.assert_allclose(np.diff(virtual, axis=0), expected, rtol=1e-11, atol=1e-13)


HOMOGENEOUS = [ScaledSign(), RandomSparsification(1.0, scaled=False), TernGrad()]


@pytest.mark.parametrize("inner", HOMOGENEOUS)
def test_inside_and_outside_are_one_method_at_a_constant_step(inner, seed):
    assert inner.homogeneous
    inside, outside = (path(small(ErrorFeedback(inner, step)), Constant(ETA), seed) for step in ("inside", "outside"))
    np.testing.assert_allclose(inside, outside, rtol=1e-11, atol=1e-12)


def test_they_differ_where_the_step_changes_or_the_compressor_is_not_homogeneous(seed):
    top, sign = setup(ErrorFeedback(TopK(k=1))), small(ErrorFeedback(Sign()))
    for described, schedule in ((top, Polynomial(ETA, power=3.0)), (sign, Constant(ETA))):
        inside, outside = (path(vary(described, "step", step), schedule, seed) for step in ("inside", "outside"))
        assert np.abs(inside - outside).max() > 1e-3


@pytest.mark.parametrize("compressor", [ErrorFeedback(Identity()), EF21(Identity()), Momentum(Identity(), beta=0.0)])
def test_memory_of_nothing(compressor, seed):
    """Where everything is sent nothing is left to remember."""
    schedule = Polynomial(ETA, power=1.0)
    plain = path(small(Identity()), schedule, seed)
    np.testing.assert_allclose(path(small(compressor), schedule, seed), plain, rtol=1e-12, atol=1e-13)
    none = path(small(Identity(), HeavyBall(0.0, nesterov=True)), schedule, seed)
    np.testing.assert_allclose(none, plain, rtol=1e-12, atol=1e-13)


def test_a_step_that_nobody_knows_is_no_silent_standstill(seed):
    """A schedule that sees messages without saying so gives an agent no step: the run diverges instead of standing still."""

    class Hidden(Constant):
        def step(self, t, seen):
            return self.eta / (1 + seen.message_norm)

    found = states(small(ErrorFeedback(TopK(k=1))), Hidden(ETA), seed)
    assert np.all(np.isnan(found[1].x))


MIXED = Setup(Quartic(3), Agents(3, StudentT(2.0), Sign()), Agents(2, Gaussian(0.2, 0.3), RandomSparsification(2.0)))
ALIKE = Setup(Quadratic([1.0, 0.3, 2.0]), Agents(4, Gaussian(0.5), RandomSparsification(2.0)))
SHARED = Setup(Quartic(3), Agents(3, Gaussian(0.5), RandK(k=1), mask="shared"))
MEMORYLESS = [
    (MIXED, Polynomial(0.1, 0.5), "agents"),
    (ALIKE, Custom(0.1, jnp.exp), "law"),
    (SHARED, Clip(0.1, 1.0), "auto"),
    (Setup(Quartic(3), Agents(2, Gaussian(0.5), LocalClip(TernGrad(), 1.0))), LocalNorms(0.1), "auto"),
]


@pytest.mark.parametrize(("described", "schedule", "sampling"), MEMORYLESS)
def test_without_memory_bit_for_bit(described, schedule, sampling, seed):
    """x ← x − h · law.draw, as before methods had memory: operation by operation, so that no compiler joins any."""
    process = cast(method(described, schedule, sampling), np.dtype("float64"))
    messages = cast(law(described, "agents" if schedule.needs_agents else sampling), np.dtype("float64"))
    stream = Stream.seed(seed).child(RUN, Family.RUN)
    state = process.begin(stream, jnp.asarray(X0))
    x = jnp.asarray(X0)
    for k in range(2):
        gradient, message, local_norm = messages.draw(stream.child(jnp.uint32(k), Family.STEP), x)
        length = jnp.sqrt(jnp.sum(message * message))
        time = jnp.asarray(k, x.dtype) * schedule.eta
        h = schedule.step(time, Seen(jnp.linalg.norm(gradient), length, local_norm, length))
        x = x - h * message
        state = process.step(stream, jnp.int32(k), state)
        np.testing.assert_array_equal(state.x, x)
        assert np.all(np.isfinite(x)) and np.all(np.isfinite(gradient))
    assert state.server == () and all(memory == () for memory in state.agents)


def test_a_normalized_step_has_its_length_and_stands_still_at_rest():
    resting = Setup(Quadratic([1.0, 1.0, 1.0]), Agents(1))
    process = cast(method(resting, Normalized(Polynomial(ETA, power=1.0))), np.dtype("float64"))
    stream = Stream.seed(0)
    for k, x in enumerate(np.array([[3.0, 4.0, 0.0], [1e-9, 0.0, 0.0], [0.0, 0.0, 0.0]])):
        moved = advance(process, stream, jnp.int32(k), process.begin(stream, jnp.asarray(x))).x
        length = ETA / (1 + ETA * k) if np.any(x) else 0.0
        assert float(jnp.linalg.norm(moved - x)) == pytest.approx(length, rel=1e-12)


def test_majority_of_groups_of_several_sizes():
    """3 against 1 + 2 is a tie, though halves, sixths and thirds are rounded; 4 against 2 is none."""
    rows = {3: [1.0, 1.0, -1.0], 1: [-1.0, 1.0, 1.0], 2: [-1.0, -1.0, -1.0]}
    groups = [Agents(count, None, Sign(), Quadratic(row)) for count, row in rows.items()]
    process = cast(method(Setup(None, *groups, server=Majority()), Constant(1.0)), np.dtype("float64"))
    stream, x = Stream.seed(0), jnp.ones(3)
    np.testing.assert_array_equal(advance(process, stream, jnp.int32(0), process.begin(stream, x)).x, [1, 0, 2])
