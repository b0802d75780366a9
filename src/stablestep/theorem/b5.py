"""P Theorem B.5 (Eqs. 108, 109, 119), S2 Theorem 4.2: DCSGD, bounded variance (σ1 = 0), from the new SDE."""

from stablestep.theorem.unbiased import Unbiased, bounded_variance

RESULT = Unbiased(
    name="B.5",
    aliases=("S2 4.2", "S2 A.5"),
    reference="P Thm B.5, Eqs. 108-109, 119; S2 Thm 4.2",
    method="DCSGD",
    sde="new",
    extra=bounded_variance,
)
