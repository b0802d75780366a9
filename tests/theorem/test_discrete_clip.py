"""Clipped gradient descent."""

import numpy as np
import pytest

from stablestep import schedule, simulate
from stablestep.compressor import Identity, LocalClip, RandK
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian
from stablestep.problem import Cosh
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, bound, constants, covered, result, step_limit

NAME = "discrete.clip"


@pytest.mark.parametrize(
    ("threshold", "limit", "monotone"), [(0.1, 1.7157, 1.997), (1.0, 0.76269, 1.763), (5.0, 0.22211, 0.926)]
)
def test_limits(threshold, limit, monotone):
    """theory2 section 5, ε → 1, with the largest step that is monotone on cosh."""
    c = Constants(L0=1, L1=1, dim=1, clip=threshold)
    assert result(NAME).edge(c, None) == pytest.approx(limit, rel=5e-5) and limit < monotone
    assert step_limit(NAME, c, epsilon=0.5) < 0.6 * limit
    assert step_limit(NAME, Constants(L0=4, L1=0, dim=1, clip=threshold), epsilon=0.5) == pytest.approx(0.25)


@pytest.mark.parametrize("curvature", [0.5, 1.0, 3.0])
def test_without_growth_the_edge_is_that_of_descent(curvature):
    c = Constants(L0=curvature, L1=0, dim=1, clip=2.0)
    assert result(NAME).edge(c, None) == pytest.approx(2 / curvature)
    assert result(NAME).edge(Constants(L0=0, L1=0, dim=1, clip=2.0), None) == np.inf


def descent(gradient, x, eta, threshold, count=20000):
    norms = []
    for _ in range(count):
        g = gradient(x)
        norms.append(abs(g))
        x = x - eta * np.clip(g, -threshold, threshold)
    return np.array(norms)


@pytest.mark.parametrize("threshold", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("epsilon", [0.3, 0.9])
def test_the_bound_holds(threshold, epsilon):
    c = Constants(L0=1, L1=1, dim=1, clip=threshold, initial_gap=np.cosh(4) - 1)
    eta = step_limit(NAME, c, epsilon=epsilon)
    norms = descent(np.sinh, 4.0, eta, threshold)
    measured, found = (
        np.mean(result(NAME).measure(c, norms)),
        bound(NAME, c, eta=eta, steps=len(norms), epsilon=epsilon),
    )
    assert 0.05 * found < measured <= found
    assert norms.mean() <= result(NAME).gradient_norm_bound(c, found)


def test_where_it_does_not_clip_it_is_attained():
    """x²/2: η Σ x² = x0²/(2 − η) = S0/(1 − ε) with η = 2ε."""
    c = Constants(L0=1, L1=0, dim=1, clip=5.0, initial_gap=0.5)
    norms = descent(lambda x: x, 1.0, 0.8, 5.0, 500)
    found = bound(NAME, c, eta=0.8, steps=500, epsilon=0.4)
    assert np.mean(result(NAME).measure(c, norms)) == pytest.approx(found, rel=1e-12)


@pytest.mark.parametrize("clip", [0.3, 2.0, 5.0])
def test_the_gradient_norm_that_a_bound_allows(clip):
    """The convex hull of ‖g‖ min(‖g‖, c) from below: two gradients whose mean it is show that less would be false."""
    c, one = Constants(L0=1, L1=1, dim=1, clip=clip), result(NAME)
    generator = np.random.default_rng(0)
    for _ in range(300):
        norms = clip * np.exp(generator.normal(0, 2, 2))
        assert np.mean(norms) <= one.gradient_norm_bound(c, float(np.mean(one.measure(c, norms)))) * (1 + 1e-12)
    far = np.array([clip / 2, 1e6])
    assert np.mean(far) == pytest.approx(one.gradient_norm_bound(c, float(np.mean(one.measure(c, far)))), rel=1e-5)


def test_of_a_setup():
    setup = Setup(Cosh(3, a=1.0), Agents(2, compressor=LocalClip(Identity(), threshold=1.0)))
    c, one = constants(setup, L1=1.0, x0=2.0), covered(setup, 1.0)
    assert (c.clip, c.memory, one.result.name) == (1.0, None, NAME)
    eta = step_limit(NAME, c, epsilon=0.5)
    run = simulate(setup, schedule=schedule.Constant(eta), x0=2.0, steps=200, runs=1, dtype="float64")
    norms = np.asarray(run.gradient_norm_mean[:-1])
    assert np.mean(result(NAME).measure(c, norms)) <= bound(NAME, c, eta=eta, steps=200, epsilon=0.5)


BAD = [
    ({"clip": None}, "needs a threshold; give clip"),
    ({"sigma0_sq": 1.0}, "without noise"),
    ({"omega": 1.0}, "about uncompressed messages, but omega is 1"),
    ({"dissimilarity": (1.0, 1.0)}, "balance at another point than the minimum: no step repairs that"),
    ({"clip": -1.0}, "clip is -1.0"),
    ({"beta": 0.5}, "but HeavyBall remembers"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_bad_input(values, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        step_limit(NAME, Constants(**({"L0": 1, "L1": 1, "dim": 1, "clip": 1.0} | values)), epsilon=0.5)
    assert "\n" not in str(caught.value)


def test_other_results_do_not_know_clipping():
    for agents in (
        [Agents(1, Gaussian(1.0), LocalClip(Identity(), threshold=1.0))],
        [Agents(1, None, LocalClip(RandK(1), threshold=1.0))],
    ):
        with pytest.raises(InvalidInput, match=r"discrete.clip is about"):
            covered(Setup(Cosh(3, a=1.0), *agents), 1.0)
    with pytest.raises(InvalidInput, match="clip at different thresholds"):
        constants(Setup(Cosh(3, a=1.0), Agents(1), Agents(1, None, LocalClip(Identity(), threshold=1.0))), L1=1.0)
    with pytest.raises(
        InvalidInput, match=r"4\.2 is about DCSGD with plain steps, but these are made of gradients clipped at 1\.0"
    ):
        step_limit("4.2", Constants(L0=1, L1=1, dim=1, clip=1.0), 1.0, 0.5)
