"""DSignSGD in discrete time: theory2 Theorem B, which continues P Theorem 4.3."""

import math
from dataclasses import dataclass

from stablestep.theorem.discrete import Bounded
from stablestep.theorem.signs import MEDIAN, known_noise, offset


@dataclass(frozen=True, kw_only=True)
class Sign(Bounded):
    """ψ(√d h) < h/L1, that is (eᵘ − 1 − u)/u < 1/√d at u = L1 √d h: L1 h < 1.2564 (d = 1), .38134 (4), .018769 (100). No scale enters.

    Σ (h_k − L1ψ_k) E Ψ(∇f(x_k)) ≤ S0 + (L0 + L1 σ̄/ℓ) Σ ψ_k, Ψ = ℓ‖g‖²/(σ̄ + ℓ‖g‖), where 4.3 for its SDE has (d/2) h² for ψ.

    >>> from stablestep.theorem.constants import Constants
    >>> round(RESULT.step_limit(Constants(L0=1, L1=1, dim=4, nu=1, scale_max=1)), 10)
    0.3813442804
    """

    def radius(self, c):
        return math.sqrt(c.dim)

    def offset(self, c):
        return offset(c)

    @property
    def unlike_remedy(self):
        return MEDIAN

    def assumed(self, c):
        return known_noise(self.name, c, any_tail=False, remedy="give the radius version of 4.3, an SDE result, radius=R")


RESULT = Sign(
    name="discrete.sign", method="DSignSGD", reference="theory2 Thm B (signs), the discrete form of P Thm 4.3"
)
