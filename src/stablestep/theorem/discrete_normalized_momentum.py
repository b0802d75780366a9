"""Normalized SGD with momentum in discrete time: theory2 Theorem N with s = β."""

import math
from dataclasses import dataclass

from stablestep.theorem.directed import Directed
from stablestep.theorem.discrete import relative_free


@dataclass(frozen=True, kw_only=True)
class NormalizedMomentum(Directed):
    """x⁺ = x − ηm⁺/‖m⁺‖, m⁺ = βm + (1 − β)M, E‖M − ∇f‖² ≤ v² = B/N: Theorem N with s = β and 2v√((1−β)/(1+β)) more on the right.

    The largest L1η: .33973 (β = .5), .052656 (.9), .0050251 (.99). δ0 = β‖m_0 − ∇f(x0)‖: `initial_error` is β‖∇f(x0)‖ for m_0 = 0, and v
    where m starts at a noisy gradient. Noise that grows with the gradient is not averaged by m, and refused. Clients may differ.

    >>> from stablestep.theorem.constants import Constants
    >>> round(RESULT.step_limit(Constants(L0=1, L1=1, dim=4, beta=0.9)), 10)
    0.0526558993
    """

    start: str = "δ0 = β‖m_0 − ∇f(x0)‖"

    def shrinks(self, c):
        return c.momentum

    def cost(self, c, h):
        return super().cost(c, h) + 2 * h * math.sqrt(c.B / c.agents * (1 - c.momentum) / (1 + c.momentum))

    def assumed(self, c):
        return (relative_free(self.name, c),)


RESULT = NormalizedMomentum(
    name="discrete.normalized-momentum",
    method="NSGD",
    memories=("HeavyBall", "warm HeavyBall"),
    needs="beta",
    reference="theory2 Thm N (NSGD-M)",
)
