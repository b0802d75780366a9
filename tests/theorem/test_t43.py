"""P Theorem 4.3: Eq. 18 as printed, and the corrected limit 2/(dL1) whatever the noise."""

import numpy as np
import pytest

from stablestep.theorem import Constants, bound, density, step_limit
from tests.theorem.reference import COUNTEREXAMPLES, ROOT, SIGN, SLOPES, TIMES, eq18, eq135, harmonic

C = Constants(**SIGN)
SILENT = Constants(L0=1, L1=2, dim=4, count=2, nu=1, scale_max=0)


def test_printed_step_limit_by_hand():
    """σ_H = 2/(1 + 1/3) = 1.5, K = 2 · 4 · 1.5/4 + 2 · 3/π = 4.909859317, ℓ/K = .1296615099."""
    assert harmonic([1, 3]) == pytest.approx(1.5, rel=1e-15)
    K = 3 + 6 / np.pi
    assert pytest.approx(4.909859317, rel=1e-9) == K
    found = step_limit("4.3", C, form="printed")
    assert found == pytest.approx(2 / np.pi / K, rel=1e-14) == pytest.approx(0.1296615099, rel=1e-9)


@pytest.mark.parametrize("nu", [1, 2, np.inf])
def test_printed_step_limit_and_bound_are_those_of_equation_18(nu):
    values = SIGN | {"nu": nu}
    K = 3 + 2 * 3 * SLOPES[nu] / 2
    assert step_limit("4.3", Constants(**values), form="printed") == pytest.approx(SLOPES[nu] / K, rel=1e-13)
    for times in (TIMES, ROOT):
        found = bound("4.3", Constants(**values), initial_gap=3.0, **times, form="printed")
        assert found == pytest.approx(eq18(**values, gap=3.0, **times), rel=1e-12)


def test_printed_number():
    found = bound("4.3", C, initial_gap=3.0, **ROOT, form="printed")
    assert found == pytest.approx(0.42455699, rel=1e-8)
    assert found == pytest.approx(eq135(**SIGN, gap=3.0, **ROOT, factor=4 * ROOT["eta"]), rel=1e-12)


@pytest.mark.parametrize("case", COUNTEREXAMPLES)
def test_printed_bounds_of_the_counterexamples(case):
    _, _, gap, (L0, L1), _, times, _, expected = COUNTEREXAMPLES[case]
    c = Constants(L0=L0, L1=L1, dim=1, nu=1, scale_max=1)
    found = bound("4.3", c, initial_gap=gap, **times, form="printed")
    assert found == pytest.approx(expected, rel=2e-3)
    assert found == pytest.approx(eq18(L0, L1, 1, 1, 1, [1], gap, **times), rel=1e-12)


def test_corrected_step_limit_by_hand():
    """2/(4 · 2), which holds no σ, no ν and no N."""
    for changes in ({}, {"nu": 3}, {"scale_max": [9, 9]}, {"count": None, "scale_max": 1.0}, {"L0": 50}):
        assert step_limit("4.3", Constants(**(SIGN | changes))) == 0.25


def test_corrected_bound_by_hand():
    """σ̄ = 2, ℓ = 2/π: (3 + .02 (1 + 2π) φ²)/(φ¹ − .02 · 2 φ²) with η = .01, d/2 = 2."""
    phi1, phi2 = ROOT["phi1"], ROOT["phi2"]
    expected = (3 + 0.02 * (1 + 2 * np.pi) * phi2) / (phi1 - 0.04 * phi2)
    assert bound("4.3", C, initial_gap=3.0, **ROOT) == pytest.approx(expected, rel=1e-13)
    # theory 2.3, cosh: 10.68, 11.08 and 11.01 were measured.
    _, _, gap, (L0, L1), _, times, _, _ = COUNTEREXAMPLES["cosh"]
    cosh = Constants(L0=L0, L1=L1, dim=1, nu=1, scale_max=1)
    assert bound("4.3", cosh, initial_gap=gap, **times) == pytest.approx(11.27, rel=5e-4)


def test_radius_version_by_hand():
    """ℓ(1) = .5, d/2 = 2, σ_H = 1.5, c = 2: h < .5/(1.5 · 2 · 2/2), and Young's inequality doubles it."""
    phi1, phi2 = ROOT["phi1"], ROOT["phi2"]
    assert step_limit("4.3", C, radius=1.0, unit=2.0) == pytest.approx(0.5 / 3, rel=1e-14)
    assert step_limit("4.3", C, radius=1.0, unit=2.0, young=True) == pytest.approx(1 / 3, rel=1e-14)
    expected = 1.5 * (3 + 0.02 * 5 * phi2) / (0.5 * phi1 - 1.5 * 0.02 * phi2)
    assert bound("4.3", C, initial_gap=3.0, **ROOT, radius=1.0, unit=2.0) == pytest.approx(expected, rel=1e-13)


def test_printed_radius_version_by_hand():
    """K = L1 d σ_H/(2N) + (√d/2)(L0 + L1) M σ_H/σ_H,min, with smallest scales .5 and 1.5: σ_H,min = .75."""
    K = 3 + 1 * 3 / np.pi * 1.5 / 0.75
    c = Constants(**SIGN, scale_min=[0.5, 1.5])
    assert step_limit("4.3", c, form="printed", radius=1.0) == pytest.approx(0.5 / K, rel=1e-14)


def test_density_by_hand():
    """(η_t ℓ − η_t² ηK)/(φ¹ ℓ − φ² ηK) printed; (η_t − .04 η_t²)/(φ¹ − .04 φ²) corrected."""
    phi1, phi2, K = ROOT["phi1"], ROOT["phi2"], 3 + 6 / np.pi
    printed = (0.5 * 2 / np.pi - 0.25 * 0.01 * K) / (phi1 * 2 / np.pi - phi2 * 0.01 * K)
    assert float(density("4.3", C, eta_t=0.5, **ROOT, form="printed")) == pytest.approx(printed, rel=1e-13)
    corrected = (0.5 - 0.04 * 0.25) / (phi1 - 0.04 * phi2)
    assert float(density("4.3", C, eta_t=0.5, **ROOT)) == pytest.approx(corrected, rel=1e-13)


def test_printed_limit_without_noise():
    """2/(√d (L0 + L1)): P says 1/(√d (L0 + L1)), though ℓ = 2M."""
    assert step_limit("4.3", SILENT, form="printed") == pytest.approx(2 / (2 * 3), rel=1e-14)
    assert step_limit("4.3", SILENT) == 0.25
