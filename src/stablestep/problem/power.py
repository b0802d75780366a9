"""Sums of one coordinate function: even powers and cosh. Their curve of (L0, L1) pairs is that of one coordinate."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from stablestep.errors import checked, is_number, positive, require, shown, whole
from stablestep.problem.base import Problem, Scalar, Vector, checked_L1, require_norm


class _Power(Problem):
    """Σⱼ xⱼᵖ / p with an even p: the shared part of `Quartic` and `EvenPower`."""

    power: eqx.AbstractVar[int]

    def value(self, x: Vector) -> Scalar:
        return jnp.sum(x**self.power) / self.power

    def gradient(self, x: Vector) -> Vector:
        return x ** (self.power - 1)

    def hessian_product(self, x: Vector, v: Vector) -> Vector:
        return (self.power - 1) * x ** (self.power - 2) * v

    @property
    def minimum(self) -> float:
        return 0.0

    def coordinate_curvature(self, gradient):
        """(p−1)|g_j|^((p−2)/(p−1)), the curvature itself: a bound that is met everywhere."""
        return (self.power - 1) * np.abs(gradient) ** ((self.power - 2) / (self.power - 1))

    def smoothness(self, L1: float) -> float:
        L1 = checked_L1(type(self).__name__, L1, above_zero=self.power > 2)
        order = self.power - 2
        return float(np.float_power(order / L1, order)) if order else 1.0

    def best_L1(self, gradient_norm: float) -> float:
        """The minimizer of ((p-2)/L1)^(p-2) + L1·G: (p-2) G^(-1/(p-1)); for the quartic 2 G^(-1/3)."""
        require_norm(gradient_norm)
        order = self.power - 2
        return float(order * gradient_norm ** (-1 / (order + 1)))


class Quartic(_Power):
    """f(x) = Σⱼ xⱼ⁴/4, the example that is (L0, L1)-smooth but has no bounded Hessian.

    `smoothness(L1)` = 4/L1² for every L1 > 0 (the minimal L0; the product L0·L1² = 4 is fixed). Infimum 0 at x = 0.
    Raises `InvalidInput` for dim < 1. Source: P, App. A.3.2.

    >>> problem = Quartic(dim=2)
    >>> float(problem.value(jnp.array([1.0, 2.0]))), problem.gradient(jnp.array([1.0, 2.0])).tolist()
    (4.25, [1.0, 8.0])
    >>> problem.smoothness(L1=2), problem.best_L1(gradient_norm=8)
    (1.0, 1.0)
    """

    dim: int = eqx.field(static=True, converter=checked(whole, "Quartic: dim"))
    power: ClassVar[int] = 4


class EvenPower(_Power):
    """f(x) = Σⱼ xⱼᵖ/p with an even power p = 2n ≥ 2.

    `smoothness(L1)` = ((2n-2)/L1)^(2n-2), minimal, for L1 > 0 (p = 2: 1 for L1 ≥ 0). Infimum 0 at x = 0.
    Raises `InvalidInput` for dim < 1 and for a power that is not an even integer of at least 2.

    >>> EvenPower(dim=1, power=6).smoothness(L1=2)
    16.0
    """

    dim: int = eqx.field(static=True, converter=checked(whole, "EvenPower: dim"))
    power: int = eqx.field(static=True, converter=checked(whole, "EvenPower: power", least=2))

    def __check_init__(self):
        require(
            self.power % 2 == 0,
            f"EvenPower: power is {self.power}, but must be even: an odd power has no minimum; give 2, 4, 6, ….",
        )


def _steepness(a: float) -> float:
    fits = is_number(a) and 0 < abs(a) < float("inf")
    require(fits, f"Cosh: a is {shown(a)}, but must be a finite number other than 0, such as 1.")
    return float(a)


class Cosh(Problem):
    """f(x) = scale · Σⱼ cosh(a xⱼ), whose Hessian grows as fast as its gradient.

    `smoothness(L1)` = scale·a² for every L1 ≥ |a| (minimal); there is no pair with L1 < |a|, so `smallest_L1` is |a|.
    Infimum scale·dim at x = 0. Raises `InvalidInput` for dim < 1, a = 0, scale ≤ 0.

    >>> problem = Cosh(dim=3, a=2.0, scale=0.5)
    >>> float(problem.value(jnp.zeros(3))), problem.minimum, problem.smoothness(L1=2.0)
    (1.5, 1.5, 2.0)
    """

    dim: int = eqx.field(static=True, converter=checked(whole, "Cosh: dim"))
    a: float = eqx.field(default=1.0, converter=_steepness)
    scale: float = eqx.field(default=1.0, converter=checked(positive, "Cosh: scale"))

    def value(self, x: Vector) -> Scalar:
        return self.scale * jnp.sum(jnp.cosh(self.a * x))

    def gradient(self, x: Vector) -> Vector:
        return self.scale * self.a * jnp.sinh(self.a * x)

    def hessian_product(self, x: Vector, v: Vector) -> Vector:
        return self.scale * self.a * self.a * jnp.cosh(self.a * x) * v

    @property
    def minimum(self) -> float:
        return float(self.scale) * self.dim

    @property
    def smallest_L1(self) -> float:
        return abs(float(self.a))

    def coordinate_curvature(self, gradient):
        """scale·a² + |a||g_j|."""
        return float(self.scale) * float(self.a) ** 2 + abs(float(self.a)) * np.abs(gradient)

    def smoothness(self, L1: float) -> float:
        L1 = checked_L1("Cosh", L1)
        require(
            self.smallest_L1 <= L1,
            f"Cosh: L1 is {L1}, but must be at least |a| = {self.smallest_L1}, because f'' outgrows L1·|f'| below it.",
        )
        return float(self.scale) * float(self.a) ** 2
