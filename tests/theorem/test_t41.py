"""P Theorem 4.1 = B.4: the first-order limit, the misprinted bound (5) = (105), and how tight the corrected one is."""

import numpy as np
import pytest
from scipy import integrate

from stablestep.schedule import Polynomial
from stablestep.theorem import Constants, bound, step_limit
from tests.theorem.reference import HET, PHI1, PHI2, TIMES

C = Constants(**HET)
GIVEN = {**TIMES, "initial_gap": 3.0, "epsilon": 0.5}


def test_step_limit_by_hand():
    """A/N = 3.575, B/N = 5.75: Eq. 4 is 1/(2 · 3.575 + .5 · 5.75) = 1/10.025."""
    found = step_limit("4.1", C, gradient_norm=2.0, epsilon=0.5)
    assert found == pytest.approx(1 / 10.025, rel=1e-14) == pytest.approx(0.0997506234414, rel=1e-12)
    assert step_limit("4.1", C, 2.0, 0.5, form="printed") == found
    assert step_limit("4.1", C, 2.0, 0.9) == pytest.approx(1.8 / 10.025, rel=1e-14)
    assert step_limit("4.1", C, 2.0, 0.5, unit=2.0) == pytest.approx(1 / (7.15 + 0.25 * 5.75), rel=1e-14)
    assert step_limit("4.1", C, 2.0, 0.5, unit=2.0, young=True) == pytest.approx(1 / (7.15 + 0.125 * 5.75), rel=1e-14)


def test_bound_by_hand():
    """Corrected: the coefficient of φ²η/2 is 1.5 · 5.75. Printed: that of φ²/2 is (L0 A + L1 B)/N = (7.15 + 5.75)/2 = 6.45."""
    corrected, printed = bound("4.1", C, **GIVEN), bound("4.1", C, **GIVEN, form="printed")
    assert corrected == pytest.approx((3 + PHI2 * 0.1 * 8.625 / 2) / (0.5 * PHI1), rel=1e-14)
    assert corrected == pytest.approx(0.6447610802, rel=1e-9)
    assert printed == pytest.approx((3 + PHI2 * 6.45 / 2) / (0.5 * PHI1), rel=1e-14)
    assert printed == pytest.approx(1.907240897, rel=1e-9)
    young = bound("4.1", C, **GIVEN, unit=2.0, young=True)
    assert young == pytest.approx((3 + PHI2 * 0.1 * 1.5 * 5.75 / 2) / (0.5 * PHI1), rel=1e-14)


def test_its_limit_and_that_of_the_new_model_differ_by_the_curvature():
    for norm in (0.0, 2.0, 50.0):
        first, new = (step_limit(name, C, norm, 0.7) for name in ("4.1", "4.2"))
        assert 1 / first + (1 + 0.5 * norm) / 1.4 == pytest.approx(1 / new, rel=1e-13)


def test_without_noise_it_asks_for_nothing():
    """P: "clearly unsatisfactory", as gradient descent diverges beyond 2/L0."""
    assert step_limit("4.1", Constants(L0=1, L1=0, dim=3), 5.0, 0.5) == np.inf


# theory 1.2: x²/2, unit noise, η = .1, a = .6, from the minimum, where the first-order model has E x² in closed form up to a quadrature.
TRUTH = {10: (0.02198, 0.02367), 100: (0.01117, 0.01130), 1000: (0.005030, 0.005041), 10_000: (0.002167, 0.002168)}


@pytest.mark.parametrize("time", TRUTH)
def test_corrected_it_is_tight_and_printed_it_is_false(time):
    schedule = Polynomial(0.1, 0.6)

    def slope(t, state):
        square, _ = state
        rate = (1 + t) ** -0.6
        return [-2 * rate * square + 0.1 * rate**2, rate * square]

    solved = integrate.solve_ivp(slope, (0, time), [0.0, 0.0], method="LSODA", rtol=1e-9, atol=1e-14)
    measured = solved.y[1, -1] / schedule.phi(1, time)
    c = Constants(L0=1, L1=0, dim=1, sigma0_sq=1.0)
    phis = {"eta": 0.1, "phi1": schedule.phi(1, time), "phi2": schedule.phi(2, time)}
    corrected, printed = (
        bound("4.1", c, initial_gap=0.0, epsilon=1e-12, **phis, form=form) for form in ("corrected", "printed")
    )
    assert printed == 0 < measured <= corrected < 1.1 * measured
    assert (measured, corrected) == pytest.approx(TRUTH[time], rel=5e-4)
