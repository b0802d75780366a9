"""Error feedback of the normalized gradient."""

import numpy as np
import pytest

from stablestep import schedule, simulate
from stablestep.compressor import ErrorFeedback, LocalClip, TopK
from stablestep.errors import InvalidInput
from stablestep.problem import Cosh
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, bound, covered, step_limit
from tests.theorem.descents import feedback, top, unit

NAME = "discrete.normalized-ef"


def of(alpha=0.25, **more):
    return Constants(**({"L0": 1, "L1": 1, "dim": 4, "alpha": alpha} | more))


@pytest.mark.parametrize(("alpha", "limit"), [(0.25, 0.06111), (0.1, 0.0217349052), (0.01, 0.002041)])
def test_limits(alpha, limit):
    assert step_limit(NAME, of(alpha)) == pytest.approx(limit, rel=1e-4)
    assert step_limit(NAME, of(0.1)) == pytest.approx(0.0217349052, abs=5e-11)  # theory2 section 8.8


@pytest.mark.parametrize(("eta", "right"), [(0.02, 1.0137), (0.005, 0.5429)])
def test_the_right_sides_of_theory2(eta, right):
    found = bound(NAME, of(), eta=eta, steps=1000, initial_gap=0.43765 * eta * 1000)
    assert found == pytest.approx(right, abs=1.2e-4)


@pytest.mark.parametrize("eta", [0.02, 0.005])
def test_the_bound_holds_at_the_virtual_iterate(eta):
    norms = feedback([np.sinh], np.full(4, 1.0), eta, round(5 / eta), top, unit, virtual=True)
    found = bound(NAME, of(), eta=eta, steps=len(norms), initial_gap=4 * (np.cosh(1) - 1))
    assert 0.3 * found < norms.mean() <= found


def test_without_the_memory_it_would_be_false():
    x0 = np.linspace(0.1, 0.3, 10)
    norms = feedback([lambda x: x], x0, 0.05, 5000, top, unit, virtual=True)
    quadratic = {"L0": 1, "L1": 0, "dim": 10, "initial_gap": 0.5 * float(x0 @ x0)}
    assert norms.mean() <= bound(NAME, Constants(**quadratic, alpha=0.1), eta=0.05, steps=5000)
    assert norms.mean() > bound("discrete.normalized", Constants(**quadratic), eta=0.05, steps=5000)


def test_it_is_clipping_far_below_every_gradient():
    """LocalClip with a tiny threshold, around error feedback, is the method; the error stays within rη, so that x obeys nearly the same."""
    setup = Setup(Cosh(4, a=1.0), Agents(1, compressor=LocalClip(ErrorFeedback(TopK(k=1)), threshold=1e-3)))
    run = simulate(setup, schedule=schedule.Constant(0.02 / 1e-3), x0=1.0, steps=200, runs=1, dtype="float64")
    own = feedback([np.sinh], np.full(4, 1.0), 0.02, 200, top, unit)
    np.testing.assert_allclose(run.gradient_norm_mean[:100], own[:100], rtol=1e-6)


def test_bad_input():
    setup = Setup(Cosh(4, a=1.0), Agents(1, compressor=ErrorFeedback(TopK(k=1))))
    for wrong, message in (
        (lambda: bound(NAME, of(initial_gap=1.0), eta=0.07, steps=5), r"steps below 0\.06111, .* is 0\.07"),
        (lambda: step_limit(NAME, of(count=2)), "about one client, but there are 2; use discrete.normalized-ef21"),
        (lambda: step_limit(NAME, of(alpha_surely=False)), "contracts for every draw, but alpha_surely is False"),
        (lambda: step_limit(NAME, of(sigma1_sq=1.0)), "without noise"),
        (
            lambda: step_limit(NAME, of(memory="ErrorFeedback")),
            "about ErrorFeedback of the normalized gradient, but memory is ErrorFeedback",
        ),
        (
            lambda: step_limit(NAME, of(dissimilarity=(1.0, 1.0))),
            "use discrete.normalized-ef21, which knows such clients",
        ),
        (lambda: covered(setup, 1.0, normalized=True), "ef is about EF with plain steps, but these are normalized"),
    ):
        with pytest.raises(InvalidInput, match=message) as caught:
            wrong()
        assert "\n" not in str(caught.value)
