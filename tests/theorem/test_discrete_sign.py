"""DSignSGD in discrete time."""

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.noise.student import slope
from stablestep.theorem import Constants, bound, density, result, step_limit
from tests.statistics import assert_fails, assert_mean

CASES = {  # theory2 section 5: gradient, (L0, L1), x0, S0, iterations at η = .1 under η_t = (1+t)^-½, the two sides
    "cosh": (np.sinh, (1, 1), 6.0, np.cosh(6) - 1, 1000, 10.989, 11.242),
    "quartic": (lambda x: x**3, (1, 2), 3.0, 20.25, 500, 1.535, 1.771),
}
RUNS = 4000


def of(L0=1.0, L1=1.0, dim=1, **more):
    return Constants(**({"L0": L0, "L1": L1, "dim": dim, "nu": 1.0, "scale_max": 1.0} | more))


@pytest.mark.parametrize(("dim", "limit"), [(1, 1.2564312086), (4, 0.3813442804), (100, 0.0187685727)])
def test_limits(dim, limit):
    """theory2 section 8.9; as L1 → 0 there is none, and no scale enters."""
    assert step_limit("discrete.sign", of(dim=dim)) == pytest.approx(limit, abs=5e-11)
    wider = step_limit("discrete.sign", of(dim=dim, L1=0.5, scale_max=7.0))
    assert wider == pytest.approx(2 * step_limit("discrete.sign", of(dim=dim)), rel=1e-13)
    assert step_limit("discrete.sign", of(dim=dim, L1=0.0)) == np.inf
    assert step_limit("discrete.sign", of(dim=dim)) < step_limit("4.3", of(dim=dim)) == 2 / dim


def measured(case, seed):
    """Σ w_k Ψ(f'(x_k)) for every run, w the probabilities of the iterations."""
    gradient, (L0, L1), x0, _, count, *_ = CASES[case]
    generator, h = np.random.default_rng(seed), 0.1 / np.sqrt(1 + 0.1 * np.arange(count))
    weights = density("discrete.sign", of(L0, L1), steps=h)
    x, total = np.full(RUNS, x0), np.zeros(RUNS)
    for step, weight in zip(h, weights):
        g = gradient(x)
        total += weight * result("discrete.sign").measure(of(L0, L1), np.abs(g))
        x = x - step * np.sign(g + generator.standard_cauchy(RUNS))
    return total


@pytest.mark.parametrize("case", CASES)
def test_the_bound_holds_and_half_of_it_would_not(case, seed):
    *_, gap, count, left, right = CASES[case]
    (L0, L1), h = CASES[case][1], 0.1 / np.sqrt(1 + 0.1 * np.arange(count))
    found = bound("discrete.sign", of(L0, L1), steps=h, initial_gap=gap)
    assert found == pytest.approx(right, abs=6e-4)
    samples = measured(case, seed)
    assert samples.mean() <= found and samples.mean() > found / 2
    assert samples.mean() == pytest.approx(left, rel=0.03)
    with assert_fails("the bound itself is no mean"):
        assert_mean(samples, found * 1.02)


def test_weights_and_terms_by_hand():
    """d = 4, N = 2, σ̄ = 2, ℓ = 2/π: at one step h, h − L1ψ(2h) and (L0 + L1 π)ψ(2h)."""
    c, h = of(1.0, 2.0, 4, count=2, scale_max=[1.0, 3.0]), 0.05
    psi = (np.exp(4 * h) - 1 - 4 * h) / 4
    weight, cost = h - 2 * psi, (1 + 2 * np.pi) * psi
    assert bound("discrete.sign", c, eta=h, steps=100, initial_gap=3.0) == pytest.approx(
        (3 + 100 * cost) / (100 * weight), rel=1e-12
    )
    assert density("discrete.sign", c, eta=h, steps=100) == pytest.approx(0.01)
    assert density("discrete.sign", c, steps=[h, h / 2]).sum() == pytest.approx(1)
    assert density("discrete.sign", c, steps=[h]) == pytest.approx([1.0])


def test_small_steps_are_those_of_the_sde():
    """ψ → d h²/2: 4.3 with φ¹ = ηK and the same weights."""
    c, eta, count = of(dim=3, nu=np.inf, initial_gap=2.0), 1e-5, 10**7
    times = {"eta": eta, "phi1": eta * count, "phi2": eta * count}
    assert bound("discrete.sign", c, eta=eta, steps=count) == pytest.approx(bound("4.3", c, **times), rel=1e-4)


def test_the_gradient_norm_that_a_bound_allows():
    c, one = of(), result("discrete.sign")
    for value in (1e-6, 0.3, 50.0):
        assert float(one.measure(c, one.gradient_norm_bound(c, value))) == pytest.approx(value, rel=1e-9)
    assert float(one.measure(c, 3.0)) == pytest.approx(slope(1.0) * 9 / (1 + slope(1.0) * 3))


BAD = [
    (
        {},
        {"eta": 1.3, "steps": 10},
        r"discrete.sign says nothing here: it allows steps below 1\.256, .* is 1\.3; use a smaller",
    ),
    ({}, {"steps": [0.1, 2.0]}, "largest step is 2;"),
    ({}, {"eta": 0.1}, "is about discrete steps; give eta and steps=K"),
    ({}, {"eta": 0.1, "phi1": 1.0, "phi2": 1.0, "steps": 3}, "not about φ¹ and φ²"),
    ({}, {"eta": 0.1, "steps": 0}, "steps is 0"),
    ({}, {"steps": [0.1, -0.1]}, "steps is .*greater than 0"),
    ({}, {"eta": "1", "steps": 3}, 'eta is "1"'),
    ({"nu": 0.5}, {"eta": 0.1, "steps": 3}, "needs nu ≥ 1, but nu is 0.5"),
    ({"nu": None, "scale_max": None}, {"eta": 0.1, "steps": 3}, "needs Student-t noise"),
    (
        {"dissimilarity": (1.0, 2.0)},
        {"eta": 0.1, "steps": 3},
        r"dissimilarity is \(1.0, 2.0\); the signs of unlike clients vote",
    ),
    ({"dissimilarity": (0.9, 2.0)}, {"eta": 0.1, "steps": 3}, "𝔅² = 0.9.*at least 1"),
    ({}, {"eta": 0.1, "steps": 3, "form": "printed"}, "one form only"),
    ({}, {"eta": 0.1, "steps": 3, "initial_gap": None}, "initial_gap is missing"),
]


@pytest.mark.parametrize(("values", "options", "message"), BAD)
def test_bad_input(values, options, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        bound("discrete.sign", of(**values), **({"initial_gap": 1.0} | options))
    assert "\n" not in str(caught.value)


def test_sde_results_take_no_steps():
    with pytest.raises(InvalidInput, match="about an SDE, which takes no steps; give eta, phi1 and phi2"):
        bound("4.3", of(), eta=0.1, steps=3, initial_gap=1.0)
    with pytest.raises(InvalidInput, match="phi1, phi2 is missing"):
        bound("4.3", of(), eta=0.1, initial_gap=1.0)
