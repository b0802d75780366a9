"""The normalized step under purely relative noise: the rate for E‖∇f‖."""

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, normalized_bound

RELATIVE = Constants(L0=1, L1=2, dim=3, omega=[4.0, 1.0], sigma1_sq=[0.1, 0.3])


def test_by_hand():
    """d = 1, N = 1, ω = 4, S0 = 4, 100 steps, ε = ½: Q = 4 · 5/(½ · 100) = .4, and (.8 + √(.64 + 1.6))/2."""
    c = Constants(L0=1, L1=2, dim=1, omega=4.0)
    assert normalized_bound(c, 100, 4.0) == pytest.approx((0.8 + np.sqrt(2.24)) / 2, rel=1e-14)
    # A/N = (2.5 + 3 (.1 · 5 + .3 · 2)/2)/2 = 2.075; ε = .9: Q = 7 · 3.075/(1.8 · .1 · 50)
    rate = 7 * 3.075 / 9
    found = normalized_bound(RELATIVE, 50, 7.0, epsilon=0.9)
    assert found == pytest.approx(rate + np.sqrt(rate**2 + rate), rel=1e-13)


@pytest.mark.parametrize(("L0", "L1"), [(1.0, 2.0), (0.0, 2.0), (3.0, 0.0)])
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 0.9])
def test_it_inverts_what_the_pathwise_rule_gives(L0, L1, epsilon):
    """(1−ε) Σ E h‖g‖² ≤ S0 with h = 2ε/((L0 + L1‖g‖) R): the convex function ‖g‖²/(L0 + L1‖g‖) at the answer is S0 R/(2ε(1−ε)K)."""
    c = Constants(L0=L0, L1=L1, dim=3, omega=[4.0, 1.0], sigma1_sq=[0.1, 0.3], initial_gap=7.0)
    norm = normalized_bound(c, 50, epsilon=epsilon)
    assert norm**2 / (L0 + L1 * norm) == pytest.approx(7 * 3.075 / (2 * epsilon * (1 - epsilon) * 50), rel=1e-12)


def test_one_half_is_the_best_epsilon():
    bounds = [normalized_bound(RELATIVE, 50, 7.0, epsilon) for epsilon in (0.3, 0.45, 0.5, 0.55, 0.7)]
    assert np.argmin(bounds) == 2 and normalized_bound(RELATIVE, 50, 7.0) == bounds[2]


@pytest.mark.parametrize("x0", [0.1, 1.0, 5.0])
def test_it_holds_on_the_quartic_without_noise(x0):
    """dx/dk = −h g + h² f''g/2, h = 1/(L0 + L1|g|), in 200 Euler steps an iteration."""
    bound, x, total = normalized_bound(Constants(L0=1, L1=2, dim=1), 40, x0**4 / 4), x0, 0.0
    for _ in range(40 * 200):
        step = 1 / (1 + 2 * abs(x) ** 3)
        total += abs(x) ** 3
        x += (-step * x**3 + step**2 * 3 * x**5 / 2) / 200
    assert 0.01 * bound < total / (40 * 200) <= bound


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 0.0}, r"epsilon is 0\.0"),
        ({"epsilon": 1.0}, r"epsilon is 1\.0.*between 0 and 1"),
        ({"steps": 0}, "steps is 0"),
        ({"initial_gap": None}, "initial_gap is missing"),
        ({"initial_gap": -1.0}, r"initial_gap is -1\.0"),
        ({"c": Constants(L0=1, L1=1, dim=2, sigma0_sq=0.5)}, "B is 1; use `bound` with a decay"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InvalidInput, match=message):
        normalized_bound(**({"c": RELATIVE, "steps": 10, "initial_gap": 1.0} | options))
