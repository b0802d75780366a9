"""P Theorem 4.2 = B.6 (Eqs. 16, 17, 122, 123), S2 Theorem 4.3: DCSGD, unbiased compression, affine variance."""

from stablestep.theorem.constants import Constants

NAME = "4.2"
ALIASES = ("B.6", "S2 4.3", "S2 A.6")
REFERENCE = "P Thm 4.2 = B.6, Eqs. 16-17; S2 Thm 4.3"


def check(c: Constants) -> None:
    """Every affine variance and every ω is allowed."""


def relative(c: Constants) -> float:
    """1 + A/N."""
    return 1 + c.A / c.agents


def floor(c: Constants) -> float:
    """B/N."""
    return c.B / c.agents
