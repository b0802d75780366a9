"""P Theorem B.5 (Eqs. 108, 109, 119), S2 Theorem 4.2: DCSGD, unbiased compression, bounded variance (σ1 = 0)."""

import numpy as np

from stablestep.errors import require
from stablestep.theorem.constants import Constants

NAME = "B.5"
ALIASES = ("S2 4.2", "S2 A.5")
REFERENCE = "P Thm B.5, Eqs. 108-109; S2 Thm 4.2"


def check(c: Constants) -> None:
    largest = float(np.max(c.sigma1_sq))
    require(
        largest == 0,
        f"B.5 assumes bounded variance, but sigma1_sq is {largest}; use 4.2, which allows affine variance.",
    )


def relative(c: Constants) -> float:
    """1 + ω̄/N (or 1 + ω̄ with a shared mask)."""
    return 1 + c.A / c.agents


def floor(c: Constants) -> float:
    """d (mean σ² + mean σ²ω)/N."""
    return c.B / c.agents
