"""P Theorem B.2 (Eqs. 71, 72, 84), S2 Theorem 4.1: DSGD, affine variance."""

import numpy as np

from stablestep.errors import require
from stablestep.theorem.constants import Constants

NAME = "B.2"
ALIASES = ("S2 4.1", "S2 A.2")
REFERENCE = "P Thm B.2, Eqs. 71-72; S2 Thm 4.1"


def check(c: Constants) -> None:
    largest = float(np.max(c.omega))
    require(
        largest == 0, f"B.2 is about uncompressed messages, but omega is {largest}; use 4.2, which allows compression."
    )


def relative(c: Constants) -> float:
    """1 + d σ̄1²/N."""
    return 1 + c.dim * float(np.mean(c.sigma1_sq)) / c.agents


def floor(c: Constants) -> float:
    """d σ̄0²/N."""
    return c.dim * float(np.mean(c.sigma0_sq)) / c.agents
