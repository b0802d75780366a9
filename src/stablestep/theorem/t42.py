"""P Theorem 4.2 = B.6 (Eqs. 16, 17, 122, 123), S2 Theorem 4.3: DCSGD, affine variance, from the new SDE."""

from stablestep.theorem.unbiased import Unbiased

RESULT = Unbiased(
    name="4.2",
    aliases=("B.6", "S2 4.3", "S2 A.6"),
    reference="P Thm 4.2 = B.6, Eqs. 16-17; S2 Thm 4.3",
    method="DCSGD",
    unlike=True,
    sde="new",
)
