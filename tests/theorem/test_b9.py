"""P Theorem B.9: 4.3, but for the factor dη that its denominators lack as printed."""

import numpy as np
import pytest

from stablestep.theorem import Constants, bound, density, step_limit
from tests.theorem.reference import ROOT, SIGN, eq135

C = Constants(**SIGN)
K = 2 / 4 + 3 / np.pi / (1.5 * 2)  # L1/(2N) + (L0 + L1) M/(σ_H √d)


def test_K_by_hand():
    assert pytest.approx(0.8183098862, rel=1e-9) == K
    assert pytest.approx(4.909859317, rel=1e-9) == 1.5 * 4 * K


def test_printed_step_limit_by_hand():
    """ℓ/(K σ_H d), the same as 4.3's."""
    found = step_limit("B.9", C, form="printed")
    assert found == pytest.approx(2 / np.pi / (K * 1.5 * 4), rel=1e-14) == pytest.approx(0.1296615099, rel=1e-9)
    assert found == pytest.approx(step_limit("4.3", C, form="printed"), rel=1e-15)


@pytest.mark.parametrize("nu", [1, 2, np.inf])
def test_printed_bound_is_equation_135(nu):
    values = SIGN | {"nu": nu}
    found = bound("B.9", Constants(**values), initial_gap=3.0, **ROOT, form="printed")
    assert found == pytest.approx(eq135(**values, gap=3.0, **ROOT), rel=1e-12)


def test_printed_numbers():
    found = bound("B.9", C, initial_gap=3.0, **ROOT, form="printed")
    assert found == pytest.approx(0.81871254, rel=1e-7)
    assert found > 1.9 * bound("4.3", C, initial_gap=3.0, **ROOT, form="printed")


def test_printed_with_the_missing_factor_is_4_3():
    """η = 1/d makes the factor 1."""
    times = ROOT | {"eta": 0.25}
    for use in (bound, density):
        given = {"initial_gap": 3.0} if use is bound else {"eta_t": 0.3}
        one, other = (float(use(name, C, **times, **given, form="printed")) for name in ("B.9", "4.3"))
        assert one == pytest.approx(other, rel=1e-14)


def test_printed_density_by_hand():
    """(η_t ℓ/σ_H − η_t² K)/(φ¹ ℓ/σ_H − φ² K)."""
    inverse = 2 / np.pi / 1.5
    expected = (0.2 * inverse - 0.04 * K) / (ROOT["phi1"] * inverse - ROOT["phi2"] * K)
    assert float(density("B.9", C, eta_t=0.2, **ROOT, form="printed")) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("options", [{}, {"radius": 2.0}, {"radius": 2.0, "form": "printed"}], ids=str)
def test_corrected_it_is_4_3(options):
    assert step_limit("B.9", C, **options) == step_limit("4.3", C, **options)
    for use in (bound, density):
        given = {"initial_gap": 3.0} if use is bound else {"eta_t": 0.3}
        assert float(use("B.9", C, **ROOT, **given, **options)) == float(use("4.3", C, **ROOT, **given, **options))
