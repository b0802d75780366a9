"""P Theorem B.1 (Eqs. 54, 55, 67): DSGD, affine variance, from the first-order SDE."""

import numpy as np

from stablestep.theorem.constants import Constants
from stablestep.theorem.unbiased import Unbiased, uncompressed


def _printed(c: Constants, eta: float) -> float:
    """Eq. 55 keeps σ1², which the proof of B.2 shows to be superfluous."""
    return eta * (c.L0 + c.L1) * c.dim * float(np.mean(c.sigma0_sq) + np.mean(c.sigma1_sq)) / c.agents


RESULT = Unbiased(
    name="B.1",
    aliases=("S2 A.1",),
    reference="P Thm B.1, Eqs. 54-55, 67; S2 Thm A.1",
    method="DSGD",
    sde="first",
    extra=uncompressed,
    printed_floor=_printed,
)
