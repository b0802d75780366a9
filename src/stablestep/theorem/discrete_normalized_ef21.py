"""Normalized EF21 in discrete time, for clients that may differ: theory2 Theorem N with s = √(1−α)."""

import math
from dataclasses import dataclass

from stablestep.theorem.directed import Directed
from stablestep.theorem.discrete import noise_free
from stablestep.theorem.remainder import stretch


@dataclass(frozen=True, kw_only=True)
class NormalizedEF21(Directed):
    """EF21 with Ḡ/‖Ḡ‖ (Khirirat et al. 2024), without noise: Theorem N with s = √(1−α), every f_i being (L0, L1)-smooth.

    With (1/N) Σ‖∇f_i‖ ≤ 𝔅‖∇f‖ + ζ, f is (L̂0, L̂1) = (L0 + L1ζ, L1𝔅)-smooth; ψ̂ is ψ with L̂1. The bracket is
    1 − L̂1ψ̂/η − (2s𝔅/(1−s))(e^{L1η} − 1), and the right side S0/(ηK) + L̂0ψ̂/η + (2s/(1−s))(L0/L1 + ζ)(e^{L1η} − 1) + 2δ̄0/((1−s)K),
    δ̄0 = (1/N) Σ‖G_i − ∇f_i(x0)‖ of the first message. With L1 = 0 no dissimilarity enters. Largest L1η for like clients: .07186
    (α = .25), .02634 (.1), .002513 (.01).

    >>> from stablestep.theorem.constants import Constants
    >>> round(RESULT.step_limit(Constants(L0=1, L1=1, dim=4, alpha=0.25)), 5)
    0.07186
    """

    start: str = "δ0 = (1/N) Σ‖G_i − ∇f_i(x0)‖"

    def shrinks(self, c):
        return c.s

    def turned(self, c, h):
        square, floor = c.spread
        moved = 2 * c.gain * stretch(h, c.L1)
        return (c.L0 + c.L1 * math.sqrt(floor)) * moved, c.L1 * math.sqrt(square) * moved

    def assumed(self, c):
        return (noise_free(self.name, c),)


RESULT = NormalizedEF21(
    name="discrete.normalized-ef21",
    method="NSGD",
    memories=("EF21",),
    needs="alpha",
    reference="theory2 Thm N (‖EF21‖), the method of Khirirat et al. 2024",
)
