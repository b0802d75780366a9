"""Normalized EF21, for clients that may differ."""

import numpy as np
import pytest

from stablestep import schedule, simulate
from stablestep.compressor import EF21, RandomSparsification, TopK
from stablestep.errors import InvalidInput
from stablestep.problem import Cosh
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, bound, constants, covered, step_limit
from tests.theorem.descents import ef21, top

NAME = "discrete.normalized-ef21"
UNLIKE = {"count": 3, "dissimilarity": (1.44, 0.3486**2)}


def of(alpha=0.25, **more):
    return Constants(**({"L0": 1, "L1": 1, "dim": 4, "alpha": alpha} | more))


@pytest.mark.parametrize(("alpha", "limit"), [(0.25, 0.07186), (0.1, 0.02634), (0.01, 0.002513)])
def test_limits(alpha, limit):
    assert step_limit(NAME, of(alpha)) == pytest.approx(limit, rel=2e-4)
    assert step_limit(NAME, of(alpha, **UNLIKE)) < step_limit(NAME, of(alpha))
    flat = of(alpha, L1=0)
    assert step_limit(NAME, flat) == np.inf


@pytest.mark.parametrize(("eta", "rate", "right", "more"), [
    (0.02, 0.43765, 0.9727, {}),
    (0.005, 0.43765, 0.5414, {}),
    (0.02, 0.29474, 0.9793, UNLIKE),
    (0.005, 0.29474, 0.4194, UNLIKE),
    (0.002, 0.29474, 0.3420, UNLIKE),
])  # fmt: skip
def test_the_right_sides_of_theory2(eta, rate, right, more):
    """Sections 5 and 8.16; `rate` is S0/(ηK) of its runs."""
    found = bound(NAME, of(**more), eta=eta, steps=1000, initial_gap=rate * eta * 1000, initial_error=0.0)
    assert found == pytest.approx(right, abs=1.2e-4)


def run_of(eta, count):
    """Three clients of Σ cosh(x_j − c_ij), Top-1 of four; what their (𝔅, ζ) must be along the path is looked at too."""
    centres = np.array([[0.3, -0.2, 0.1, 0.0], [-0.2, 0.4, 0.0, 0.1], [-0.1, -0.2, -0.1, -0.1]])
    gradients = [lambda x, c=c: np.sinh(x - c) for c in centres]
    x0 = np.full(4, 1.5)
    norms = ef21(gradients, x0, eta, count, top)
    lines = np.linspace(0, 1, 40)[:, None] * x0
    for x in lines:
        each = np.array([gradient(x) for gradient in gradients])
        assert np.mean(np.linalg.norm(each, axis=1)) <= 1.2 * np.linalg.norm(each.mean(0)) + 0.6
    gap = float(np.sum(np.cosh(x0 - centres)) / 3 - np.sum(np.cosh(centres)) / 3)
    return norms, gap


@pytest.mark.parametrize("eta", [0.005, 0.002])
def test_the_bound_holds_for_unlike_clients(eta):
    norms, gap = run_of(eta, round(12 / eta))
    c = of(count=3, dissimilarity=(1.44, 0.36), initial_gap=1.2 * gap)
    found = bound(NAME, c, eta=eta, steps=len(norms), initial_error=0.0)
    assert 0.3 * found < norms.mean() <= found


def test_no_dissimilarity_enters_where_the_hessian_is_bounded():
    given = {"eta": 0.1, "steps": 50, "initial_error": 0.0, "initial_gap": 1.0}
    assert bound(NAME, of(L1=0, **UNLIKE), **given) == bound(NAME, of(L1=0, count=3), **given)
    assert bound(NAME, of(**UNLIKE), **given | {"eta": 0.02}) > bound(NAME, of(count=3), **given | {"eta": 0.02})


def test_of_a_setup():
    """The product's own simulation, warm: δ0 = 0."""
    setup = Setup(Cosh(4, a=1.0), Agents(2, compressor=EF21(TopK(k=1), warm=True)))
    c = constants(setup, L1=1.0, x0=1.0, normalized=True)
    assert (c.alpha, c.memory, covered(setup, 1.0, normalized=True).result.name) == (0.25, "EF21", NAME)
    run = simulate(
        setup, schedule=schedule.Normalized(schedule.Constant(0.02)), x0=1.0, steps=200, runs=1, dtype="float64"
    )
    found = bound(NAME, c, eta=0.02, steps=200, initial_error=0.0)
    assert 0.2 * found < float(run.gradient_norm_mean[:-1].mean()) <= found


def test_without_the_memory_it_would_be_false():
    """A parabola in ten dimensions with Top-1: the direction lags, and ‖∇f‖ stays above η/2."""
    norms = ef21([lambda x: x], np.linspace(0.1, 0.3, 10), 0.05, 5000, top)
    quadratic = {"L0": 1, "L1": 0, "dim": 10, "initial_gap": 0.5 * float(np.sum(np.linspace(0.1, 0.3, 10) ** 2))}
    right = bound(NAME, Constants(**quadratic, alpha=0.1), eta=0.05, steps=5000, initial_error=0.0)
    assert norms.mean() <= right and norms.mean() > bound(
        "discrete.normalized", Constants(**quadratic), eta=0.05, steps=5000
    )


def test_bad_input():
    masks = Setup(Cosh(4, a=1.0), Agents(2, compressor=EF21(RandomSparsification(3.0, scaled=False))))
    assert covered(masks, 1.0, normalized=True).constants.alpha_surely is False
    for wrong, message in (
        (
            lambda: bound(NAME, of(initial_gap=1.0), eta=0.08, steps=5, initial_error=0.0),
            r"steps below 0\.07186, .* is 0\.08",
        ),
        (lambda: bound(NAME, of(initial_gap=1.0), eta=0.01, steps=5), "initial_error is missing"),
        (lambda: step_limit(NAME, of(sigma0_sq=1.0)), "about gradients without noise"),
        (lambda: of(dissimilarity=(0.5, 0.0)), "𝔅² = 0.5"),
        (lambda: of(1.5), "alpha is 1.5, but must be in"),
        (lambda: covered(masks, 1.0), "no result covers EF21 with plain steps"),
    ):
        with pytest.raises(InvalidInput, match=message) as caught:
            wrong()
        assert "\n" not in str(caught.value)
