"""P Theorem 4.1 = B.4 (Eqs. 4, 5, 104, 105): DCSGD, affine variance, from the first-order SDE. Eq. 5 is misprinted."""

from stablestep.theorem.constants import Constants
from stablestep.theorem.unbiased import Unbiased


def _printed(c: Constants, eta: float) -> float:
    """Eq. 5 = 105 lacks η and has L0 A + L1 B where (L0 + L1) B belongs: without noise it bounds nothing."""
    return (c.L0 * c.A + c.L1 * c.B) / c.agents


RESULT = Unbiased(
    name="4.1",
    aliases=("B.4", "S2 A.4"),
    reference="P Thm 4.1 = B.4, Eqs. 4-5, 104-105; S2 Thm A.4",
    method="DCSGD",
    unlike=True,
    sde="first",
    printed_floor=_printed,
)
