"""P Theorem B.1: DSGD from the first-order model; its printed bound keeps a σ1² that it need not."""

import pytest

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, bound, step_limit
from tests.theorem.reference import HET, PHI1, PHI2, TIMES, without

C = without("omega")


def test_step_limit_by_hand():
    """Eq. 54 with σ̄0² = .15, σ̄1² = .015, N = 2, d = 10: 2/(10 (.015 + .075 + .5 · .015 · 2)) = 2/1.05."""
    for form in ("corrected", "printed"):
        assert step_limit("B.1", C, 2.0, 0.5, form=form) == pytest.approx(2 / 1.05, rel=1e-14)


def test_bound_by_hand():
    """Eq. 55 has d(σ̄0² + σ̄1²)/N = .825, which corrected is .75."""
    given = {**TIMES, "initial_gap": 3.0, "epsilon": 0.5}
    printed, corrected = (bound("B.1", C, **given, form=form) for form in ("printed", "corrected"))
    assert printed == pytest.approx((3 + PHI2 * 0.1 * 1.5 * 0.825 / 2) / (0.5 * PHI1), rel=1e-14)
    assert corrected == pytest.approx((3 + PHI2 * 0.1 * 1.5 * 0.75 / 2) / (0.5 * PHI1), rel=1e-14)


def test_compression_is_refused():
    with pytest.raises(InvalidInput, match=r"B\.1 is about uncompressed messages, but omega is 8\.0; use 4\.2"):
        step_limit("S2 A.1", Constants(**HET), 1.0, 0.5)
