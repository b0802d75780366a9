"""Error feedback with any contractive compressor in discrete time: theory2 section 3."""

import math
from dataclasses import dataclass

import numpy as np

from stablestep.errors import instance, require
from stablestep.theorem.constants import Constants
from stablestep.theorem.discrete import Discrete, smooth
from stablestep.theorem.result import Hypothesis


@dataclass(frozen=True, kw_only=True)
class ErrorFeedback(Discrete):
    """f L-smooth, E‖C(v) − v‖² ≤ (1 − α)‖v‖², r = s/(1 − s), s = √(1 − α), constant η, E‖g̃_i − g_i‖² ≤ v0² + v1²‖g_i‖²:

    (1/K) Σ E‖∇f(x_k)‖² ≤ [2S0/(ηK) + Lη(v0² + v1²ζ²)/N + r²L²η²((1 + v1²)ζ² + v0²)]/D, with
    D = 1 − Lη(1 + v1²𝔅²/N) − r²L²η²(1 + v1²)𝔅² > 0. Without noise, for like clients: ηL < 2/(1 + √(1 + 4r²)). Proof: along
    x̃ = x − ē, f(x̃) descends like SGD, and Σ‖e‖² ≤ r²η² Σ‖g̃‖². No ω appears. v0² = d mean σ0_i², v1² = d max σ1_i².

    `necessary` is the step 2(1−s)/(1+s)/L that no condition on α alone can exceed: within 2 % of this for α ≤ ½.

    >>> from stablestep.theorem.constants import Constants
    >>> c = Constants(L0=1, L1=0, dim=4, alpha=0.25)
    >>> round(RESULT.step_limit(c), 10), round(necessary(c), 10)
    (0.1431965115, 0.1435935394)
    """

    any_schedule: bool = False
    share: float = 2.0

    def bracket(self, c, h, epsilon=None):
        (L, _), (square, _), (_, relative) = c.smoothness, c.spread, noise(c)
        kept = square * (1 + relative) * (L * c.gain * h) ** 2
        return 1 - L * h * (1 + relative * square / c.agents) - kept

    def cost(self, c, h):
        (L, _), (_, floor), (constant, relative) = c.smoothness, c.spread, noise(c)
        kept = (L * c.gain * h) ** 2 * ((1 + relative) * floor + constant)
        return h * (L * h * (constant + relative * floor) / c.agents + kept)

    def clients(self, c):
        return Hypothesis("clients of their own data", True)

    def assumed(self, c):
        return (smooth(self.name, c),)


def noise(c: Constants) -> tuple[float, float]:
    """(v0², v1²): E‖g̃_i − ∇f_i‖² ≤ v0² + v1²‖∇f_i‖², in the mean over clients."""
    return c.dim * float(np.mean(c.sigma0_sq)), c.dim * float(np.max(c.sigma1_sq))


def necessary(c: Constants) -> float:
    """2(1−s)/((1+s)L): beyond it error feedback with some compressor of this α diverges, C(v) = (1+s)v on Lx²/2.

    Raises:
        InvalidInput: without alpha.
    """
    instance("c", c, Constants, "theorem.Constants(L0=1, L1=0, dim=10, alpha=0.1)")
    require(c.alpha is not None, "alpha is missing; give α of the compressor in the constants.")
    L = c.smoothness[0]
    return 2 * (1 - c.s) / ((1 + c.s) * L) if L > 0 else math.inf


RESULT = ErrorFeedback(
    name="ef", method="EF", memories=("ErrorFeedback",), needs="alpha", reference="theory2 section 3, the EF theorem"
)
