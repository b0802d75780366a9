"""P Theorem 4.3 (Eq. 18): DSignSGD under Student-t noise, from the new SDE. False as printed."""

from dataclasses import dataclass

from stablestep.theorem.signs import Signs, Terms, corrected, correction, harmonic, slope_of


@dataclass(frozen=True, kw_only=True)
class New(Signs):
    """Printed: ηη_t < ℓ/K, K = L1 d σ_H/(2N) + √d (L0 + L1) M_ν. Corrected: ηη_t < 2/(d L1), whatever the noise."""

    def terms(self, c, eta, chosen):
        if not chosen.printed:
            return corrected(c, eta, chosen, 1.0)
        scale, noise = harmonic(c.scale_max), correction(c, chosen)
        half = scale * c.dim / (2 * c.agents)
        K = half * c.L1 + (c.L0 + c.L1) * noise
        return Terms(slope_of(c, chosen), eta * K, eta * (c.L0 + c.L1) * (half + noise), scale)


RESULT = New(name="4.3", aliases=(), reference="P Thm 4.3, Eq. 18", sde="new")
