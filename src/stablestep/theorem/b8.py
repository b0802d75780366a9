"""P Theorem B.8 (Eqs. 128-133): DSignSGD under Student-t noise, from the first-order SDE. False as printed."""

from dataclasses import dataclass

from stablestep.theorem.signs import Signs, Terms, corrected, harmonic, slope_of


@dataclass(frozen=True, kw_only=True)
class FirstOrder(Signs):
    """Printed: ηη_t < 2Nℓ/(σ_H d L1). Corrected: ηη_t < 2N/(d L1), whatever the noise."""

    def terms(self, c, eta, chosen):
        if not chosen.printed:
            return corrected(c, eta, chosen, 1 / c.agents)
        scale, half = harmonic(c.scale_max), eta * c.dim / (2 * c.agents)
        return Terms(slope_of(c, chosen), scale * half * c.L1, scale * half * (c.L0 + c.L1), scale)


RESULT = FirstOrder(
    name="B.8", aliases=("S2 A.8",), reference="P Thm B.8, Eqs. 128-133; S2 Thm A.8 (Eq. 100)", sde="first"
)
