"""P Theorem 4.2 = B.6: numbers, and where its limit is exact."""

import numpy as np
import pytest

from stablestep.theorem import Constants, bound, step_limit
from tests.theorem.reference import HET, PHI1, PHI2, TIMES

C = Constants(**HET)


def test_step_limit_by_hand():
    """Eq. 16 is 1/(2 · 4.575 + .5 · 5.75) = 1/12.025."""
    found = step_limit("4.2", C, gradient_norm=2.0, epsilon=0.5)
    assert found == pytest.approx(1 / 12.025, rel=1e-14) == pytest.approx(0.0831600831601, rel=1e-11)
    assert step_limit("4.2", C, 2.0, 0.5, form="printed") == found
    assert step_limit("4.2", C, 0.0, 0.5) == pytest.approx(1 / (4.575 + 2.875), rel=1e-14)
    assert step_limit("4.2", C, 2.0, 0.5, young=True) == pytest.approx(1 / (9.15 + 0.25 * 5.75), rel=1e-14)


def test_bound_by_hand():
    given = {**TIMES, "initial_gap": 3.0, "epsilon": 0.5}
    found = bound("4.2", C, **given)
    assert found == pytest.approx((3 + PHI2 * 0.1 * 8.625 / 2) / (0.5 * PHI1), rel=1e-14)
    assert found == pytest.approx(0.6447610802, rel=1e-9) == bound("4.2", C, **given, form="printed")
    assert bound("4.2", C, **given, unit=4.0) == pytest.approx(
        (3 + PHI2 * 0.1 * 3 * 5.75 / 2) / (0.5 * PHI1), rel=1e-14
    )


@pytest.mark.parametrize("count", [1, 2])
def test_stability_threshold_of_a_quadratic_is_the_limit(count):
    """With L1 = 0, ε → 1 the limit is 2/(λ(1 + A/N)), the exact mean-square threshold for d = 1: E x² grows by
    (1 − hλ)² + h²λ²(ω + (1 + ω)σ1²)/N."""
    c = Constants(L0=3.0, L1=0.0, dim=1, omega=4.0, sigma1_sq=0.1, count=count)
    limit = step_limit("4.2", c, 5.0, 1 - 1e-13)
    assert (1 - 3 * limit) ** 2 + (3 * limit) ** 2 * (4 + 5 * 0.1) / count == pytest.approx(1, rel=1e-9)


def test_noiseless_limit_is_that_of_gradient_descent():
    """2/L0, and without compression and noise normalization alone."""
    assert step_limit("4.2", Constants(L0=4, L1=0, dim=3), 1.0, 0.999999) == pytest.approx(2 / 4, rel=1e-5)
    assert step_limit("4.2", Constants(L0=1, L1=2, dim=3), 7.0, 0.5) == pytest.approx(1 / 15, rel=1e-14)
    assert step_limit("4.2", Constants(L0=0, L1=2, dim=3), 0.0, 0.5) == np.inf
