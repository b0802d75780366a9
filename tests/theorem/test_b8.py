"""P Theorem B.8: Eq. 128 as printed, and the corrected limit 2N/(dL1)."""

import numpy as np
import pytest

from stablestep.theorem import Constants, bound, density, step_limit
from tests.theorem.reference import COUNTEREXAMPLES, ROOT, SIGN, SLOPES, TIMES, eq128

C = Constants(**SIGN)


@pytest.mark.parametrize("nu", [1, 2, np.inf])
def test_printed_is_equation_128(nu):
    """h < 2Nℓ/(σ_H d L1) = 4ℓ/12."""
    values = SIGN | {"nu": nu}
    assert step_limit("B.8", Constants(**values), form="printed") == pytest.approx(SLOPES[nu] / 3, rel=1e-13)
    for times in (TIMES, ROOT):
        found = bound("B.8", Constants(**values), initial_gap=3.0, **times, form="printed")
        assert found == pytest.approx(eq128(**values, gap=3.0, **times), rel=1e-12)


def test_numbers():
    assert step_limit("B.8", C, form="printed") == pytest.approx(0.2122065908, rel=1e-9)
    assert step_limit("B.8", C) == 0.5


@pytest.mark.parametrize("case", COUNTEREXAMPLES)
def test_printed_bounds_of_the_counterexamples(case):
    _, _, gap, (L0, L1), _, times, expected, _ = COUNTEREXAMPLES[case]
    c = Constants(L0=L0, L1=L1, dim=1, nu=1, scale_max=1)
    assert bound("B.8", c, initial_gap=gap, **times, form="printed") == pytest.approx(expected, rel=2e-3)


def test_corrected_by_hand():
    """σ̄ = 2, ℓ = 2/π, ηd/(2N) = .01; alone (N = 1) it is 4.3."""
    phi1, phi2 = ROOT["phi1"], ROOT["phi2"]
    expected = (3 + 0.01 * (1 + 2 * np.pi) * phi2) / (phi1 - 0.02 * phi2)
    assert bound("B.8", C, initial_gap=3.0, **ROOT) == pytest.approx(expected, rel=1e-13)
    assert float(density("B.8", C, eta_t=0.5, **ROOT)) == pytest.approx((0.5 - 0.005) / (phi1 - 0.02 * phi2), rel=1e-13)
    alone = Constants(**(SIGN | {"count": 1, "scale_max": [2.0]}))
    for options in ({}, {"radius": 2.0}):
        first, new = (bound(name, alone, initial_gap=3.0, **ROOT, **options) for name in ("B.8", "4.3"))
        assert first == new and step_limit("B.8", alone, **options) == step_limit("4.3", alone, **options)


def test_radius_version_by_hand():
    """ℓ(1) = .5 in the place of ℓ: 4 · .5/12 and Eq. 128; its printed form is the same."""
    expected = 1.5 * (3 + 0.01 * 3 * ROOT["phi2"]) / (0.5 * ROOT["phi1"] - 1.5 * 0.02 * ROOT["phi2"])
    for form in ("corrected", "printed"):
        assert step_limit("B.8", C, radius=1.0, form=form) == pytest.approx(1 / 6, rel=1e-14)
        found = bound("B.8", C, initial_gap=3.0, **ROOT, radius=1.0, form=form)
        assert found == pytest.approx(expected, rel=1e-13)


def test_printed_without_noise_it_asks_for_nothing():
    silent = Constants(L0=1, L1=2, dim=4, nu=1, scale_max=0)
    assert step_limit("B.8", silent, form="printed") == np.inf
    assert bound("B.8", silent, initial_gap=3.0, **ROOT, form="printed") == 0
