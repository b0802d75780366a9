"""P Theorem B.3 (Eqs. 89, 90, 101, 102): DCSGD, bounded variance (σ1 = 0), from the first-order SDE."""

from stablestep.theorem.unbiased import Unbiased, bounded_variance

RESULT = Unbiased(
    name="B.3",
    aliases=("S2 A.3",),
    reference="P Thm B.3, Eqs. 89-90, 101-102; S2 Thm A.3",
    method="DCSGD",
    sde="first",
    extra=bounded_variance,
)
