"""P Theorem B.3: DCSGD under bounded variance from the first-order model."""

import pytest

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, bound, step_limit
from tests.theorem.reference import HET, PHI1, PHI2, TIMES, without

C = without("sigma1_sq")


def test_by_hand():
    """Eq. 89 with ω̄/N = 3, B/N = 5.75: 1/(2 · 3 + .5 · 5.75) = 1/8.875; Eq. 90."""
    for form in ("corrected", "printed"):
        assert step_limit("B.3", C, 2.0, 0.5, form=form) == pytest.approx(1 / 8.875, rel=1e-14)
        found = bound("B.3", C, initial_gap=3.0, epsilon=0.5, **TIMES, form=form)
        assert found == pytest.approx((3 + PHI2 * 0.1 * 1.5 * 5.75 / 2) / (0.5 * PHI1), rel=1e-14)


def test_affine_variance_is_refused():
    with pytest.raises(InvalidInput, match=r"B\.3 assumes bounded variance, but sigma1_sq is 0\.02; use 4\.2"):
        step_limit("B.3", Constants(**HET), 1.0, 0.5)
