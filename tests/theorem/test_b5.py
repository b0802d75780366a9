"""P Theorem B.5: DCSGD under bounded variance from the new model."""

import pytest

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, bound, step_limit
from tests.theorem.reference import HET, PHI1, PHI2, TIMES, without

C = without("sigma1_sq")


def test_by_hand():
    """Eq. 108: 1/(2 (1 + 3) + .5 · 5.75) = 1/10.875; Eq. 109."""
    for form in ("corrected", "printed"):
        assert step_limit("B.5", C, 2.0, 0.5, form=form) == pytest.approx(1 / 10.875, rel=1e-14)
        found = bound("B.5", C, initial_gap=3.0, epsilon=0.5, **TIMES, form=form)
        assert found == pytest.approx((3 + PHI2 * 0.1 * 1.5 * 5.75 / 2) / (0.5 * PHI1), rel=1e-14)


def test_affine_variance_is_refused():
    for use in (
        lambda: step_limit("S2 4.2", Constants(**HET), 1.0, 0.5),
        lambda: bound("B.5", Constants(**HET), initial_gap=1.0, epsilon=0.5, **TIMES),
    ):
        with pytest.raises(InvalidInput, match=r"B\.5 assumes bounded variance, but sigma1_sq is 0\.02; use 4\.2"):
            use()
