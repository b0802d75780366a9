"""What the other predictors make of a memory: edges they must have on quadratics, and what they refuse."""

import math

import numpy as np
import pytest

from stablestep.compressor import EF21, ErrorFeedback, Identity, Momentum, RandK, RandomSparsification, Sign, TopK
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian
from stablestep.problem import Quadratic, Quartic
from stablestep.server import HeavyBall, Majority
from stablestep.setup import Agents, Setup
from stablestep.stability import critical_step
from tests.stability.reference import log_error
from tests.statistics import assert_estimate, assert_fails


def feedback(p):
    return ErrorFeedback(RandomSparsification(1 / p - 1, scaled=False))


def ball(beta, a=4.0, problem=None, **options):
    return Setup(
        problem or Quadratic([2.0]), Agents(1, None, RandomSparsification(a)), server=HeavyBall(beta, **options)
    )


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("method", ["one-step", "loss-model", "coordinate-wise"])
def test_heavy_ball(method, average):
    """2(1+β)/(λ(1 + a(1+β)/(1−β))): a step from x0 without its memory would give 2/(λ(1 + a)), or 2(1−β)/(λ(1 + a)) with m = g/(1−β)."""
    beta, a = 0.9, 4.0
    found = critical_step(ball(beta, a, average=average), x0=1.0, method=method)
    wanted = 2 * (1 + beta) / (2 * (1 + a * (1 + beta) / (1 - beta)))
    assert found.step * (1 - beta if average else 1) == pytest.approx(wanted, rel=1e-10)
    assert found.method == method


def test_one_step_of_error_feedback():
    found = critical_step(Setup(Quadratic([1.0]), Agents(2, Gaussian(0.3), feedback(0.25))), x0=1.0, method="one-step")
    assert found.step == pytest.approx(0.56, rel=1e-10)
    assert "long run of x and the memory" in found.definition


def test_one_step_of_a_function_that_is_no_quadratic():
    """Linearised at x0 = 2, where the Hessian of x⁴/4 is 12."""
    found = critical_step(ball(0.5, 0.0, Quartic(1)), x0=2.0, method="one-step")
    assert found.step == pytest.approx(3 / 12, rel=1e-10)


@pytest.mark.parametrize(("p", "printed"), [(0.1, 0.2717), (0.25, 0.6651), (0.5, 1.3707)])
@pytest.mark.parametrize("method", ["lyapunov", "one-step-log"])
def test_almost_sure_edge_of_error_feedback(p, printed, method, seed):
    """theory2 8.15, printed to a grid of 1e-4."""
    options = {"runs": 100, "steps": 2000} if method == "lyapunov" else {}
    found = critical_step(
        Setup(Quadratic([1.0]), Agents(1, None, feedback(p))), x0=1.0, method=method, seed=seed, **options
    )
    grid = 1e-4 / printed
    assert_estimate(math.log(found.step), log_error(found) + grid / 5, math.log(printed))
    with assert_fails("1.1 times as much"):
        assert_estimate(math.log(found.step), log_error(found) + grid / 5, math.log(1.1 * printed))
    with assert_fails("the mean-square edge"):
        edge = 2 * p * (2 - p) / (p**2 + 4 * (1 - p))
        assert_estimate(math.log(found.step), log_error(found), math.log(edge))


def test_almost_sure_edge_without_chance():
    found = critical_step(Setup(Quadratic([1.0, 3.0]), Agents(1), server=HeavyBall(0.5)), x0=1.0, method="one-step-log")
    assert found.step == pytest.approx(1.0, rel=1e-3)


TOP = Setup(Quadratic(np.ones(2)), Agents(1, None, ErrorFeedback(TopK(1))))
VOTE = Setup(Quadratic(np.ones(2)), Agents(3, None, Sign()), server=Majority())
SIGNUM = Setup(Quadratic(np.ones(2)), Agents(3, Gaussian(1.0), Momentum(Sign(), beta=0.9)))
NAG = ball(0.9, nesterov=True)
BAD = [
    *((made, "one-step", "second moments do not close|do not grow in proportion") for made in (TOP, VOTE, SIGNUM)),
    *((made, "one-step-log", "do not grow in proportion") for made in (VOTE, SIGNUM)),
    *((made, method, "knows no memory but a heavy ball") for made in (TOP, VOTE, NAG) for method in ("loss-model", "coordinate-wise")),
]  # fmt: skip


@pytest.mark.parametrize(("made", "method", "message"), BAD)
def test_what_is_refused(made, method, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        critical_step(made, x0=1.0, method=method)
    assert ("\n" not in str(caught.value) and "use" in str(caught.value)) or "method=" in str(caught.value)


def test_samples_of_a_long_run():
    with pytest.raises(InvalidInput, match="takes no samples; leave samples out"):
        critical_step(NAG, x0=1.0, method="one-step", samples=10)


def test_heavy_ball_over_biased_messages():
    """A mask that is not scaled makes m = pg: λp in the place of λ, with the relative variance 1/p − 1."""
    p, beta = 0.25, 0.5
    made = Setup(Quadratic([1.0]), Agents(1, None, RandomSparsification(3.0, scaled=False)), server=HeavyBall(beta))
    wanted = 2 * (1 + beta) / (p * (1 + (1 / p - 1) * (1 + beta) / (1 - beta)))
    for method in ("loss-model", "moments", "one-step"):
        assert critical_step(made, x0=1.0, method=method).step == pytest.approx(wanted, rel=1e-10)
    rand = Setup(Quadratic([1.0, 1.0]), Agents(1, None, EF21(RandK(1, scaled=False))))
    assert critical_step(rand, x0=1.0, method="one-step").step == pytest.approx(2 * 0.5 * 1.5 / (0.25 + 2), rel=1e-10)
    assert critical_step(
        Setup(Quadratic([1.0]), Agents(1, None, Momentum(Identity(), beta=0.5))), x0=1.0, method="one-step"
    ).step == (pytest.approx(2 * 1.5 / 0.5, rel=1e-10))
