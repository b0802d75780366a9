"""What methods with memory refuse, in one sentence each, and what views say of a memory that they do not know."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compare import weak_order
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
    TopK,
)
from stablestep.errors import InvalidInput
from stablestep.message import law
from stablestep.noise import Gaussian
from stablestep.problem import Quadratic
from stablestep.schedule import Clip, Constant, LocalNorms, Normalized, Polynomial, StepLimit
from stablestep.server import HeavyBall, Majority
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.stability import critical_step
from tests.statistics import assert_estimate, assert_fails

TOP, PLAIN = TopK(k=1), Constant(0.1)
INSIDE = ErrorFeedback(TOP)


ETAS = [0.1, 0.05, 0.025, 0.0125]


def setup(compressor=None, server=None):
    return Setup(Quadratic([1.0, 4.0]), Agents(2, Gaussian(0.1), compressor), server=server)


def run(compressor=None, schedule=PLAIN, server=None, **options):
    return simulate(setup(compressor, server), schedule=schedule, x0=1.0, steps=2, runs=2, **options)


BETA = r"beta is {}, but must be in \[0, 1\), such as 0\.9\."
INNER = r"inner is .*, but must be a Compressor, such as TopK\(k=1\)"
KNOWN = r'{} with the step inside its memory needs a step that an agent knows.*, but {} depends on the messages; use step="outside"\.'
WRAPPERS = (ErrorFeedback, EF21, lambda inner: Momentum(inner, beta=0.9), lambda inner: LocalClip(inner, threshold=1.0))
BAD = [
    *(
        (lambda beta=beta: HeavyBall(beta), BETA.format(shown))
        for beta, shown in [(1, 1), (-0.1, "-0.1"), (np.nan, "nan")]
    ),
    *((lambda beta=beta: Momentum(Sign(), beta), BETA.format(shown)) for beta, shown in [(1.0, "1.0"), ("x", '"x"')]),
    *((lambda beta=beta: HeavyBall(beta), BETA.format(shown)) for beta, shown in [(True, "True"), (None, "None")]),
    *((lambda wrap=wrap, inner=inner: wrap(inner), INNER) for wrap in WRAPPERS for inner in (3, None, Gaussian())),
    (lambda: EF21(TopK), r"inner is .*; call it: TopK\(…\)\."),
    (lambda: ErrorFeedback(TOP, step="outsid"), 'step is "outsid", but must be "inside" or "outside"'),
    (lambda: LocalClip(Identity(), threshold=0), "threshold is 0, but must be a finite number greater than 0"),
    (lambda: EF21(TOP, warm="no"), 'warm is "no", but must be True or False'),
    (lambda: Momentum(TOP, beta=0.9, warm=1), "warm is 1, but must be True or False"),
    (lambda: HeavyBall(0.9, nesterov="no"), 'nesterov is "no", but must be True or False'),
    (lambda: HeavyBall(0.9, average=None), "average is None, but must be True or False"),
    (lambda: HeavyBall(0.9, warm="yes"), 'warm is "yes", but must be True or False'),
    (
        lambda: ErrorFeedback(EF21(TOP, warm=True)),
        'starts from a gradient.*use step="outside", or put ErrorFeedback inside',
    ),
    (lambda: ErrorFeedback(LocalClip(Momentum(TOP, 0.9, warm=True), 1.0)), "starts from a gradient"),
    (lambda: run(INSIDE, LocalNorms(0.1)), KNOWN.format("ErrorFeedback", "LocalNorms")),
    (lambda: run(INSIDE, Clip(0.1, 1.0)), KNOWN.format("ErrorFeedback", "Clip")),
    (lambda: run(INSIDE, Normalized(PLAIN)), KNOWN.format("ErrorFeedback", "Normalized")),
    (lambda: run(Momentum(INSIDE, beta=0.5), Clip(0.1, 1.0)), KNOWN.format("ErrorFeedback", "Clip")),
    (lambda: run(EF21(TOP), sampling="law"), "sampling='law', but EF21 messages .* use sampling='agents' or 'auto'"),
    (lambda: Normalized(Normalized(PLAIN)), "schedule is .*, which is normalized already; give the schedule inside it"),
    (lambda: Normalized(0.1), r"schedule is 0\.1, but must be a Schedule, such as Constant"),
    (lambda: Normalized(Normalized(StepLimit("4.2", 0.1, L1=0.0))), "which is normalized already"),
    (lambda: run(None, Normalized(StepLimit("4.2", 0.1)), HeavyBall(0.9)), "StepLimit .* does not know HeavyBall yet"),
    (lambda: weak_order(setup(INSIDE), "first", etas=ETAS, x0=1.0, time=1.0), "needs Identity messages"),
    (lambda: Normalized(PLAIN).phi(1, 1.0), "Normalized depends on the path, so φ is random"),
    (lambda: setup(Identity(), Majority()), "Majority votes on signs, but Identity sends other messages"),
    (lambda: setup(ScaledSign(), Majority()), "Majority votes on signs, but ScaledSign sends other messages"),
    (lambda: setup(ErrorFeedback(Sign()), Majority()), "Majority votes on signs, but ErrorFeedback sends other"),
    (lambda: setup(EF21(Sign()), Majority()), "Majority votes on signs, but EF21 sends other messages"),
    (
        lambda: setup(Sign(), HeavyBall(0.9, warm=True)),
        "HeavyBall with warm=True starts from the gradient, but the mean of Sign",
    ),
    (lambda: setup(EF21(TOP), HeavyBall(0.9, warm=True)), "the mean of EF21 messages is another; leave warm out"),
    (lambda: setup(server=HeavyBall), r"server is .*; call it: HeavyBall\(…\)"),
    (lambda: setup(server=0.9), r"server is 0\.9, but must be a Server, such as server\.HeavyBall\(beta=0\.9\)"),
    (lambda: Majority().delay, "Majority is not a linear function of the messages, so it has no delay"),
    (lambda: ErrorFeedback(Sign()).delay(4), "Sign is not contractive; use ScaledSign"),
    (lambda: INSIDE.contraction(4), "ErrorFeedback is not a contraction of the gradient; ask its inner TopK"),
    (lambda: EF21(TOP).omega(4), "EF21 is biased, so it has no ω"),
    (lambda: EF21(TOP).compress(jnp.zeros(0), jnp.zeros(4)), r"EF21 remembers, so it has no compress\(.*; use send"),
    (lambda: RandK(k=1, scaled=1), "scaled is 1, but must be True or False"),
    (lambda: setup(ErrorFeedback(TopK(k=3))), "k is 3, but there are only 2"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(wrong, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


GOOD = [
    (Momentum(Sign(), beta=0.5), PLAIN, Majority()),
    (ErrorFeedback(Sign(), step="outside"), PLAIN, Majority()),
    (ErrorFeedback(TOP, step="outside"), LocalNorms(0.1), None),
    (ErrorFeedback(RandK(k=1)), PLAIN, None),
]


@pytest.mark.parametrize(("compressor", "schedule", "server"), GOOD)
def test_what_is_beside_what_is_refused(compressor, schedule, server):
    found = run(compressor, schedule, server)
    assert np.all(np.isfinite(found.loss_mean)) and found.loss_mean[-1] != found.loss_mean[0]


X, KEY = np.ones(2), jax.random.key(0)
SETUPS = {
    "ErrorFeedback": setup(INSIDE),
    "EF21": setup(EF21(TOP)),
    "Momentum": setup(Momentum(Identity(), beta=0.5)),
    "LocalClip": setup(LocalClip(INSIDE, threshold=1.0)),
    "HeavyBall": setup(server=HeavyBall(0.9)),
    "Majority": setup(Sign(), Majority()),
}
VIEWS = [
    lambda s: StepLimit("4.2", 0.1).bind(s, 1.0),
    lambda s: simulate(s, schedule=StepLimit("4.2", 0.1, L1=0.0), x0=1.0, steps=2, runs=2),
]


@pytest.mark.parametrize("name", SETUPS)
def test_views_say_that_they_do_not_know_a_memory(name):
    for view in VIEWS:
        with pytest.raises(
            InvalidInput, match=f"does not know {name} yet; simulate the method, or .*rollouts"
        ) as caught:
            view(SETUPS[name])
        assert "\n" not in str(caught.value)


LAWS = [
    lambda found: found.mean(X),
    lambda found: found.mean(X, samples=10, key=KEY),
    lambda found: found.covariance(X),
    lambda found: found.covariance(X, samples=10, key=KEY),
    lambda found: found.secant(X),
    lambda found: found.sample(KEY, X),
]


@pytest.mark.parametrize("name", ["ErrorFeedback", "EF21", "Momentum", "LocalClip"])
def test_messages_that_remember_have_no_law_of_the_point_alone(name):
    for ask in LAWS:
        with pytest.raises(
            InvalidInput, match=f"of {name} messages depends on what the agents remember, not on x alone"
        ):
            ask(law(SETUPS[name]))


def test_the_law_of_messages_does_not_care_for_the_server():
    np.testing.assert_array_equal(law(SETUPS["HeavyBall"]).mean(X), [1.0, 4.0])


def test_predictors_that_run_the_method_know_its_memory():
    """The almost-sure edges: heavy ball 2(1 + β)/λ = .95, EF with a mask of p = ½ 1.3707 (theory2.md section 8, 15)."""
    quiet = Setup(Quadratic([1.0, 4.0]), Agents(1), server=HeavyBall(0.9))
    assert critical_step(quiet, x0=1.0, method="lyapunov").step == pytest.approx(0.95, rel=1e-3)
    half = Setup(Quadratic([1.0]), Agents(1, None, ErrorFeedback(RandomSparsification(1.0, scaled=False))))
    found = critical_step(half, x0=1.0, method="lyapunov")
    assert_estimate(math.log(found.step), math.log(found.high / found.step), math.log(1.3707))
    with assert_fails("the mean-square edge"):
        assert_estimate(math.log(found.step), math.log(found.high / found.step), math.log(0.6667))


def test_polynomial_steps_are_known_to_agents():
    assert np.all(np.isfinite(run(INSIDE, Polynomial(0.1, power=0.5)).loss_mean))
