"""Double wells: non-convex functions with an exact curve of (L0, L1) pairs."""

import math

import equinox as eqx
import jax.numpy as jnp

from stablestep.errors import checked, flag, positive, whole
from stablestep.problem.base import Problem, Scalar, Vector, checked_L1


class DoubleWell(Problem):
    """f(x) = Σⱼ (xⱼ² - b)²/4, or (‖x‖² - b)²/4 with `radial=True`.

    Minima at xⱼ = ±√b (a sphere of radius √b if radial), infimum 0, saddles and a maximum between them.
    `smoothness(L1)` = b·P(L1√b) for L1 > 0 (minimal), P(L) = 2 if L ≥ 3, else 3u² - 1 - L(u³ - u) at
    u = (3 + √(9 + 3L²))/(3L). Raises `InvalidInput` for dim < 1 and b ≤ 0.

    >>> problem = DoubleWell(dim=2, b=1.0)
    >>> float(problem.value(jnp.array([0.0, 1.0]))), [round(problem.smoothness(L1), 6) for L1 in (0.5, 1, 2, 3)]
    (0.25, [17.020553, 5.079201, 2.282113, 2.0])
    >>> float(DoubleWell(dim=2, b=1.0, radial=True).value(jnp.array([0.6, 0.8]))) < 1e-12
    True
    """

    dim: int = eqx.field(static=True, converter=checked(whole, "DoubleWell: dim"))
    b: float = eqx.field(default=1.0, converter=checked(positive, "DoubleWell: b"))
    radial: bool = eqx.field(static=True, default=False, converter=checked(flag, "DoubleWell: radial"))

    def value(self, x: Vector) -> Scalar:
        squared = jnp.sum(x**2) if self.radial else x**2
        return jnp.sum((squared - self.b) ** 2) / 4

    def gradient(self, x: Vector) -> Vector:
        squared = jnp.sum(x**2) if self.radial else x**2
        return (squared - self.b) * x

    @property
    def minimum(self) -> float:
        return 0.0

    def smoothness(self, L1: float) -> float:
        L1 = checked_L1("DoubleWell", L1, above_zero=True)
        return float(self.b) * _unit_L0(L1 * math.sqrt(self.b))


def _unit_L0(L1: float) -> float:
    """P(L1): the maximum of 3u² - 1 - L1(u³ - u) over u ≥ 1, where it is attained for the well with b = 1."""
    peak = max(1.0, (3 + math.sqrt(9 + 3 * L1 * L1)) / (3 * L1))
    return peak * peak * (3 - L1 * peak) - 1 + L1 * peak  # a product overflows to ∞, where a power raises
