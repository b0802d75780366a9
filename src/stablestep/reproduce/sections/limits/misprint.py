"""The right-hand side of P Eq. 5, where both sides are exact."""

from typing import Any

import numpy as np
from scipy.integrate import quad

from stablestep import schedule, theorem
from stablestep.claim import Check, Claim


def misprint() -> Claim:
    """σ1 = ω = L1 = 0, started at the minimum: the printed bound is 0, the left side is the noise's; both exact."""
    eta, variance, power = 0.1, 1.0, 0.6
    c = theorem.Constants(L0=1.0, L1=0.0, dim=1, sigma0_sq=variance, initial_gap=0.0)
    decay = schedule.Polynomial(eta, power)
    printed, corrected = [], []
    for end in (10.0, 100.0, 1000.0):
        phi1, phi2 = decay.phi(1, end), decay.phi(2, end)
        left = stationary_left(eta, variance, power, end)
        common: dict[str, Any] = dict(eta=eta, phi1=phi1, phi2=phi2, epsilon=1e-9)
        for form, checks in (("printed", printed), ("corrected", corrected)):
            right = theorem.bound("4.1", c, form=form, **common)
            checks.append(
                Check(left, 0.0, right, "<=", label=f"E‖∇f(X_t̂)‖² from the minimum, t = {end:g}, {form} bound")
            )
    return Claim(
        "bound.first-order-dcsgd",
        "P 5 = 105",
        "Right-hand side of Thm 4.1 = B.4.",
        tuple(printed),
        tuple(corrected),
        error="misprint",
        detail="On x²/2 with additive noise only: the printed bound has no η and no L0 B, and is 0 where the noise alone moves X.",
    )


def stationary_left(eta: float, variance: float, power: float, end: float) -> float:
    """(1/φ¹)∫η_s E X_s² ds for dX = −η_t X dt + η_t √(ησ²) dW from 0: E X² = ησ² ∫η_u² exp(−2(φ_s − φ_u)) du."""
    # In u = φ¹, which makes the decay exponential: φ¹ = ((1+t)^(1−a) − 1)/(1−a).
    rest = 1 - power

    def rate(phi: float) -> float:
        return (1 + rest * phi) ** (-power / rest)

    def second(phi: float) -> float:
        lowest = max(0.0, phi - 20)
        return eta * variance * quad(lambda u: rate(u) * np.exp(-2 * (phi - u)), lowest, phi, epsrel=1e-10)[0]

    total = ((1 + end) ** rest - 1) / rest
    return quad(second, 0, total, limit=200, epsrel=1e-9)[0] / total
