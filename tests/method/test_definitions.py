"""Every method, step by step, is its definition: loops of another hand over the same gradients."""

from functools import lru_cache
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import EF21, ErrorFeedback, Identity, LocalClip, Momentum, ScaledSign, Sign, TopK
from stablestep.method import method
from stablestep.noise import Gaussian
from stablestep.record import cast
from stablestep.schedule import Constant, Custom, Normalized, Polynomial
from stablestep.server import HeavyBall, Majority
from stablestep.setup import Agents, Setup
from stablestep.stream import Family, Stream
from tests.method import definitions as defined
from tests.method.problems import Bowl

STEPS, ETA, RUN = 12, 0.1, 1
COUNTS = (2, 3)
MATRICES = np.array(
    [[[1.0, 0.3, 0.0], [0.3, 0.7, 0.1], [0.0, 0.1, 0.4]], [[0.5, 0.0, 0.2], [0.0, 1.5, 0.0], [0.2, 0.0, 0.9]]]
)
CENTRES = np.array([[1.0, -1.0, 0.5], [-0.5, 0.2, 2.0]])
SIGMA = 0.4
X0 = np.array([2.0, -3.0, 1.0])


def agents(group, compressor, mask="own"):
    return Agents(COUNTS[group], Gaussian(SIGMA), compressor, Bowl(MATRICES[group], CENTRES[group]), mask)


def setup(compressor, server=None, second=None):
    return Setup(None, agents(0, compressor), agents(1, second or compressor), server=server)


@jax.jit
def normals(root):
    """The noise that run number `RUN` sees, [steps, agents, d], from the streams that the library documents."""

    def of(k, group, agent):
        own = root.child(RUN, Family.RUN).child(k, Family.STEP)
        return own.child(group, Family.GROUP).child(agent, Family.AGENT).noise.normal(3, jnp.float64)

    group, agent = np.repeat([0, 1], COUNTS), np.concatenate([np.arange(count) for count in COUNTS])
    each = jax.vmap(jax.vmap(of, in_axes=(None, 0, 0)), in_axes=(0, None, None))
    return each(jnp.arange(STEPS + 1), jnp.asarray(group), jnp.asarray(agent))


def world(seed):
    which = np.repeat([0, 1], COUNTS)
    noise = SIGMA * np.asarray(normals(Stream.seed(seed)))
    return defined.World(MATRICES[which], CENTRES[which], noise, X0)


def begin(process, stream, x):
    leaves, tree = jax.tree.flatten((process, stream, x))
    return _begins(tree)(leaves)


def advance(process, stream, k, state):
    leaves, tree = jax.tree.flatten((process, stream, k, state))
    return _steps(tree)(leaves)


def _quickly(call, tree):
    """Compiled without optimization, which would take longer than these few steps."""
    return jax.jit(lambda leaves: call(*tree.unflatten(leaves)), compiler_options={"xla_backend_optimization_level": 0})


@lru_cache(maxsize=128)
def _begins(tree):
    return _quickly(lambda process, stream, x: process.begin(stream, x), tree)


@lru_cache(maxsize=128)
def _steps(tree):
    return _quickly(lambda process, stream, k, state: process.step(stream, k, state), tree)


def path(described, schedule, seed):
    """By `Method.step` alone."""
    process = cast(method(described, schedule, sampling="agents"), np.dtype("float64"))
    stream = Stream.seed(seed).child(RUN, Family.RUN)
    states = [begin(process, stream, jnp.asarray(X0))]
    for k in range(STEPS):
        states.append(advance(process, stream, jnp.int32(k), states[-1]))
    return np.array([process.point(state) for state in states])


def constant(k):
    return ETA


def decaying(k):
    return ETA * (1 + ETA * k) ** -3.0


def waking(k):
    """Nothing in the first two steps."""
    return 0.0 if k < 2 else ETA


POLYNOMIAL = Polynomial(ETA, power=3.0)
LATE = Custom(ETA, lambda t: jnp.where(t < 1.5 * ETA, 0.0, 1.0))
ONE, TWO = defined.top(1), defined.top(2)
TOP, TINY = TopK(k=1), 1e-6
plain = Constant(ETA)
METHODS = {
    "HB": (setup(Identity(), HeavyBall(0.8)), plain, lambda w: defined.heavy_ball(w, constant, 0.8)),
    "HB warm": (
        setup(Identity(), HeavyBall(0.8, warm=True)),
        plain,
        lambda w: defined.heavy_ball(w, constant, 0.8, m=w.mean([w.exact(i, X0) for i in w.clients]) / (1 - 0.8)),
    ),
    "EMA": (
        setup(Identity(), HeavyBall(0.8, average=True)),
        POLYNOMIAL,
        lambda w: defined.heavy_ball(w, decaying, 0.8, gain=1 - 0.8),
    ),
    "EMA warm": (
        setup(Identity(), HeavyBall(0.8, average=True, warm=True)),
        plain,
        lambda w: defined.heavy_ball(w, constant, 0.8, gain=1 - 0.8, m=w.mean([w.exact(i, X0) for i in w.clients])),
    ),
    "NAG": (setup(Identity(), HeavyBall(0.8, nesterov=True)), POLYNOMIAL, lambda w: defined.nesterov(w, decaying, 0.8)),
    "EF inside": (setup(ErrorFeedback(TOP)), POLYNOMIAL, lambda w: defined.feedback_inside(w, decaying, ONE)),
    "EF inside, scaled sign": (
        setup(ErrorFeedback(ScaledSign())),
        plain,
        lambda w: defined.feedback_inside(w, constant, defined.scaled_sign),
    ),
    "EF inside, steps of 0": (setup(ErrorFeedback(TOP)), LATE, lambda w: defined.feedback_inside(w, waking, ONE)),
    "EF outside": (
        setup(ErrorFeedback(TOP, step="outside")),
        POLYNOMIAL,
        lambda w: defined.feedback_outside(w, decaying, ONE),
    ),
    "EF21": (setup(EF21(TOP)), POLYNOMIAL, lambda w: defined.ef21(w, decaying, ONE)),
    "EF21 warm": (setup(EF21(TopK(k=2), warm=True)), plain, lambda w: defined.ef21(w, constant, TWO, warm=True)),
    "EF21, steps of 0": (setup(EF21(TOP)), LATE, lambda w: defined.ef21(w, waking, ONE)),
    "EF21-SGDM": (
        setup(Momentum(EF21(TOP, warm=True), beta=0.7, warm=True)),
        plain,
        lambda w: defined.ef21_momentum(w, constant, ONE, mu=0.3),
    ),
    "NSGD": (setup(Identity()), Normalized(POLYNOMIAL), lambda w: defined.normalized(w, decaying)),
    "NSGD-M": (
        setup(Identity(), HeavyBall(0.8, average=True)),
        Normalized(plain),
        lambda w: defined.normalized_momentum(w, constant, 0.8),
    ),
    "‖EF21‖": (
        setup(EF21(TOP)),
        Normalized(plain),
        lambda w: defined.ef21(w, constant, ONE, change=defined.normal),
    ),
    "NEF": (
        setup(LocalClip(ErrorFeedback(TOP), threshold=TINY)),
        Constant(ETA),
        lambda w: defined.feedback_inside(w, lambda k: ETA * TINY, ONE, change=defined.normal),
    ),
    "Signum": (setup(Momentum(Sign(), beta=0.6)), plain, lambda w: defined.signum(w, constant, 0.6)),
    "signs, then EMA": (
        setup(Sign(), HeavyBall(0.6, average=True)),
        plain,
        lambda w: defined.heavy_ball(w, constant, 0.6, message=np.sign, gain=1 - 0.6),
    ),
    "local clip": (
        setup(LocalClip(Identity(), threshold=1.5)),
        POLYNOMIAL,
        lambda w: defined.sgd(w, decaying, message=lambda v: defined.clipped(v, 1.5)),
    ),
    "clipped EF": (
        setup(LocalClip(ErrorFeedback(TOP), threshold=1.5)),
        POLYNOMIAL,
        lambda w: defined.clipped_feedback(w, decaying, ONE, 1.5),
    ),
    "majority": (setup(Sign(), Majority()), POLYNOMIAL, lambda w: defined.majority(w, decaying)),
    "two kinds of agents": (
        setup(ErrorFeedback(TOP), HeavyBall(0.5), Momentum(ScaledSign(), beta=0.7)),
        POLYNOMIAL,
        lambda w: defined.two_kinds(w, decaying, ONE, defined.scaled_sign, 0.7, 0.5),
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_method_is_its_definition(name, seed):
    described, schedule, definition = METHODS[name]
    expected = np.array(list(islice(definition(world(seed)), STEPS + 1)))
    np.testing.assert_allclose(path(described, schedule, seed), expected, rtol=1e-12, atol=1e-12)
