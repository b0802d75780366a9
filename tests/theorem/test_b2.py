"""P Theorem B.2: DSGD from the new model."""

import pytest

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, bound, step_limit
from tests.theorem.reference import HET, PHI1, PHI2, TIMES, without

C = without("omega")


def test_by_hand():
    """Eq. 71 with dσ̄1²/N = .075, dσ̄0²/N = .75: 1/(2 · 1.075 + .5 · .75) = 1/2.525; Eq. 72."""
    for form in ("corrected", "printed"):
        assert step_limit("B.2", C, 2.0, 0.5, form=form) == pytest.approx(1 / 2.525, rel=1e-14)
        found = bound("B.2", C, initial_gap=3.0, epsilon=0.5, **TIMES, form=form)
        assert found == pytest.approx((3 + PHI2 * 0.1 * 1.5 * 0.75 / 2) / (0.5 * PHI1), rel=1e-14)


@pytest.mark.parametrize("name", ["B.2", "S2 4.1"])
def test_compression_is_refused(name):
    with pytest.raises(InvalidInput, match=r"B\.2 is about uncompressed messages, but omega is 8\.0; use 4\.2"):
        step_limit(name, Constants(**HET), 1.0, 0.5)
