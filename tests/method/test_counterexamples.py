"""C1, C2 and C4 of theory2.md section 7: where biased messages fail, and error feedback does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import EF21, ErrorFeedback, Identity, ScaledSign, Sign, TopK
from stablestep.noise import Minibatch
from stablestep.problem import FiniteSum, Function, Quadratic
from stablestep.schedule import Constant
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from tests.statistics import assert_fails, assert_mean


def run(setup, eta, x0, steps, runs, seed=0):
    return simulate(
        setup, schedule=Constant(eta), x0=x0, steps=steps, runs=runs, seed=seed, record=2, final=True, dtype="float64"
    )


def losses(setup, found):
    return np.asarray(jax.vmap(setup.problem.value)(found.final_state.values))


# C1, Karimireddy et al. 2019: least squares with a₁, a₂ = ±(1, −1) + ¼(1, 1); f = ⟨a₁,x⟩² + ⟨a₂,x⟩², one term a step.

ROWS = np.array([[1.25, -0.75], [-0.75, 1.25]])


def square(x, row):
    return 2 * jnp.dot(row, x) ** 2


def least_squares(compressor):
    return Setup(FiniteSum(square, ROWS, dim=2, minimum=0.0), Agents(1, Minibatch(1), compressor))


def of_least_squares(compressor, seed, runs=20):
    setup = least_squares(compressor)
    found = run(setup, 0.02, 1.0, steps=3000, runs=runs, seed=seed)
    assert float(found.loss_mean[0]) == pytest.approx(0.5, rel=1e-14)
    return found.final_state.values, losses(setup, found)


def test_signs_never_leave_a_line(seed):
    """Every message is ±(1, −1): x = (1 + t, 1 − t) for ever, where f = ½ + 8t², and |t| < ¼ is a fair walk by η, pushed back beyond.

    After an even number of steps t/η is one of the 13 even numbers within ±12, each as likely: E f = ½ + 8η² · 56.
    """
    points, loss = of_least_squares(Sign(), seed, runs=400)
    np.testing.assert_allclose(points.sum(axis=1), 2, rtol=1e-12)
    assert np.all(loss >= 0.5 - 1e-12) and loss.min() < 0.5 + 1e-12
    assert_mean(loss, 0.5 + 8 * 0.02**2 * 56)
    with assert_fails("a convergent method"):
        assert_mean(loss, 0.5)


def test_scaled_signs_neither(seed):
    points, loss = of_least_squares(ScaledSign(), seed)
    np.testing.assert_allclose(points.sum(axis=1), 2, rtol=1e-12)
    assert np.all(loss >= 0.5 - 1e-12) and 0.51 < loss.mean() < 0.6


@pytest.mark.parametrize(
    "compressor", [ErrorFeedback(ScaledSign()), ErrorFeedback(ScaledSign(), "outside"), Identity()]
)
def test_their_errors_fed_back_converge(compressor, seed):
    """1.5e-27 and 3.4e-27 were measured."""
    _, loss = of_least_squares(compressor, seed)
    assert loss.mean() < 1e-24


# C2, Beznosikov et al. 2020: f_i = ⟨a_i,x⟩² + ¼‖x‖², Top-1.

VECTORS = np.array([[-3.0, 2.0, 2.0], [2.0, -3.0, 2.0], [2.0, 2.0, -3.0]])


def three(compressor):
    return Setup(None, *(Agents(1, None, compressor, Quadratic(2 * np.outer(a, a) + np.eye(3) / 2)) for a in VECTORS))


def test_top_1_diverges():
    """x_k = (1 + 11η/6)^k x0: every agent sends the wrong coordinate."""
    found = run(three(TopK(k=1)), 0.05, 1.0, steps=100, runs=1)
    np.testing.assert_allclose(found.final_state[0], np.full(3, 6441.766237), rtol=1e-10)
    np.testing.assert_allclose(found.final_state[0], np.full(3, (1 + 11 * 0.05 / 6) ** 100), rtol=1e-13)


@pytest.mark.parametrize("compressor", [ErrorFeedback(TopK(k=1)), EF21(TopK(k=1))])
def test_top_1_with_memory_converges(compressor):
    """5e-64 and 4e-60 were measured at η = .05; 9.4e-11 and 9.3e-11 at η = .01."""
    setup = three(compressor)
    fast, slow = (losses(setup, run(setup, eta, 1.0, steps=1000, runs=1))[0] for eta in (0.05, 0.01))
    assert fast < 1e-55 and 9.25e-11 < slow < 9.45e-11


# C4: two agents with log(1 + e^{−x}), one with x²/2. Their average has its minimum .3503 at .6748.


def softplus(x):
    return jnp.sum(jax.nn.softplus(-x))


def voters(compressor):
    return Setup(
        None, Agents(2, None, compressor, Function(softplus, dim=1)), Agents(1, None, compressor, Quadratic([1.0]))
    )


def test_signs_of_unlike_agents_run_to_infinity():
    """Two votes of three push right for ever: 100 = 30000 · η/3, and another η/3 from the vote of 0 at the start."""
    setup = voters(Sign())
    found = run(setup, 0.01, 0.0, steps=30_000, runs=1)
    assert float(found.final_state[0, 0]) == pytest.approx(100 + 0.01 / 3, abs=1e-9)
    assert round(losses(setup, found)[0], 1) == 1666.8
    assert float(found.loss_mean[0]) == pytest.approx(0.4621, abs=5e-5)


@pytest.mark.parametrize("compressor", [ErrorFeedback(ScaledSign()), EF21(ScaledSign())])
def test_scaled_signs_with_memory_find_the_minimum(compressor):
    setup = voters(compressor)
    found = run(setup, 0.1, 0.0, steps=2000, runs=1)
    assert float(found.final_state[0, 0]) == pytest.approx(0.6748, abs=5e-5)
    assert losses(setup, found)[0] == pytest.approx(0.3503, abs=5e-5)
