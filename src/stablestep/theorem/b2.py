"""P Theorem B.2 (Eqs. 71, 72, 84), S2 Theorem 4.1: DSGD, affine variance, from the new SDE."""

from stablestep.theorem.unbiased import Unbiased, uncompressed

RESULT = Unbiased(
    name="B.2",
    aliases=("S2 4.1", "S2 A.2"),
    reference="P Thm B.2, Eqs. 71-72, 84; S2 Thm 4.1",
    method="DSGD",
    sde="new",
    extra=uncompressed,
)
