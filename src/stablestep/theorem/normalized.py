"""What the pathwise rule gives where all noise is relative (σ0 = 0): a rate for E‖∇f‖ under the normalized step."""

import math

from stablestep.errors import instance, require, whole
from stablestep.theorem import t42
from stablestep.theorem.constants import EXAMPLE, Constants
from stablestep.theorem.result import checked_epsilon, checked_gap


def normalized_bound(c: Constants, steps: int, initial_gap: float | None = None, epsilon: float = 0.5) -> float:
    """Bound on the time average of E‖∇f(X_t)‖ over `steps` iterations with h = 2ε/((L0 + L1‖∇f(X_t)‖)(1 + A/N)):

    (L1 Q + √(L1² Q² + 4 L0 Q))/2 with Q = S0 (1 + A/N)/(2ε(1 − ε) steps); ε = ½ is best. A corollary of Theorem 4.2 in its
    pathwise form, for the SDE with σ0 = 0.

    Raises:
        InvalidInput: outside the hypotheses of 4.2, if σ0 > 0 (the step then does not go to 0 with the noise left over; use a decaying
            cap), ε or steps is out of range.

    >>> round(normalized_bound(Constants(L0=1, L1=2, dim=1, omega=4.0), steps=100, initial_gap=4.0), 4)
    1.1483
    """
    t42.RESULT.check(instance("c", c, Constants, EXAMPLE))
    epsilon, steps = checked_epsilon("the normalized step", epsilon), whole("steps", steps, most=10**18)
    require(c.B == 0, f"the normalized step needs purely relative noise, but B is {c.B:g}; use `bound` with a decay.")
    rate = checked_gap(c, initial_gap) * (1 + c.A / c.agents) / (2 * epsilon * (1 - epsilon) * steps)
    L0, L1 = c.smoothness
    return (L1 * rate + math.sqrt((L1 * rate) ** 2 + 4 * L0 * rate)) / 2
