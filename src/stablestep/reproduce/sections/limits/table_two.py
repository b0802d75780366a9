"""P's Table 2 with numbers."""

import numpy as np

from stablestep import theorem
from stablestep.claim import Check, Claim
from stablestep.report import Table

HET = theorem.Constants(L0=1.0, L1=0.5, dim=10, omega=[4, 8], sigma0_sq=[0.1, 0.2], sigma1_sq=[0.01, 0.02])
TAILS = theorem.Constants(L0=1.0, L1=2.0, dim=4, count=2, nu=1.0, scale_max=[1, 3])


def two() -> Claim:
    """The limits of Table 2 in two cases, by arithmetic of their own."""
    norm, d, n = 2.0, 10, 2
    curvature = 1.0 + 0.5 * norm
    growth = 6.0 + d * ((0.01 * 4 + 0.02 * 8) / 2 + 0.015)
    floor = d * ((0.1 + 0.2) / 2 + (0.1 * 4 + 0.2 * 8) / 2)
    ell, harmonic = 2 / np.pi, 2 / (1 / 1 + 1 / 3)
    expected = {
        "4.1": 2 * 0.5 / (curvature * growth / n + 0.5 * floor / n),
        "4.2": 2 * 0.5 / (curvature * (1 + growth / n) + 0.5 * floor / n),
        "B.8": ell / (2.0 * 4 * harmonic / (2 * n)),
        "4.3": ell / (2.0 * 4 * harmonic / (2 * n) + np.sqrt(4) * 3.0 / np.pi),
    }
    checks = []
    for name, value in expected.items():
        signs = name in ("B.8", "4.3")
        found = theorem.step_limit(name, TAILS if signs else HET, norm, None if signs else 0.5, form="printed")
        checks.append(Check(found, 0.0, value, "=", model_error=1e-12, label=f"limit of {name} as printed in Table 2"))
    return Claim(
        "table2",
        "P Table 2",
        "The step limits from the classic and from the new SDEs, side by side.",
        tuple(checks),
        detail="The printed limits agree with P Table 2; what the sign results say with them is another matter (bound.sign).",
    )


def table_two() -> Table:
    rows: list[list[str | float]] = []
    for setting, classic, new, at, norm, epsilon in (
        ("DCSGD", "4.1", "4.2", HET, 2.0, 0.5),
        ("DSignSGD", "B.8", "4.3", TAILS, None, None),
    ):
        for form in ("printed", "corrected"):
            limits = [theorem.step_limit(name, at, norm, epsilon, form=form) for name in (classic, new)]
            rows.append([f"{setting} ({classic}, {new})", form, *limits])
    caption = (
        "P Table 2 with numbers. DCSGD: L0 = 1, L1 = 0.5, ‖∇f‖ = 2, ω = (4, 8), σ0² = (0.1, 0.2), σ1² = (0.01, 0.02), d = 10, ε = ½. "
        "DSignSGD: ν = 1, L0 = 1, L1 = 2, d = 4, σ_max = (1, 3). For DCSGD the two forms differ in whose gradient norm is meant."
    )
    return Table(["setting", "form", "classic SDE", "new SDE"], rows, caption)
